/* policy.log/1: for operators; one line a state change, none a packet. Decisions go to policy.audit/1. */
#ifndef POLICY_EXT_LOG_H
#define POLICY_EXT_LOG_H
#include <policy/abi.h>
#ifdef __cplusplus
extern "C" {
#endif

#define POLICY_LOG_ID "policy.log/1"
enum { POLICY_LOG_ERROR = 1, POLICY_LOG_WARNING = 2, POLICY_LOG_INFO = 3, POLICY_LOG_DEBUG = 4 };
typedef struct {
  uint32_t struct_size;
  const int32_t* threshold; /* levels above it are dropped; read it before formatting */
  void (*write)(policy_host*, int32_t level, policy_str text, policy_str fields_json); /* [any] */
} policy_log_v1;

#ifdef __cplusplus
}
#endif
#endif
