#include "host/cell/cell.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>

#include "host/cell/exec_text.hpp"
#include "host/cell/init.hpp"
#include "host/cell/messages.hpp"
#include "host/cell/privileges.hpp"
#include "host/cell/stdio_copy.hpp"

namespace sallyport {
namespace {

using namespace cell;

constexpr int kNamespaces = CLONE_NEWNET | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP;
constexpr int kContinueGraceMs = 50;  // a stop that is history has its kContinued right behind it
constexpr int kLastOutputMs =
    10'000;  // a reader that takes longer for what is left in a pipe does not hold the caller up

// SIGCONT reached this process: counted, so that a stop that is over already is not repeated.
volatile std::sig_atomic_t continued = 0;
void count_continue(int) { continued = continued + 1; }

// A process that is continued can't have stopped since.
int taken_continues = 0;

bool readable_within(int fd, int milliseconds) {
  pollfd waiting{fd, POLLIN, 0};
  return ::poll(&waiting, 1, milliseconds) > 0;
}

void close_if_open(int& fd) {
  if (fd >= 0) ::close(std::exchange(fd, -1));
}

bool has_controlling_terminal() {
  int terminal = ::open("/dev/tty", O_RDWR | O_NOCTTY | O_CLOEXEC);
  const bool found = terminal >= 0;
  close_if_open(terminal);
  return found;
}

bool is_in_foreground() {
  int terminal = ::open("/dev/tty", O_RDWR | O_NOCTTY | O_CLOEXEC);
  const bool found = terminal >= 0 && ::tcgetpgrp(terminal) == ::getpgrp();
  close_if_open(terminal);
  return found;
}

// The child is process 1 of the new namespaces.
pid_t fork_into(int namespaces) {
  return static_cast<pid_t>(::syscall(SYS_clone, namespaces | SIGCHLD, nullptr, nullptr, nullptr, nullptr));
}

void use_as_standard_files(const StdioCopies& copies) {
  for (int fd = 0; fd <= 2; ++fd)
    if (copies.files[fd] != fd) ::dup2(copies.files[fd], fd);
}

// git stops looking for its directory at a mount, and the working directory is one.
void find_git_across_mounts(std::vector<std::string>& environment) {
  constexpr std::string_view kName = "GIT_DISCOVERY_ACROSS_FILESYSTEM=";
  for (const std::string& variable : environment)
    if (variable.starts_with(kName)) return;
  environment.push_back(std::string(kName) + "1");
}

}  // namespace

void CellSockets::close() {
  for (int* fd : {&dns_udp4, &dns_udp6, &dns_tcp4, &dns_tcp6, &tcp4, &tcp6}) close_if_open(*fd);
}

CellResult<Cell> Cell::prepare(const CellOptions& options) {
  if (options.command.empty() || options.command.front().empty())
    return CellError{"no command", "sallyport run -- CMD"};
  for (int fd = 0; fd <= 2; ++fd)  // a pipe or socket of ours must not become the command's standard input
    if (::fcntl(fd, F_GETFD) < 0 && ::open("/dev/null", O_RDWR) < 0) return failed("open /dev/null");
  CellResult<FilePlan> files = plan_files(options);
  if (!files) return files.error();

  const bool privileged = is_privileged();
  InitPlan plan;
  plan.files = *std::move(files);
  plan.workload = {.command = options.command,
                   .environment = options.environment,
                   .working_directory = plan.files.working_directory,
                   .ignored_signals = options.ignored_signals,
                   .full_map = privileged};
  if (plan.files.git_is_above) find_git_across_mounts(plan.workload.environment);
  plan.ula = options.ula;
  plan.own_user_namespace = !privileged;
  plan.mounts_are_locked = !privileged || !is_initial_user_namespace();
  plan.uid = ::geteuid();
  plan.gid = ::getegid();

  const bool terminal = has_controlling_terminal();
  plan.workload.own_session = !terminal;

  Cell cell;
  cell.shares_terminal_ = terminal;
  cell.names_ = std::make_unique<TakenNames>(std::move(plan.files.names));
  cell.command_ = options.command.front();
  cell.candidates_ = command_candidates(options.command.front(), options.environment);
  cell.working_directory_ = plan.files.working_directory;
  std::array<int, 2> pair;
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair.data()) != 0) return failed("socketpair");
  cell.channel_ = pair[0];
  StdioCopies copies;
  if (Failure failure = contain_standard_files(plan.files, copies)) {
    ::close(pair[1]);
    return *failure;
  }
  cell.input_copies_ = copies.input;
  cell.output_copies_ = copies.output;
  cell.kept_modes_ = copies.modes;
  plan.read_only = copies.read_only;

  cell.init_ = fork_into(kNamespaces | (privileged ? 0 : CLONE_NEWUSER));
  const int fork_error = errno;
  if (cell.init_ == 0) {
    use_as_standard_files(copies);
    run_init(std::move(plan), pair[1]);
  }
  ::close(pair[1]);
  for (int fd = 0; fd <= 2; ++fd)
    if (copies.files[fd] != fd) ::close(copies.files[fd]);
  if (cell.init_ < 0) return namespace_failure("make the cell's namespaces", fork_error, privileged);

  bool closed = false;
  std::optional<CellMessage> message = receive_message(cell.channel_, true, closed);
  if (!message)
    return CellError{"the cell's first process was killed while it was made", "see dmesg; is memory short?"};
  if (message->kind != MessageKind::kReady) {
    message->fields.resize(2);
    return CellError{message->fields[0], message->fields[1]};
  }
  cell.sockets_ = message->sockets;
  cell.notes_ = std::move(message->fields);
  return cell;
}

Cell::Cell() = default;

Cell::Cell(Cell&& other) noexcept { *this = std::move(other); }

Cell& Cell::operator=(Cell&& other) noexcept {
  if (this == &other) return *this;
  kill();
  init_ = std::exchange(other.init_, -1);
  channel_ = std::exchange(other.channel_, -1);
  sockets_ = std::exchange(other.sockets_, {});
  status_ = other.status_;
  notes_ = std::move(other.notes_);
  closing_notes_ = std::move(other.closing_notes_);
  names_ = std::move(other.names_);
  command_ = std::move(other.command_);
  candidates_ = std::move(other.candidates_);
  working_directory_ = std::move(other.working_directory_);
  input_copies_ = std::exchange(other.input_copies_, {});
  output_copies_ = std::exchange(other.output_copies_, {});
  kept_modes_ = std::exchange(other.kept_modes_, {});
  shares_terminal_ = other.shares_terminal_;
  asked_to_end_ = other.asked_to_end_;
  stop_is_the_commands_ = other.stop_is_the_commands_;
  terminal_ = std::exchange(other.terminal_, -1);
  terminal_group_ = other.terminal_group_;
  return *this;
}

Cell::~Cell() { kill(); }

bool Cell::start() {
  if (status_.kind != CellStatus::Kind::kHeld || channel_ < 0) return false;
  struct sigaction action{};
  action.sa_handler = count_continue;
  action.sa_flags = SA_RESTART;
  ::sigaction(SIGCONT, &action, nullptr);
  for (int fd = 0; fd <= 2 && terminal_ < 0; ++fd) {
    if (const pid_t group = ::tcgetpgrp(fd); group > 0) {
      terminal_ = fd;
      terminal_group_ = group;
    }
  }
  taken_continues = continued;
  if (!send_message(channel_, MessageKind::kGo)) return false;
  status_.kind = CellStatus::Kind::kRunning;
  return true;
}

CellStatus Cell::poll() {
  if (status_.kind == CellStatus::Kind::kStopped && continued != taken_continues) {
    taken_continues = continued;
    resume();
  }
  while (!status_.over() && channel_ >= 0) {
    bool closed = false;
    const std::optional<CellMessage> message = receive_message(channel_, false, closed);
    if (closed) {
      reap();
      break;
    }
    if (!message) break;
    switch (message->kind) {
      case MessageKind::kStopped:
        // A terminal stops this process and the command together: when both are continued, that stop is history.
        if (continued == taken_continues && !readable_within(channel_, kContinueGraceMs) &&
            continued == taken_continues) {
          status_ = {.kind = CellStatus::Kind::kStopped, .signal = message->number(0)};
        } else if (continued != taken_continues && !readable_within(channel_, kContinueGraceMs)) {
          resume();  // a command that has left the group was not continued with it
        }
        taken_continues = continued;
        stop_is_the_commands_ = false;
        break;
      case MessageKind::kContinued:
        status_ = {.kind = CellStatus::Kind::kRunning};
        taken_continues = continued;
        break;
      case MessageKind::kExited:
        status_ = {.kind = CellStatus::Kind::kExited,
                   .code = message->number(0),
                   .signal = message->number(1),
                   .exec_error = message->number(2)};
        if (status_.exec_error != 0)
          status_.exec_text = exec_error_text(command_, candidates_, working_directory_, status_.exec_error);
        reap();
        break;
      default:
        break;
    }
  }
  return status_;
}

CellStatus Cell::wait() {
  for (;;) {
    const CellStatus status = poll();
    if (status.over() || channel_ < 0) return status;
    if (status.kind == CellStatus::Kind::kStopped && stop_with_command()) continue;
    pollfd waiting{channel_, POLLIN, 0};
    ::poll(&waiting, 1, -1);
  }
}

bool Cell::stop_with_command() {
  if (status_.kind != CellStatus::Kind::kStopped || stop_is_the_commands_) return false;
  stop_is_the_commands_ = true;
  if (!shares_terminal_ || !is_in_foreground()) {
    if (asked_to_end_) resume();  // what was forwarded right before is pending
    return false;
  }
  // SIGTSTP, not SIGSTOP: the kernel drops it where no shell is left that could continue us (an orphaned group).
  const int before = continued;
  ::kill(::getpid(), SIGTSTP);  // returns when the shell, or anyone, has continued us
  if (continued == before) return false;
  taken_continues = continued;
  resume();
  return true;
}

void Cell::resume() {
  status_ = {.kind = CellStatus::Kind::kRunning};
  asked_to_end_ = false;
  forward_signal(SIGCONT);
}

void Cell::forward_signal(int signal) {
  if (channel_ < 0 || status_.over()) return;
  send_message(channel_, MessageKind::kSignal, {std::to_string(signal)});
  // Who asks sallyport to end sees a process that runs: the command must not be left with it pending.
  asked_to_end_ = asked_to_end_ || signal == SIGTERM || signal == SIGHUP || signal == SIGINT || signal == SIGQUIT;
  if (status_.kind == CellStatus::Kind::kStopped && signal != SIGCONT) resume();
}

void Cell::kill() {
  if (init_ > 0) {
    ::kill(init_, SIGKILL);
    reap();
  }
  for (pid_t pid : std::exchange(input_copies_, {})) {
    ::kill(pid, SIGKILL);
    ::waitpid(pid, nullptr, 0);
  }
  settle_copies();
  give_back_names();
  close_if_open(channel_);
  sockets_.close();
}

// The first process is gone or about to go; with it, the kernel has ended everything in the cell.
void Cell::reap() {
  if (init_ <= 0) return;
  int status = 0;
  while (::waitpid(init_, &status, 0) < 0 && errno == EINTR) {
  }
  init_ = -1;
  if (!status_.over()) {
    const int signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    status_ = {
        .kind = CellStatus::Kind::kLost, .code = signal != 0 ? 128 + signal : WEXITSTATUS(status), .signal = signal};
  }
  if (terminal_ >= 0 && ::tcgetpgrp(terminal_) != terminal_group_) {
    // A shell in the cell took the terminal for itself and can't name the group it had before.
    sigset_t output;
    sigset_t before;
    ::sigemptyset(&output);
    ::sigaddset(&output, SIGTTOU);
    ::sigprocmask(SIG_BLOCK, &output, &before);
    ::tcsetpgrp(terminal_, terminal_group_);
    ::sigprocmask(SIG_SETMASK, &before, nullptr);
  }
  settle_copies();
  give_back_names();
}

void Cell::settle_copies() {
  for (pid_t pid : std::exchange(output_copies_, {})) {
    const int handle = static_cast<int>(::syscall(SYS_pidfd_open, pid, 0));
    if (handle >= 0) {
      pollfd waiting{handle, POLLIN, 0};
      ::poll(&waiting, 1, kLastOutputMs);
      ::close(handle);
    }
    int status = 0;
    if (::waitpid(pid, &status, WNOHANG) == pid && WIFEXITED(status) && WEXITSTATUS(status) != 0)
      closing_notes_.push_back(std::string("output could not be written, and the rest of it is lost: ") +
                               std::strerror(WEXITSTATUS(status)));
  }
  restore_modes(std::exchange(kept_modes_, {}));
}

void Cell::give_back_names() {
  if (!names_) return;
  std::vector<std::string> notes = names_->give_back();
  closing_notes_.insert(closing_notes_.end(), notes.begin(), notes.end());
  names_.reset();
}

}  // namespace sallyport
