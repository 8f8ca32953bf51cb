/* policy.sockets/1: a plugin never opens a listening socket; it asks the host by the listener's name in its config. */
#ifndef POLICY_EXT_SOCKETS_H
#define POLICY_EXT_SOCKETS_H
#include <policy/abi.h>
#ifdef __cplusplus
extern "C" {
#endif

#define POLICY_SOCKETS_ID "policy.sockets/1"
/* fd is a dup that the callee owns and closes; non-blocking, bound, listening if it is a stream. One listener name may
 * have several sockets (UDP and TCP, IPv4 and IPv6): ask SO_TYPE and SO_DOMAIN. removed: fd is -1, name and client_id
 * say which. */
typedef void (*policy_listener_fn)(void* user, uint32_t added, policy_str name, int fd, uint64_t client_id);
typedef struct {
  uint32_t struct_size;
  /* Calls fn on [main] for every socket there is, before it returns, and later for each that comes or goes (attach,
   * reload). */
  policy_code (*on_listener)(policy_host*, policy_str name, policy_listener_fn, void* user); /* [main] in start() */
} policy_sockets_v1;

#ifdef __cplusplus
}
#endif
#endif
