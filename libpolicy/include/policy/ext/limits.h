/* policy.limits/1: what a client may still do by the rule that allows it (`limits` of the policy). Everything is
 * charged before it is forwarded; what is not charged does not go on. Source: docs/limits.md. */
#ifndef POLICY_EXT_LIMITS_H
#define POLICY_EXT_LIMITS_H
#include <policy/abi.h>
#ifdef __cplusplus
extern "C" {
#endif

#define POLICY_LIMITS_ID "policy.limits/1"
/* What is charged: one HTTP request, or a connection that carries none; octets from the client; octets to it; one DNS
 * question that is sent on. */
enum { POLICY_CHARGE_REQUEST = 1, POLICY_CHARGE_UP, POLICY_CHARGE_DOWN, POLICY_CHARGE_QUESTION };
/* Which limit said no. */
enum {
  POLICY_LIMIT_NONE,
  POLICY_LIMIT_REQUESTS,
  POLICY_LIMIT_CONNECTIONS,
  POLICY_LIMIT_BANDWIDTH,
  POLICY_LIMIT_UPLOAD,
  POLICY_LIMIT_DOWNLOAD
};

/* The answer to a charge. POLICY_OK: it is charged, and may go on in wait_ns (0: now). POLICY_EXHAUSTED: nothing was
 * charged and nothing may go on; exceeded says by which limit, wait_ns when it is worth trying again. Any other code is
 * a refusal too. */
typedef struct {
  uint32_t struct_size, exceeded;
  uint64_t wait_ns;
} policy_charge;

typedef struct policy_meter policy_meter; /* host-owned: one connection, and the rule that allows it */

typedef struct {
  uint32_t struct_size;
  /* Charges amount to the verdict's rule and the query's client. For what has no connection, such as a DNS query.
   * Arguments are borrowed for the call; out may be NULL. [worker] wait-free */
  policy_code (*charge)(policy_thread*, const policy_query*, const policy_verdict*, uint32_t kind, uint64_t amount,
                        policy_charge* out);
  /* One connection more, with the query and verdict that allowed it; POLICY_EXHAUSTED: too many are open. A later
   * policy reaches it by the name of its rule. [worker] */
  policy_code (*open)(policy_thread*, const policy_query*, const policy_verdict*, policy_meter**, policy_charge* out);
  /* As charge(), for the connection. [worker] wait-free: the thread that opened it */
  policy_code (*draw)(policy_meter*, uint32_t kind, uint64_t amount, policy_charge* out);
  /* How many octets to read before the next charge, at most: what a burst or a quota still has room for. Never 0.
   * [worker] */
  uint64_t (*room)(policy_meter*, uint32_t kind);
  void (*close)(policy_meter*); /* [worker] */
} policy_limits_v1;

#ifdef __cplusplus
}
#endif
#endif
