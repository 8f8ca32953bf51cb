#include "host/warden/run.hpp"

#include <absl/strings/str_format.h>
#include <fcntl.h>
#include <poll.h>
#include <pwd.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <memory>

#include "host/cell/cell.hpp"
#include "host/warden/cell_service.hpp"
#include "host/warden/environment.hpp"
#include "host/warden/memory_file.hpp"
#include "host/warden/report.hpp"

extern char** environ;

namespace sallyport {
namespace {

namespace fs = std::filesystem;

void say(std::string_view text) { absl::FPrintF(stderr, "sallyport: %s\n", text); }

std::string text(const absl::Status& status) { return std::string(status.message()); }

// Ends a run that never began.
int fail(std::string_view text) {
  say(text);
  return kOwnFailure;
}

// As the kernel resolves it: "link/../x" is not "x".
std::string absolute(const std::string& path) {
  std::error_code error;
  const fs::path real = fs::weakly_canonical(path, error);
  return error ? fs::absolute(path).lexically_normal().string() : real.string();
}

// $HOME, or the directory that the system has for the user where the command would run in it (or above): `env -u HOME`
// and sudo's HOME must not make shell start-up files real.
std::string home_directory(const fs::path& working_directory) {
  const auto holds = [&](const fs::path& home) {
    return std::mismatch(working_directory.begin(), working_directory.end(), home.begin(), home.end()).first ==
           working_directory.end();
  };
  const char* variable = ::getenv("HOME");
  const std::string home = variable != nullptr && variable[0] == '/' ? absolute(variable) : "";
  if (!home.empty() && holds(home)) return home;
  const passwd* user = ::getpwuid(::geteuid());
  const std::string known =
      user != nullptr && user->pw_dir != nullptr && user->pw_dir[0] == '/' ? absolute(user->pw_dir) : "";
  return !known.empty() && known != "/" && holds(known) ? known : home;
}

// ---- the cell

// The working directory as the kernel knows it: $PWD may go through links.
absl::StatusOr<std::string> working_directory() {
  std::error_code error;
  const fs::path path = fs::current_path(error);
  if (error)
    return absl::FailedPreconditionError(absl::StrFormat("the working directory cannot be found: %s", error.message()));
  return path.string();
}

CellOptions cell_options(const RunOptions& options, const std::string& directory, const CellService& service) {
  CellOptions cell;
  cell.name = options.name;
  cell.ula = kCellUla;
  cell.command = options.command;
  for (char** entry = environ; *entry != nullptr; ++entry) cell.environment.emplace_back(*entry);
  if (!options.keep_environment) cell.environment = workload_environment(cell.environment);
  cell.working_directory = directory;
  cell.home = home_directory(directory);
  for (const std::string& path : options.writable) cell.writable.push_back(absolute(path));
  for (const std::string& path : options.binds) cell.binds.push_back(absolute(path));
  for (const std::string& path : {options.policy_file, options.audit_file}) {
    if (!path.empty()) cell.protect.push_back(absolute(path));
  }
  for (const std::string& path : service.policy().files) cell.protect.push_back(absolute(path));
  cell.protect.push_back(service.plugin_directory());
  std::error_code error;
  cell.protect.push_back(fs::read_symlink("/proc/self/exe", error).parent_path().string());
  for (int signal : {SIGHUP, SIGINT, SIGQUIT}) {
    struct sigaction current{};
    if (::sigaction(signal, nullptr, &current) == 0 && current.sa_handler == SIG_IGN)
      cell.ignored_signals.push_back(signal);
  }
  return cell;
}

// Signals that this process passes on; read from a descriptor, so that everything happens in one loop. The cell and the
// worker reset the mask that they inherit.
class Signals {
 public:
  Signals() {
    ::sigemptyset(&set_);
    for (int signal : {SIGTERM, SIGHUP, SIGINT, SIGQUIT, SIGUSR1, SIGUSR2}) ::sigaddset(&set_, signal);
    ::sigprocmask(SIG_BLOCK, &set_, nullptr);
    ::signal(SIGPIPE, SIG_IGN);  // an audit pipe without a reader is an error of write(), not the end
    fd_ = Descriptor(::signalfd(-1, &set_, SFD_CLOEXEC | SFD_NONBLOCK));
  }
  int fd() const noexcept { return fd_.get(); }

  void forward(Cell& cell) const {
    signalfd_siginfo info;
    while (::read(fd_.get(), &info, sizeof info) == sizeof info) {
      // What the terminal's keys send reaches the command by itself (SI_KERNEL).
      if (info.ssi_code != SI_KERNEL) cell.forward_signal(static_cast<int>(info.ssi_signo));
    }
  }

 private:
  sigset_t set_;
  Descriptor fd_;
};

// Runs until the command has ended; the exit status.
int attend(Cell& cell, CellService& service, const Signals& signals) {
  for (;;) {
    pollfd waiting[] = {{cell.wait_fd(), POLLIN, 0}, {signals.fd(), POLLIN, 0}};
    if (!service.wait(waiting)) return kOwnFailure;
    if (waiting[1].revents != 0) signals.forward(cell);
    service.step();
    const CellStatus status = cell.poll();
    if (status.kind == CellStatus::Kind::kStopped) {
      service.audit().collect();  // nothing of it waits for a continue that may never come
      cell.stop_with_command();
    }
    if (!status.over()) continue;
    if (status.kind == CellStatus::Kind::kLost) say("the cell was killed");
    if (status.exec_error != 0) say(status.exec_text);
    return status.code;
  }
}

}  // namespace

int run_cell(const RunOptions& options) {
  absl::StatusOr<std::unique_ptr<CellService>> opened = CellService::open(options, say);
  if (!opened.ok()) {
    if (absl::IsInvalidArgument(opened.status())) {
      absl::FPrintF(stderr, "%s", opened.status().message());
      return fail("the policy is refused; the command was not started");
    }
    return fail(text(opened.status()));
  }
  CellService& service = **opened;
  const absl::StatusOr<std::string> directory = working_directory();
  if (!directory.ok()) return fail(text(directory.status()));

  // From here on signals wait for attend(): one that ended this process now would leave placeholders in the user's
  // tree.
  const Signals signals;
  // The worker builds its jail on the other core while the cell is made.
  if (absl::Status started = service.start(); !started.ok()) return fail(text(started));
  CellResult<Cell> cell = Cell::prepare(cell_options(options, *directory, service));
  if (!cell.ok()) return fail(cell.error().text());
  if (absl::Status serving = service.serve(cell->take_sockets()); !serving.ok()) return fail(text(serving));

  const RunPolicy& policy = service.policy();
  if (!options.quiet) absl::FPrintF(stderr, "%s", policy.warnings);
  if (!options.quiet && (!policy.description.empty() || !cell->notes().empty())) {
    absl::FPrintF(stderr, "%s", banner(policy.description, cell->notes()));
  }
  if (!policy.trial.empty()) say(policy.trial);  // never weaker in silence, --quiet or not
  cell->start();
  const int status = attend(*cell, service, signals);
  const AuditLoss loss = service.finish();
  if (!options.quiet || options.report != ReportFormat::kSummary) {
    absl::FPrintF(stderr, "%s",
                  report(service.audit().denied(), policy.model, command_prefix(options), options.report));
  }
  if (!options.quiet) absl::FPrintF(stderr, "%s", failures(service.audit().failed()));
  for (const std::string& note : cell->closing_notes()) say(note);
  if (loss.any()) say(absl::StrFormat("%d audit records lost: %s", loss.records, loss.why));
  return status;
}

}  // namespace sallyport
