/* policy.decision/1: the one decision function. A policy_thread belongs to the OS thread that opened it. */
#ifndef POLICY_EXT_DECISION_H
#define POLICY_EXT_DECISION_H
#include <policy/abi.h>
#ifdef __cplusplus
extern "C" {
#endif

#define POLICY_DECISION_ID "policy.decision/1"
typedef struct {
  uint32_t struct_size;
  policy_code (*open)(policy_host*, policy_thread**);                          /* [any] */
  void (*close)(policy_thread*);                                               /* [worker] */
  policy_code (*decide)(policy_thread*, const policy_query*, policy_verdict*); /* [worker] no lock, no malloc */
  policy_code (*decide_n)(policy_thread*, const policy_query*, size_t qstride, policy_verdict*, size_t vstride,
                          size_t n);
  size_t (*rule_name)(policy_thread*, const policy_verdict*, char*, size_t cap); /* as snprintf */
  /* Fixed host addresses that an allow rule gives this name by resolves_to. Returns how many there are; writes at most
   * cap. */
  size_t (*host_addresses)(policy_thread*, uint64_t client_id, const policy_name*, policy_addr*,
                           size_t cap); /* [worker] */
  /* The ports of query->proto at which decide() would allow this query, as pairs first, last (both inside), in order:
   * found by asking decide() in every interval between the ports that the policy names. query: name, dest, client as
   * for decide(); port is ignored. Returns how many pairs there are; writes at most cap pairs. [worker] */
  size_t (*allowed_ports)(policy_thread*, const policy_query*, uint16_t (*ranges)[2], size_t cap);
  /* How many of the name's last labels are the policy's own words, where this verdict let it pass: all of them for a
   * name that the policy lists, 2 of "a.b.cdn.test" for "*.cdn.test", 0 where any name passes. The others are the
   * client's, who may put data into them. 0 for a verdict of an earlier policy, too. [worker] no lock, no malloc */
  uint32_t (*listed_labels)(policy_thread*, const policy_name*, const policy_verdict*);
} policy_decision_v1;

#ifdef __cplusplus
}
#endif
#endif
