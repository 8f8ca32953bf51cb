/* policy.synthetic/draft1: one private address per (client, name) that leads to the gateway (DESIGN, answers:
 * synthetic).
 *
 * The table lives in shared memory that the warden owns: it outlives a worker, so that an address handed out before a
 * crash still means the same name after it. An address is not given to another name before its TTL and a grace time
 * have passed. */
#ifndef POLICY_EXT_SYNTHETIC_H
#define POLICY_EXT_SYNTHETIC_H
#include <policy/abi.h>
#ifdef __cplusplus
extern "C" {
#endif

#define POLICY_SYNTHETIC_ID "policy.synthetic/draft1"
typedef struct {
  uint32_t struct_size;
  /* The addresses of (client, name), extended to live ttl_ms from now. Either pointer may be NULL. POLICY_EXHAUSTED:
   * every address is in use; answer SERVFAIL. [worker] */
  policy_code (*assign)(policy_thread*, uint64_t client_id, const policy_name*, uint32_t ttl_ms, policy_addr* v4,
                        policy_addr* v6);
  /* The name that this address stands for. POLICY_NOT_FOUND: in the synthetic ranges, and unknown or stale
   * (dst_not_bound). POLICY_INVALID: not a synthetic address at all (ip_literal_denied unless a rule allows it by
   * address). [worker] */
  policy_code (*find)(policy_thread*, uint64_t client_id, const policy_addr*, policy_name*);
} policy_synthetic_draft1;

#ifdef __cplusplus
}
#endif
#endif
