#include "host/attach/target.hpp"

#include <absl/strings/str_format.h>
#include <absl/strings/str_join.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <string_view>
#include <utility>

#include "host/cell/kernel_files.hpp"

namespace sallyport {
namespace {

std::string process_file(pid_t pid, const char* name) { return absl::StrFormat("/proc/%d/%s", pid, name); }

bool same_file(const std::string& a, const std::string& b) {
  struct stat first{}, second{};
  return ::stat(a.c_str(), &first) == 0 && ::stat(b.c_str(), &second) == 0 && first.st_dev == second.st_dev &&
         first.st_ino == second.st_ino;
}

absl::Status gone(pid_t pid) { return absl::NotFoundError(absl::StrFormat("there is no process %d", pid)); }

// A file of the container without following what the container may have put in the way.
int open_in_root(int root, const std::string& path) {
  open_how how{};
  how.flags = O_PATH | O_CLOEXEC;
  how.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;
  return static_cast<int>(::syscall(SYS_openat2, root, path.c_str(), &how, sizeof how));
}

// "\040" and the like, as mountinfo writes them.
std::string unescape(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto octal = [&](std::size_t at) { return at < text.size() && text[at] >= '0' && text[at] <= '7'; };
    if (text[i] == '\\' && octal(i + 1) && octal(i + 2) && octal(i + 3)) {
      out += static_cast<char>((text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 + (text[i + 3] - '0'));
      i += 3;
    } else {
      out += text[i];
    }
  }
  return out;
}

// What a container named, as text that no terminal acts on.
std::string plain(std::string_view text) {
  std::string out;
  for (const char c : text) out += c >= 0x20 && c < 0x7f ? c : '?';
  return out;
}

}  // namespace

absl::StatusOr<Target> Target::open(pid_t pid) {
  Target target;
  target.pid = pid;
  target.process = Descriptor(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  if (target.process.get() < 0 && errno == ESRCH) return gone(pid);
  if (target.process.get() < 0)
    return absl::FailedPreconditionError(absl::StrFormat("process %d: %s", pid, std::strerror(errno)));
  target.network = Descriptor(::open(process_file(pid, "ns/net").c_str(), O_RDONLY | O_CLOEXEC));
  const int error = errno;
  // What was opened by number is the process's if it still lives now.
  pollfd ended{target.process.get(), POLLIN, 0};
  if (::poll(&ended, 1, 0) != 0) return gone(pid);
  if (target.network.get() < 0) {
    return absl::FailedPreconditionError(
        absl::StrFormat("the network namespace of process %d: %s", pid, std::strerror(error)));
  }
  struct stat theirs{}, ours{};
  if (::fstat(target.network.get(), &theirs) != 0 || ::stat("/proc/self/ns/net", &ours) != 0)
    return absl::InternalError(absl::StrFormat("network namespaces: %s", std::strerror(errno)));
  if (theirs.st_dev == ours.st_dev && theirs.st_ino == ours.st_ino) {
    return absl::FailedPreconditionError(
        absl::StrFormat("process %d has the host's network\nstart it with a network namespace of its own: docker run "
                        "--network none, unshare -n",
                        pid));
  }
  if (::flock(target.network.get(), LOCK_EX | LOCK_NB) != 0) {
    const char* why = errno == EWOULDBLOCK ? "another sallyport is attached to it" : std::strerror(errno);
    return absl::FailedPreconditionError(absl::StrFormat("the network namespace of process %d: %s", pid, why));
  }
  return target;
}

std::vector<std::string> telling_capabilities(std::string_view status) {
  constexpr std::string_view kField = "\nCapBnd:\t";
  const std::size_t at = status.find(kField);
  if (at == status.npos) return {};
  const unsigned long long bits =
      std::strtoull(std::string(status.substr(at + kField.size(), 16)).c_str(), nullptr, 16);
  constexpr std::pair<unsigned, const char*> kTelling[] = {{12, "NET_ADMIN"},  {16, "SYS_MODULE"}, {17, "SYS_RAWIO"},
                                                           {19, "SYS_PTRACE"}, {21, "SYS_ADMIN"},  {39, "BPF"}};
  std::vector<std::string> names;
  for (const auto& [bit, name] : kTelling) {
    if ((bits >> bit & 1) != 0) names.emplace_back(name);
  }
  return names;
}

std::vector<std::string> mount_points(std::string_view mountinfo) {
  constexpr std::array<std::string_view, 10> kKernels = {"proc",   "sysfs", "cgroup",  "cgroup2", "devpts",
                                                         "mqueue", "bpf",   "debugfs", "tracefs", "securityfs"};
  std::vector<std::string> points;
  while (!mountinfo.empty()) {
    const std::string_view line = mountinfo.substr(0, mountinfo.find('\n'));
    mountinfo.remove_prefix(std::min(line.size() + 1, mountinfo.size()));
    std::string_view rest = line;
    for (int field = 0; field < 4; ++field) {
      const std::size_t space = rest.find(' ');
      rest = space == rest.npos ? std::string_view() : rest.substr(space + 1);
    }
    const std::size_t dash = line.find(" - ");
    if (rest.empty() || dash == line.npos) continue;
    const std::string_view type = line.substr(dash + 3, line.find(' ', dash + 3) - dash - 3);
    if (std::find(kKernels.begin(), kKernels.end(), type) != kKernels.end()) continue;
    points.push_back(unescape(rest.substr(0, rest.find(' '))));
  }
  return points;
}

std::vector<std::string> exposures(pid_t pid) {
  std::vector<std::string> lines;
  const std::string status = cell::read_kernel_file(process_file(pid, "status").c_str()).value_or("");
  // In a user namespace of its own its capabilities mean nothing outside.
  const bool of_this_host = same_file(process_file(pid, "ns/user"), "/proc/self/ns/user");
  const bool sees_our_processes = same_file(process_file(pid, "ns/pid"), "/proc/self/ns/pid");
  std::vector<std::string> names = of_this_host ? telling_capabilities(status) : std::vector<std::string>();
  const auto has = [&names](const char* name) { return std::find(names.begin(), names.end(), name) != names.end(); };
  std::vector<std::string> strong;
  for (const std::string& name : names) {
    const bool needs_processes = name == "NET_ADMIN" || name == "SYS_PTRACE" || name == "BPF";
    if (!needs_processes || sees_our_processes) strong.push_back(name);
  }
  if (!strong.empty()) {
    lines.push_back(absl::StrFormat("not held: it may have %s%s, by which it can leave its namespaces",
                                    absl::StrJoin(strong, ", "),
                                    sees_our_processes ? " and sees the host's processes" : ""));
  } else if (has("NET_ADMIN")) {
    lines.push_back("it may have NET_ADMIN: it can take its rules away, and reaches nothing then");
  }
  const Descriptor root(::open(process_file(pid, "root").c_str(), O_PATH | O_CLOEXEC));
  const std::string mounts = cell::read_kernel_file(process_file(pid, "mountinfo").c_str()).value_or("");
  // Of a process with the host's own mounts everything is there; one line says so.
  if (same_file(process_file(pid, "ns/mnt"), "/proc/self/ns/mnt")) {
    lines.push_back("not held: it sees the host's files, and every Unix socket that it may open");
    return lines;
  }
  constexpr std::size_t kMostLines = 16;
  for (const std::string& point : mount_points(mounts)) {
    const Descriptor file(open_in_root(root.get(), point));
    struct stat seen{};
    if (file.get() < 0 || ::fstat(file.get(), &seen) != 0 || !S_ISSOCK(seen.st_mode)) continue;
    lines.push_back(absl::StrFormat("not held: %s is a Unix socket from outside; who listens there can be talked to",
                                    plain(point)));
    if (lines.size() == kMostLines) break;
  }
  return lines;
}

}  // namespace sallyport
