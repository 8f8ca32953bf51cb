// The path is walked one component at a time, each opened by its name in the directory opened before, with O_NOFOLLOW:
// that is RESOLVE_NO_SYMLINKS, and it works where a seccomp filter does not know openat2.
#include "language/trusted_file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <vector>

namespace sallyport {
namespace {

using Kind = TrustFailure::Kind;

class Descriptor {
 public:
  explicit Descriptor(int fd = -1) : fd_(fd) {}
  Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  int get() const { return fd_; }
  int release() { return std::exchange(fd_, -1); }

 private:
  int fd_;
};

std::string quote(const std::string& path) { return "`" + path + "`"; }

// The uid that owners outside this user namespace appear as.
uid_t overflow_uid() {
  const Descriptor fd(::open("/proc/sys/kernel/overflowuid", O_RDONLY | O_CLOEXEC));
  std::array<char, 16> text{};
  const ssize_t length = fd.get() < 0 ? 0 : ::read(fd.get(), text.data(), text.size());
  uid_t uid = 65534;  // the kernel's default
  if (length > 0) std::from_chars(text.data(), text.data() + length, uid);
  return uid;
}

TrustFailure unopened(const std::string& path, int error) {
  switch (error) {
    case ENOENT:
      return {Kind::kMissing, path, quote(path) + " does not exist", ""};
    case ENOTDIR:
      return {Kind::kMissing, path, quote(path) + " is not a directory", ""};
    case EACCES:
    case EPERM:
      return {Kind::kUnreadable, path, quote(path) + " may not be read", "let this user read it"};
    default:
      return {Kind::kUnreadable, path, quote(path) + ": " + std::strerror(error), ""};
  }
}

TrustFailure changed(const std::string& path) {
  return {Kind::kChanged, path, quote(path) + " changed while it was read",
          "write a new file and rename it over the old one"};
}

std::int64_t ns(const timespec& time) { return std::int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec; }

TrustFailure symlink(const std::string& path) {
  std::array<char, PATH_MAX> real{};
  const bool known = ::realpath(path.c_str(), real.data()) != nullptr;
  return {Kind::kSymlink, path, quote(path) + " is a symbolic link, which others may turn elsewhere",
          known ? "name what it leads to: " + std::string(real.data()) : "name a file itself"};
}

// What was found wrong so far, as one failure: who repairs a path wants to know all of it at once.
class Faults {
 public:
  void add(TrustFailure failure) { failures_.push_back(std::move(failure)); }
  bool any() const { return !failures_.empty(); }

  TrustFailure all() && {
    TrustFailure whole = failures_.front();
    std::string writable;
    std::vector<std::string> repairs;
    for (std::size_t i = 0; i < failures_.size(); ++i) {
      const TrustFailure& failure = failures_[i];
      if (i > 0) whole.message += "; " + failure.message;
      if (failure.kind == Kind::kWritable) {
        writable += " " + failure.path;
      } else if (!failure.repair.empty() &&
                 std::find(repairs.begin(), repairs.end(), failure.repair) == repairs.end()) {
        repairs.push_back(failure.repair);
      }
    }
    whole.repair = writable.empty() ? "" : "chmod go-w" + writable;
    for (const std::string& repair : repairs) whole.repair += (whole.repair.empty() ? "" : "; ") + repair;
    return whole;
  }

 private:
  std::vector<TrustFailure> failures_;
};

// Owner and mode of a directory on the way, or of the file: wrong in both ways, if it is.
void find_untrusted(const struct stat& status, const std::string& path, bool is_file, uid_t caller, uid_t nobody,
                    Faults& faults) {
  const bool owned = status.st_uid == 0 || (status.st_uid == caller && caller != nobody);
  if (!owned) {
    const std::string owner =
        status.st_uid == nobody ? "someone outside this user namespace" : "uid " + std::to_string(status.st_uid);
    faults.add({Kind::kOwner, path, quote(path) + " belongs to " + owner + ", who could change it",
                "it must belong to root or to uid " + std::to_string(caller)});
  }
  const mode_t open_to_others = status.st_mode & (S_IWGRP | S_IWOTH);
  const bool sticky_directory = !is_file && (status.st_mode & S_ISVTX) != 0;  // others can add, but not replace
  if (open_to_others != 0 && !sticky_directory) {
    const bool everyone = (open_to_others & S_IWOTH) != 0;
    faults.add({Kind::kWritable, path, quote(path) + " is writable by " + (everyone ? "everyone" : "its group"),
                "chmod go-w " + path});
  }
}

// Absolute, without empty parts, "." and "..": exact, since no component may be a symbolic link.
std::optional<std::vector<std::string>> components(const std::string& path) {
  std::string absolute = path;
  if (!path.starts_with('/')) {
    std::array<char, PATH_MAX> directory{};
    if (::getcwd(directory.data(), directory.size()) == nullptr || directory[0] != '/') return std::nullopt;
    absolute = std::string(directory.data()) + "/" + path;
  }
  std::vector<std::string> parts;
  for (std::size_t start = 0; start < absolute.size();) {
    const std::size_t end = std::min(absolute.find('/', start), absolute.size());
    const std::string part = absolute.substr(start, end - start);
    if (part == "..") {
      if (!parts.empty()) parts.pop_back();
    } else if (!part.empty() && part != ".") {
      parts.push_back(part);
    }
    start = end + 1;
  }
  return parts;
}

}  // namespace

TrustedFile::Opened TrustedFile::open(const std::string& path, std::uint64_t max_octets) {
  Faults faults;
  const auto fail = [&](TrustFailure failure) {
    faults.add(std::move(failure));
    return Opened{std::nullopt, std::move(faults).all()};
  };
  if (path.empty()) return fail({Kind::kMissing, path, "an empty path", "name a file"});
  if (path.find('\0') != std::string::npos) return fail({Kind::kMissing, path, "a path with a NUL octet", ""});
  const auto parts = components(path);
  if (!parts)
    return fail({Kind::kMissing, path, "the working directory cannot be found", "name the file by an absolute path"});
  if (parts->empty()) return fail({Kind::kDirectory, "/", "`/` is a directory", "name a file"});
  const uid_t caller = ::geteuid();
  const uid_t nobody = overflow_uid();

  std::string walked = "/";
  Descriptor directory(::open("/", O_PATH | O_DIRECTORY | O_CLOEXEC));
  for (std::size_t i = 0;; ++i) {
    struct stat status{};
    if (directory.get() < 0 || ::fstat(directory.get(), &status) != 0) return fail(unopened(walked, errno));
    if (S_ISLNK(status.st_mode)) return fail(symlink(walked));
    if (!S_ISDIR(status.st_mode)) return fail(unopened(walked, ENOTDIR));
    find_untrusted(status, walked, false, caller, nobody, faults);
    const std::string& part = (*parts)[i];
    walked += (walked == "/" ? "" : "/") + part;
    if (i + 1 == parts->size()) break;
    // O_PATH opens a symbolic link itself, so that it can be told from what is missing.
    directory = Descriptor(::openat(directory.get(), part.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
  }

  // Looked at before it is opened: opening a device can do things.
  struct stat before{};
  if (::fstatat(directory.get(), parts->back().c_str(), &before, AT_SYMLINK_NOFOLLOW) != 0) {
    return fail(unopened(walked, errno));
  }
  const auto not_regular = [&](mode_t mode) -> TrustFailure {
    if (S_ISLNK(mode)) return symlink(walked);
    if (S_ISDIR(mode)) return {Kind::kDirectory, walked, quote(walked) + " is a directory", "name a file in it"};
    return {Kind::kNotRegular, walked, quote(walked) + " is not a regular file", "write its content to a file"};
  };
  if (!S_ISREG(before.st_mode)) return fail(not_regular(before.st_mode));
  if (faults.any()) {
    // Not opened below a directory that others can change: by then it may be a device.
    find_untrusted(before, walked, true, caller, nobody, faults);
    return {std::nullopt, std::move(faults).all()};
  }
  TrustedFile file;
  file.fd_ =
      ::openat(directory.get(), parts->back().c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
  if (file.fd_ < 0) return fail(errno == ELOOP ? symlink(walked) : unopened(walked, errno));
  struct stat status{};
  if (::fstat(file.fd_, &status) != 0) return fail(unopened(walked, errno));
  if (!S_ISREG(status.st_mode)) return fail(not_regular(status.st_mode));
  find_untrusted(status, walked, true, caller, nobody, faults);
  file.size_ = static_cast<std::uint64_t>(status.st_size);
  if (file.size_ > max_octets) {
    return fail(
        {Kind::kTooLarge, walked,
         quote(walked) + " has " + std::to_string(file.size_) + " octets, more than " + std::to_string(max_octets),
         "is this the right file?"});
  }
  if (faults.any()) return {std::nullopt, std::move(faults).all()};
  file.written_ = ns(status.st_mtim);
  file.path_ = std::move(walked);
  return {std::move(file), std::nullopt};
}

TrustedFile& TrustedFile::operator=(TrustedFile&& other) noexcept {
  std::swap(fd_, other.fd_);
  std::swap(size_, other.size_);
  std::swap(written_, other.written_);
  std::swap(path_, other.path_);
  return *this;
}

TrustedFile::~TrustedFile() {
  if (fd_ >= 0) ::close(fd_);
}

std::optional<TrustFailure> TrustedFile::read_into(char* buffer, std::size_t length, std::uint64_t offset) {
  std::size_t have = 0;
  while (have < length) {
    const ssize_t got = ::pread(fd_, buffer + have, length - have, static_cast<off_t>(offset + have));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return unopened(path_, errno);
    if (got == 0) return changed(path_);
    have += static_cast<std::size_t>(got);
  }
  return std::nullopt;
}

// A change of the same size shows in the time of the last write alone. Not the time of the last change of status:
// renaming another file over this one sets that too, and what was opened is whole.
std::optional<TrustFailure> TrustedFile::unchanged() const {
  struct stat status{};
  if (::fstat(fd_, &status) != 0) return unopened(path_, errno);
  if (static_cast<std::uint64_t>(status.st_size) != size_ || written_ != ns(status.st_mtim)) {
    return changed(path_);
  }
  return std::nullopt;
}

std::optional<TrustFailure> TrustedFile::read(std::string& content) {
  content.resize(size_);
  std::optional<TrustFailure> failure = read_into(content.data(), content.size(), 0);
  if (!failure) failure = unchanged();
  if (failure) content.clear();
  return failure;
}

std::optional<TrustFailure> TrustedFile::read(const std::function<void(std::string_view)>& each) {
  constexpr std::size_t kPiece = 1u << 20;
  std::string piece(static_cast<std::size_t>(std::min<std::uint64_t>(size_, kPiece)), 0);
  for (std::uint64_t at = 0; at < size_; at += piece.size()) {
    piece.resize(static_cast<std::size_t>(std::min<std::uint64_t>(size_ - at, kPiece)));
    if (std::optional<TrustFailure> failure = read_into(piece.data(), piece.size(), at)) return failure;
    each(piece);
  }
  return unchanged();
}

}  // namespace sallyport
