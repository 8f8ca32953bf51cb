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

#include <cerrno>
#include <csignal>
#include <cstring>

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

JailError drop_privileges(std::optional<unsigned> uid) {
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return failed("worker: no_new_privs");
  // The bounding set first, while CAP_SETPCAP is still there.
  capng_clear(CAPNG_SELECT_BOTH);
  if (uid) {
    capng_updatev(CAPNG_ADD, static_cast<capng_type_t>(CAPNG_EFFECTIVE | CAPNG_PERMITTED), CAP_SETUID, CAP_SETGID, -1);
  }
  if (capng_apply(CAPNG_SELECT_BOTH) != 0) return failed("worker: drop capabilities");
  if (uid) {
    const gid_t gid = *uid;
    if (::setgroups(0, nullptr) != 0 || ::setresgid(gid, gid, gid) != 0 || ::setresuid(*uid, *uid, *uid) != 0)
      return failed("worker: change uid");
    capng_clear(CAPNG_SELECT_BOTH);
    if (capng_apply(CAPNG_SELECT_CAPS) != 0) return failed("worker: drop capabilities");
  }
  // After the last change of credentials: they reset both.
  if (::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0) return failed("worker: undumpable");
  if (::prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) != 0) return failed("worker: die with the warden");
  return std::nullopt;
}

}  // namespace sallyport
