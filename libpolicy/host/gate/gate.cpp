#include "host/gate/gate.hpp"

#include <absl/strings/str_format.h>
#include <poll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <filesystem>

#include "host/gate/kernel.hpp"
#include "host/warden/beside_program.hpp"
#include "host/warden/own_addresses.hpp"
#include "host/warden/run.hpp"
#include "language/gateway/gateway_load.hpp"
#include "language/trial.hpp"
#include "language/trusted_file.hpp"

namespace sallyport {
namespace {

constexpr std::uint64_t kMaxProgram = 256u << 20;
constexpr int kLongestSleepMs = 1000;
constexpr std::chrono::seconds kKeepQuotasEvery{1};    // a kill loses no more than that
constexpr std::chrono::milliseconds kAttendEvery{50};  // at least, whatever the audit has to do

int fail(std::string_view text) {
  say(text);
  return kOwnFailure;
}

std::string status_path_of(const ServeOptions& options) {
  return status_path(options.state_directory,
                     options.compose ? options.compose().name : load_gateway_file(options.file).name);
}

}  // namespace

void say(std::string_view text) { absl::FPrintF(stderr, "sallyport: %s\n", text); }

// As sd_notify(3), which waits while the manager's queue is full: a manager that reads nothing must not stop the warden
// from supervising. What does not fit is dropped.
void Gate::notify(const std::string& state) {
  const char* path = ::getenv("NOTIFY_SOCKET");
  sockaddr_un manager{};
  manager.sun_family = AF_UNIX;
  if (path == nullptr || (path[0] != '/' && path[0] != '@') || std::strlen(path) >= sizeof manager.sun_path) return;
  const std::size_t length = std::strlen(path);
  std::memcpy(manager.sun_path, path, length);
  if (path[0] == '@') manager.sun_path[0] = '\0';  // an abstract name
  const int fd = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return;
  const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + length);
  ::sendto(fd, state.data(), state.size(), MSG_NOSIGNAL, reinterpret_cast<const sockaddr*>(&manager), size);
  ::close(fd);
}

// Shared memory, with what quotas have used before a restart. A file that does not say it counts as all used up: who
// could damage it would fill every quota else.
absl::Status Gate::make_memory() {
  const LimitsTable::Now now = limits_time();
  const std::string path = quota_path(options_.state_directory, name_);
  QuotaFile::Loaded kept;
  if (!path.empty()) {
    quotas_.emplace(path);
    Result<QuotaFile::Loaded> loaded = quotas_->load();
    if (loaded.ok()) {
      kept = *std::move(loaded);
    } else {
      kept.lost_at = now.wall_s;
      say(absl::StrFormat(
          "%s is %s: quotas of the time at hand count as used up; remove it, and start again, to begin anew", path,
          loaded.error().message));
    }
  }
  absl::StatusOr<GateMemory> memory = GateMemory::create(kept.found ? std::optional(kept.seed) : std::nullopt);
  if (!memory.ok()) return memory.status();
  memory_.emplace(*std::move(memory));
  memory_->limits.restore(kept.used, now);
  memory_->limits.lose(kept.lost_at);
  return absl::OkStatus();
}

LimitsTable::Now Gate::limits_time() {
  timespec steady{};
  ::clock_gettime(CLOCK_MONOTONIC, &steady);
  return {static_cast<std::uint64_t>(steady.tv_sec) * 1'000'000'000 + static_cast<std::uint64_t>(steady.tv_nsec),
          ::time(nullptr)};
}

void Gate::keep_quotas(Clock::time_point now) {
  if (!quotas_ || !memory_ || now - quotas_kept_ < kKeepQuotasEvery) return;
  quotas_kept_ = now;
  const bool kept = quotas_->save(memory_->limits, limits_time().wall_s);
  if (kept != quotas_are_kept_)
    say(absl::StrFormat("%s: what quotas use %s over a restart", quotas_->path(),
                        kept ? "is kept again" : "cannot be kept"));
  quotas_are_kept_ = kept;
}

// What lives as long as the gateway: made once its configuration is known to be good.
bool Gate::set_up(const Prepared& prepared) {
  const auto refused = [](const absl::Status& status) {
    say(text_of(status));
    return false;
  };
  std::vector<std::string> sinks;
  for (const Placed& sink : prepared.gateway.sinks) sinks.push_back(sink.text);
  if (absl::Status made = make_memory(); !made.ok()) return refused(made);
  auto audit = GateAudit::open(name_, sinks, memory_->journal, memory_->metrics);
  if (!audit.ok()) return refused(audit.status());
  audit_ = *std::move(audit);
  const std::string path = status_path(options_.state_directory, name_);
  if (path.empty()) {
    say("no directory for the status socket; name one by --state-dir");
    return true;
  }
  absl::StatusOr<StatusSocket> socket = StatusSocket::open(path);
  if (!socket.ok()) return refused(socket.status());
  status_.emplace(*std::move(socket));
  return true;
}

int Gate::run() {
  // From here on signals are read in the loop: one that ended this process now would leave a worker half-made.
  sigset_t set;
  ::sigemptyset(&set);
  for (int signal : {SIGTERM, SIGINT, SIGHUP, SIGUSR1}) ::sigaddset(&set, signal);
  ::sigprocmask(SIG_BLOCK, &set, nullptr);
  ::signal(SIGPIPE, SIG_IGN);
  const Descriptor signals(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
  signals_ = signals.get();

  activated_ = ActivatedSockets::take();
  TrustedFile::Opened program = TrustedFile::open(
      options_.worker.empty() ? beside_program("sallyport-worker", "../lib/sallyport/sallyport-worker")
                              : options_.worker,
      kMaxProgram);
  if (program.failure) return fail(absl::StrFormat("the worker program: %s", program.failure->message));
  program_ = program.file->fd();
  for (const Address& address : own_addresses()) own_.push_back(address.text());
  std::uint64_t interval = 0;
  if (::sd_watchdog_enabled(0, &interval) > 0) watchdog_ = std::chrono::microseconds(interval / 2);

  begin(/*first=*/true);
  if (!failed_) loop();
  sockets_.clear();
  for (Group& group : groups_) bury(group.process);
  for (Process& process : draining_) bury(process);
  quotas_kept_ = {};
  keep_quotas(Clock::now());
  if (audit_) audit_->finish();
  if (status_) status_->remove();
  if (failed_) return kOwnFailure;
  if (audit_->lost() > 0) say(absl::StrFormat("%d audit records lost", audit_->lost()));
  say("stopped");
  return 0;
}

int Gate::wait_ms(Clock::time_point now) const {
  int wait = kLongestSleepMs;
  const auto shorten = [&](int ms) {
    if (ms >= 0) wait = std::min(wait, ms);
  };
  shorten(audit_->next_flush_ms());
  shorten(watch_.next_ms(now));
  shorten(addresses_.next_ms(now));
  if (watchdog_.count() > 0)
    shorten(static_cast<int>(std::max<std::int64_t>(
        0, std::chrono::duration_cast<std::chrono::milliseconds>(fed_ + watchdog_ - now).count())));
  if (transition_ || stopping_ || !draining_.empty()) shorten(100);
  return wait;
}

void Gate::loop() {
  std::vector<pollfd> waiting;
  while (!failed_) {
    waiting = {
        {signals_, POLLIN, 0}, {watch_.fd(), POLLIN, 0}, {audit_->wake_fd(), POLLIN, 0}, {addresses_.fd(), POLLIN, 0}};
    const auto add = [&](const Process& process) {
      if (!process.worker) return;
      waiting.push_back({process.worker->channel_fd(), POLLIN, 0});
      waiting.push_back({process.worker->exit_fd(), POLLIN, 0});
    };
    for (const Group& group : groups_) add(group.process);
    for (const Process& process : draining_) add(process);
    if (transition_) {
      for (const Group& group : transition_->fresh) add(group.process);
    }
    if (status_) status_->add_to(waiting);
    const int wait = wait_ms(Clock::now());
    const int ready = ::poll(waiting.data(), waiting.size(), wait);
    if (ready < 0 && errno != EINTR) {
      say("poll failed");
      failed_ = true;
      return;
    }
    const Clock::time_point now = Clock::now();
    if (ready == 0 && wait == GateAudit::kPauseMs && now - attended_ < kAttendEvery) {
      audit_->collect();  // a busy worker's ring, some hundred times a second; the rest has time
      continue;
    }
    attended_ = now;
    on_signals();
    if (waiting[1].revents != 0) watch_.on_readable(now);
    if (watch_.changed(now)) reload_wanted_ = true;
    if (waiting[3].revents != 0) addresses_.on_readable(now);
    if (addresses_.changed(now) && prepared_ && own_addresses() != prepared_->policy.own_addresses) {
      say("this host's addresses have changed: they are guarded by a policy compiled anew");
      reload_wanted_ = true;
    }
    if (const std::int64_t clock = trial_end_ != 0 ? std::time(nullptr) : 0; trial_end_ != 0 && clock >= trial_end_) {
      // Workers end it by themselves; this says so.
      say(absl::StrFormat("a trial ended at %s; the policy is enforced", time_text(trial_end_)));
      trial_end_ = policy_.snapshot->next_trial_end(clock);
    }
    audit_->collect();
    attend(now);
    keep_quotas(now);
    if (status_) status_->serve(now, [this](const std::string& request) { return answer(request); });
    if (stopping_ && draining_.empty()) return;
    if (reload_wanted_ && !transition_ && !stopping_) {
      reload_wanted_ = false;
      begin(/*first=*/false);
    }
    if (watchdog_.count() > 0 && now - fed_ >= watchdog_) {
      fed_ = now;
      notify("WATCHDOG=1");
    }
  }
}

void Gate::on_signals() {
  signalfd_siginfo info;
  while (::read(signals_, &info, sizeof info) == sizeof info) {
    switch (info.ssi_signo) {
      case SIGHUP:
        reload_wanted_ = true;
        break;
      case SIGUSR1:
        if (absl::Status status = audit_->reopen(); !status.ok()) say(text_of(status));
        break;
      default:
        shut_down();
    }
  }
}

void Gate::attend(Clock::time_point now) {
  for (Group& group : groups_) attend(group, now);
  for (auto process = draining_.begin(); process != draining_.end();) {
    process->worker->on_channel();
    process->worker->tick(now);
    if (!process->worker->has_ended()) {
      ++process;
      continue;
    }
    const std::string how = process->worker->end();
    if (how != "exited with status 0") say(absl::StrFormat("worker (%s) %s while it drained", process->name, how));
    bury(*process);
    process = draining_.erase(process);
  }
  advance(now);
}

void Gate::attend(Group& group, Clock::time_point now) {
  if (!group.process.worker) return;
  GroupWorker& worker = *group.process.worker;
  worker.on_channel();
  worker.tick(now);
  if (worker.has_ended()) return on_death(group, now);
  if (!worker.refusal().empty()) {
    worker.kill("");
    return;
  }
  if (worker.state() != GroupWorker::State::kServing) return;
  if (!group.handed_over) hand_over(group);
  if (worker.offered() != policy_.generation)
    worker.publish(policy_.generation, policy_.memory.get(), prepared_->sources, prepared_->credentials);
}

// The first time: nothing new is taken, flows may go on for a while. The second time: at once.
void Gate::shut_down() {
  if (stopping_) {
    for (Process& process : draining_) process.worker->kill("");
    return;
  }
  stopping_ = true;
  const auto deadline = prepared_ ? prepared_->gateway.drain : std::chrono::milliseconds(0);
  notify("STOPPING=1");
  say(absl::StrFormat("stopping; flows may go on for %d s",
                      std::chrono::duration_cast<std::chrono::seconds>(deadline).count()));
  if (transition_) {
    const bool first = transition_->first && !transition_->committed;
    if (!transition_->committed) abandon("stopped");
    transition_.reset();
    if (first) return;
  }
  sockets_.clear();
  for (Group& group : groups_) retire(std::move(group.process), deadline);
  groups_.clear();
}

std::string ComposedGateway::text() const {
  std::string all;
  for (const Line& line : lines) all += line.text + "\n";
  return all;
}

std::vector<std::string> ComposedGateway::options() const {
  std::vector<std::string> all;
  for (const Line& line : lines) all.push_back(line.option);
  return all;
}

int serve_gateway(const ServeOptions& options) { return Gate(options).run(); }

int check_gateway(const ServeOptions& options) {
  const PreparedOutcome outcome = options.compose ? prepare_gateway(options.compose()) : prepare_gateway(options.file);
  const std::string text = render(outcome.diagnostics, ::isatty(2) == 1 && ::getenv("NO_COLOR") == nullptr);
  absl::FPrintF(stderr, "%s", text);
  if (!outcome.prepared) return 3;
  std::string processes;
  for (const PreparedGroup& group : outcome.prepared->groups) {
    const std::string privileges = group.privileges.text();
    processes += absl::StrFormat("%s[%s]%s%s", processes.empty() ? "" : " ", group.name, privileges.empty() ? "" : ": ",
                                 privileges);
  }
  absl::PrintF("%s: good; %d listeners, %d rules; workers %s\n", options.compose ? outcome.name : options.file,
               outcome.prepared->gateway.listeners.size(), outcome.prepared->policy.rules.size(), processes);
  return 0;
}

int gateway_health(const ServeOptions& options, bool print_json) {
  const std::string path = status_path_of(options);
  absl::StatusOr<std::string> answer = ask_gateway(path, "status");
  if (!answer.ok()) {
    say(absl::StrFormat("no gateway answers at %s: %s", path, answer.status().message()));
    return 1;
  }
  const nlohmann::json status = nlohmann::json::parse(*answer, nullptr, false);
  if (print_json) absl::PrintF("%s", *answer);
  const bool healthy = status.is_object() && status.value("healthy", nlohmann::json(false)) == nlohmann::json(true);
  if (healthy) return 0;
  if (status.is_object() && status.contains("plugins")) {
    for (const auto& plugin : status["plugins"]) {
      if (plugin.value("ok", false)) continue;
      const std::string why = plugin.value("why", "");
      say(absl::StrFormat("%s is %s%s%s", plugin.value("name", ""),
                          plugin.value("state", "") == "serving" ? "not well" : plugin.value("state", ""),
                          why.empty() ? "" : ": ", why));
    }
  }
  return 1;
}

int release_gateway(const ServeOptions& options) {
  const std::string path = status_path_of(options);
  if (!path.empty() && ask_gateway(path, "status").ok()) return fail("the gateway runs; stop it first");
  if (absl::Status opened = open_kernel(); !opened.ok()) return fail(text_of(opened));
  return 0;
}

}  // namespace sallyport
