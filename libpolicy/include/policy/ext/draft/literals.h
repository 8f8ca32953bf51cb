/* policy.literals/draft1: what the policy allows of destinations without a name, as ranges, for an enforcer that opens
 * them beforehand: rules with `addresses`. Asked again at each new policy. */
#ifndef POLICY_EXT_LITERALS_H
#define POLICY_EXT_LITERALS_H
#include <policy/abi.h>
#ifdef __cplusplus
extern "C" {
#endif

#define POLICY_LITERALS_ID "policy.literals/draft1"
#define POLICY_LITERALS_MOST 4096 /* the room that an enforcer has for one network and protocol; G024 counts with it \
                                   */
typedef struct {
  uint32_t struct_size;
  uint16_t first_port, last_port; /* all ends are inside */
  policy_addr client_first, client_last, first, last;
} policy_literal;

typedef struct {
  uint32_t struct_size;
  /* Flows of this protocol (6, 17) by clients in a network that decide() allows although nobody knows a name for their
   * destination, which some allow rule lists in `addresses`; found by asking decide() in every block of addresses where
   * it can only say one thing. Disjoint. An interface identifier that carries an IPv4 address (ISATAP: 0000:5efe or
   * 0200:5efe in its upper half) may be inside and is the caller's to refuse. In: room in *n; out: how many there are.
   * POLICY_EXHAUSTED: more than *n, or too many to find out; open none. [worker] */
  policy_code (*list)(policy_thread*, const policy_addr* network, uint32_t bits, uint16_t proto, policy_literal*,
                      size_t stride, size_t* n);
} policy_literals_draft1;

#ifdef __cplusplus
}
#endif
#endif
