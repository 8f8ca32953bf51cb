#include "host/worker/worker.hpp"

#include <dlfcn.h>
#include <fcntl.h>
#include <policy/ext/log.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>
#include <utility>

#include "host/channel/channel.hpp"
#include "host/worker/abi_host.hpp"
#include "host/worker/crash.hpp"
#include "host/worker/jail.hpp"
#include "host/worker/loaded_plugin.hpp"
#include "host/worker/setup.hpp"

namespace sallyport {
namespace {

using nlohmann::json;

constexpr std::uint64_t kMs = 1'000'000;
constexpr std::uint64_t kDrainTick = 100 * kMs;     // how often plugins are asked how many flows are left
constexpr std::uint64_t kReclaimTick = 1000 * kMs;  // earlier policies that a thread still held

// A flow takes three descriptors or more; the soft limit of 1024 is for programs that use select().
void raise_descriptor_limit() {
  rlimit limit;
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);  // refused: the plugins see the old limit and take fewer flows
}

int keep_open(int fd) { return fd >= 0 ? ::fcntl(fd, F_DUPFD_CLOEXEC, 3) : -1; }

// Everything of one worker. Declared in the order that destruction needs: plugins go first.
class Worker {
 public:
  explicit Worker(int channel_fd) : channel_(channel_fd) {}

  int run() {
    Message message;
    if (channel_.receive(message, -1) != Channel::Outcome::kMessage || message.body["type"] != "setup") return 5;
    if (!attempt([&] { return confine(message); })) return 6;
    for (;;) {
      wait();
      run_due();
      switch (channel_.receive(message, 0)) {
        case Channel::Outcome::kClosed:
        case Channel::Outcome::kBroken:
          ::_exit(0);  // the warden is gone: nothing is worth a slow end
        case Channel::Outcome::kNothing:
          continue;
        case Channel::Outcome::kMessage:
          break;
      }
      if (const int status = handle(message); status != 0) return status;
      message.close_fds();
    }
  }

 private:
  enum Event : std::uint32_t { kChannel, kRecorded, kApplied };

  template <typename Body>
  bool attempt(Body body) {
    std::optional<std::string> error;
    try {
      error = body();
    } catch (const std::exception& e) {  // nlohmann-json on a message of the wrong shape
      error = std::string("worker: ") + e.what();
    }
    if (error) channel_.send({{"type", "failed"}, {"text", *error}});
    return !error;
  }

  int handle(Message& message);
  std::optional<std::string> confine(Message& message);
  std::optional<std::string> map_shared_memory(const WorkerSetup& setup);
  std::optional<std::string> serve();
  void publish(const Message& message);
  void drain(std::uint64_t deadline_ns);
  void tell_flows_left();
  [[noreturn]] void stop();
  json health() const;

  bool watch(int fd, Event event, std::uint32_t mask);
  void wait();
  void run_due();
  // Never later than what is planned already: policies that come faster than ticks do not put off a drain's.
  void plan_tick(std::uint64_t at_ns) {
    if (next_tick_ns_ == 0 || at_ns < next_tick_ns_) next_tick_ns_ = at_ns;
  }

  void log(std::string_view plugin, std::int32_t level, std::string_view text) {
    channel_.send({{"type", "log"}, {"plugin", plugin}, {"level", level}, {"text", text}, {"fields", "{}"}});
  }

  Channel channel_;
  int epoll_ = -1;
  WorkerShared shared_;
  WorkerSetup setup_;
  std::vector<std::unique_ptr<policy_host>> hosts_;
  std::vector<std::unique_ptr<LoadedPlugin>> plugins_;
  bool recorded_ = false;                // since the subscribers were last called
  std::uint64_t drain_deadline_ns_ = 0;  // 0: not draining
  std::uint64_t next_tick_ns_ = 0;       // 0: none is needed
  std::int64_t trial_end_ = 0;           // of the policy at hand, seconds since 1970; 0: no trial (mode: observe) is on
  std::optional<std::uint64_t> flows_left_;
};

// From the whole user to nearly nothing. No code of a plugin has run before this returns.
std::optional<std::string> Worker::confine(Message& message) {
  install_crash_handler(channel_.fd());
  raise_descriptor_limit();
  auto read = read_setup(message);
  if (const auto* error = std::get_if<std::string>(&read)) return *error;
  setup_ = std::move(std::get<WorkerSetup>(read));

  epoll_ = ::epoll_create1(EPOLL_CLOEXEC);
  if (!watch(channel_.fd(), kChannel, EPOLLIN)) return "worker: epoll";
  if (setup_.gate) {
    shared_.gate = true;
    shared_.topology = setup_.gate->topology;
    const json topology = json::parse(shared_.topology, nullptr, false);
    if (topology.is_object()) {
      for (const json& listener : topology.value("listeners", json::array()))
        shared_.expected_listeners.push_back(listener.value("name", ""));
    }
    shared_.client_key = setup_.gate->client_key;
    shared_.flow_layer = setup_.gate->flow_layer;
    std::array<std::uint64_t, 2> key{};
    while (::getrandom(key.data(), sizeof key, 0) != sizeof key) {
    }
    shared_.credential_checks.emplace(key);
  }
  if (std::optional<std::string> error = map_shared_memory(setup_)) return error;
  Result<std::shared_ptr<const Snapshot>> snapshot = Snapshot::map(setup_.fd("snapshot"));
  if (!snapshot.ok()) return std::string("worker: snapshot: ") + snapshot.error().message;
  PolicyVersion version{*snapshot, setup_.cells, {}, nullptr};
  if (setup_.gate) {
    version.sources = setup_.gate->sources;
    version.credentials = setup_.gate->credentials;
  }
  trial_end_ = version.snapshot->next_trial_end(trial_clock());
  shared_.versions.publish(std::move(version));

  set_log_threshold(setup_.log.value_or(static_cast<std::int32_t>(POLICY_LOG_WARNING)));
  shared_.log = [this](std::string_view plugin, std::int32_t level, std::string_view text, std::string_view fields) {
    channel_.send({{"type", "log"}, {"plugin", plugin}, {"level", level}, {"text", text}, {"fields", fields}});
  };
  std::vector<int> plugin_fds;
  for (PluginSetup& plugin : setup_.plugins) {
    plugin_fds.push_back(plugin.fd);
    const json layers = json::parse(plugin.manifest).value("layers", json::array());
    for (const json& layer : layers) shared_.flow_layer |= layer == "tcp";
    // System libraries, by name through the loader's own trusted path, while there still is a file system.
    for (const std::string& library : plugin.needed) {
      if (::dlopen(library.c_str(), RTLD_NOW | RTLD_GLOBAL | RTLD_NODELETE) == nullptr)
        return std::string("plugin library: ") + ::dlerror();
    }
  }
  std::optional<unsigned> uid = setup_.uid;
  if (setup_.plain_jail) {
    for (PluginSetup& plugin : setup_.plugins) plugin.fd = keep_open(plugin.fd);
    if (!can_change_uid()) uid.reset();
  } else if (JailError error = build_root(plugin_fds)) {
    return error;
  }
  message.close_fds();
  if (JailError error = drop_privileges(uid, setup_.privileges)) return error;
  if (JailError error = restrict_files(!setup_.plain_jail)) return error;
  return restrict_loading(setup_.privileges);
}

std::optional<std::string> Worker::map_shared_memory(const WorkerSetup& setup) {
  const auto failed = [](const char* what, const Error& error) {
    return std::string("worker: ") + what + ": " + std::string(error.message);
  };
  // The wake-up descriptor outlives the message: the ring writes to it.
  Result<AuditRing> ring = AuditRing::map(setup.fd("audit"), keep_open(setup.fd("audit_wake")));
  if (!ring.ok()) return failed("audit ring", ring.error());
  shared_.audit.emplace(*std::move(ring));
  if (const int fd = setup.fd("synthetic"); fd >= 0) {
    Result<SyntheticTable> table = SyntheticTable::map(fd);
    if (!table.ok()) return failed("synthetic table", table.error());
    shared_.synthetic.emplace(*std::move(table));
  }
  if (const int fd = setup.fd("limits"); fd >= 0) {
    Result<LimitsTable> table = LimitsTable::map(fd);
    if (!table.ok()) return failed("table of limits", table.error());
    shared_.limits.emplace(*std::move(table));
    shared_.limits_holder = setup.limits_holder;
  }
  if (const int fd = setup.fd("journal"); fd >= 0) {
    Result<DecisionJournal> journal = DecisionJournal::map(fd);
    if (!journal.ok()) return failed("decision journal", journal.error());
    shared_.journal.emplace(*std::move(journal));
  }
  if (const int fd = setup.fd("metrics"); fd >= 0) {
    Result<MetricsTable> metrics = MetricsTable::map(fd);
    if (!metrics.ok()) return failed("metrics table", metrics.error());
    shared_.metrics.emplace(*std::move(metrics));
  }
  if (const int fd = setup.fd("ledger"); fd >= 0 && setup.gate) {
    Result<BindingTable> table = BindingTable::map(fd);
    if (!table.ok()) return failed("ledger", table.error());
    LedgerService::Descriptors descriptors{keep_open(setup.fd("ledger_recorded")),
                                           keep_open(setup.fd("ledger_applied"))};
    for (const int one : setup.applied_fds) descriptors.applied.push_back(keep_open(one));
    shared_.ledger.emplace(*std::move(table), std::move(descriptors), setup.gate->enforcers,
                           setup.gate->first_enforcer);
    // Edges, since nobody reads them: one descriptor wakes several workers (ledger_service.hpp).
    const auto& kept = shared_.ledger->descriptors();
    // Only where somebody keeps rules: or else every answer would wake every worker.
    const bool keeps = kept.recorded >= 0 && !kept.applied.empty();
    if (keeps && !watch(kept.recorded, kRecorded, EPOLLIN | EPOLLET)) return "worker: epoll";
    if (kept.own_applied >= 0 && !watch(kept.own_applied, kApplied, EPOLLIN | EPOLLET)) return "worker: epoll";
  }
  return std::nullopt;
}

std::optional<std::string> Worker::serve() {
  if (!plugins_.empty()) return "worker: started twice";
  hosts_.reserve(setup_.plugins.size());
  for (std::size_t i = 0; i < setup_.plugins.size(); ++i) {
    const PluginSetup& setup = setup_.plugins[i];
    hosts_.push_back(std::make_unique<policy_host>(policy_host{&shared_, setup.name}));
    for (const json& id : json::parse(setup.manifest).value("needs", json::array())) {
      if (host_api().get(hosts_.back().get(), id.get<std::string>().c_str()) == nullptr) {
        return "plugin " + setup.name + ": needs " + id.get<std::string>() + ", which this host does not offer";
      }
    }
    auto plugin = std::make_unique<LoadedPlugin>(setup.name, hosts_.back().get(), &host_api());
    const std::string path =
        setup_.plain_jail ? "/proc/self/fd/" + std::to_string(setup.fd) : "/" + std::to_string(i) + ".so";
    if (PluginError error = plugin->load(path, setup.manifest)) return error;
    plugins_.push_back(std::move(plugin));
  }
  if (setup_.plain_jail) {
    for (const PluginSetup& plugin : setup_.plugins) ::close(plugin.fd);
  }
  if (JailError error = restrict_running(setup_.privileges)) return error;
  for (std::size_t i = 0; i < plugins_.size(); ++i) {
    if (PluginError error = plugins_[i]->create(setup_.plugins[i].config)) return error;
  }
  for (const auto& plugin : plugins_) {
    if (PluginError error = plugin->start()) {
      shared_.forget(plugin->host());
      return error;
    }
  }
  return std::nullopt;
}

// 0: go on.
int Worker::handle(Message& message) {
  const std::string type = message.body.value("type", "");
  if (type == "listener" && message.fds.size() == 1) {
    shared_.add_listener({message.body.value("name", ""), std::exchange(message.fds[0], -1),
                          message.body.value("client", std::uint64_t{0})});
    message.fds.clear();
  } else if (type == "unlisten") {
    shared_.remove_listener(message.body.value("name", ""), message.body.value("client", std::uint64_t{0}));
  } else if (type == "publish") {
    publish(message);
  } else if (type == "drain") {
    drain(monotonic_ns() + message.body.value("deadline_ms", std::uint64_t{0}) * kMs);
  } else if (type == "stop") {
    stop();
  } else if (type == "ping") {
    if (shared_.gate) {
      channel_.send({{"type", "pong"}, {"health", health()}});
    } else {
      channel_.send({{"type", "pong"}});
    }
  } else if (type == "start") {
    if (!attempt([&] { return serve(); })) return 7;
    channel_.send({{"type", "serving"}});
  }
  return 0;
}

void Worker::publish(const Message& message) {
  const std::uint64_t generation = message.body.value("generation", std::uint64_t{0});
  const PolicyVersion& before = *shared_.versions.current();
  const auto make = [&]() -> std::variant<PolicyVersion, std::string> {
    if (message.fds.size() != 1) return "publish without a snapshot";
    Result<std::shared_ptr<const Snapshot>> snapshot = Snapshot::map(message.fds[0]);
    if (!snapshot.ok()) return std::string("snapshot: ") + std::string(snapshot.error().message);
    if ((*snapshot)->generation() != generation) return "a snapshot of another generation";
    if (generation <= before.snapshot->generation()) return "a generation that is not later than the one in force";
    PolicyVersion version{*snapshot, before.cells, before.sources, before.credentials};
    if (message.body.contains("sources")) version.sources = read_sources(message.body["sources"]);
    if (message.body.contains("credentials")) {
      const auto read = read_credentials(message.body["credentials"]);
      // The same users again: what was verified stays verified.
      if (!read || !before.credentials || !(*read == *before.credentials)) version.credentials = read;
    }
    return version;
  };
  std::variant<PolicyVersion, std::string> made;
  try {
    made = make();
  } catch (const std::exception& e) {
    made = std::string(e.what());
  }
  if (const auto* error = std::get_if<std::string>(&made)) {
    channel_.send({{"type", "failed_publish"}, {"generation", generation}, {"text", "worker: " + *error}});
    return;
  }
  PolicyVersion& version = std::get<PolicyVersion>(made);
  const bool users_changed = version.credentials != before.credentials;  // `before` may end with publish()
  shared_.versions.publish(std::move(version));
  if (users_changed && shared_.credential_checks) shared_.credential_checks->forget();
  const PolicyVersion& current = *shared_.versions.current();
  shared_.flows.decide_again(shared_, current, monotonic_ns());
  shared_.tasks.published();
  trial_end_ = current.snapshot->next_trial_end(trial_clock());
  channel_.send({{"type", "published"}, {"generation", generation}});
  if (shared_.versions.retained() > 1) plan_tick(monotonic_ns() + kReclaimTick);
}

void Worker::drain(std::uint64_t deadline_ns) {
  drain_deadline_ns_ = std::max<std::uint64_t>(deadline_ns, 1);
  // What is bound stays with the warden, and with the worker that comes after this one.
  for (const WorkerListener& listener : shared_.listeners) ::close(listener.fd);
  shared_.listeners.clear();
  flows_left_.reset();
  tell_flows_left();
}

void Worker::tell_flows_left() {
  std::uint64_t sum = 0;
  for (const auto& plugin : plugins_) {
    std::uint64_t left = 0;
    if (PluginError error = plugin->drain(drain_deadline_ns_, left)) log(plugin->name(), POLICY_LOG_ERROR, *error);
    sum += left;
  }
  if (flows_left_ != sum) channel_.send({{"type", "draining"}, {"flows_left", sum}});
  flows_left_ = sum;
  const std::uint64_t now = monotonic_ns();
  if (sum == 0 || now >= drain_deadline_ns_) stop();
  plan_tick(std::min(now + kDrainTick, drain_deadline_ns_));
}

void Worker::stop() {
  while (!plugins_.empty()) {
    LoadedPlugin& plugin = *plugins_.back();
    if (PluginError error = plugin.stop()) log(plugin.name(), POLICY_LOG_WARNING, *error);
    shared_.forget(plugin.host());
    plugins_.pop_back();
  }
  ::_exit(0);
}

json Worker::health() const {
  json all = json::object();
  for (const auto& plugin : plugins_) {
    const std::optional<std::string> text = plugin->health();
    json one = text ? json::parse(*text, nullptr, /*allow_exceptions=*/false) : json();
    if (!one.is_object()) one = {{"ok", false}, {"text", "the plugin gives no account of its health"}};
    all[plugin->name()] = std::move(one);
  }
  return all;
}

bool Worker::watch(int fd, Event event, std::uint32_t mask) {
  epoll_event wanted{};
  wanted.events = mask;
  wanted.data.u32 = event;
  return ::epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &wanted) == 0;
}

// Until a message, an edge of the ledger, or the next thing that is due.
void Worker::wait() {
  std::uint64_t due = next_tick_ns_ != 0 ? next_tick_ns_ : UINT64_MAX;
  if (recorded_ && shared_.ledger && shared_.ledger->has_subscribers()) due = 0;  // from before they subscribed
  if (trial_end_ != 0) {  // the clock that it is told by may be set: looked at again within a minute
    const std::int64_t left = std::clamp<std::int64_t>(trial_end_ - trial_clock(), 0, 60);
    due = std::min(due, monotonic_ns() + static_cast<std::uint64_t>(left) * 1000 * kMs);
  }
  if (const auto flow = shared_.flows.next_due()) due = std::min(due, *flow);
  if (const auto task = shared_.tasks.next_due()) due = std::min(due, *task * kMs);
  if (shared_.ledger) {
    if (const auto answer = shared_.ledger->next_due()) due = std::min(due, *answer);
  }
  int timeout = -1;
  if (due != UINT64_MAX) {
    const std::uint64_t now = monotonic_ns();
    timeout = due <= now ? 0 : static_cast<int>(std::min<std::uint64_t>((due - now + kMs - 1) / kMs, 60'000));
  }
  epoll_event events[4];
  const int count = ::epoll_wait(epoll_, events, std::size(events), timeout);
  for (int i = 0; i < count; ++i) recorded_ |= events[i].data.u32 == kRecorded;
}

void Worker::run_due() {
  const std::uint64_t now = monotonic_ns();
  if (shared_.ledger) {
    if (recorded_ && shared_.ledger->has_subscribers()) {
      recorded_ = false;
      shared_.ledger->notify_recorded();
    }
    shared_.ledger->run_due(now);
  }
  if (const std::int64_t clock = trial_end_ != 0 ? trial_clock() : 0; trial_end_ != 0 && clock >= trial_end_) {
    // What passed by a trial alone ends with it, open flows and bindings in the kernel too.
    const PolicyVersion& current = *shared_.versions.current();
    shared_.flows.decide_again(shared_, current, now);
    shared_.tasks.published();
    trial_end_ = current.snapshot->next_trial_end(clock);
  }
  shared_.flows.shut_late(shared_, now);
  shared_.tasks.run_due(now / kMs);
  if (next_tick_ns_ == 0 || now < next_tick_ns_) return;
  next_tick_ns_ = 0;
  shared_.versions.reclaim();
  if (shared_.versions.retained() > 1) plan_tick(now + kReclaimTick);
  if (drain_deadline_ns_ != 0) tell_flows_left();
}

}  // namespace

int run_worker(int channel_fd) {
  // Never destroyed: plugins' threads run until _exit().
  static Worker* const worker = new Worker(channel_fd);
  const int status = worker->run();
  ::_exit(status);
}

}  // namespace sallyport
