/* policy.tasks/1: control work on [main]. Traffic timers stay the plugin's own. */
#ifndef POLICY_EXT_TASKS_H
#define POLICY_EXT_TASKS_H
#include <policy/abi.h>
#ifdef __cplusplus
extern "C" {
#endif

#define POLICY_TASKS_ID "policy.tasks/1"
typedef void (*policy_task_fn)(void* user, policy_code);
typedef struct {
  uint32_t struct_size;
  /* Called on [main] at each new generation, after decide() answers by it and before the host reports it as live: a
   * plugin brings what it keeps of earlier decisions (caches, sets) in line before it returns. */
  policy_code (*on_publish)(policy_host*, policy_task_fn, void* user, uint64_t* id); /* [main] */
  policy_code (*timer)(policy_host*, uint64_t first_ms, uint64_t every_ms, policy_task_fn, void* user,
                       uint64_t* id);        /* [main] every_ms 0: once */
  void (*cancel)(policy_host*, uint64_t id); /* [main] does not run after return */
} policy_tasks_v1;

#ifdef __cplusplus
}
#endif
#endif
