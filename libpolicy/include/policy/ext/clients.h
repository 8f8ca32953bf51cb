/* policy.clients/1: who asks. A listener of a cell comes with the client's id; a listener of a gate comes with id 0,
 * and whoever connects is known by source address, and by credentials where a protocol has them. */
#ifndef POLICY_EXT_CLIENTS_H
#define POLICY_EXT_CLIENTS_H
#include <policy/abi.h>
#ifdef __cplusplus
extern "C" {
#endif

#define POLICY_CLIENTS_ID "policy.clients/1"
typedef struct {
  uint32_t struct_size;
  /* The client that sends from `peer` over a listener that came with id `listener`. A cell's: that id, and the query's
   * `client` stays NULL. 0: the id of the address, and every query of that client carries `client` = peer; its groups
   * are found by it in each decision. POLICY_DENIED: the address is outside the networks that this gateway holds:
   * refuse with POLICY_REASON_CLIENT_UNKNOWN (*client_id is set all the same, for the audit). [worker] no lock, no
   * malloc */
  policy_code (*identify)(policy_thread*, uint64_t listener, const policy_addr* peer, uint64_t* client_id);
  /* Basic credentials (RFC 7617), held against the gateway's hashed ones. OK: `user` may be put into query.credential.
   * POLICY_DENIED: wrong user or password, or a user who may not come from this address (AUTH_MISMATCH).
   * POLICY_EXHAUSTED: too many failures from this peer lately; answer as for DENIED. POLICY_UNAVAILABLE: this gateway
   * has no credentials. A first check costs milliseconds, a repeat nanoseconds. [worker] */
  policy_code (*verify)(policy_thread*, const policy_addr* peer, policy_str user, policy_str password);
  /* What verify() says where that takes no computation; POLICY_NOT_FOUND: it would, so call verify() on a thread that
   * has the time. [worker] */
  policy_code (*recall)(policy_thread*, const policy_addr* peer, policy_str user, policy_str password);
} policy_clients_v1;

#ifdef __cplusplus
}
#endif
#endif
