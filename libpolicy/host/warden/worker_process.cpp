#include "host/warden/worker_process.hpp"

#include <absl/strings/str_format.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <utility>

#include "host/cell/failure.hpp"

namespace sallyport {
namespace {

constexpr int kChannelFd = 3;  // the one descriptor the worker starts with

// Child side helpers: no allocation, no stdio, between clone and exec.
bool write_file(const char* path, const char* text) {
  const int fd = ::open(path, O_WRONLY | O_CLOEXEC);
  if (fd < 0) return false;
  const ssize_t size = static_cast<ssize_t>(std::strlen(text));
  const bool whole = ::write(fd, text, static_cast<std::size_t>(size)) == size;
  ::close(fd);
  return whole;
}

[[noreturn]] void become_worker(int program, int channel, const char* uid_map, const char* gid_map) {
  // uid 0 of its own namespace, or the exec would take the capabilities it needs to build its jail.
  const bool mapped =
      uid_map == nullptr || (write_file("/proc/self/setgroups", "deny") && write_file("/proc/self/uid_map", uid_map) &&
                             write_file("/proc/self/gid_map", gid_map));
  const int null = ::open("/dev/null", O_RDWR | O_CLOEXEC);
  if (!mapped || null < 0 || program < 0) ::_exit(3);
  ::setsid();  // no terminal: neither its signals nor its input
  const int kept = ::fcntl(program, F_DUPFD_CLOEXEC, 10);
  const int line = ::fcntl(channel, F_DUPFD_CLOEXEC, 10);
  for (int standard : {0, 1, 2}) ::dup2(null, standard);
  ::dup2(line, kChannelFd);  // dup2 clears close-on-exec
  ::syscall(SYS_close_range, kChannelFd + 1, ~0U, 4 /* CLOSE_RANGE_CLOEXEC */);
  for (int signal = 1; signal < 32; ++signal) ::signal(signal, SIG_DFL);
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  const char* const arguments[] = {"sallyport-worker", nullptr};
  const char* const environment[] = {nullptr};  // LD_PRELOAD and friends end here
  ::syscall(SYS_execveat, kept, "", arguments, environment, 0x1000 /* AT_EMPTY_PATH */);
  ::_exit(4);
}

}  // namespace

bool WorkerProcess::may_administer() {
  // As root without CAP_SYS_ADMIN (a container) a user namespace is needed as for anyone else.
  return ::geteuid() == 0 && ::prctl(PR_CAPBSET_READ, 21 /* CAP_SYS_ADMIN */, 0, 0, 0) == 1;
}

absl::StatusOr<WorkerProcess> WorkerProcess::start(int program, Jail jail) {
  std::optional<std::pair<Channel, Channel>> ends = Channel::pair();
  if (!ends) return absl::InternalError(absl::StrFormat("socketpair: %s", std::strerror(errno)));

  const std::string uid_map = absl::StrFormat("0 %u 1", ::geteuid());
  const std::string gid_map = absl::StrFormat("0 %u 1", ::getegid());
  const bool plain = jail == Jail::kPlain;
  const bool as_root = plain || may_administer();  // no ids to map
  int pidfd = -1;
  clone_args arguments{};
  arguments.flags = CLONE_PIDFD;
  if (!plain) arguments.flags |= CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP;
  if (!as_root) arguments.flags |= CLONE_NEWUSER;
  arguments.pidfd = reinterpret_cast<std::uintptr_t>(&pidfd);
  arguments.exit_signal = SIGCHLD;
  long pid = ::syscall(SYS_clone3, &arguments, sizeof arguments);
  // Container engines answer ENOSYS to clone3, whose flags their filters cannot see; clone() takes the same ones.
  if (pid < 0 && errno == ENOSYS) pid = ::syscall(SYS_clone, arguments.flags | SIGCHLD, 0, &pidfd, 0, 0);
  if (pid == 0) become_worker(program, ends->second.fd(), as_root ? nullptr : uid_map.c_str(), gid_map.c_str());
  if (pid < 0) {
    const int error = errno;
    return absl::FailedPreconditionError(absl::StrFormat("the worker's %s cannot be made: %s\n%s",
                                                         as_root ? "namespaces" : "user namespace",
                                                         std::strerror(error), cell::user_namespace_remedy()));
  }
  return WorkerProcess(static_cast<pid_t>(pid), pidfd, std::move(ends->first));
}

WorkerProcess::WorkerProcess(WorkerProcess&& other) noexcept
    : pid_(std::exchange(other.pid_, -1)), pidfd_(std::move(other.pidfd_)), channel_(std::move(other.channel_)) {}

WorkerProcess& WorkerProcess::operator=(WorkerProcess&& other) noexcept {
  std::swap(pid_, other.pid_);
  std::swap(pidfd_, other.pidfd_);
  std::swap(channel_, other.channel_);
  return *this;
}

WorkerProcess::~WorkerProcess() {
  if (pid_ > 0) {
    ::kill(pid_, SIGKILL);
    end();
  }
}

std::string WorkerProcess::end() {
  int status = 0;
  pid_t reaped;
  do reaped = ::waitpid(pid_, &status, 0);
  while (reaped < 0 && errno == EINTR);
  pid_ = -1;
  if (reaped < 0) return "ended";
  if (WIFSIGNALED(status)) return absl::StrFormat("killed by signal %d", WTERMSIG(status));
  return absl::StrFormat("exited with status %d", WEXITSTATUS(status));
}

}  // namespace sallyport
