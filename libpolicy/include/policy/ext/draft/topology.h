/* policy.topology/draft1: what this gateway stands between, for enforcers in the kernel and for the monitor. */
#ifndef POLICY_EXT_TOPOLOGY_H
#define POLICY_EXT_TOPOLOGY_H
#include <policy/abi.h>
#ifdef __cplusplus
extern "C" {
#endif

#define POLICY_TOPOLOGY_ID "policy.topology/draft1"
typedef struct {
  uint32_t struct_size;
  /* JSON, as snprintf() writes: returns its length, writes at most cap octets. Form: docs/gateway.md, Topology. Changes
   * with a new process only. [main] */
  size_t (*json)(policy_host*, char*, size_t cap);
} policy_topology_draft1;

#ifdef __cplusplus
}
#endif
#endif
