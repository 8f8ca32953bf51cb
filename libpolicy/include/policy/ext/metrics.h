/* policy.metrics/1: counters that only rise, in shared memory; names and labels as in docs/metrics.md. */
#ifndef POLICY_EXT_METRICS_H
#define POLICY_EXT_METRICS_H
#include <policy/abi.h>
#ifdef __cplusplus
extern "C" {
#endif

#define POLICY_METRICS_ID "policy.metrics/1"
typedef struct {
  uint32_t struct_size;
  /* name: "sallyport_dns_queries_total"; labels: `transport="udp",rcode="NOERROR"` or empty, bounded sets of words
   * only, never what a workload chose. The same pair gives the same id. POLICY_EXHAUSTED: too many series; id then
   * counts into sallyport_metric_overflow_total. [main] */
  policy_code (*define)(policy_host*, policy_str name, policy_str labels, uint32_t* id);
  void (*add)(policy_host*, uint32_t id, uint64_t amount); /* [any] one relaxed addition */
  void (*set)(policy_host*, uint32_t id, uint64_t value);  /* [any] a gauge */
} policy_metrics_v1;

#ifdef __cplusplus
}
#endif
#endif
