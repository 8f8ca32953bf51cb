#include "cell_lab.hpp"

#include <fcntl.h>
#include <ftw.h>
#include <grp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <sstream>

namespace sallyport::cell_test {
namespace {

// Of the test's own process, not of the children that ask for it.
const uid_t unprivileged = 20000 + static_cast<uid_t>(::getpid() % 1000);

// cell_run lies beside the test.
std::string cell_run_path() {
  std::array<char, 4096> self{};
  const ssize_t size = ::readlink("/proc/self/exe", self.data(), self.size() - 1);
  std::string path(self.data(), size > 0 ? static_cast<std::size_t>(size) : 0);
  return path.substr(0, path.rfind('/')) + "/cell_run";
}

void become(Who who) {
  if (who == Who::kRoot || ::geteuid() != 0) return;
  const uid_t uid = user_of(who);
  if (::setgroups(0, nullptr) != 0 || ::setresgid(uid, uid, uid) != 0 || ::setresuid(uid, uid, uid) != 0) ::_exit(99);
}

std::vector<char*> pointers(std::vector<std::string>& strings) {
  std::vector<char*> result;
  for (std::string& string : strings) result.push_back(string.data());
  result.push_back(nullptr);
  return result;
}

}  // namespace

uid_t user_of(Who who) {
  if (who == Who::kRoot || ::geteuid() != 0) return ::geteuid();
  return unprivileged;
}

Scratch::Scratch(Who who, const std::string& where) : who_(who) {
  std::string pattern = where + "/sallyport-cell-XXXXXX";
  if (::mkdtemp(pattern.data()) == nullptr) std::abort();
  path_ = pattern;
  if (::chown(path_.c_str(), user_of(who), user_of(who)) != 0) std::abort();
}

Scratch::~Scratch() {
  ::nftw(
      path_.c_str(), [](const char* path, const struct stat*, int, FTW*) { return ::remove(path); }, 16,
      FTW_DEPTH | FTW_PHYS);
}

void Scratch::make_directory(const std::string& name) const {
  std::string path = path_;
  std::istringstream parts(name);
  for (std::string part; std::getline(parts, part, '/');) {
    path += "/" + part;
    if (::mkdir(path.c_str(), 0755) == 0 && ::chown(path.c_str(), user_of(who_), user_of(who_)) != 0) std::abort();
  }
}

void Scratch::write(const std::string& name, const std::string& text) const {
  if (const std::size_t slash = name.rfind('/'); slash != name.npos) make_directory(name.substr(0, slash));
  std::ofstream(path_ + "/" + name) << text;
  if (::chown((path_ + "/" + name).c_str(), user_of(who_), user_of(who_)) != 0) std::abort();
}

std::string Scratch::read(const std::string& name) const {
  std::ifstream file(path_ + "/" + name);
  return {std::istreambuf_iterator<char>(file), {}};
}

bool Outcome::reported(const std::string& start) const { return count(start) > 0; }

int Outcome::count(const std::string& start) const {
  int count = 0;
  for (const std::string& line : report) count += line.starts_with(start);
  return count;
}

std::string Outcome::all() const {
  std::string text = "code " + std::to_string(code) + "\noutput:\n" + output + "report:\n";
  for (const std::string& line : report) text += "  " + line + "\n";
  return text;
}

Outcome run(const Launch& wanted) {
  Scratch own(wanted.who);
  const std::string report = own / "report";
  std::array<int, 2> output;
  std::array<int, 2> input;
  if (::pipe2(output.data(), O_CLOEXEC) != 0 || ::pipe2(input.data(), O_CLOEXEC) != 0) std::abort();
  const pid_t pid = ::fork();
  if (pid == 0) {
    ::dup2(input[0], 0);
    ::dup2(output[1], 1);
    ::dup2(output[1], 2);
    if (wanted.before_drop) wanted.before_drop();
    become(wanted.who);
    if (!wanted.directory.empty() && ::chdir(wanted.directory.c_str()) != 0) ::_exit(98);
    std::vector<std::string> arguments = {cell_run_path(), "--report", report, "--home", wanted.home};
    arguments.insert(arguments.end(), wanted.options.begin(), wanted.options.end());
    arguments.emplace_back("--");
    arguments.insert(arguments.end(), wanted.command.begin(), wanted.command.end());
    std::vector<std::string> environment = {"PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "HOME=" + wanted.home};
    environment.insert(environment.end(), wanted.environment.begin(), wanted.environment.end());
    if (wanted.before_exec) wanted.before_exec();
    ::execve(arguments[0].c_str(), pointers(arguments).data(), pointers(environment).data());
    ::_exit(97);
  }
  ::close(input[0]);
  ::close(output[1]);
  ::signal(SIGPIPE, SIG_IGN);
  static_cast<void>(::write(input[1], wanted.input.data(), wanted.input.size()) == 0);
  ::close(input[1]);
  Outcome outcome;
  std::array<char, 65536> block;
  for (ssize_t size = 0; (size = ::read(output[0], block.data(), block.size())) > 0;)
    outcome.output.append(block.data(), static_cast<std::size_t>(size));
  ::close(output[0]);
  int status = 0;
  ::waitpid(pid, &status, 0);
  outcome.code = WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  std::ifstream lines(report);
  for (std::string line; std::getline(lines, line);) outcome.report.push_back(line);
  return outcome;
}

Outside::Outside(Who who, const std::function<void()>& body) : pid_(::fork()) {
  if (pid_ != 0) return;
  become(who);
  body();
  ::_exit(0);
}

void Outside::join() {
  ::waitpid(pid_, nullptr, 0);
  pid_ = -1;
}

Outside::~Outside() {
  if (pid_ < 0) return;
  ::kill(pid_, SIGKILL);
  ::waitpid(pid_, nullptr, 0);
}

int listen_at(const std::string& path, int type) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, path.c_str(), sizeof(address.sun_path) - 1);
  const int fd = ::socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
  if (fd < 0 || ::bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0) std::abort();
  ::chmod(path.c_str(), 0777);
  if (type == SOCK_STREAM && ::listen(fd, 8) != 0) std::abort();
  return fd;
}

std::vector<std::string> python(const std::string& script) { return {"/usr/bin/python3", "-c", script}; }
std::vector<std::string> shell(const std::string& script) { return {"/bin/sh", "-c", script}; }

}  // namespace sallyport::cell_test
