#include "host/worker/jail.hpp"

#include <cap-ng.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/securebits.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <utility>

namespace sallyport {
namespace {

std::string failed(const char* what) { return std::string(what) + ": " + std::strerror(errno); }

// The whole memfd into a file of the new root. False with errno.
bool copy_plugin(int from, const std::string& path) {
  struct stat info;
  if (::fstat(from, &info) != 0) return false;
  const int to = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0555);
  if (to < 0) return false;
  ::fchmod(to, 0555);  // whatever the caller's umask: root's worker reads it as nobody
  off_t offset = 0;
  while (offset < info.st_size) {
    if (::sendfile(to, from, &offset, static_cast<std::size_t>(info.st_size - offset)) <= 0) break;
  }
  ::close(to);
  return offset == info.st_size;
}

}  // namespace

JailError build_root(const std::vector<int>& plugin_fds) {
  constexpr const char* kMountPoint = "/tmp";  // any directory does; it is covered only in this mount namespace
  if (::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) return failed("worker: make mounts private");
  if (::mount("sallyport", kMountPoint, "tmpfs", MS_NOSUID | MS_NODEV, "mode=0555,size=64m") != 0)
    return failed("worker: mount an empty root");
  if (::chdir(kMountPoint) != 0) return failed("worker: enter the empty root");
  for (std::size_t i = 0; i < plugin_fds.size(); ++i) {
    if (!copy_plugin(plugin_fds[i], std::to_string(i) + ".so")) return failed("worker: copy a plugin");
  }
  // pivot_root(".", "."): the old root ends up on top of the new one and is taken off (pivot_root(2), NOTES).
  if (::syscall(SYS_pivot_root, ".", ".") != 0) return failed("worker: pivot_root");
  if (::umount2(".", MNT_DETACH) != 0) return failed("worker: leave the old root");
  if (::chdir("/") != 0) return failed("worker: enter /");
  if (::mount("none", "/", nullptr, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV, nullptr) != 0)
    return failed("worker: make the root read-only");
  return std::nullopt;
}

bool KeptPrivileges::add_capability(std::string_view word) {
  // Those whose holder can do nothing to this machine but to its network.
  constexpr std::pair<std::string_view, int> kKnown[] = {{"net_admin", CAP_NET_ADMIN}, {"net_raw", CAP_NET_RAW}};
  for (const auto& [name, number] : kKnown) {
    if (name != word) continue;
    if (std::find(capabilities.begin(), capabilities.end(), number) == capabilities.end())
      capabilities.push_back(number);
    return true;
  }
  return false;
}

bool KeptPrivileges::add_socket(std::string_view word) {
  if (word == "netlink_netfilter") return netlink_netfilter = true;
  if (word == "netlink_route") return netlink_route = true;
  if (word == "packet") return packet = true;
  return false;
}

bool can_change_uid() {
  capng_get_caps_process();
  return capng_have_capability(CAPNG_EFFECTIVE, CAP_SETUID) == 1 &&
         capng_have_capability(CAPNG_EFFECTIVE, CAP_SETGID) == 1;
}

JailError drop_privileges(std::optional<unsigned> uid, const KeptPrivileges& kept) {
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return failed("worker: no_new_privs");
  const auto keep = [&kept](unsigned sets) {
    for (const int capability : kept.capabilities)
      capng_update(CAPNG_ADD, static_cast<capng_type_t>(sets), static_cast<unsigned>(capability));
  };
  capng_get_caps_process();
  // Without it the bounding set stays. It matters to execve alone, which no_new_privs and seccomp forbid.
  const bool bound = capng_have_capability(CAPNG_EFFECTIVE, CAP_SETPCAP) == 1;
  constexpr unsigned kUsable = CAPNG_EFFECTIVE | CAPNG_PERMITTED;
  for (const int capability : kept.capabilities) {
    if (capng_have_capability(CAPNG_PERMITTED, static_cast<unsigned>(capability)) != 1)
      return std::string("worker: a plugin needs the capability ") +
             capng_capability_to_name(static_cast<unsigned>(capability)) + ", which this process does not have";
  }
  // The bounding set first, while CAP_SETPCAP is still there.
  capng_clear(CAPNG_SELECT_BOTH);
  keep(kUsable | CAPNG_BOUNDING_SET);
  if (uid) {
    capng_updatev(CAPNG_ADD, static_cast<capng_type_t>(kUsable), CAP_SETUID, CAP_SETGID, -1);
  }
  if (capng_apply(bound ? CAPNG_SELECT_BOTH : CAPNG_SELECT_CAPS) != 0) return failed("worker: drop capabilities");
  if (uid) {
    if (!kept.capabilities.empty() && ::prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) != 0) return failed("worker: keepcaps");
    const gid_t gid = *uid;
    if (::setgroups(0, nullptr) != 0 || ::setresgid(gid, gid, gid) != 0 || ::setresuid(*uid, *uid, *uid) != 0)
      return failed("worker: change uid");
    capng_clear(CAPNG_SELECT_BOTH);
    keep(kUsable);
    if (capng_apply(CAPNG_SELECT_CAPS) != 0) return failed("worker: drop capabilities");
    if (::prctl(PR_SET_KEEPCAPS, 0, 0, 0, 0) != 0) return failed("worker: keepcaps");
  }
  // After the last change of credentials: they reset both.
  if (::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0) return failed("worker: undumpable");
  if (::prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) != 0) return failed("worker: die with the warden");
  return std::nullopt;
}

}  // namespace sallyport
