#include "host/cell/stdio_copy.hpp"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <csignal>
#include <filesystem>
#include <string>

#include "host/cell/mount_table.hpp"

namespace sallyport::cell {
namespace {

constexpr int kPipeSize = 1 << 20;  // fewer turns; what is left of the default size serves as well
constexpr std::size_t kBlockSize = std::size_t{1} << 18;
constexpr unsigned kMemoryDevices = 1;                          // Documentation/admin-guide/devices.txt
constexpr std::array<unsigned, 5> kInOwnDev = {3, 5, 7, 8, 9};  // null, zero, full, random, urandom
constexpr std::array<unsigned, 2> kTerminals = {4, 5};          // ttyN, ttySN; tty, console
constexpr unsigned kFirstPts = 136;
constexpr unsigned kLastPts = 143;

bool is_connected_unix_stream(int fd) {
  int domain = AF_UNSPEC;
  int type = 0;
  socklen_t size = sizeof(int);
  sockaddr_storage peer;
  socklen_t peer_size = sizeof(peer);
  return ::getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) == 0 && domain == AF_UNIX &&
         ::getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0 && (type == SOCK_STREAM || type == SOCK_SEQPACKET) &&
         ::getpeername(fd, reinterpret_cast<sockaddr*>(&peer), &peer_size) == 0;
}

bool write_all(int fd, const char* data, std::size_t size) {
  while (size > 0) {
    const ssize_t written = ::write(fd, data, size);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return false;
    data += written;
    size -= static_cast<std::size_t>(written);
  }
  return true;
}

// Ends with the errno of a write that failed.
[[noreturn]] void copy(int from, int to) {
  // Only the two descriptors: whoever waits for the end of another must not wait for this process.
  const int high = from > to ? from : to;
  const int low = from > to ? to : from;
  if (low > 0) ::close_range(0, static_cast<unsigned>(low) - 1, 0);
  if (high - low > 1) ::close_range(static_cast<unsigned>(low) + 1, static_cast<unsigned>(high) - 1, 0);
  ::close_range(static_cast<unsigned>(high) + 1, ~0u, 0);
  ::signal(SIGPIPE, SIG_IGN);
  // What reaches the whole group is for the command: this process ends with the data.
  for (int number : {SIGINT, SIGQUIT, SIGTSTP, SIGHUP, SIGTERM, SIGUSR1, SIGUSR2}) ::signal(number, SIG_IGN);
  static std::array<char, kBlockSize> block;
  for (;;) {
    const ssize_t size = ::read(from, block.data(), block.size());
    if (size < 0 && errno == EINTR) continue;
    if (size <= 0) ::_exit(0);
    if (!write_all(to, block.data(), static_cast<std::size_t>(size)))
      ::_exit(errno == EPIPE || errno == ECONNRESET ? 0 : errno);  // a reader that has gone is no loss
  }
}

Failure copy_by_pipe(int fd, bool input, StdioCopies& copies) {
  std::array<int, 2> pipe;
  if (::pipe2(pipe.data(), O_CLOEXEC) != 0) return failed("pipe");
  ::fcntl(pipe[0], F_SETPIPE_SZ, kPipeSize);
  const int mine = input ? pipe[1] : pipe[0];
  const pid_t pid = ::fork();
  if (pid < 0) return failed("fork");
  if (pid == 0) {
    ::close(input ? pipe[0] : pipe[1]);
    if (input) ::prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    input ? copy(fd, mine) : copy(mine, fd);
  }
  ::close(mine);
  copies.files[fd] = input ? pipe[0] : pipe[1];
  (input ? copies.input : copies.output).push_back(pid);
  return {};
}

bool same_file(const struct stat& one, const struct stat& other) {
  return one.st_dev == other.st_dev && one.st_ino == other.st_ino && one.st_rdev == other.st_rdev;
}

// The name the kernel knows the descriptor's file by, if it leads there; empty: deleted, or of another namespace.
std::string path_of(int fd, const struct stat& status) {
  std::array<char, PATH_MAX> name;
  const ssize_t size = ::readlink(("/proc/self/fd/" + std::to_string(fd)).c_str(), name.data(), name.size());
  if (size <= 0 || name[0] != '/') return {};
  std::string path(name.data(), static_cast<std::size_t>(size));
  struct stat found;
  return ::stat(path.c_str(), &found) == 0 && same_file(found, status) ? path : std::string();
}

// The command may write to the file by its name: it lies in something real and is not one that is kept read-only there.
bool is_the_commands(const FilePlan& plan, const std::string& path) {
  const auto covers = [&](const std::string& directory) { return is_within(path, directory); };
  if (path.empty() || std::any_of(plan.protect.begin(), plan.protect.end(), covers)) return false;
  for (const std::filesystem::path& part : std::filesystem::path(path))
    if (part == ".git" || std::find(kEditorFiles.begin(), kEditorFiles.end(), part) != kEditorFiles.end()) return false;
  return (std::any_of(plan.real.begin(), plan.real.end(), covers) ||
          std::any_of(plan.binds.begin(), plan.binds.end(), covers)) &&
         ::access(path.c_str(), W_OK) == 0;
}

bool is_terminal(int fd, dev_t device) {
  const unsigned number = major(device);
  return ::isatty(fd) == 1 || std::find(kTerminals.begin(), kTerminals.end(), number) != kTerminals.end() ||
         (number >= kFirstPts && number <= kLastPts);  // one that was hung up is none for isatty(3)
}

bool is_in_own_dev(dev_t device) {
  return major(device) == kMemoryDevices &&
         std::find(kInOwnDev.begin(), kInOwnDev.end(), minor(device)) != kInOwnDev.end();
}

bool can_be_opened(const std::string& path, int mode) {
  const int wanted = mode == O_RDONLY ? R_OK : mode == O_WRONLY ? W_OK : R_OK | W_OK;
  return !path.empty() && ::access(path.c_str(), wanted) == 0;
}

// An earlier descriptor whose appending process can take this one's as well, so that the two keep their order.
int earlier_append(int fd, const struct stat& status, const StdioCopies& copies) {
  for (int earlier = 1; earlier < fd; ++earlier) {
    struct stat other;
    if (copies.files[earlier] != earlier && ::fstat(earlier, &other) == 0 && same_file(other, status)) return earlier;
  }
  return -1;
}

Failure contain_file(int fd, const FilePlan& plan, const struct stat& status, StdioCopies& copies) {
  const int flags = ::fcntl(fd, F_GETFL);
  const int mode = flags & O_ACCMODE;
  const std::string path = path_of(fd, status);
  if (is_the_commands(plan, path)) return {};
  if (mode == O_RDONLY) {
    if (!can_be_opened(path, mode)) return copy_by_pipe(fd, true, copies);
    copies.read_only.push_back({.fd = fd, .path = path});
    return {};
  }
  if ((flags & O_APPEND) == 0 || fd == 0) {
    copies.modes.push_back({.fd = fd, .mode = status.st_mode & 07777, .uid = status.st_uid, .gid = status.st_gid});
    return {};
  }
  const int earlier = earlier_append(fd, status, copies);
  if (earlier < 0) return copy_by_pipe(fd, false, copies);
  copies.files[fd] = ::fcntl(copies.files[earlier], F_DUPFD_CLOEXEC, 3);
  return copies.files[fd] < 0 ? Failure(failed("pipe")) : Failure();
}

Failure contain_device(int fd, const struct stat& status, StdioCopies& copies) {
  const int mode = ::fcntl(fd, F_GETFL) & O_ACCMODE;
  const std::string path = path_of(fd, status);
  const bool own = S_ISCHR(status.st_mode) && is_in_own_dev(status.st_rdev);
  if ((S_ISBLK(status.st_mode) || own) && can_be_opened(path, mode)) {
    copies.read_only.push_back({.fd = fd, .path = path, .has_offset = !own, .no_devices = !own});
    return {};
  }
  return copy_by_pipe(fd, mode == O_RDONLY || (mode == O_RDWR && fd == 0), copies);
}

int open_tree_at(const std::string& path) {
  return static_cast<int>(::syscall(SYS_open_tree, AT_FDCWD, path.c_str(), OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC));
}

}  // namespace

Failure contain_standard_files(const FilePlan& plan, StdioCopies& copies) {
  for (int fd = 0; fd <= 2; ++fd) {
    struct stat status;
    if (::fstat(fd, &status) != 0) return failed("look at descriptor " + std::to_string(fd));
    if (S_ISDIR(status.st_mode) || (::fcntl(fd, F_GETFL) & O_PATH) != 0)
      return CellError{"descriptor " + std::to_string(fd) + " is a directory, which leads out of the cell",
                       "redirect it from a file, a pipe or /dev/null"};
    Failure failure;
    if (S_ISREG(status.st_mode)) {
      failure = contain_file(fd, plan, status, copies);
    } else if (S_ISBLK(status.st_mode) || (S_ISCHR(status.st_mode) && !is_terminal(fd, status.st_rdev))) {
      failure = contain_device(fd, status, copies);
    } else if (S_ISSOCK(status.st_mode) ? !is_connected_unix_stream(fd)
                                        : !S_ISFIFO(status.st_mode) && !S_ISCHR(status.st_mode)) {
      failure = copy_by_pipe(fd, fd == 0, copies);
    }
    if (failure) return failure;
  }
  return {};
}

Failure reopen_read_only(const std::vector<ReadOnlyFile>& files, std::vector<SharedOffset>& offsets) {
  for (const ReadOnlyFile& file : files) {
    const std::string what = "make descriptor " + std::to_string(file.fd) + " read-only";
    const std::string remedy = "give the command a pipe: cat " + file.path + " | sallyport run ...";
    struct stat wanted;
    struct stat found;
    const int flags = ::fcntl(file.fd, F_GETFL);
    const int tree = open_tree_at(file.path);
    if (tree < 0 || ::fstat(file.fd, &wanted) != 0) return failed(what, remedy);
    const std::string again = "/proc/self/fd/" + std::to_string(tree);
    const int opened = ::open(again.c_str(), (flags & (O_ACCMODE | O_NONBLOCK)) | O_CLOEXEC | O_NOCTTY);
    if (opened < 0 || ::fstat(opened, &found) != 0) return failed(what, remedy);
    if (!same_file(wanted, found)) return CellError{what + ": its name leads to another file by now", remedy};
    // Only now: a device can't be opened on a nodev mount.
    mount_attr attributes{.attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID |
                                      (file.no_devices ? static_cast<std::uint64_t>(MOUNT_ATTR_NODEV) : 0)};
    if (::syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH, &attributes, sizeof(attributes)) != 0)
      return failed(what, remedy);
    ::close(tree);
    if (file.has_offset) {
      const off_t start = ::lseek(file.fd, 0, SEEK_CUR);
      if (start >= 0 && ::lseek(opened, start, SEEK_SET) != start) return failed(what, remedy);
      offsets.push_back({.callers = ::fcntl(file.fd, F_DUPFD_CLOEXEC, 3), .commands = opened, .start = start});
    }
    if (::dup2(opened, file.fd) != file.fd) return failed(what, remedy);
    if (!file.has_offset) ::close(opened);
  }
  return {};
}

void advance_callers_offsets(const std::vector<SharedOffset>& offsets) {
  for (const SharedOffset& shared : offsets) {
    const off_t end = ::lseek(shared.commands, 0, SEEK_CUR);
    // Who else has the caller's descriptor may have read on meanwhile: then it is theirs.
    if (end >= 0 && ::lseek(shared.callers, 0, SEEK_CUR) == shared.start) ::lseek(shared.callers, end, SEEK_SET);
  }
}

void restore_modes(const std::vector<KeptMode>& modes) {
  for (const KeptMode& kept : modes) {
    struct stat status;
    if (::fstat(kept.fd, &status) != 0) continue;
    const bool owner = status.st_uid == kept.uid && status.st_gid == kept.gid;
    constexpr mode_t kSetId = S_ISUID | S_ISGID;
    const mode_t mode = kept.mode & (~kSetId | status.st_mode);  // what a write has cleared stays cleared
    // The mode first and last: neither may the new owner have the command's, nor does fchown(2) keep all of ours.
    if (!owner && (::fchmod(kept.fd, kept.mode & 0777) != 0 || ::fchown(kept.fd, kept.uid, kept.gid) != 0)) continue;
    if (!owner || (status.st_mode & 07777) != mode) static_cast<void>(::fchmod(kept.fd, mode) == 0);
  }
}

}  // namespace sallyport::cell
