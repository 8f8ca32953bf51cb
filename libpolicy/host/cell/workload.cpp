#include "host/cell/workload.hpp"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>

#include "host/cell/privileges.hpp"
#include "host/cell/seccomp.hpp"
#include "host/cell/signal_scope.hpp"

namespace sallyport::cell {
namespace {

constexpr std::string_view kUsualPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
constexpr int kNotExecutable = 126;
constexpr int kNotFound = 127;

std::vector<char*> pointers(std::vector<std::string>& strings) {
  std::vector<char*> result;
  result.reserve(strings.size() + 1);
  for (std::string& string : strings) result.push_back(string.data());
  result.push_back(nullptr);
  return result;
}

// As execvpe(3): tries each candidate, a text file by the shell. Returns the errno that says most.
int execute(const Workload& workload) {
  std::vector<std::string> command = workload.command;
  std::vector<std::string> environment = workload.environment;
  const std::vector<char*> arguments = pointers(command);
  const std::vector<char*> variables = pointers(environment);
  int error = ENOENT;
  for (const std::string& candidate : command_candidates(workload.command.front(), workload.environment)) {
    ::execve(candidate.c_str(), arguments.data(), variables.data());
    if (errno == ENOEXEC) {
      std::vector<std::string> script = {"/bin/sh", candidate};
      script.insert(script.end(), workload.command.begin() + 1, workload.command.end());
      ::execve("/bin/sh", pointers(script).data(), variables.data());
    }
    if (errno == ENOENT || errno == ENOTDIR || errno == EACCES) {
      if (errno == EACCES) error = EACCES;  // found and refused: said unless a later one runs
      continue;
    }
    return errno;
  }
  // The interpreter of a script, or the loader of a program, that is missing is ENOENT too; the shell says 127 for it.
  return error;
}

void default_signals(const std::vector<int>& ignored) {
  for (int number = 1; number < NSIG; ++number) {
    if (number == SIGKILL || number == SIGSTOP) continue;
    struct sigaction action{};
    action.sa_handler = std::find(ignored.begin(), ignored.end(), number) == ignored.end() ? SIG_DFL : SIG_IGN;
    ::sigaction(number, &action, nullptr);  // fails for the two that libc keeps to itself
  }
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
}

[[noreturn]] void give_up(int report_fd, const CellError& error) {
  const std::string text = error.reason + '\n' + error.remedy;
  static_cast<void>(::write(report_fd, text.data(), text.size()) == 0);
  ::_exit(125);
}

}  // namespace

std::vector<std::string> search_path(const std::vector<std::string>& environment) {
  std::string_view path = kUsualPath;
  for (const std::string& variable : environment)
    if (variable.starts_with("PATH=")) path = std::string_view(variable).substr(5);
  std::vector<std::string> directories;
  for (;;) {
    const std::size_t colon = path.find(':');
    const std::string_view directory = path.substr(0, colon);
    directories.emplace_back(directory.empty() ? "." : directory);
    if (colon == path.npos) return directories;
    path.remove_prefix(colon + 1);
  }
}

std::vector<std::string> command_candidates(const std::string& command, const std::vector<std::string>& environment) {
  if (command.empty()) return {};
  if (command.find('/') != command.npos) return {command};
  std::vector<std::string> candidates;
  for (const std::string& directory : search_path(environment)) candidates.push_back(directory + "/" + command);
  return candidates;
}

void run_workload(const Workload& workload, int go_fd, int report_fd) {
  if (::chdir(workload.working_directory.c_str()) != 0)
    give_up(report_fd, failed("enter the working directory " + workload.working_directory));
  default_signals(workload.ignored_signals);
  if (workload.own_session) ::setsid();
  if (Failure failure = workload.full_map ? keep_container_capabilities() : drop_all_capabilities())
    give_up(report_fd, *failure);
  const bool signals_are_confined = confine_signals();
  const FilterOptions filter{.refuse_unix_sockets = workload.refuse_unix_sockets,
                             .refuse_group_signals = !signals_are_confined && !workload.own_session};
  if (Failure failure = install_filter(filter)) give_up(report_fd, *failure);
  if (::write(report_fd, "\n", 1) != 1) ::_exit(125);

  char go = 0;
  ssize_t size = 0;
  while ((size = ::read(go_fd, &go, 1)) < 0 && errno == EINTR) {
  }
  if (size != 1) ::_exit(125);  // nobody will ever say go
  const int error = execute(workload);
  static_cast<void>(::write(report_fd, &error, sizeof(error)) == 0);
  ::_exit(error == ENOENT || error == ENOTDIR ? kNotFound : kNotExecutable);
}

}  // namespace sallyport::cell
