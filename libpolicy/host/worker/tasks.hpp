// Tasks: control work of plugins on [main]: callbacks at a new policy, and timers (policy.tasks/1).
//
// Threads  [main] only. A callback may add and cancel tasks, its own included.
// Time     Milliseconds of a clock that only rises, passed in.
#pragma once

#include <policy/abi.h>
#include <policy/ext/tasks.h>

#include <cstdint>
#include <map>
#include <optional>

namespace sallyport {

class Tasks {
 public:
  static constexpr std::size_t kMost = 1024;  // of all plugins; a leak shows as an error, not as memory

  // 0: too many.
  std::uint64_t on_publish(policy_host* host, policy_task_fn callback, void* user);
  std::uint64_t timer(policy_host* host, std::uint64_t due_ms, std::uint64_t every_ms, policy_task_fn callback,
                      void* user);
  void cancel(policy_host* host, std::uint64_t id);  // of this host's alone
  void forget(policy_host* host);

  void published();
  void run_due(std::uint64_t now_ms);
  std::optional<std::uint64_t> next_due() const;

 private:
  struct Task {
    policy_host* host;
    policy_task_fn callback;
    void* user;
    bool timed;
    std::uint64_t due_ms, every_ms;
  };
  std::uint64_t add(const Task& task);

  std::map<std::uint64_t, Task> tasks_;
  std::uint64_t last_id_ = 0;
};

}  // namespace sallyport
