/* policy.decisions/draft1: what the other enforcers decided lately, for an observer that holds traffic against it. */
#ifndef POLICY_EXT_DECISIONS_H
#define POLICY_EXT_DECISIONS_H
#include <policy/abi.h>
#ifdef __cplusplus
extern "C" {
#endif

#define POLICY_DECISIONS_ID "policy.decisions/draft1"
typedef struct {
  uint32_t struct_size;
  uint16_t layer, verdict, reason, proto; /* verdict: what was done */
  uint64_t realtime_ns, client_id;
  policy_addr client; /* with its port; seal 0: not known */
  policy_addr dest;   /* with its port; seal 0: not known */
  uint8_t name_len;
  char name[255]; /* canonical, or empty */
} policy_decision_record;

typedef struct {
  uint32_t struct_size;
  /* As policy_ledger_v1.next: records after *cursor. POLICY_EXHAUSTED: some were overwritten; *cursor has moved past
   * them. Up to a second may pass between a decision and its record here. [worker] */
  policy_code (*next)(policy_thread*, uint64_t* cursor, policy_decision_record*, size_t stride, size_t* n);
} policy_decisions_draft1;

#ifdef __cplusplus
}
#endif
#endif
