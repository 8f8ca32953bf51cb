/* policy.flow/1: how a revocation reaches open tunnels. A plugin opens a ticket for each long-lived flow that decide()
 * allowed. At each new policy the host decides every open ticket again; what is denied now is revoked. */
#ifndef POLICY_EXT_FLOW_H
#define POLICY_EXT_FLOW_H
#include <policy/abi.h>
#include <policy/ext/limits.h>
#ifdef __cplusplus
extern "C" {
#endif

#define POLICY_FLOW_ID "policy.flow/1"
/* Close the flow, soon: after a second the host shuts its attached descriptors down itself. [any][leaf] */
typedef void (*policy_revoked_fn)(void* user, uint64_t flow, uint16_t reason);
typedef struct {
  uint32_t struct_size;
  /* The query and verdict that allowed it (copied). Decides again if the generation moved meanwhile: POLICY_DENIED
   * then, and no ticket. The callback comes at most once, never before open() returned. [worker] */
  policy_code (*open)(policy_thread*, const policy_query*, const policy_verdict*, policy_revoked_fn, void* user,
                      policy_flow**);
  policy_code (*attach)(policy_flow*,
                        int fd);        /* [worker] dup()ed by the host; at most two; shut down at the deadline */
  uint64_t (*id)(const policy_flow*);   /* [any] as in the callback and the audit's "flow" */
  uint32_t (*live)(const policy_flow*); /* [any] one load; 0: revoked. Before every splice */
  /* Ends the ticket; when it returns no callback is running and none will come. Also writes the closing record of the
   * audit, with up and down (octets) and the ticket's age; reason: POLICY_REASON_OK, or why it ended. [worker] */
  void (*close)(policy_flow*, uint64_t up, uint64_t down, uint16_t reason);
  /* As attach(), without the copy: the host keeps the number. It stays this open socket until take_back() or close()
   * has returned; when one has, the host does not touch it any more. At most two, attached ones included. [worker] */
  policy_code (*lend)(policy_flow*, int fd);
  void (*take_back)(policy_flow*, int fd); /* [worker] before it is closed; of what was not lent: nothing */
  /* Charges the limits of the rule that allows the flow (policy/ext/limits.h: kind and out), by the policy at hand. The
   * connection itself is counted by policy.limits/1 open(). [worker] wait-free: the thread that opened it */
  policy_code (*charge)(policy_flow*, uint32_t kind, uint64_t amount, policy_charge* out);
} policy_flow_v1;

#ifdef __cplusplus
}
#endif
#endif
