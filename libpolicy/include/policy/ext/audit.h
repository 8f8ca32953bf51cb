/* policy.audit/1: one record per decision that ends a query or flow, one when a flow closes. Never blocks. */
#ifndef POLICY_EXT_AUDIT_H
#define POLICY_EXT_AUDIT_H
#include <policy/abi.h>
#ifdef __cplusplus
extern "C" {
#endif

#define POLICY_AUDIT_ID "policy.audit/1"
/* Tells the one who is refused and the line of the audit that they belong together: five characters of Crockford's
 * base 32 and NULs. Repeats of a decision (client, destination, port, reason) have the same. */
typedef struct {
  char text[8];
} policy_ref;

typedef struct {
  uint32_t struct_size;
  /* detail_json: an object whose members go beside the common ones ("tls", "dns", "http", "bytes", "duration_ms",
   * "flow", "cause"), or empty. At most 1024 octets; longer is dropped, the record stays. raw: input that was refused
   * before it had a canonical form, as it came (the host escapes it, and keeps 255 octets); read only if the query has
   * no name. ref: may be NULL; set whatever the result, empty if no record was made. [worker] wait-free;
   * POLICY_EXHAUSTED: the sink is full and says on_full: deny, so refuse the flow. */
  policy_code (*write)(policy_thread*, const policy_query*, const policy_verdict*, policy_str detail_json,
                       policy_str raw, policy_ref* ref);
  /* The second record of a flow, when it ends: the same query and verdict, with "bytes" and "duration_ms". [worker]
   * wait-free */
  policy_code (*closed)(policy_thread*, const policy_query*, const policy_verdict*, policy_str detail_json);
} policy_audit_v1;

#ifdef __cplusplus
}
#endif
#endif
