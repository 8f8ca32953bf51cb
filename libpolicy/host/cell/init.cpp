#include "host/cell/init.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <sstream>

#include "host/cell/kernel_files.hpp"
#include "host/cell/messages.hpp"
#include "host/cell/network.hpp"
#include "host/cell/privileges.hpp"

namespace sallyport::cell {
namespace {

constexpr int kSetupFailed = 125;

// What has been forked and waits for the word.
struct HeldCommand {
  pid_t pid = -1;
  int go_fd = -1;
  int report_fd = -1;
  bool stops_whole = false;  // a job of the caller's shell: what the command left in the background stops with it
  std::vector<SharedOffset> offsets{};  // of standard files
};

[[noreturn]] void give_up(int channel, const CellError& error) {
  send_message(channel, MessageKind::kFailed, {error.reason, error.remedy});
  ::_exit(kSetupFailed);
}

// The command sees this process as number 1, and must not read sallyport's command line there: what is allowed is the
// operator's to know. The arguments are overwritten in place; the environment of an undumpable process is not readable.
void hide_arguments() {
  constexpr std::string_view kName = "sallyport cell";
  ::prctl(PR_SET_NAME, kName.data(), 0, 0, 0);
  const std::string stat = read_kernel_file("/proc/self/stat").value_or("");
  const std::size_t name_end = stat.rfind(')');
  if (name_end == stat.npos) return;
  std::istringstream fields(stat.substr(name_end + 1));
  constexpr int kStateField = 3;  // the first after the name; proc_pid_stat(5)
  constexpr int kArgStartField = 48;
  std::string skipped;
  for (int field = kStateField; field < kArgStartField; ++field) fields >> skipped;
  std::uintptr_t start = 0;
  std::uintptr_t end = 0;
  if (!(fields >> start >> end) || start == 0 || end <= start) return;
  char* arguments = reinterpret_cast<char*>(start);  // NOLINT: the kernel's own account of our stack
  std::memset(arguments, 0, end - start);
  std::memcpy(arguments, kName.data(), std::min(kName.size(), end - start - 1));
}

void close_all_but(int channel) {
  if (channel > 3) ::close_range(3, static_cast<unsigned>(channel) - 1, 0);
  ::close_range(static_cast<unsigned>(channel) + 1, ~0u, 0);
}

// A fork whose child lives in a user namespace of its own, below this one's.
pid_t fork_into_user_namespace() {
  return static_cast<pid_t>(::syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, nullptr, nullptr, nullptr, nullptr));
}

Failure hold_command(const InitPlan& plan, int channel, HeldCommand& held) {
  std::array<int, 2> go;
  std::array<int, 2> report;
  std::array<int, 2> mapped;
  if (::pipe2(go.data(), O_CLOEXEC) != 0 || ::pipe2(report.data(), O_CLOEXEC) != 0 ||
      ::pipe2(mapped.data(), O_CLOEXEC) != 0)
    return failed("pipe");
  held.pid = fork_into_user_namespace();
  if (held.pid < 0) return namespace_failure("make the command's user namespace", errno, plan.workload.full_map);
  if (held.pid == 0) {
    ::close(channel);
    ::close(go[1]);
    ::close(report[0]);
    ::close(mapped[1]);
    char octet = 0;
    if (::read(mapped[0], &octet, 1) != 1) ::_exit(kSetupFailed);
    ::close(mapped[0]);
    run_workload(plan.workload, go[0], report[1]);
  }
  ::close(go[0]);
  ::close(report[1]);
  ::close(mapped[0]);
  held.go_fd = go[1];
  held.report_fd = report[0];
  if (Failure failure = map_child(held.pid, plan.workload.full_map, plan.uid, plan.gid)) return failure;
  if (::write(mapped[1], "", 1) != 1) return failed("start the command's process");
  ::close(mapped[1]);
  std::string answer;
  std::array<char, 512> block;
  ssize_t size = 0;
  while (answer.find('\n') == answer.npos) {
    size = ::read(held.report_fd, block.data(), block.size());
    if (size < 0 && errno == EINTR) continue;
    if (size <= 0) return CellError{"the command's process ended while it gave up its privileges", ""};
    answer.append(block.data(), static_cast<std::size_t>(size));
  }
  if (answer == "\n") return {};
  while ((size = ::read(held.report_fd, block.data(), block.size())) > 0)
    answer.append(block.data(), static_cast<std::size_t>(size));
  const std::size_t end = answer.find('\n');
  return CellError{answer.substr(0, end), answer.substr(end + 1)};
}

// Standard input and outputs belong to the command: its reader sees the end when the command closes them.
void let_go_of_standard_files() {
  const int null = ::open("/dev/null", O_RDWR | O_CLOEXEC);
  if (null < 0) return;
  for (int fd = 0; fd <= 2; ++fd) ::dup3(null, fd, 0);
  if (null > 2) ::close(null);
}

// The command has been continued already, and a handler of its would see a second signal.
void continue_all_but(pid_t command) {
  std::error_code error;
  for (std::filesystem::directory_iterator entry("/proc", error), end; !error && entry != end; entry.increment(error)) {
    const int pid = std::atoi(entry->path().filename().c_str());
    if (pid > 1 && pid != command) ::kill(pid, SIGCONT);
  }
}

// True when the command itself has ended, with its wait status.
bool reap(const HeldCommand& held, int channel, int& status) {
  for (;;) {
    int seen = 0;
    const pid_t pid = ::waitpid(-1, &seen, WNOHANG | WUNTRACED | WCONTINUED);
    if (pid <= 0) return false;
    if (pid != held.pid) continue;
    if (WIFSTOPPED(seen)) {
      if (held.stops_whole) ::kill(-1, SIGSTOP);
      send_message(channel, MessageKind::kStopped, {std::to_string(WSTOPSIG(seen))});
    } else if (WIFCONTINUED(seen)) {
      if (held.stops_whole) continue_all_but(held.pid);
      send_message(channel, MessageKind::kContinued);
    } else {
      status = seen;
      return true;
    }
  }
}

[[noreturn]] void end_with(const HeldCommand& held, int channel, int status) {
  advance_callers_offsets(held.offsets);
  int error = 0;
  if (::read(held.report_fd, &error, sizeof(error)) != sizeof(error)) error = 0;
  const int signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
  const int code = signal != 0 ? 128 + signal : WEXITSTATUS(status);
  send_message(channel, MessageKind::kExited, {std::to_string(code), std::to_string(signal), std::to_string(error)});
  ::_exit(code);
}

[[noreturn]] void supervise(HeldCommand held, int channel, int signals) {
  std::array<pollfd, 2> waiting = {{{channel, POLLIN, 0}, {signals, POLLIN, 0}}};
  for (;;) {
    if (::poll(waiting.data(), waiting.size(), -1) < 0) continue;
    if (waiting[1].revents != 0) {
      signalfd_siginfo info;
      while (::read(signals, &info, sizeof(info)) == sizeof(info)) {
      }
      int status = 0;
      if (reap(held, channel, status)) end_with(held, channel, status);
    }
    if (waiting[0].revents == 0) continue;
    bool closed = false;
    const std::optional<CellMessage> message = receive_message(channel, false, closed);
    if (closed) ::_exit(kSetupFailed);  // no warden: no network and nobody to report to
    if (!message) continue;
    if (message->kind == MessageKind::kGo && held.go_fd >= 0) {
      static_cast<void>(::write(held.go_fd, "g", 1) == 1);
      ::close(std::exchange(held.go_fd, -1));
    } else if (message->kind == MessageKind::kSignal) {
      ::kill(held.pid, message->number(0));
    }
  }
}

// Signals that the kernel would deliver to process 1 are handled or ignored there; SIGCHLD is read from a descriptor.
int take_signals() {
  for (int number = 1; number < NSIG; ++number) ::signal(number, SIG_DFL);
  sigset_t child;
  ::sigemptyset(&child);
  ::sigaddset(&child, SIGCHLD);
  ::sigprocmask(SIG_SETMASK, &child, nullptr);
  return ::signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK);
}

}  // namespace

void run_init(InitPlan plan, int channel) {
  close_all_but(channel);
  ::prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
  ::prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);  // the maps of an undumpable process are root's to write; undone below
  const int signals = take_signals();
  if (signals < 0) give_up(channel, failed("signalfd"));
  if (plan.own_user_namespace)
    if (Failure failure = map_caller(plan.uid, plan.gid)) give_up(channel, *failure);
  const mode_t callers_umask = ::umask(0);
  CellSockets sockets;
  if (Failure failure = build_network(plan.ula, sockets)) give_up(channel, *failure);
  // The namespace's own switches, read-only later: no port is special, and echo requests need no privilege (they reach
  // loopback and are refused elsewhere). Where they can't be set, servers take high ports and ping says why not.
  write_kernel_file("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0");
  const std::string group = std::to_string(plan.gid);
  write_kernel_file("/proc/sys/net/ipv4/ping_group_range", group + " " + group);
  HeldCommand held;
  held.stops_whole = !plan.workload.own_session;
  if (Failure failure = reopen_read_only(plan.read_only, held.offsets)) give_up(channel, *failure);
  FileView view(plan.files, plan.mounts_are_locked, plan.workload.full_map);
  if (Failure failure = view.build()) give_up(channel, *failure);
  ::umask(callers_umask);
  plan.workload.refuse_unix_sockets = view.refuse_unix_sockets();
  if (Failure failure = hold_command(plan, channel, held)) give_up(channel, *failure);
  let_go_of_standard_files();
  hide_arguments();
  ::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
  if (Failure failure = keep_signal_capability(plan.workload.full_map)) give_up(channel, *failure);
  if (!send_message(channel, MessageKind::kReady, view.notes(), &sockets)) ::_exit(kSetupFailed);
  sockets.close();
  supervise(held, channel, signals);
}

}  // namespace sallyport::cell
