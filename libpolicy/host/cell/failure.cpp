#include "host/cell/failure.hpp"

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
  return "the kernel refuses user namespaces here; in a container, run it with --security-opt seccomp=unconfined, or "
         "use a "
         "gate (sallyport serve)";
}

}  // namespace

std::string user_namespace_remedy() {
  const int error = errno;  // the caller is about to say what it means
  std::string remedy = find_switch();
  errno = error;
  return remedy;
}

}  // namespace sallyport::cell
