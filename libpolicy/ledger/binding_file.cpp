#include <span>

#include "ledger/binding_layout.hpp"
#include "ledger/robust_lock.hpp"

namespace sallyport {
namespace {

constexpr std::uint64_t kMagic = 0x3144'4e49'4250'4c53;  // "SLPBIND1"
constexpr std::uint32_t kVersion = 3;

}  // namespace

Result<BindingTable> BindingTable::create(const Options& options) {
  static_assert(sizeof(Header) <= 4096 && kMaxCapacity <= std::uint32_t{1} << binding::kSlotBits);
  if (options.capacity == 0 || options.capacity > kMaxCapacity) {
    return Error{ErrorCode::kUnsupported, "the capacity of a ledger is 1 to 262144", 0};
  }
  if (options.per_client == 0 || options.per_client > options.capacity) {
    return Error{ErrorCode::kUnsupported, "a client's share of a ledger is 1 to its capacity", 0};
  }
  Result<SharedMemory> memory = SharedMemory::create("sallyport-ledger", Layout::size(options.capacity));
  if (!memory.ok()) return memory.error();
  BindingTable table;
  table.memory_ = *std::move(memory);
  table.capacity_ = options.capacity;
  table.per_client_ = options.per_client;
  table.seed_ = options.seed;

  Header& header = table.header();
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
  Header seen;
  const Result<std::uint64_t> size = SharedMemory::look(fd, std::as_writable_bytes(std::span(&seen, 1)));
  if (!size.ok()) return size.error();
  if (seen.magic != kMagic) return Error{ErrorCode::kCorrupt, "not a ledger", 0};
  if (seen.version != kVersion || seen.header_size != sizeof(Header) || seen.entry_size != sizeof(Entry)) {
    return Error{ErrorCode::kUnsupported, "a ledger of another version", 0};
  }
  if (seen.check != seen.checked() || seen.capacity == 0 || seen.capacity > kMaxCapacity || seen.per_client == 0 ||
      seen.per_client > seen.capacity || *size != Layout::size(seen.capacity)) {
    return Error{ErrorCode::kCorrupt, "a ledger with a damaged header", 0};
  }
  Result<SharedMemory> memory = SharedMemory::map(fd, *size);
  if (!memory.ok()) return memory.error();
  BindingTable table;
  table.memory_ = *std::move(memory);
  table.capacity_ = seen.capacity;
  table.per_client_ = seen.per_client;
  table.seed_ = seen.seed;
  return table;
}

}  // namespace sallyport
