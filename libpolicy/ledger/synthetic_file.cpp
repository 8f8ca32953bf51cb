#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <utility>

#include "ledger/robust_lock.hpp"
#include "ledger/synthetic_layout.hpp"

namespace sallyport {
namespace {

constexpr std::uint64_t kMagic = 0x3154'4e59'5350'4c53;  // "SLPSYNT1"
constexpr std::uint32_t kVersion = 1;
constexpr int kSeals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;

}  // namespace

Result<SyntheticTable> SyntheticTable::attach(int fd, std::uint32_t capacity) {
  static_assert(sizeof(Header) <= 4096);
  SyntheticTable table;
  table.size_ = Layout::size(capacity);
  void* base = mmap(nullptr, table.size_, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (base == MAP_FAILED) return Error{ErrorCode::kExhausted, "the synthetic table cannot be mapped", 0};
  table.base_ = static_cast<std::byte*>(base);
  table.capacity_ = capacity;
  table.buckets_ = Layout::bucket_count(capacity);
  return table;
}

Result<SyntheticTable> SyntheticTable::create(const Options& options) {
  if (options.capacity == 0 || options.capacity > kMaxCapacity) {
    return Error{ErrorCode::kUnsupported, "the capacity of a synthetic table is 1 to 130047", 0};
  }
  const int fd = memfd_create("sallyport-synthetic", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (fd < 0) return Error{ErrorCode::kExhausted, "no memory file for the synthetic table", 0};
  if (ftruncate(fd, static_cast<off_t>(Layout::size(options.capacity))) != 0 || fcntl(fd, F_ADD_SEALS, kSeals) != 0) {
    close(fd);
    return Error{ErrorCode::kExhausted, "no memory file for the synthetic table", 0};
  }
  Result<SyntheticTable> table = attach(fd, options.capacity);
  if (!table.ok()) {
    close(fd);
    return table;
  }
  table->fd_ = fd;
  table->seed_ = options.seed;
  table->v6_prefix_ = options.v6_prefix;

  Header& header = table->header();
  header.version = kVersion;
  header.header_size = sizeof(Header);
  header.entry_size = sizeof(Entry);
  header.capacity = options.capacity;
  header.buckets = table->buckets_;
  header.grace_ms = kGraceMs;
  header.v6_prefix = options.v6_prefix;
  header.seed = options.seed;
  if (!init_robust_mutex(header.mutex)) {
    return Error{ErrorCode::kUnsupported, "no robust lock for the synthetic table", 0};
  }
  header.magic = kMagic;
  header.check = header.checked();
  return table;
}

Result<SyntheticTable> SyntheticTable::map(int fd) {
  struct stat status{};
  const int seals = fcntl(fd, F_GET_SEALS);
  if (fstat(fd, &status) != 0 || seals < 0 || (seals & kSeals) != kSeals) {
    return Error{ErrorCode::kCorrupt, "not a sealed memory file", 0};
  }
  Header seen;
  if (pread(fd, &seen, sizeof seen, 0) != static_cast<ssize_t>(sizeof seen)) {
    return Error{ErrorCode::kCorrupt, "a file too short for a synthetic table", 0};
  }
  if (seen.magic != kMagic) return Error{ErrorCode::kCorrupt, "not a synthetic table", 0};
  if (seen.version != kVersion || seen.header_size != sizeof(Header) || seen.entry_size != sizeof(Entry) ||
      seen.grace_ms != kGraceMs) {
    return Error{ErrorCode::kUnsupported, "a synthetic table of another version", 0};
  }
  if (seen.check != seen.checked() || seen.capacity == 0 || seen.capacity > kMaxCapacity ||
      seen.buckets != Layout::bucket_count(seen.capacity) ||
      static_cast<std::uint64_t>(status.st_size) != Layout::size(seen.capacity)) {
    return Error{ErrorCode::kCorrupt, "a synthetic table with a damaged header", 0};
  }
  Result<SyntheticTable> table = attach(fd, seen.capacity);
  if (!table.ok()) return table;
  table->seed_ = seen.seed;
  table->v6_prefix_ = seen.v6_prefix;
  return table;
}

SyntheticTable::SyntheticTable(SyntheticTable&& other) noexcept { *this = std::move(other); }

SyntheticTable& SyntheticTable::operator=(SyntheticTable&& other) noexcept {
  std::swap(fd_, other.fd_);
  std::swap(base_, other.base_);
  std::swap(size_, other.size_);
  std::swap(capacity_, other.capacity_);
  std::swap(buckets_, other.buckets_);
  std::swap(seed_, other.seed_);
  std::swap(v6_prefix_, other.v6_prefix_);
  return *this;
}

SyntheticTable::~SyntheticTable() {
  if (base_ != nullptr) munmap(base_, size_);
  if (fd_ >= 0) close(fd_);
}

}  // namespace sallyport
