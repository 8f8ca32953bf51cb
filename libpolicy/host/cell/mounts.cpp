#include "host/cell/mounts.hpp"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

#include "host/cell/mount_table.hpp"

namespace sallyport::cell {

bool make_directories(const std::string& path) {
  if (::mkdir(path.c_str(), 0755) == 0 || errno == EEXIST) return true;
  if (errno != ENOENT) return false;
  return make_directories(parent_of(path)) && (::mkdir(path.c_str(), 0755) == 0 || errno == EEXIST);
}

bool make_mount_point(const std::string& path, bool directory) {
  struct stat status;
  if (::lstat(path.c_str(), &status) == 0) {
    if (S_ISDIR(status.st_mode) == directory && !S_ISLNK(status.st_mode)) return true;
    errno = directory ? ENOTDIR : EISDIR;
    return false;
  }
  if (directory) return make_directories(path);
  if (!make_directories(parent_of(path))) return false;
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0444);
  if (fd < 0) return false;
  ::close(fd);
  return true;
}

bool mount_tmpfs(const std::string& target, unsigned mode, unsigned long flags) {
  char options[32];
  std::snprintf(options, sizeof(options), "mode=%o", mode);
  return ::mount("tmpfs", target.c_str(), "tmpfs", flags, options) == 0;
}

bool bind(const std::string& source, const std::string& target) {
  return ::mount(source.c_str(), target.c_str(), nullptr, MS_BIND | MS_REC, nullptr) == 0;
}

bool add_mount_attributes(const std::string& target, std::uint64_t attributes) {
  mount_attr wanted{.attr_set = attributes};
  return ::syscall(SYS_mount_setattr, AT_FDCWD, target.c_str(), AT_RECURSIVE | AT_SYMLINK_NOFOLLOW, &wanted,
                   sizeof(wanted)) == 0;
}

bool bind_with(const std::string& source, const std::string& target, std::uint64_t attributes) {
  if (!bind(source, target)) return false;
  if (add_mount_attributes(target, attributes)) return true;
  const int error = errno;
  ::umount2(target.c_str(), MNT_DETACH);
  errno = error;
  return false;
}

bool mount_overlay(const std::string& lower, const std::string& store, const std::string& target, bool userxattr) {
  struct stat status;
  if (::chdir(lower.c_str()) != 0 || ::stat(".", &status) != 0) return false;
  const std::string upper = store + "/u";
  const std::string work = store + "/w";
  if (::mkdir(store.c_str(), 0700) != 0 || ::mkdir(upper.c_str(), 0700) != 0 || ::mkdir(work.c_str(), 0700) != 0)
    return false;
  // The overlay's own root has the attributes of the upper directory. An owner our user namespace does not map stays
  // ours.
  if (::chown(upper.c_str(), status.st_uid, status.st_gid) != 0 && !userxattr) return false;
  if (::chmod(upper.c_str(), status.st_mode & 07777) != 0) return false;
  // "." spares the escaping of ':' and ',' in paths.
  const std::string options = "lowerdir=.,upperdir=" + upper + ",workdir=" + work + (userxattr ? ",userxattr" : "");
  return ::mount("overlay", target.c_str(), "overlay", MS_NOSUID | MS_NODEV, options.c_str()) == 0;
}

bool pivot_root(const char* new_root, const char* put_old) { return ::syscall(SYS_pivot_root, new_root, put_old) == 0; }

}  // namespace sallyport::cell
