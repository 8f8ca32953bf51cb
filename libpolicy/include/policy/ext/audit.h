/* policy.audit/1: one record per decision that ends a query or flow, one when a flow closes. Never blocks. */
#ifndef POLICY_EXT_AUDIT_H
#define POLICY_EXT_AUDIT_H
#include <policy/abi.h>
#ifdef __cplusplus
extern "C" {
#endif

#define POLICY_AUDIT_ID "policy.audit/1"
typedef struct {
  uint32_t struct_size;
  /* detail_json: an object whose members go beside the common ones ("tls", "dns", "http", "bytes", "duration_ms",
   * "flow", "cause", "raw" for refused input: escape it, at most 255 octets), or empty. At most 1024 octets; longer is
   * dropped, the record stays. [worker] wait-free; POLICY_EXHAUSTED: the sink is full and says on_full: deny, so refuse
   * the flow. */
  policy_code (*write)(policy_thread*, const policy_query*, const policy_verdict*, policy_str detail_json);
  /* The second record of a flow, when it ends: the same query and verdict, with "bytes" and "duration_ms". [worker]
   * wait-free */
  policy_code (*closed)(policy_thread*, const policy_query*, const policy_verdict*, policy_str detail_json);
} policy_audit_v1;

#ifdef __cplusplus
}
#endif
#endif
