#include "host/cell/failure.hpp"

#include <sys/resource.h>

#include <cerrno>
#include <cstring>
#include <fstream>

namespace sallyport::cell {
namespace {

// The first number in a sysctl file, or nothing where the kernel has no such switch.
std::optional<long> switch_value(const char* path) {
  std::ifstream file(path);
  long value = 0;
  if (!(file >> value)) return std::nullopt;
  return value;
}

}  // namespace

CellError failed(std::string_view what, int error, std::string_view remedy) {
  return {std::string(what) + ": " + std::strerror(error), std::string(remedy)};
}

CellError failed(std::string_view what, std::string_view remedy) { return failed(what, errno, remedy); }

namespace {

std::string find_switch() {
  if (switch_value("/proc/sys/kernel/unprivileged_userns_clone") == 0)
    return "user namespaces are switched off: sudo sysctl -w kernel.unprivileged_userns_clone=1";
  if (switch_value("/proc/sys/user/max_user_namespaces") == 0)
    return "user namespaces are switched off: sudo sysctl -w user.max_user_namespaces=15000";
  if (switch_value("/proc/sys/user/max_net_namespaces") == 0)
    return "network namespaces are switched off: sudo sysctl -w user.max_net_namespaces=15000";
  if (switch_value("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == 1)
    return "AppArmor restricts user namespaces: sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0, or "
           "install "
           "the AppArmor profile of the sallyport package";
  return "the kernel refuses user namespaces here; in a container, run it with --security-opt seccomp=unconfined";
}

std::string process_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NPROC, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY)
    return "no more processes may be made here: see pids.max of the container or session, and kernel.pid_max";
  return "no more processes may be made: raise ulimit -u (now " + std::to_string(limit.rlim_cur) +
         "), or end some of this user's";
}

}  // namespace

CellError namespace_failure(std::string_view what, int error, bool privileged) {
  if (error == EAGAIN) return failed(what, error, process_limit());
  if (error == ENOSPC || error == EUSERS) {
    for (const char* name : {"user", "net", "mnt", "pid", "ipc", "uts", "cgroup"}) {
      const std::string key = "max_" + std::string(name) + "_namespaces";
      if (switch_value(("/proc/sys/user/" + key).c_str()) == 0)
        return failed(what, error, "such namespaces are switched off: sudo sysctl -w user." + key + "=15000");
    }
    return failed(what, error,
                  "a limit of namespaces is reached: 32 nested in one another, or sysctl user.max_user_namespaces and "
                  "user.max_net_namespaces");
  }
  if (privileged)
    return failed(what, error, "root without CAP_SYS_ADMIN can't; run sallyport as a user, or give the capability");
  errno = error;
  return failed(what, error, user_namespace_remedy());
}

std::string user_namespace_remedy() {
  const int error = errno;  // the caller is about to say what it means
  std::string remedy = find_switch();
  errno = error;
  return remedy;
}

}  // namespace sallyport::cell
