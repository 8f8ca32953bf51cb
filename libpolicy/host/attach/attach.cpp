#include "host/attach/attach.hpp"

#include <absl/strings/str_format.h>
#include <poll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <optional>
#include <string_view>
#include <utility>

#include "host/attach/attached_network.hpp"
#include "host/attach/docker_engine.hpp"
#include "host/attach/target.hpp"
#include "host/warden/cell_service.hpp"
#include "host/warden/file_watch.hpp"
#include "host/warden/report.hpp"

namespace sallyport {
namespace {

void say(std::string_view text) { absl::FPrintF(stderr, "sallyport: %s\n", text); }

int fail(std::string_view text) {
  say(text);
  return kOwnFailure;
}
int fail(const absl::Status& status) { return fail(std::string(status.message())); }

// A process and what it is called.
struct Found {
  Target target;
  std::string name;  // of the container; empty: it was given by number
};

absl::StatusOr<Found> find(const AttachOptions& options) {
  if (options.container.empty()) {
    absl::StatusOr<Target> target = Target::open(options.pid);
    if (!target.ok()) return target.status();
    return Found{*std::move(target), ""};
  }
  const absl::StatusOr<std::string> engine = engine_socket();
  if (!engine.ok()) return engine.status();
  const absl::StatusOr<Container> container = find_container(*engine, options.container);
  if (!container.ok()) return container.status();
  if (container->network_mode != "none") {
    return absl::FailedPreconditionError(
        absl::StrFormat("the container `%s` was started with --network %s\na cell has no way out: start it with "
                        "--network none",
                        options.container, container->network_mode));
  }
  absl::StatusOr<Target> target = Target::open(container->pid);
  if (!target.ok()) return target.status();
  // If it is still the same life of the container, its number meant that process all along.
  const absl::StatusOr<Container> again = find_container(*engine, container->id);
  if (!again.ok()) return again.status();
  if (again->pid != container->pid || again->started_at != container->started_at)
    return absl::UnavailableError(absl::StrFormat("the container `%s` was restarted meanwhile", options.container));
  return Found{*std::move(target), container->name};
}

// Signals that mean: detach. Read from a descriptor, so that everything happens in one loop. The worker resets the
// mask.
class Signals {
 public:
  Signals() {
    sigset_t set;
    ::sigemptyset(&set);
    for (int signal : {SIGTERM, SIGHUP, SIGINT, SIGQUIT}) ::sigaddset(&set, signal);
    ::sigprocmask(SIG_BLOCK, &set, nullptr);
    ::signal(SIGPIPE, SIG_IGN);  // an audit pipe without a reader is an error of write(), not the end
    fd_ = Descriptor(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
  }
  int fd() const noexcept { return fd_.get(); }

 private:
  Descriptor fd_;
};

void reload(CellService& service, bool quiet) {
  const auto began = FileWatch::Clock::now();
  const absl::Status reloaded = service.reload();
  const std::uint64_t generation = service.policy().snapshot->generation();
  if (absl::IsInvalidArgument(reloaded)) {
    absl::FPrintF(stderr, "%s", reloaded.message());
  } else if (!reloaded.ok()) {
    say(std::string(reloaded.message()));
  }
  if (!reloaded.ok()) return say(absl::StrFormat("generation %d stays live; nothing was changed", generation));
  if (quiet) return;
  const auto took = std::chrono::duration_cast<std::chrono::milliseconds>(FileWatch::Clock::now() - began);
  absl::FPrintF(stderr, "%s", service.policy().warnings);
  say(absl::StrFormat("generation %d live in %d ms; policy: %s", generation, took.count(),
                      service.policy().description));
  if (!service.policy().trial.empty()) say(service.policy().trial);
}

// Until the process has ended or a signal came; what happened, in words. Meanwhile a changed policy is taken over.
std::optional<std::string> attend(CellService& service, const Target& target, const Signals& signals,
                                  const AttachOptions& options) {
  FileWatch watch;
  std::error_code unknown;
  const auto watch_files = [&] {
    std::vector<std::string> files;
    for (const std::string& file : service.policy().files)
      files.push_back(std::filesystem::absolute(file, unknown).lexically_normal().string());
    watch.watch(files);
  };
  watch_files();
  for (;;) {
    pollfd waiting[] = {{target.process.get(), POLLIN, 0}, {signals.fd(), POLLIN, 0}, {watch.fd(), POLLIN, 0}};
    const int rest = watch.next_ms(FileWatch::Clock::now());
    if (!service.wait(waiting, rest < 0 ? 1000 : rest)) return std::nullopt;
    service.step();
    if (waiting[2].revents != 0) watch.on_readable(FileWatch::Clock::now());
    if (watch.changed(FileWatch::Clock::now())) {
      reload(service, options.service.quiet);
      watch_files();  // it may include others now
    }
    if (waiting[0].revents != 0) return absl::StrFormat("process %d has ended", target.pid);
    signalfd_siginfo info;
    if (waiting[1].revents != 0 && ::read(signals.fd(), &info, sizeof info) == sizeof info)
      return "told to by a signal";
  }
}

std::string prefix_of(const AttachOptions& options) {
  std::string prefix = options.container.empty() ? absl::StrFormat("sallyport attach --pid %d", options.pid)
                                                 : "sallyport attach --container " + options.container;
  if (!options.service.policy_file.empty()) prefix += " -p " + options.service.policy_file;
  if (options.named) prefix += " --name " + options.service.name;
  for (const std::string& entry : options.service.allow) prefix += " --allow " + entry;
  constexpr std::size_t kMost = 200;  // a line that a person reads
  return prefix.size() <= kMost ? prefix : "sallyport attach ...";
}

}  // namespace

int attach(const AttachOptions& options) {
  if (::geteuid() != 0) return fail("attach enters another's network namespace: it needs root");
  RunOptions run = options.service;
  absl::StatusOr<Found> found = find(options);
  if (!found.ok()) return fail(found.status());
  const Target& target = found->target;
  if (!options.named) {
    constexpr std::size_t kMostName = 64;  // as --name
    run.name = found->name.empty() ? "attach" : found->name.substr(0, kMostName);
  }

  absl::StatusOr<std::unique_ptr<CellService>> opened = CellService::open(run, say);
  if (!opened.ok()) {
    if (!absl::IsInvalidArgument(opened.status())) return fail(opened.status());
    absl::FPrintF(stderr, "%s", opened.status().message());
    return fail("the policy is refused; nothing was attached");
  }
  CellService& service = **opened;

  // From here on signals wait for attend(): one that ended this process now would leave the namespace half changed.
  const Signals signals;
  if (absl::Status started = service.start(); !started.ok()) return fail(started);
  CellResult<AttachedNetwork> network = attach_network(target.network.get(), kCellUla);
  if (!network.ok()) return fail(network.error().text());
  const absl::Status serving = service.serve(network->sockets);
  std::optional<std::string> why;
  if (serving.ok()) {
    if (!options.service.quiet) {
      const std::string process = absl::StrFormat("process %d", target.pid);
      const std::string& policy = service.policy().description;
      std::string text = service.policy().warnings;
      absl::StrAppendFormat(&text, "sallyport: attached to %s (lo only, no route out) as `%s`%s\n",
                            found->name.empty() ? process : absl::StrFormat("container %s, %s", found->name, process),
                            run.name, policy.empty() ? "" : "; policy: " + policy);
      for (const std::string& line : exposures(target.pid)) text += "  " + line + "\n";
      absl::FPrintF(stderr, "%s", text);
    }
    if (!service.policy().trial.empty()) say(service.policy().trial);  // never weaker in silence
    why = attend(service, target, signals, options);
  }
  // The worker first: what it closes is told to the container by packets that need the routes. With the last listener
  // closed the kernel resets what waited there.
  const AuditLoss loss = service.finish();
  const CellError left = detach_network(target.network.get(), kCellUla, network->changes);
  if (!serving.ok()) return fail(serving);
  if (!options.service.quiet || options.service.report != ReportFormat::kSummary) {
    absl::FPrintF(
        stderr, "%s",
        report(service.audit().denied(), service.policy().model, prefix_of(options), options.service.report, ""));
  }
  if (!options.service.quiet) absl::FPrintF(stderr, "%s", failures(service.audit().failed()));
  if (loss.any()) say(absl::StrFormat("%d audit records lost: %s", loss.records, loss.why));
  if (!left.reason.empty()) return fail("detached, and not all is as it was: " + left.text());
  if (!why) return fail("poll failed");
  if (!options.service.quiet) say("detached: " + *why);
  return 0;
}

}  // namespace sallyport
