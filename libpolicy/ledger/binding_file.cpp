#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <utility>

#include "ledger/binding_layout.hpp"
#include "ledger/robust_lock.hpp"

namespace sallyport {
namespace {

constexpr std::uint64_t kMagic = 0x3144'4e49'4250'4c53;  // "SLPBIND1"
constexpr std::uint32_t kVersion = 1;
constexpr int kSeals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;

}  // namespace

Result<BindingTable> BindingTable::attach(int fd, std::uint32_t capacity) {
  static_assert(sizeof(Header) <= 4096 && kMaxCapacity <= std::uint32_t{1} << binding::kSlotBits);
  BindingTable table;
  table.size_ = Layout::size(capacity);
  void* base = mmap(nullptr, table.size_, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (base == MAP_FAILED) return Error{ErrorCode::kExhausted, "the ledger cannot be mapped", 0};
  table.base_ = static_cast<std::byte*>(base);
  table.capacity_ = capacity;
  return table;
}

Result<BindingTable> BindingTable::create(const Options& options) {
  if (options.capacity == 0 || options.capacity > kMaxCapacity) {
    return Error{ErrorCode::kUnsupported, "the capacity of a ledger is 1 to 262144", 0};
  }
  if (options.per_client == 0 || options.per_client > options.capacity) {
    return Error{ErrorCode::kUnsupported, "a client's share of a ledger is 1 to its capacity", 0};
  }
  const int fd = memfd_create("sallyport-ledger", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (fd < 0) return Error{ErrorCode::kExhausted, "no memory file for the ledger", 0};
  if (ftruncate(fd, static_cast<off_t>(Layout::size(options.capacity))) != 0 || fcntl(fd, F_ADD_SEALS, kSeals) != 0) {
    close(fd);
    return Error{ErrorCode::kExhausted, "no memory file for the ledger", 0};
  }
  Result<BindingTable> table = attach(fd, options.capacity);
  if (!table.ok()) {
    close(fd);
    return table;
  }
  table->fd_ = fd;
  table->seed_ = options.seed;
  table->per_client_ = options.per_client;

  Header& header = table->header();
  header.version = kVersion;
  header.header_size = sizeof(Header);
  header.entry_size = sizeof(Entry);
  header.capacity = options.capacity;
  header.per_client = options.per_client;
  header.seed = options.seed;
  if (!init_robust_mutex(header.mutex)) return Error{ErrorCode::kUnsupported, "no robust lock for the ledger", 0};
  header.magic = kMagic;
  header.check = header.checked();
  return table;
}

Result<BindingTable> BindingTable::map(int fd) {
  struct stat status{};
  const int seals = fcntl(fd, F_GET_SEALS);
  if (fstat(fd, &status) != 0 || seals < 0 || (seals & kSeals) != kSeals) {
    return Error{ErrorCode::kCorrupt, "not a sealed memory file", 0};
  }
  Header seen;
  if (pread(fd, &seen, sizeof seen, 0) != static_cast<ssize_t>(sizeof seen)) {
    return Error{ErrorCode::kCorrupt, "a file too short for a ledger", 0};
  }
  if (seen.magic != kMagic) return Error{ErrorCode::kCorrupt, "not a ledger", 0};
  if (seen.version != kVersion || seen.header_size != sizeof(Header) || seen.entry_size != sizeof(Entry)) {
    return Error{ErrorCode::kUnsupported, "a ledger of another version", 0};
  }
  if (seen.check != seen.checked() || seen.capacity == 0 || seen.capacity > kMaxCapacity || seen.per_client == 0 ||
      seen.per_client > seen.capacity || static_cast<std::uint64_t>(status.st_size) != Layout::size(seen.capacity)) {
    return Error{ErrorCode::kCorrupt, "a ledger with a damaged header", 0};
  }
  Result<BindingTable> table = attach(fd, seen.capacity);
  if (!table.ok()) return table;
  table->seed_ = seen.seed;
  table->per_client_ = seen.per_client;
  return table;
}

BindingTable::BindingTable(BindingTable&& other) noexcept { *this = std::move(other); }

BindingTable& BindingTable::operator=(BindingTable&& other) noexcept {
  std::swap(fd_, other.fd_);
  std::swap(base_, other.base_);
  std::swap(size_, other.size_);
  std::swap(capacity_, other.capacity_);
  std::swap(per_client_, other.per_client_);
  std::swap(seed_, other.seed_);
  return *this;
}

BindingTable::~BindingTable() {
  if (base_ != nullptr) munmap(base_, size_);
  if (fd_ >= 0) close(fd_);
}

}  // namespace sallyport
