#include <span>

#include "ledger/robust_lock.hpp"
#include "ledger/synthetic_layout.hpp"

namespace sallyport {
namespace {

constexpr std::uint64_t kMagic = 0x3154'4e59'5350'4c53;  // "SLPSYNT1"
constexpr std::uint32_t kVersion = 1;

}  // namespace

Result<SyntheticTable> SyntheticTable::create(const Options& options) {
  static_assert(sizeof(Header) <= 4096);
  if (options.capacity == 0 || options.capacity > kMaxCapacity) {
    return Error{ErrorCode::kUnsupported, "the capacity of a synthetic table is 1 to 130047", 0};
  }
  Result<SharedMemory> memory = SharedMemory::create("sallyport-synthetic", Layout::size(options.capacity));
  if (!memory.ok()) return memory.error();
  SyntheticTable table;
  table.memory_ = *std::move(memory);
  table.capacity_ = options.capacity;
  table.buckets_ = Layout::bucket_count(options.capacity);
  table.seed_ = options.seed;
  table.v6_prefix_ = options.v6_prefix;

  Header& header = table.header();
  header.version = kVersion;
  header.header_size = sizeof(Header);
  header.entry_size = sizeof(Entry);
  header.capacity = options.capacity;
  header.buckets = table.buckets_;
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
  Header seen;
  const Result<std::uint64_t> size = SharedMemory::look(fd, std::as_writable_bytes(std::span(&seen, 1)));
  if (!size.ok()) return size.error();
  if (seen.magic != kMagic) return Error{ErrorCode::kCorrupt, "not a synthetic table", 0};
  if (seen.version != kVersion || seen.header_size != sizeof(Header) || seen.entry_size != sizeof(Entry) ||
      seen.grace_ms != kGraceMs) {
    return Error{ErrorCode::kUnsupported, "a synthetic table of another version", 0};
  }
  if (seen.check != seen.checked() || seen.capacity == 0 || seen.capacity > kMaxCapacity ||
      seen.buckets != Layout::bucket_count(seen.capacity) || *size != Layout::size(seen.capacity)) {
    return Error{ErrorCode::kCorrupt, "a synthetic table with a damaged header", 0};
  }
  Result<SharedMemory> memory = SharedMemory::map(fd, *size);
  if (!memory.ok()) return memory.error();
  SyntheticTable table;
  table.memory_ = *std::move(memory);
  table.capacity_ = seen.capacity;
  table.buckets_ = seen.buckets;
  table.seed_ = seen.seed;
  table.v6_prefix_ = seen.v6_prefix;
  return table;
}

}  // namespace sallyport
