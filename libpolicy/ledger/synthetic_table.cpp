// The file:
//
//   Header            magic, version, sizes, seed, prefix; then what changes: lock, slots in use, earliest reuse
//   expires[capacity] when each entry's TTL ends; apart from the entries, so that looking for a free one reads 1 MB at
//   most buckets[2^n]      (client, name) -> first slot + 1 of a chain entries[capacity] sequence, chain, client, check
//   word, name
//
// Writers hold the lock. An entry is changed between two increments of its sequence, so a reader without the lock sees
// that it changed under it (odd or moved on), and a writer that dies half-way leaves an odd sequence: nobody reads that
// entry until the next writer, told by the robust lock, has freed it and rebuilt the chains. Readers never follow
// chains. The check word covers what an entry says and where it stands, against anything the sequence does not catch.
//
// Road not taken: compare-and-swap per entry without a lock. assign() is called once per DNS answer, and a death
// between taking a slot and linking it would leak the slot for good or need the same repair.
#include "ledger/synthetic_table.hpp"

#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <bit>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <limits>

namespace sallyport {
namespace {

constexpr std::uint64_t kMagic = 0x3154'4e59'5350'4c53;  // "SLPSYNT1"
constexpr std::uint32_t kVersion = 1;
constexpr std::uint32_t kV4Base = 198u << 24 | 18u << 16;
constexpr std::uint32_t kV4Mask = 0xfffe0000;  // /15
constexpr std::uint32_t kNoSlot = std::numeric_limits<std::uint32_t>::max();
constexpr long kLockNs =
    50'000'000;  // a stopped process must not stop the others; a writer needs microseconds, a repair some ms
constexpr int kReadAttempts = 16;  // a writer is between the two increments for some 100 ns
constexpr int kSeals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;

std::uint64_t mix(std::uint64_t a, std::uint64_t b) {
  const auto product = static_cast<unsigned __int128>(a ^ 0x9e3779b97f4a7c15u) * (b ^ 0xd1b54a32d192ed03u);
  return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64);
}

// Slot k (0, 1, 2, ...) to the k-th index that is not .0, .1 of the first block, or .255.
std::uint32_t index_of_slot(std::uint32_t slot) { return (slot + 1) / 254 * 256 + (slot + 1) % 254 + 1; }
std::uint32_t slot_of_index(std::uint32_t index) {
  const std::uint32_t low = index & 0xff;
  if (low == 0 || low == 255 || index < 2 || index > ~kV4Mask) return kNoSlot;
  return index / 256 * 254 + low - 1 - 1;
}

constexpr std::size_t kTextWords = 32;  // 253 octets and room to the next word
using TextWords = std::array<std::uint64_t, kTextWords>;
std::size_t words_of(std::size_t length) { return (length + 7) / 8; }

std::uint64_t check_word(std::uint64_t seed, std::uint32_t slot, std::uint64_t client, std::uint64_t length,
                         const TextWords& text) {
  std::uint64_t check = mix(mix(seed, slot), mix(client, length));
  for (std::size_t i = 0; i < words_of(length); ++i) check = mix(check, text[i]);
  return check;
}

}  // namespace

struct SyntheticTable::Header {
  std::uint64_t magic;
  std::uint64_t seed;
  std::uint32_t version, header_size, entry_size;
  std::uint32_t capacity, buckets, grace_ms;
  std::array<std::uint8_t, 8> v6_prefix;
  std::uint64_t check;  // of the above, which has no padding

  pthread_mutex_t mutex;
  std::atomic<std::uint32_t> used;         // slots below it were assigned at least once
  std::atomic<std::uint64_t> earliest_ms;  // no entry can be reused before; a lower bound

  std::uint64_t checked() const {
    std::uint64_t prefix;
    std::memcpy(&prefix, v6_prefix.data(), sizeof prefix);
    return mix(mix(mix(magic, version), mix(header_size, entry_size)),
               mix(mix(capacity, buckets), mix(mix(prefix, seed), grace_ms)));
  }
};

struct SyntheticTable::Entry {
  std::atomic<std::uint32_t> sequence;  // odd while it is written; 0 never written
  std::atomic<std::uint32_t> next;      // slot + 1 of the chain, 0 at its end
  std::atomic<std::uint64_t> client;
  std::atomic<std::uint64_t> hash;
  std::atomic<std::uint64_t> check;
  std::atomic<std::uint64_t> length;  // of the name; 0 for an entry that is free
  std::array<std::atomic<std::uint64_t>, kTextWords> text;
};

struct SyntheticTable::Layout {
  static_assert(std::atomic<std::uint64_t>::is_always_lock_free && sizeof(std::atomic<std::uint64_t>) == 8);

  static std::size_t expires() { return 4096; }
  static std::size_t buckets(std::uint32_t capacity) { return expires() + std::size_t{capacity} * 8; }
  static std::size_t entries(std::uint32_t capacity) {
    return (buckets(capacity) + std::size_t{bucket_count(capacity)} * 4 + 63) / 64 * 64;
  }
  static std::size_t size(std::uint32_t capacity) { return entries(capacity) + std::size_t{capacity} * sizeof(Entry); }
  static std::uint32_t bucket_count(std::uint32_t capacity) { return std::bit_ceil(capacity + 1); }

  static std::atomic<std::uint64_t>& expires(const SyntheticTable& t, std::uint32_t slot) {
    return reinterpret_cast<std::atomic<std::uint64_t>*>(t.base_ + expires())[slot];
  }
  static std::atomic<std::uint32_t>& bucket(const SyntheticTable& t, std::uint64_t hash) {
    return reinterpret_cast<std::atomic<std::uint32_t>*>(t.base_ + buckets(t.capacity_))[hash >> 32 & (t.buckets_ - 1)];
  }
  static Entry& entry(const SyntheticTable& t, std::uint32_t slot) {
    return reinterpret_cast<Entry*>(t.base_ + entries(t.capacity_))[slot];
  }
};

// Holds the table's lock. After a holder's death the chains are rebuilt before anything else.
class SyntheticTable::Lock {
 public:
  explicit Lock(SyntheticTable& table) noexcept : mutex_(&table.header().mutex) {
    timespec until{};
    clock_gettime(CLOCK_MONOTONIC, &until);  // a bound on waiting, not a time that anything is judged by
    until.tv_nsec += kLockNs;
    if (until.tv_nsec >= 1'000'000'000) {
      until.tv_nsec -= 1'000'000'000;
      ++until.tv_sec;
    }
    const int error = pthread_mutex_clocklock(mutex_, CLOCK_MONOTONIC, &until);
    if (error == EOWNERDEAD) {
      table.repair();  // a death in here leaves the lock as it was: the next one repairs again
      pthread_mutex_consistent(mutex_);
    }
    held_ = error == 0 || error == EOWNERDEAD;
  }
  ~Lock() {
    if (held_) pthread_mutex_unlock(mutex_);
  }
  Lock(const Lock&) = delete;
  Lock& operator=(const Lock&) = delete;

  bool held() const noexcept { return held_; }

 private:
  pthread_mutex_t* mutex_;
  bool held_ = false;
};

SyntheticTable::Header& SyntheticTable::header() const noexcept { return *reinterpret_cast<Header*>(base_); }

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
  pthread_mutexattr_t attributes;
  pthread_mutexattr_init(&attributes);
  pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
  pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
  const int error = pthread_mutex_init(&header.mutex, &attributes);
  pthread_mutexattr_destroy(&attributes);
  if (error != 0) return Error{ErrorCode::kUnsupported, "no robust lock for the synthetic table", 0};
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

std::uint64_t SyntheticTable::hash(std::uint64_t client_id, const DomainName& name) const noexcept {
  return mix(mix(seed_, name.hash()), client_id);
}

std::uint32_t SyntheticTable::find_slot(std::uint64_t wanted, std::uint64_t client_id,
                                        const DomainName& name) const noexcept {
  const std::string_view text = name.text();
  TextWords words{};
  std::memcpy(words.data(), text.data(), text.size());
  std::uint32_t next = Layout::bucket(*this, wanted).load(std::memory_order_relaxed);
  // The bound on steps and the checks of next hold even if another process wrote nonsense.
  for (std::uint32_t steps = 0; next != 0 && next <= capacity_ && steps < capacity_; ++steps) {
    const std::uint32_t slot = next - 1;
    const Entry& entry = Layout::entry(*this, slot);
    bool same = entry.hash.load(std::memory_order_relaxed) == wanted &&
                entry.client.load(std::memory_order_relaxed) == client_id &&
                entry.length.load(std::memory_order_relaxed) == text.size();
    for (std::size_t i = 0; same && i < words_of(text.size()); ++i) {
      same = entry.text[i].load(std::memory_order_relaxed) == words[i];
    }
    if (same) return slot;
    next = entry.next.load(std::memory_order_relaxed);
  }
  return kNoSlot;
}

// A slot that was never used, or whose TTL and grace have passed; the latter is out of its chain and unreadable on
// return.
std::uint32_t SyntheticTable::free_slot(std::uint64_t now_ms) noexcept {
  Header& head = header();
  const std::uint32_t used = head.used.load(std::memory_order_relaxed);
  if (used < capacity_) return used;
  if (now_ms < head.earliest_ms.load(std::memory_order_relaxed)) return kNoSlot;
  // The oldest goes first, so that an address rests as long as it can.
  std::uint32_t oldest = 0;
  std::uint64_t earliest = std::numeric_limits<std::uint64_t>::max();
  for (std::uint32_t slot = 0; slot < capacity_; ++slot) {
    const std::uint64_t expires = Layout::expires(*this, slot).load(std::memory_order_relaxed);
    if (expires < earliest) {
      earliest = expires;
      oldest = slot;
    }
  }
  // An entry that a dead writer left free has expires 0; adding the grace to it only delays its use after boot.
  if (earliest != 0 && now_ms < earliest + kGraceMs) {
    head.earliest_ms.store(earliest + kGraceMs,
                           std::memory_order_relaxed);  // TTLs only ever grow: the bound stays true
    return kNoSlot;
  }
  unlink(oldest);
  return oldest;
}

void SyntheticTable::link(std::uint32_t slot, std::uint64_t hash) noexcept {
  std::atomic<std::uint32_t>& bucket = Layout::bucket(*this, hash);
  Layout::entry(*this, slot).next.store(bucket.load(std::memory_order_relaxed), std::memory_order_relaxed);
  bucket.store(slot + 1, std::memory_order_relaxed);
}

void SyntheticTable::unlink(std::uint32_t slot) noexcept {
  Entry& entry = Layout::entry(*this, slot);
  std::atomic<std::uint32_t>* at = &Layout::bucket(*this, entry.hash.load(std::memory_order_relaxed));
  for (std::uint32_t steps = 0; steps <= capacity_; ++steps) {
    const std::uint32_t next = at->load(std::memory_order_relaxed);
    if (next == 0 || next > capacity_) return;
    if (next == slot + 1) {
      at->store(entry.next.load(std::memory_order_relaxed), std::memory_order_relaxed);
      return;
    }
    at = &Layout::entry(*this, next - 1).next;
  }
}

void SyntheticTable::write(std::uint32_t slot, std::uint64_t hash, std::uint64_t client_id, const DomainName& name,
                           std::uint64_t expires_ms) noexcept {
  Entry& entry = Layout::entry(*this, slot);
  const std::string_view text = name.text();
  TextWords words{};
  std::memcpy(words.data(), text.data(), text.size());
  const std::uint32_t sequence = entry.sequence.load(std::memory_order_relaxed) | 1;
  entry.sequence.store(sequence, std::memory_order_relaxed);
  std::atomic_thread_fence(std::memory_order_release);  // nothing below is seen without the odd sequence
  entry.client.store(client_id, std::memory_order_relaxed);
  entry.hash.store(hash, std::memory_order_relaxed);
  entry.length.store(text.size(), std::memory_order_relaxed);
  for (std::size_t i = 0; i < words_of(text.size()); ++i) entry.text[i].store(words[i], std::memory_order_relaxed);
  entry.check.store(check_word(seed_, slot, client_id, text.size(), words), std::memory_order_relaxed);
  Layout::expires(*this, slot).store(expires_ms, std::memory_order_relaxed);
  entry.sequence.store(sequence + 1, std::memory_order_release);  // published
}

// Called with the lock of a dead holder. Whatever it was doing, afterwards every entry is whole and in its chain, or
// free.
void SyntheticTable::repair() noexcept {
  for (std::uint32_t i = 0; i < buckets_; ++i)
    Layout::bucket(*this, std::uint64_t{i} << 32).store(0, std::memory_order_relaxed);
  Header& head = header();
  std::uint32_t used = head.used.load(std::memory_order_relaxed);
  // The dead may have written the first unused slot and not counted it; nobody was told its index.
  if (used > capacity_) used = capacity_;
  for (std::uint32_t slot = 0; slot < capacity_ && slot <= used; ++slot) {
    Entry& entry = Layout::entry(*this, slot);
    const std::uint32_t sequence = entry.sequence.load(std::memory_order_relaxed);
    if (slot == used && sequence == 0) break;
    if (sequence % 2 != 0 || slot == used) {
      entry.sequence.store(sequence | 1, std::memory_order_relaxed);
      std::atomic_thread_fence(std::memory_order_release);
      entry.length.store(0, std::memory_order_relaxed);
      entry.check.store(0, std::memory_order_relaxed);
      Layout::expires(*this, slot).store(0, std::memory_order_relaxed);
      entry.sequence.store((sequence | 1) + 1, std::memory_order_release);
    } else if (entry.length.load(std::memory_order_relaxed) != 0) {
      link(slot, entry.hash.load(std::memory_order_relaxed));
    }
  }
  head.used.store(used, std::memory_order_relaxed);
  head.earliest_ms.store(0, std::memory_order_relaxed);
}

Result<std::uint32_t> SyntheticTable::assign(std::uint64_t client_id, const DomainName& name, std::uint64_t now_ms,
                                             std::uint32_t ttl_ms) noexcept {
  const std::uint64_t wanted = hash(client_id, name);
  const std::uint64_t expires_ms = now_ms + ttl_ms;
  Lock lock(*this);
  if (!lock.held()) return Error{ErrorCode::kExhausted, "the synthetic table's lock is held by another process", 0};
  std::uint32_t slot = find_slot(wanted, client_id, name);
  if (slot != kNoSlot) {
    std::atomic<std::uint64_t>& expires = Layout::expires(*this, slot);
    if (expires.load(std::memory_order_relaxed) < expires_ms) expires.store(expires_ms, std::memory_order_relaxed);
    return index_of_slot(slot);
  }
  slot = free_slot(now_ms);
  if (slot == kNoSlot) return Error{ErrorCode::kExhausted, "every synthetic address is in use", 0};
  write(slot, wanted, client_id, name, expires_ms);
  link(slot, wanted);
  // Counted last: find() looks at nothing above, and a death before this leaves the slot unused.
  if (header().used.load(std::memory_order_relaxed) == slot) header().used.store(slot + 1, std::memory_order_release);
  return index_of_slot(slot);
}

SyntheticTable::Found SyntheticTable::find(std::uint64_t client_id, std::uint32_t index,
                                           std::uint64_t now_ms) const noexcept {
  const std::uint32_t slot = slot_of_index(index);
  // Slots never used are not touched: a client that connects everywhere would fill the sparse file with empty pages.
  if (slot >= capacity_ || slot >= header().used.load(std::memory_order_acquire)) return {};
  const Entry& entry = Layout::entry(*this, slot);
  for (int attempt = 0; attempt < kReadAttempts; ++attempt) {
    const std::uint32_t before = entry.sequence.load(std::memory_order_acquire);
    if (before % 2 != 0) continue;
    const std::uint64_t client = entry.client.load(std::memory_order_relaxed);
    const std::uint64_t length = entry.length.load(std::memory_order_relaxed);
    const std::uint64_t check = entry.check.load(std::memory_order_relaxed);
    const std::uint64_t expires = Layout::expires(*this, slot).load(std::memory_order_relaxed);
    TextWords words{};
    const bool length_ok = length > 0 && length <= DomainName::kMaxOctets;
    for (std::size_t i = 0; length_ok && i < words_of(length); ++i)
      words[i] = entry.text[i].load(std::memory_order_relaxed);
    std::atomic_thread_fence(std::memory_order_acquire);
    if (entry.sequence.load(std::memory_order_relaxed) != before) continue;

    if (!length_ok || client != client_id || check != check_word(seed_, slot, client, length, words)) return {};
    if (now_ms >= expires + kGraceMs) return {State::kStale, std::nullopt};
    std::array<char, kTextWords * 8> text;
    std::memcpy(text.data(), words.data(), text.size());
    const Result<DomainName> name = DomainName::parse({text.data(), length});
    if (!name.ok() || name->text() != std::string_view(text.data(), length)) return {};
    return {State::kFound, *name};
  }
  return {};
}

Address SyntheticTable::v4(std::uint32_t index) const noexcept { return Address::v4(kV4Base + index); }

Address SyntheticTable::v6(std::uint32_t index) const noexcept {
  std::array<std::uint8_t, 16> octets{};
  std::memcpy(octets.data(), v6_prefix_.data(), v6_prefix_.size());
  for (int i = 0; i < 4; ++i) octets[15 - static_cast<std::size_t>(i)] = static_cast<std::uint8_t>(index >> (8 * i));
  return Address::v6(octets);
}

bool SyntheticTable::contains(const Address& address) const noexcept {
  if (address.is_v4()) return (address.v4_host_order() & kV4Mask) == kV4Base;
  return std::memcmp(address.octets().data(), v6_prefix_.data(), v6_prefix_.size()) == 0;
}

std::optional<std::uint32_t> SyntheticTable::index_of(const Address& address) const noexcept {
  if (!contains(address)) return std::nullopt;
  std::uint64_t host = 0;
  if (address.is_v4()) {
    host = address.v4_host_order() & ~kV4Mask;
  } else {
    for (std::size_t i = 8; i < 16; ++i) host = host << 8 | address.octets()[i];
  }
  if (host > ~kV4Mask) return std::nullopt;
  const auto index = static_cast<std::uint32_t>(host);
  if (slot_of_index(index) >= capacity_) return std::nullopt;
  return index;
}

std::uint32_t SyntheticTable::used() const noexcept { return header().used.load(std::memory_order_relaxed); }

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
