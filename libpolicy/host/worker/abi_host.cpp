#include "host/worker/abi_host.hpp"

#include <fcntl.h>
#include <policy/ext/log.h>
#include <unistd.h>

#include <algorithm>
#include <thread>

namespace sallyport {
namespace {

static_assert(static_cast<int>(Reason::kLast) == POLICY_REASON_TIMED_OUT &&
              static_cast<int>(Reason::kEchPresent) == POLICY_REASON_ECH_PRESENT &&
              static_cast<int>(Reason::kDstNotBound) == POLICY_REASON_DST_NOT_BOUND &&
              static_cast<int>(Reason::kHostMismatch) == POLICY_REASON_HOST_MISMATCH);

// ---- policy.log/1: the threshold is one for all, set before any plugin runs

std::int32_t log_threshold = POLICY_LOG_WARNING;

void write_log(policy_host* host, int32_t level, policy_str text, policy_str fields) noexcept {
  if (level > log_threshold || !host->shared->log) return;
  try {
    host->shared->log(host->plugin, level, view(text), view(fields));
  } catch (...) {  // out of memory: a log line is not worth more
  }
}

constexpr policy_log_v1 kLog = {sizeof(policy_log_v1), &log_threshold, write_log};

// ---- policy.sockets/1

// False: no descriptor is left for it.
bool give(const ListenerSubscriber& subscriber, const WorkerListener& listener) {
  const int fd = ::fcntl(listener.fd, F_DUPFD_CLOEXEC, 3);
  if (fd < 0) return false;
  subscriber.callback(subscriber.user, 1, {listener.name.data(), listener.name.size()}, fd, listener.client_id);
  return true;
}

policy_code on_listener(policy_host* host, policy_str name, policy_listener_fn callback, void* user) noexcept {
  if (host == nullptr || callback == nullptr) return POLICY_INVALID;
  WorkerShared& shared = *host->shared;
  if (!shared.on_main()) return POLICY_WRONG_THREAD;
  try {
    const ListenerSubscriber subscriber{host, std::string(view(name)), callback, user};
    shared.listener_subscribers.push_back(subscriber);
    bool found = false;
    const std::vector<WorkerListener> listeners = shared.listeners;  // a callback may ask for others
    for (const WorkerListener& listener : listeners) {
      if (listener.name != subscriber.name) continue;
      if (!give(subscriber, listener)) return POLICY_EXHAUSTED;
      found = true;
    }
    return found || shared.knows_listener(subscriber.name) ? POLICY_OK : POLICY_NOT_FOUND;
  } catch (...) {
    return POLICY_EXHAUSTED;
  }
}

constexpr policy_sockets_v1 kSockets = {sizeof(policy_sockets_v1), on_listener};

const void* get_extension(policy_host* host, const char* id) noexcept {
  if (host == nullptr || id == nullptr) return nullptr;
  const std::string_view wanted(id);
  const WorkerShared& shared = *host->shared;
  if (wanted == POLICY_EDGE_ID) return &edge_extension();
  if (wanted == POLICY_DECISION_ID) return &decision_extension();
  if (wanted == POLICY_AUDIT_ID) return &audit_extension();
  if (wanted == POLICY_LOG_ID) return &kLog;
  if (wanted == POLICY_SOCKETS_ID) return &kSockets;
  if (wanted == POLICY_SYNTHETIC_ID) return shared.synthetic ? &synthetic_extension() : nullptr;
  if (wanted == POLICY_LIMITS_ID) return shared.limits ? &limits_extension() : nullptr;
  if (!shared.gate) return nullptr;
  if (wanted == POLICY_CLIENTS_ID) return &clients_extension();
  if (wanted == POLICY_FLOW_ID) return &flow_extension();
  if (wanted == POLICY_TASKS_ID) return &tasks_extension();
  if (wanted == POLICY_LEDGER_ID) return shared.ledger ? &ledger_extension() : nullptr;
  if (wanted == POLICY_METRICS_ID) return shared.metrics ? &metrics_extension() : nullptr;
  if (wanted == POLICY_LITERALS_ID) return shared.topology.empty() ? nullptr : &literals_extension();
  if (wanted == POLICY_TOPOLOGY_ID) return shared.topology.empty() ? nullptr : &topology_extension();
  if (wanted == POLICY_DECISIONS_ID) return shared.journal ? &decisions_extension() : nullptr;
  return nullptr;
}

}  // namespace

void WorkerShared::add_listener(WorkerListener listener) {
  listeners.push_back(std::move(listener));
  const WorkerListener added = listeners.back();
  const std::vector<ListenerSubscriber> subscribers = listener_subscribers;
  for (const ListenerSubscriber& subscriber : subscribers) {
    if (subscriber.name == added.name && !give(subscriber, added) && log)
      log(subscriber.host->plugin, POLICY_LOG_ERROR, "no descriptor left for listener " + added.name, "{}");
  }
}

void WorkerShared::remove_listener(const std::string& name, std::uint64_t client_id) {
  bool known = false;
  std::erase_if(listeners, [&](const WorkerListener& listener) {
    if (listener.name != name || listener.client_id != client_id) return false;
    ::close(listener.fd);
    return known = true;
  });
  if (!known) return;
  const std::vector<ListenerSubscriber> subscribers = listener_subscribers;
  for (const ListenerSubscriber& subscriber : subscribers) {
    if (subscriber.name == name) subscriber.callback(subscriber.user, 0, {name.data(), name.size()}, -1, client_id);
  }
}

void WorkerShared::forget(policy_host* host) {
  std::erase_if(listener_subscribers, [host](const ListenerSubscriber& s) { return s.host == host; });
  tasks.forget(host);
  if (ledger) ledger->forget(host);
}

bool on_own_thread(const policy_thread* thread) noexcept {
  return thread != nullptr && thread->owner == std::this_thread::get_id();
}

std::uint64_t clock_ms(clockid_t clock) noexcept {
  timespec now;
  ::clock_gettime(clock, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1000 + static_cast<std::uint64_t>(now.tv_nsec) / 1'000'000;
}

std::uint64_t monotonic_ns() noexcept {
  timespec now;
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<std::uint64_t>(now.tv_nsec);
}

void set_log_threshold(std::int32_t level) noexcept { log_threshold = level; }

const policy_host_api& host_api() noexcept {
  static constexpr policy_host_api kApi = {sizeof(policy_host_api), POLICY_ABI_LEVEL, get_extension};
  return kApi;
}

}  // namespace sallyport
