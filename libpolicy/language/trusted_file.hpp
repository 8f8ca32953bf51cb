// TrustedFile: a file that nobody but root and the caller can have written, opened for reading.
//
// Checked  No symbolic link anywhere on the path; a regular file; every directory above it and the file itself owned by
// root
//          or the caller and writable by no one else (a sticky directory such as /tmp may be). All on open descriptors,
//          so that what was checked is what is read. The overflow uid (an owner outside this user namespace) is
//          nobody's.
// When     Before any user namespace is entered: inside one every foreign owner looks alike.
// Lifetime Owns its descriptor (close-on-exec); move-only.
// Threads  Any; a value belongs to one at a time.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace sallyport {

struct TrustFailure {
  enum class Kind : std::uint8_t {
    kMissing,
    kUnreadable,
    kSymlink,
    kDirectory,
    kNotRegular,
    kOwner,
    kWritable,
    kTooLarge,
    kChanged
  };
  Kind kind = Kind::kMissing;
  std::string path;     // what is wrong: the file or a directory above it; the first, if several are
  std::string message;  // "`/etc/x` is writable by everyone; ..."; everything found wrong, lower case, no full stop
  std::string repair;   // "chmod go-w /etc /etc/x; ..."; may be empty
};

class TrustedFile {
 public:
  struct Opened;

  // Relative paths start at the working directory, which is checked as well. O_NONBLOCK is set, so a FIFO cannot hang
  // it.
  static Opened open(const std::string& path, std::uint64_t max_octets);

  TrustedFile(TrustedFile&& other) noexcept
      : fd_(std::exchange(other.fd_, -1)),
        size_(other.size_),
        written_(other.written_),
        path_(std::move(other.path_)) {}
  TrustedFile& operator=(TrustedFile&& other) noexcept;
  ~TrustedFile();

  int fd() const noexcept { return fd_; }  // valid while *this lives
  std::uint64_t size() const noexcept { return size_; }
  const std::string& path() const noexcept { return path_; }  // absolute, without "." and ".."

  // The whole content; a failure (kChanged, kUnreadable) if it is not exactly size() octets, or was written meanwhile.
  std::optional<TrustFailure> read(std::string& content);
  // The same in pieces, for files that need not be in memory whole. After a failure the pieces mean nothing.
  std::optional<TrustFailure> read(const std::function<void(std::string_view)>& each);

 private:
  TrustedFile() = default;
  std::optional<TrustFailure> read_into(char* buffer, std::size_t length, std::uint64_t offset);
  std::optional<TrustFailure> unchanged() const;

  int fd_ = -1;
  std::uint64_t size_ = 0;
  std::int64_t written_ = 0;  // last, ns
  std::string path_;
};

// Exactly one of the two.
struct TrustedFile::Opened {
  std::optional<TrustedFile> file;
  std::optional<TrustFailure> failure;
};

}  // namespace sallyport
