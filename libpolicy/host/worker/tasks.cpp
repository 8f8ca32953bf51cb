#include "host/worker/tasks.hpp"

#include <algorithm>
#include <vector>

#include "host/worker/abi_host.hpp"

namespace sallyport {

std::uint64_t Tasks::add(const Task& task) {
  if (tasks_.size() >= kMost) return 0;
  tasks_.emplace(++last_id_, task);
  return last_id_;
}

std::uint64_t Tasks::on_publish(policy_host* host, policy_task_fn callback, void* user) {
  return add({host, callback, user, false, 0, 0});
}

std::uint64_t Tasks::timer(policy_host* host, std::uint64_t due_ms, std::uint64_t every_ms, policy_task_fn callback,
                           void* user) {
  return add({host, callback, user, true, due_ms, every_ms});
}

void Tasks::cancel(policy_host* host, std::uint64_t id) {
  const auto task = tasks_.find(id);
  if (task != tasks_.end() && task->second.host == host) tasks_.erase(task);
}

void Tasks::forget(policy_host* host) {
  std::erase_if(tasks_, [host](const auto& task) { return task.second.host == host; });
}

// Those that are there when it begins, each only if no callback before it cancelled it.
void Tasks::published() {
  std::vector<std::uint64_t> ids;
  for (const auto& [id, task] : tasks_) {
    if (!task.timed) ids.push_back(id);
  }
  for (const std::uint64_t id : ids) {
    const auto task = tasks_.find(id);
    if (task == tasks_.end()) continue;
    const Task copy = task->second;
    copy.callback(copy.user, POLICY_OK);
  }
}

void Tasks::run_due(std::uint64_t now_ms) {
  std::vector<std::uint64_t> ids;
  for (const auto& [id, task] : tasks_) {
    if (task.timed && task.due_ms <= now_ms) ids.push_back(id);
  }
  for (const std::uint64_t id : ids) {
    const auto task = tasks_.find(id);
    if (task == tasks_.end()) continue;
    const Task copy = task->second;
    if (copy.every_ms == 0) {
      tasks_.erase(task);
    } else {
      // What was missed is not made up for: a worker that stood still would run it many times in a row.
      task->second.due_ms = std::max(copy.due_ms + copy.every_ms, now_ms + 1);
    }
    copy.callback(copy.user, POLICY_OK);
  }
}

std::optional<std::uint64_t> Tasks::next_due() const {
  std::optional<std::uint64_t> next;
  for (const auto& [id, task] : tasks_) {
    if (task.timed && (!next || task.due_ms < *next)) next = task.due_ms;
  }
  return next;
}

namespace {

policy_code on_publish(policy_host* host, policy_task_fn callback, void* user, uint64_t* id) noexcept {
  if (host == nullptr || callback == nullptr) return POLICY_INVALID;
  if (!host->shared->on_main()) return POLICY_WRONG_THREAD;
  const std::uint64_t made = host->shared->tasks.on_publish(host, callback, user);
  if (id != nullptr) *id = made;
  return made != 0 ? POLICY_OK : POLICY_EXHAUSTED;
}

policy_code timer(policy_host* host, uint64_t first_ms, uint64_t every_ms, policy_task_fn callback, void* user,
                  uint64_t* id) noexcept {
  constexpr std::uint64_t kLongest = 1000ull * 60 * 60 * 24 * 365;  // keeps sums from running over
  if (host == nullptr || callback == nullptr || first_ms > kLongest || every_ms > kLongest) return POLICY_INVALID;
  if (!host->shared->on_main()) return POLICY_WRONG_THREAD;
  const std::uint64_t due = clock_ms(CLOCK_MONOTONIC) + first_ms;
  const std::uint64_t made = host->shared->tasks.timer(host, due, every_ms, callback, user);
  if (id != nullptr) *id = made;
  return made != 0 ? POLICY_OK : POLICY_EXHAUSTED;
}

void cancel(policy_host* host, uint64_t id) noexcept {
  if (host != nullptr && host->shared->on_main()) host->shared->tasks.cancel(host, id);
}

}  // namespace

const policy_tasks_v1& tasks_extension() noexcept {
  static constexpr policy_tasks_v1 kTasks = {sizeof(policy_tasks_v1), on_publish, timer, cancel};
  return kTasks;
}

}  // namespace sallyport
