#include "limits/quota_file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <span>

namespace sallyport {
namespace {

constexpr std::uint64_t kMagic = 0x3141'544f'5551'4c53;  // "SLQUOTA1"
constexpr std::uint32_t kVersion = 1;

struct FileHeader {
  std::uint64_t magic = kMagic;
  std::uint32_t version = kVersion;
  std::uint32_t count = 0;
  std::uint64_t seed[2] = {};
  std::int64_t lost_at = 0;
  std::uint64_t checksum = 0;  // of all with this field as 0
};
static_assert(sizeof(FileHeader) == 48 && sizeof(LimitsTable::Used) == 24);

constexpr std::size_t kMostRecords = LimitsTable::kMaxCapacity + LimitsTable::kOverflow;

std::uint64_t checksum(FileHeader header, std::span<const LimitsTable::Used> used) {
  header.checksum = 0;
  std::uint64_t sum = 0xcbf29ce484222325u;
  const auto add = [&sum](const void* data, std::size_t size) {
    for (std::size_t at = 0; at < size; at += 8) {
      std::uint64_t word = 0;
      std::memcpy(&word, static_cast<const char*>(data) + at, 8);
      sum = (sum ^ word) * 0x9e3779b97f4a7c15u;
      sum ^= sum >> 29;
    }
  };
  add(&header, sizeof header);
  add(used.data(), used.size_bytes());
  return sum;
}

class File {
 public:
  explicit File(int fd) : fd_(fd) {}
  ~File() {
    if (fd_ >= 0) ::close(fd_);
  }
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  int fd() const noexcept { return fd_; }

  bool write(const void* data, std::size_t size) const {
    for (std::size_t done = 0; done < size;) {
      const ssize_t n = ::write(fd_, static_cast<const char*>(data) + done, size - done);
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) return false;
      done += static_cast<std::size_t>(n);
    }
    return true;
  }
  bool read(void* data, std::size_t size) const {
    for (std::size_t done = 0; done < size;) {
      const ssize_t n = ::read(fd_, static_cast<char*>(data) + done, size - done);
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) return false;
      done += static_cast<std::size_t>(n);
    }
    return true;
  }

 private:
  int fd_;
};

Error corrupt(const char* why) { return {ErrorCode::kCorrupt, why, 0}; }

}  // namespace

Result<QuotaFile::Loaded> QuotaFile::load() const {
  const File file(::open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  if (file.fd() < 0) return errno == ENOENT ? Result<Loaded>(Loaded{}) : Result<Loaded>(corrupt("cannot be opened"));
  struct ::stat status{};
  if (::fstat(file.fd(), &status) != 0 || !S_ISREG(status.st_mode) || status.st_uid != ::geteuid())
    return corrupt("not a regular file of this user");
  const auto size = static_cast<std::uint64_t>(status.st_size);
  FileHeader header;
  if (size < sizeof header || !file.read(&header, sizeof header)) return corrupt("cut off");
  if (header.magic != kMagic) return corrupt("not a file of quotas");
  if (header.version != kVersion) return corrupt("of another version");
  if (header.count > kMostRecords || size != sizeof header + header.count * sizeof(LimitsTable::Used))
    return corrupt("cut off");
  Loaded out;
  out.found = true;
  out.used.resize(header.count);
  if (!file.read(out.used.data(), header.count * sizeof(LimitsTable::Used))) return corrupt("cut off");
  if (checksum(header, out.used) != header.checksum) return corrupt("damaged");
  out.seed = {header.seed[0], header.seed[1]};
  out.lost_at = header.lost_at;
  return out;
}

bool QuotaFile::save(const LimitsTable& table, std::int64_t wall_s) {
  std::vector<LimitsTable::Used> used = table.used(wall_s);
  if (used == saved_ && (any_ || (used.empty() && table.lost_at() == 0))) return true;
  FileHeader header;
  header.count = static_cast<std::uint32_t>(used.size());
  header.seed[0] = table.seed()[0];
  header.seed[1] = table.seed()[1];
  header.lost_at = table.lost_at();
  header.checksum = checksum(header, used);
  const std::string beside = path_ + ".new";
  ::unlink(beside.c_str());  // of a run that was killed
  {
    const File file(::open(beside.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (file.fd() < 0) return false;
    if (!file.write(&header, sizeof header) || !file.write(used.data(), used.size() * sizeof(LimitsTable::Used))) {
      ::unlink(beside.c_str());
      return false;
    }
  }
  if (::rename(beside.c_str(), path_.c_str()) != 0) return false;
  saved_ = std::move(used);
  any_ = true;
  return true;
}

}  // namespace sallyport
