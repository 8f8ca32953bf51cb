// FakeGate: the part of FakeHost that only a gate has: clients by address, credentials, flow tickets, a ledger, tasks,
// counters, topology. Scripted where a test wants a say, simple and true otherwise.
//
//   host.gate.sources = {"127.0.0.1"};            // others are outside; empty: everybody is a client
//   host.gate.passwords["bot"] = "secret";
//   host.gate.hold_answers = true;                // when_applied() waits for host.gate.apply_all()
//   host.publish();                               // on_publish callbacks run, every open flow is decided again
//   EXPECT_EQ(host.gate.flows().at(0).up, 12u);
//
// Threads  As FakeHost: extensions from any thread, under one lock of its own; callbacks are made without it.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <policy/ext/clients.h>
#include <policy/ext/draft/topology.h>
#include <policy/ext/flow.h>
#include <policy/ext/ledger.h>
#include <policy/ext/metrics.h>
#include <policy/ext/tasks.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <cstring>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

struct policy_flow {
  std::uint64_t id = 0;
  policy_thread* thread = nullptr;
  policy_query query{};
  policy_addr client{}, dest{};
  policy_name name{};
  std::string credential;
  policy_verdict verdict{};
  policy_revoked_fn revoked = nullptr;
  void* user = nullptr;
  std::atomic<std::uint32_t> live{1};
  std::vector<int> attached;
  std::set<int> lent;
  bool calling = false;
};

namespace sallyport::testing_kit {

struct FlowRecord {
  std::uint64_t id = 0;
  bool closed = false, revoked = false;
  std::uint64_t up = 0, down = 0;
  std::uint16_t reason = 0;
  std::size_t attached = 0;
};

class FakeGate {
 public:
  std::set<std::string> sources;                  // addresses that are clients; empty: all
  std::map<std::string, std::string> passwords;   // user -> password; empty: the gate has no credentials
  std::map<std::string, std::string> users_from;  // user -> the one address he may come from
  std::chrono::milliseconds verify_takes{0};      // what is not remembered
  std::mutex verified_mutex;
  std::set<std::string> verified;       // "user:password"
  std::set<std::thread::id> verifiers;  // threads that verify() was called on
  bool ledger_full = false;
  bool enforcer = false;      // somebody keeps rules: when_applied() waits for applied() or apply_all()
  bool hold_answers = false;  // the same, without an enforcer that ever answers
  std::string topology = "{}";

  static std::uint64_t client_id_of(const policy_addr& peer) {
    if (peer.family == POLICY_IPV6) {
      std::uint64_t low;
      std::memcpy(&low, peer.ip + 8, 8);
      return 3ull << 62 | low >> 2;
    }
    return 1ull << 63 | std::uint64_t{peer.ip[0]} << 24 | std::uint64_t{peer.ip[1]} << 16 |
           std::uint64_t{peer.ip[2]} << 8 | peer.ip[3];
  }

  std::vector<FlowRecord> flows() const {
    const std::lock_guard lock(mutex_);
    return flow_records_;
  }
  std::size_t open_flows() const {
    const std::lock_guard lock(mutex_);
    return open_.size();
  }
  std::vector<policy_binding> bindings() const {
    const std::lock_guard lock(mutex_);
    return bindings_;
  }
  std::uint64_t counter(const std::string& name_and_labels) const {
    const std::lock_guard lock(mutex_);
    const auto entry = series_.find(name_and_labels);
    return entry == series_.end() ? 0 : counters_[entry->second];
  }
  // As if dns had recorded it; wakes on_recorded subscribers.
  std::uint64_t add_binding(policy_binding binding) {
    std::uint64_t seq = 0;
    {
      const std::lock_guard lock(mutex_);
      store(binding);
      seq = bindings_.size();
    }
    wake();
    return seq;
  }
  void expire_bindings() {  // none of them lives any more
    const std::lock_guard lock(mutex_);
    for (policy_binding& binding : bindings_) binding.ttl_ms = 0;
  }
  // Whoever had this address is gone: its bindings end, and none comes for what it asked before.
  void forget(const policy_addr& client) {
    const std::lock_guard lock(mutex_);
    forgotten_[std::string(reinterpret_cast<const char*>(client.ip), 16)] = std::chrono::steady_clock::now();
    for (policy_binding& binding : bindings_) {
      if (std::memcmp(binding.client.ip, client.ip, 16) == 0) binding.ttl_ms = 0;
    }
  }
  std::uint64_t applied() const {
    const std::lock_guard lock(mutex_);
    return applied_;
  }
  // Every answer that waits goes on.
  void apply_all(policy_code code = POLICY_OK) {
    std::vector<Waiting> due;
    {
      const std::lock_guard lock(mutex_);
      applied_ = bindings_.size();
      due.swap(waiting_);
    }
    for (const Waiting& w : due) w.fn(w.user, code);
  }
  std::size_t waiting() const {
    const std::lock_guard lock(mutex_);
    return waiting_.size();
  }
  // Timers do not run by themselves.
  void fire_timers() {
    for (const Task& task : tasks_copy(true)) task.fn(task.user, POLICY_OK);
  }

  // Of FakeHost::publish(). decide_again: the host's script.
  template <typename Decide>
  void publish(Decide decide_again) {
    for (const Task& task : tasks_copy(false)) task.fn(task.user, POLICY_OK);
    std::vector<policy_flow*> gone;
    {
      const std::lock_guard lock(mutex_);
      for (policy_flow* flow : open_) {
        if (flow->live == 0 || decide_again(flow->query).verdict == POLICY_ALLOW) continue;
        flow->live = 0;
        flow->calling = true;
        record_of(flow->id).revoked = true;
        gone.push_back(flow);
      }
    }
    for (policy_flow* flow : gone) {
      flow->revoked(flow->user, flow->id, POLICY_REASON_REVOKED);
      const std::lock_guard lock(mutex_);
      flow->calling = false;
      called_.notify_all();
    }
  }
  // What the host does to flows that a plugin did not close in time.
  void force_close_revoked() {
    const std::lock_guard lock(mutex_);
    for (policy_flow* flow : open_) {
      if (flow->live != 0) continue;
      for (int fd : flow->attached) ::shutdown(fd, SHUT_RDWR);
      for (int fd : flow->lent) EXPECT_EQ(::shutdown(fd, SHUT_RDWR), 0) << "a lent descriptor was closed";
    }
  }

 private:
  template <typename Host>
  friend struct GateExtensions;
  struct Waiting {
    std::uint64_t seq;
    policy_applied_fn fn;
    void* user;
  };
  struct Task {
    std::uint64_t id;
    bool timer;
    policy_task_fn fn;
    void* user;
  };

  FlowRecord& record_of(std::uint64_t id) { return flow_records_.at(id - 1); }
  void store(policy_binding binding) {
    if (binding.ttl_ms == 0) binding.ttl_ms = 30'000;
    bindings_.push_back(binding);
  }
  void wake() {
    std::map<policy_host*, std::pair<policy_recorded_fn, void*>> subscribers;
    {
      const std::lock_guard lock(mutex_);
      subscribers = recorded_;
    }
    for (const auto& [host, subscriber] : subscribers) subscriber.first(subscriber.second);
  }
  std::vector<Task> tasks_copy(bool timers) const {
    const std::lock_guard lock(mutex_);
    std::vector<Task> out;
    for (const Task& task : tasks_) {
      if (task.timer == timers) out.push_back(task);
    }
    return out;
  }

  mutable std::mutex mutex_;
  std::condition_variable called_;
  std::list<policy_flow*> open_;
  std::vector<FlowRecord> flow_records_;
  std::map<std::string, std::chrono::steady_clock::time_point> forgotten_;
  std::vector<policy_binding> bindings_;  // sequence n is bindings_[n - 1]
  std::uint64_t applied_ = 0;
  std::vector<Waiting> waiting_;
  std::map<policy_host*, std::pair<policy_recorded_fn, void*>> recorded_;
  std::vector<Task> tasks_;
  std::uint64_t next_task_ = 1;
  std::map<std::string, std::uint32_t> series_;
  std::vector<std::uint64_t> counters_;
};

// The vtables, for a Host with `gate`, `of(policy_host*)`, `of(policy_thread*)`, `text()`, and write_audit().
template <typename Host>
struct GateExtensions {
  static FakeGate& gate(policy_thread* thread) { return Host::of(thread).gate; }

  static policy_code identify(policy_thread* thread, std::uint64_t listener, const policy_addr* peer,
                              std::uint64_t* client_id) {
    *client_id = listener != 0 ? listener : FakeGate::client_id_of(*peer);
    const FakeGate& g = gate(thread);
    const bool inside = listener != 0 || g.sources.empty() || g.sources.contains(Host::text(*peer));
    return inside ? POLICY_OK : POLICY_DENIED;
  }
  static policy_code verify(policy_thread* thread, const policy_addr* peer, policy_str user, policy_str password) {
    FakeGate& g = gate(thread);
    {
      const std::lock_guard lock(g.verified_mutex);
      g.verifiers.insert(std::this_thread::get_id());
    }
    std::this_thread::sleep_for(g.verify_takes);
    const policy_code code = verify_now(thread, peer, user, password);
    const std::lock_guard lock(g.verified_mutex);
    if (code == POLICY_OK)
      g.verified.insert(std::string(user.ptr, user.len) + ":" + std::string(password.ptr, password.len));
    return code;
  }
  static policy_code verify_now(policy_thread* thread, const policy_addr* peer, policy_str user, policy_str password) {
    const FakeGate& g = gate(thread);
    if (g.passwords.empty()) return POLICY_UNAVAILABLE;
    const std::string name(user.ptr, user.len);
    const auto entry = g.passwords.find(name);
    if (entry == g.passwords.end() || entry->second != std::string_view(password.ptr, password.len))
      return POLICY_DENIED;
    const auto from = g.users_from.find(name);
    return from == g.users_from.end() || from->second == Host::text(*peer) ? POLICY_OK : POLICY_DENIED;
  }

  // Knows what has been verified, as the host does.
  static policy_code recall(policy_thread* thread, const policy_addr* peer, policy_str user, policy_str password) {
    FakeGate& g = gate(thread);
    const std::string pair = std::string(user.ptr, user.len) + ":" + std::string(password.ptr, password.len);
    const std::lock_guard lock(g.verified_mutex);
    return g.verified.contains(pair) ? verify_now(thread, peer, user, password) : POLICY_NOT_FOUND;
  }

  static policy_code open(policy_thread* thread, const policy_query* query, const policy_verdict* verdict,
                          policy_revoked_fn revoked, void* user, policy_flow** out) {
    Host& host = Host::of(thread);
    EXPECT_EQ(verdict->verdict, POLICY_ALLOW) << "a ticket for what was not allowed";
    EXPECT_NE(revoked, nullptr);
    auto* flow = new policy_flow;
    flow->thread = thread;
    flow->query = *query;
    if (query->client) flow->client = *query->client, flow->query.client = &flow->client;
    if (query->dest) flow->dest = *query->dest, flow->query.dest = &flow->dest;
    if (query->name) flow->name = *query->name, flow->query.name = &flow->name;
    flow->credential.assign(query->credential.ptr ? query->credential.ptr : "", query->credential.len);
    flow->query.credential = {flow->credential.data(), flow->credential.size()};
    flow->query.method = flow->query.path = {};
    flow->verdict = *verdict;
    flow->revoked = revoked;
    flow->user = user;
    const std::lock_guard lock(host.gate.mutex_);
    flow->id = host.gate.flow_records_.size() + 1;
    host.gate.flow_records_.push_back({.id = flow->id});
    host.gate.open_.push_back(flow);
    *out = flow;
    return POLICY_OK;
  }
  static policy_code attach(policy_flow* flow, int fd) {
    FakeGate& g = gate(flow->thread);
    const std::lock_guard lock(g.mutex_);
    EXPECT_LT(flow->attached.size(), 2u);
    flow->attached.push_back(::dup(fd));
    ++g.record_of(flow->id).attached;
    return POLICY_OK;
  }
  static policy_code lend(policy_flow* flow, int fd) {
    FakeGate& g = gate(flow->thread);
    const std::lock_guard lock(g.mutex_);
    EXPECT_LT(flow->attached.size() + flow->lent.size(), 2u);
    EXPECT_GE(::fcntl(fd, F_GETFD), 0) << "lent what is not open";
    flow->lent.insert(fd);
    ++g.record_of(flow->id).attached;
    return POLICY_OK;
  }
  static void take_back(policy_flow* flow, int fd) {
    FakeGate& g = gate(flow->thread);
    const std::lock_guard lock(g.mutex_);
    EXPECT_GE(::fcntl(fd, F_GETFD), 0) << "taken back after it was closed";
    flow->lent.erase(fd);
  }
  static std::uint64_t id(const policy_flow* flow) { return flow->id; }
  static std::uint32_t live(const policy_flow* flow) { return flow->live; }
  static void close(policy_flow* flow, std::uint64_t up, std::uint64_t down, std::uint16_t reason) {
    policy_thread* const thread = flow->thread;
    FakeGate& g = gate(thread);
    {
      std::unique_lock lock(g.mutex_);
      g.called_.wait(lock, [&] { return !flow->calling; });
      FlowRecord& record = g.record_of(flow->id);
      EXPECT_FALSE(record.closed);
      record.closed = true;
      record.up = up;
      record.down = down;
      record.reason = reason;
      g.open_.remove(flow);
    }
    policy_verdict verdict = flow->verdict;
    if (reason != POLICY_REASON_OK) verdict.reason = reason;
    const std::string detail =
        R"({"bytes":{"up":)" + std::to_string(up) + R"(,"down":)" + std::to_string(down) + R"(},"duration_ms":0})";
    Host::write_audit(thread, &flow->query, &verdict, {detail.data(), detail.size()}, {}, true);
    for (int fd : flow->attached) ::close(fd);
    delete flow;
  }

  static policy_code record(policy_thread* thread, const policy_binding* binding, std::size_t stride, std::size_t n,
                            std::uint64_t* seq) {
    FakeGate& g = gate(thread);
    {
      const std::lock_guard lock(g.mutex_);
      if (g.ledger_full) return POLICY_EXHAUSTED;
      for (std::size_t i = 0; i < n; ++i)
        g.store(*reinterpret_cast<const policy_binding*>(reinterpret_cast<const char*>(binding) + i * stride));
      *seq = g.bindings_.size();
    }
    g.wake();
    return POLICY_OK;
  }
  static policy_code record_asked(policy_thread* thread, const policy_binding* binding, std::size_t stride,
                                  std::size_t n, std::uint32_t age_ms, std::uint64_t* seq) {
    {
      FakeGate& g = gate(thread);
      const std::lock_guard lock(g.mutex_);
      for (std::size_t i = 0; i < n; ++i) {
        const auto& one = *reinterpret_cast<const policy_binding*>(reinterpret_cast<const char*>(binding) + i * stride);
        const auto gone = g.forgotten_.find(std::string(reinterpret_cast<const char*>(one.client.ip), 16));
        if (gone != g.forgotten_.end() &&
            std::chrono::steady_clock::now() - gone->second <= std::chrono::milliseconds(age_ms))
          return POLICY_NOT_FOUND;
      }
    }
    return record(thread, binding, stride, n, seq);
  }
  static policy_code forget(policy_thread* thread, const policy_addr* client) {
    gate(thread).forget(*client);
    return POLICY_OK;
  }
  static policy_code find(policy_thread* thread, std::uint64_t client_id, const policy_addr* addr, policy_binding* out,
                          std::size_t stride, std::size_t* n) {
    FakeGate& g = gate(thread);
    const std::lock_guard lock(g.mutex_);
    std::size_t found = 0;
    for (const policy_binding& binding : g.bindings_) {
      if (binding.ttl_ms == 0 || binding.client_id != client_id || binding.addr.family != addr->family ||
          std::memcmp(binding.addr.ip, addr->ip, 16) != 0 || found == *n) {
        continue;
      }
      *reinterpret_cast<policy_binding*>(reinterpret_cast<char*>(out) + found++ * stride) = binding;
    }
    *n = found;
    return found > 0 ? POLICY_OK : POLICY_NOT_FOUND;
  }
  static policy_code next(policy_thread* thread, std::uint64_t* cursor, policy_binding* out, std::size_t stride,
                          std::size_t* n) {
    FakeGate& g = gate(thread);
    const std::lock_guard lock(g.mutex_);
    std::size_t count = 0;
    for (; count < *n && *cursor < g.bindings_.size(); ++*cursor) {
      if (g.bindings_[*cursor].ttl_ms == 0) continue;
      *reinterpret_cast<policy_binding*>(reinterpret_cast<char*>(out) + count++ * stride) = g.bindings_[*cursor];
    }
    *n = count;
    return POLICY_OK;
  }
  static policy_code applied(policy_thread* thread, std::uint64_t seq) {
    FakeGate& g = gate(thread);
    std::vector<FakeGate::Waiting> due;
    {
      const std::lock_guard lock(g.mutex_);
      g.applied_ = std::max(g.applied_, seq);
      std::erase_if(g.waiting_, [&](const FakeGate::Waiting& w) {
        if (w.seq > g.applied_) return false;
        due.push_back(w);
        return true;
      });
    }
    for (const FakeGate::Waiting& w : due) w.fn(w.user, POLICY_OK);
    return POLICY_OK;
  }
  static policy_code when_applied(policy_thread* thread, std::uint64_t seq, std::uint64_t deadline_ns,
                                  policy_applied_fn fn, void* user) {
    timespec now;
    ::clock_gettime(CLOCK_MONOTONIC, &now);
    EXPECT_GT(deadline_ns, static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000) << "a deadline in the past";
    FakeGate& g = gate(thread);
    const std::lock_guard lock(g.mutex_);
    if ((!g.enforcer && !g.hold_answers) || seq <= g.applied_) return POLICY_NOT_FOUND;
    g.waiting_.push_back({seq, fn, user});
    return POLICY_OK;
  }
  static policy_code on_recorded(policy_host* host, policy_recorded_fn fn, void* user) {
    FakeGate& g = Host::of(host).gate;
    const std::lock_guard lock(g.mutex_);
    if (fn) {
      g.recorded_[host] = {fn, user};
    } else {
      g.recorded_.erase(host);
    }
    return POLICY_OK;
  }

  static policy_code add_task(policy_host* host, bool timer, policy_task_fn fn, void* user, std::uint64_t* id) {
    FakeGate& g = Host::of(host).gate;
    const std::lock_guard lock(g.mutex_);
    const std::uint64_t fresh = g.next_task_++;
    g.tasks_.push_back({fresh, timer, fn, user});
    if (id) *id = fresh;
    return POLICY_OK;
  }
  static policy_code on_publish(policy_host* host, policy_task_fn fn, void* user, std::uint64_t* id) {
    return add_task(host, false, fn, user, id);
  }
  static policy_code timer(policy_host* host, std::uint64_t, std::uint64_t, policy_task_fn fn, void* user,
                           std::uint64_t* id) {
    return add_task(host, true, fn, user, id);
  }
  static void cancel(policy_host* host, std::uint64_t id) {
    FakeGate& g = Host::of(host).gate;
    const std::lock_guard lock(g.mutex_);
    std::erase_if(g.tasks_, [id](const FakeGate::Task& task) { return task.id == id; });
  }

  static policy_code define(policy_host* host, policy_str name, policy_str labels, std::uint32_t* id) {
    FakeGate& g = Host::of(host).gate;
    const std::lock_guard lock(g.mutex_);
    std::string key(name.ptr, name.len);
    if (labels.len > 0) key += "{" + std::string(labels.ptr, labels.len) + "}";
    const auto [entry, fresh] = g.series_.try_emplace(key, static_cast<std::uint32_t>(g.counters_.size()));
    if (fresh) g.counters_.push_back(0);
    *id = entry->second;
    return POLICY_OK;
  }
  static void add(policy_host* host, std::uint32_t id, std::uint64_t amount) {
    FakeGate& g = Host::of(host).gate;
    const std::lock_guard lock(g.mutex_);
    g.counters_.at(id) += amount;
  }
  static void set(policy_host* host, std::uint32_t id, std::uint64_t value) {
    FakeGate& g = Host::of(host).gate;
    const std::lock_guard lock(g.mutex_);
    g.counters_.at(id) = value;
  }

  static std::size_t topology_json(policy_host* host, char* out, std::size_t cap) {
    const std::string& text = Host::of(host).gate.topology;
    if (cap > 0) {
      const std::size_t copied = std::min(cap - 1, text.size());
      std::memcpy(out, text.data(), copied);
      out[copied] = '\0';
    }
    return text.size();
  }

  static policy_code charge(policy_flow*, std::uint32_t, std::uint64_t, policy_charge*) { return POLICY_OK; }

  static const void* get(std::string_view wanted) {
    static constexpr policy_clients_v1 kClients = {sizeof(policy_clients_v1), &identify, &verify, &recall};
    static constexpr policy_flow_v1 kFlow = {
        sizeof(policy_flow_v1), &open, &attach, &id, &live, &close, &lend, &take_back, &charge};
    static constexpr policy_ledger_v1 kLedger = {
        sizeof(policy_ledger_v1), &record, &find, &next, &applied, &when_applied, &on_recorded, &record_asked, &forget};
    static constexpr policy_tasks_v1 kTasks = {sizeof(policy_tasks_v1), &on_publish, &timer, &cancel};
    static constexpr policy_metrics_v1 kMetrics = {sizeof(policy_metrics_v1), &define, &add, &set};
    static constexpr policy_topology_draft1 kTopology = {sizeof(policy_topology_draft1), &topology_json};
    if (wanted == POLICY_CLIENTS_ID) return &kClients;
    if (wanted == POLICY_FLOW_ID) return &kFlow;
    if (wanted == POLICY_LEDGER_ID) return &kLedger;
    if (wanted == POLICY_TASKS_ID) return &kTasks;
    if (wanted == POLICY_METRICS_ID) return &kMetrics;
    if (wanted == POLICY_TOPOLOGY_ID) return &kTopology;
    return nullptr;
  }
};

}  // namespace sallyport::testing_kit
