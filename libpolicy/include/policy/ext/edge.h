/* policy.edge/1: the only source of canonical objects. Ambiguous input is refused, never repaired. */
#ifndef POLICY_EXT_EDGE_H
#define POLICY_EXT_EDGE_H
#include <policy/abi.h>
#ifdef __cplusplus
extern "C" {
#endif

#define POLICY_EDGE_ID "policy.edge/1"
enum {
  POLICY_FORM_WIRE = 1, /* uncompressed DNS wire form, closing zero octet included */
  POLICY_FORM_SNI = 2,  /* ASCII, no trailing dot (RFC 6066), never an address */
  POLICY_FORM_HOST = 3  /* Host field or authority without port, one trailing dot allowed, never an address */
};

typedef struct {
  uint32_t struct_size;
  policy_code (*name)(policy_str raw, uint32_t form, policy_name*, policy_error*);      /* [any] */
  policy_code (*addr)(const void* sockaddr, uint32_t len, policy_addr*, policy_error*); /* [any] */
} policy_edge_v1;

#ifdef __cplusplus
}
#endif
#endif
