// The road not taken: one overlay with lowerdir=/ is refused in a user namespace, whose mounts are locked in place; a
// plain bind would show the host's sockets as they are. So each directory that has no mount below it is an overlay of
// its own, and the directories above them are rebuilt entry by entry.
#include "host/cell/files.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <memory>
#include <optional>

#include "host/cell/kernel_files.hpp"
#include "host/cell/mounts.hpp"

namespace sallyport::cell {
namespace {

constexpr std::uint64_t kReadOnly = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV;
// Any directory that exists everywhere serves: the mount moves away from it when it becomes the root.
constexpr std::array<const char*, 4> kScratch = {"/tmp", "/run", "/dev", "/usr"};
constexpr std::array<std::string_view, 6> kPrivate = {"/tmp", "/var/tmp", "/run", "/dev", "/proc", "/sys"};
constexpr std::array<std::string_view, 3> kOwnEtc = {"/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf"};
constexpr off_t kLargestCopy = 256 * 1024;  // .bash_history and the like; what is larger is read-only
constexpr std::string_view kMountRemedy = kKernelRemedy;

// The host's nsswitch.conf with its own line for hosts: what a module would ask (resolved, mDNS) is not in the cell.
std::string own_nsswitch() {
  std::string result;
  std::string host = read_kernel_file("/old/etc/nsswitch.conf").value_or("passwd: files\ngroup: files\n");
  std::string_view rest = host;
  while (!rest.empty()) {
    const std::size_t end = std::min(rest.find('\n'), rest.size());
    const std::string_view line = rest.substr(0, end);
    if (!line.substr(std::min(line.find_first_not_of(" \t"), line.size())).starts_with("hosts:"))
      result.append(line) += '\n';
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  return result + "hosts: files dns\n";
}

std::string own_hosts() {
  std::string hosts = "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n";
  std::array<char, HOST_NAME_MAX + 1> name{};
  if (::gethostname(name.data(), name.size() - 1) == 0 && name[0] != '\0' &&
      std::string_view(name.data()) != "localhost")
    hosts += "127.0.1.1 " + std::string(name.data()) + "\n";  // a program that resolves its own host asks nobody
  return hosts;
}

}  // namespace

std::string in_old(const std::string& path) { return path == "/" ? "/old" : "/old" + path; }
std::string in_new(const std::string& path) { return path == "/" ? "/new" : "/new" + path; }

bool is_private_directory(std::string_view path) {
  return std::find(kPrivate.begin(), kPrivate.end(), path) != kPrivate.end();
}

bool is_within_private_directory(std::string_view path) {
  return std::any_of(kPrivate.begin(), kPrivate.end(), [&](std::string_view own) { return is_within(path, own); });
}

FileView::FileView(const FilePlan& plan, bool mounts_are_locked, bool full_map)
    : plan_(plan), mounts_are_locked_(mounts_are_locked), full_map_(full_map), notes_(plan.notes) {}

Failure FileView::build() {
  host_mounts_ = MountTable::of_this_process();
  if (host_mounts_.empty()) return failed("read /proc/self/mountinfo", "mount /proc");
  if (Failure failure = step_aside()) return failure;

  cover("/");
  // $HOME has an overlay of its own: the copy-up of a file needs the directories above to belong to someone we can
  // name.
  if (!plan_.home.empty() && plan_.home != "/" && !is_within_private_directory(plan_.home) &&
      !host_mounts_.has_beneath(plan_.home) &&
      std::find(overlaid_.begin(), overlaid_.end(), plan_.home) == overlaid_.end())
    cover_by_overlay(plan_.home);
  if (Failure failure = private_directories()) return failure;
  if (Failure failure = devices()) return failure;
  if (Failure failure = kernel_views()) return failure;
  for (const std::string& path : plan_.brought_back) bring_back(path);
  if (Failure failure = own_etc()) return failure;
  for (const std::string& path : plan_.real)
    if (Failure failure = make_real(path)) return failure;
  for (const std::string& path : plan_.binds)
    if (Failure failure = open_bind(path)) return failure;
  if (refuse_unix_sockets())
    notes_.push_back(
        "no overlay file system to be had: files are read-only, and Unix sockets (AF_UNIX) are refused whole");
  return become_root();
}

Failure FileView::step_aside() {
  if (::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0)
    return failed("make mounts private", kMountRemedy);
  const char* scratch = nullptr;
  for (const char* candidate : kScratch) {
    if (!mount_tmpfs(candidate, 0755, MS_NOSUID | MS_NODEV)) continue;
    scratch = candidate;
    break;
  }
  if (scratch == nullptr) return failed("mount a tmpfs", kMountRemedy);
  if (::chdir(scratch) != 0 || ::mkdir("old", 0755) != 0 || ::mkdir("new", 0755) != 0 || ::mkdir("store", 0700) != 0 ||
      ::mkdir("masks", 0555) != 0)
    return failed("prepare a new root");
  if (!pivot_root(".", "old"))
    return failed("pivot_root", "the root is the kernel's initial ramfs; sallyport needs a real root file system");
  if (::chdir("/") != 0) return failed("enter the new root");
  const int mask = ::open(kMaskFile, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0);
  if (mask < 0) return failed("prepare a new root");
  ::close(mask);
  if (!mount_tmpfs("/new", 0755, MS_NOSUID | MS_NODEV)) return failed("mount a tmpfs", kMountRemedy);
  return {};
}

// The parts of the host's tree below `path`, writes thrown away. What its owner keeps from the caller is an empty
// directory.
void FileView::cover(const std::string& path) {
  if (is_private_directory(path) || host_mounts_.is_kernels(path)) return;
  struct stat status;
  if (::lstat(in_old(path).c_str(), &status) != 0) return;
  if (!S_ISDIR(status.st_mode)) {
    if (!S_ISREG(status.st_mode) || std::find(kOwnEtc.begin(), kOwnEtc.end(), path) != kOwnEtc.end()) return;
    if (!cover_by_copy(path, status)) cover_read_only(path);
    return;
  }
  if (!make_mount_point(in_new(path), true)) return;
  const bool mounts_beneath = host_mounts_.has_beneath(path);
  if (mounts_beneath && mounts_are_locked_) return cover_entries(path);
  if (!cover_by_overlay(path)) {
    // An unreadable directory shows nothing; one that can be entered but not overlaid is seen read-only.
    if (::access(in_old(path).c_str(), X_OK) != 0) return;
    return mounts_beneath ? cover_entries(path) : cover_read_only(path);
  }
  for (const std::string& beneath : host_mounts_.topmost_beneath(path)) cover(beneath);
}

void FileView::cover_entries(const std::string& path) {
  std::unique_ptr<DIR, decltype(&::closedir)> directory(::opendir(in_old(path).c_str()), &::closedir);
  if (!directory) return;
  while (const dirent* entry = ::readdir(directory.get())) {
    const std::string_view name = entry->d_name;
    if (name == "." || name == "..") continue;
    const std::string child = join(path, name);
    struct stat status;
    if (::fstatat(::dirfd(directory.get()), entry->d_name, &status, AT_SYMLINK_NOFOLLOW) != 0) continue;
    if (S_ISLNK(status.st_mode)) {
      std::array<char, PATH_MAX> target;
      const ssize_t size = ::readlinkat(::dirfd(directory.get()), entry->d_name, target.data(), target.size() - 1);
      if (size <= 0) continue;
      target[static_cast<std::size_t>(size)] = '\0';
      static_cast<void>(::symlink(target.data(), in_new(child).c_str()) == 0);  // one that can't be made is absent
    } else {
      cover(child);  // sockets, pipes and devices are left out there
    }
  }
}

bool FileView::cover_by_overlay(const std::string& path) {
  if (!mount_overlay(in_old(path), "/store/" + std::to_string(stores_++), in_new(path), mounts_are_locked_)) {
    static_cast<void>(::chdir("/") == 0);
    return false;
  }
  overlaid_.push_back(path);
  return true;
}

// Small files of $HOME where that could not be overlaid whole (something is mounted below it): programs write to them.
bool FileView::cover_by_copy(const std::string& path, const struct stat& status) {
  if (plan_.home.empty() || !is_within(path, plan_.home) || host_mounts_.has(path) || status.st_size > kLargestCopy)
    return false;
  const std::optional<std::string> text = read_kernel_file(in_old(path).c_str());
  return text && replace_file(in_new(path), *text, status.st_mode & 0777);
}

void FileView::cover_read_only(const std::string& path) {
  struct stat status;
  if (::lstat(in_old(path).c_str(), &status) != 0) return;
  const bool directory = S_ISDIR(status.st_mode);
  if (!make_mount_point(in_new(path), directory) || !bind_with(in_old(path), in_new(path), kReadOnly)) return;
  if (!directory) return;
  if (mask_sockets(path)) {  // a socket that can't be covered: show nothing instead
    ::umount2(in_new(path).c_str(), MNT_DETACH);
    notes_.push_back(path + " could not be overlaid, nor its sockets covered: left out");
    return;
  }
  notes_.push_back(path + " could not be overlaid: read-only");
}

// Something of the host's below a private directory: the directory as an overlay, a single file read-only.
void FileView::bring_back(const std::string& path) {
  for (const std::string& step : steps_below("/", path)) {
    struct stat status;
    if (::lstat(in_old(step).c_str(), &status) != 0) return;
    if (S_ISLNK(status.st_mode)) {  // /run/current-system: where it leads is seen by its own name
      std::array<char, PATH_MAX> target{};
      if (::readlink(in_old(step).c_str(), target.data(), target.size() - 1) > 0 &&
          make_directories(in_new(parent_of(step))))
        static_cast<void>(::symlink(target.data(), in_new(step).c_str()) == 0);
      return;
    }
    if (step != path) continue;
    if (S_ISREG(status.st_mode)) cover_read_only(path);
    if (S_ISDIR(status.st_mode)) cover(path);
  }
}

Failure FileView::own_etc() {
  if (!make_directories("/new/etc")) return failed("make /etc");
  if (Failure failure = own_etc_file("resolv.conf", "nameserver 198.18.0.1\n")) return failure;
  if (Failure failure = own_etc_file("hosts", own_hosts())) return failure;
  return own_etc_file("nsswitch.conf", own_nsswitch());
}

Failure FileView::own_etc_file(const std::string& name, std::string_view text) {
  const std::string path = "/new/etc/" + name;
  if (replace_file(path, text, 0644)) return {};
  // /etc is read-only: the file is bound over the one that is there, or put where the link there leads.
  const std::string own = "/" + name;
  if (!replace_file(own, text, 0644)) return failed("write " + own);
  std::array<char, PATH_MAX> link;
  const ssize_t size = ::readlink(path.c_str(), link.data(), link.size());
  if (size < 0) {
    if (bind_with(own, path, kReadOnly)) return {};
    return failed("replace /etc/" + name);
  }
  const std::string_view target(link.data(), static_cast<std::size_t>(size));
  std::string resolved = "/new";
  const std::string from_root = target.starts_with('/') ? std::string(target) : "/etc/" + std::string(target);
  for (std::string_view rest = from_root;
       !rest.empty();) {  // "/etc/../run/x" lexically: both ends are directories of the view
    rest.remove_prefix(1);
    const std::size_t end = std::min(rest.find('/'), rest.size());
    const std::string_view part = rest.substr(0, end);
    if (part == "..") {
      if (resolved != "/new") resolved = parent_of(resolved);
    } else if (!part.empty() && part != ".") {
      resolved = join(resolved, part);
    }
    rest.remove_prefix(end);
  }
  if (make_directories(parent_of(resolved)) && replace_file(resolved, text, 0644)) return {};
  return failed("replace /etc/" + name);
}

Failure FileView::become_root() {
  struct stat wanted;
  struct stat root;
  if (::stat("/new", &wanted) != 0 || ::chdir("/new") != 0 || !pivot_root(".", ".")) return failed("pivot_root");
  // The old root lies on top of the new one now; everything of the host's goes with it.
  if (::umount2(".", MNT_DETACH) != 0 || ::chdir("/") != 0) return failed("leave the host's files");
  if (::stat("/", &root) != 0 || root.st_dev != wanted.st_dev || root.st_ino != wanted.st_ino ||
      ::access("/old", F_OK) == 0 || ::access("/store", F_OK) == 0)
    return CellError{"the host's files are still in view after the change of root", std::string(kMountRemedy)};
  return {};
}

}  // namespace sallyport::cell
