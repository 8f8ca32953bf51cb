// A writer takes a ticket by one atomic addition, fills the slot of that number, and publishes it by storing ticket +
// 1 in the slot. The reader takes tickets in order. Writers look first whether there is room: with kMaxWriters slots
// kept back, a ticket taken after that look always falls on a slot that the reader has emptied, however the writers
// interleave.
//
// Road not taken: the usual compare-and-swap on the tail (a writer may have to try again, so it is not wait-free),
// and a ring of octets with records of their own size (a dead writer's hole then has no known end).
#include "audit/audit_ring.hpp"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstring>
#include <type_traits>
#include <utility>

namespace sallyport {
namespace {

constexpr std::uint64_t kMagic = 0x3447'4e49'5244'5541;  // "AUDRING4"
constexpr std::uint32_t kMaxSlots = 1u << 20;

static_assert(std::is_trivially_copyable_v<AuditRecord>, "records are copied octet by octet");

}  // namespace

struct AuditRing::Header {
  std::uint64_t magic;
  std::uint32_t slots, record_size;
  std::uint64_t ref_seed;
  // Each on its own cache line: writers share the first, the reader owns the second.
  alignas(64) std::atomic<std::uint64_t> tickets;  // handed out
  alignas(64) std::atomic<std::uint64_t> taken;    // by the reader
  alignas(64) std::atomic<std::uint64_t> lost;
  std::atomic<std::uint32_t> sleeping;
};

// An odd number of cache lines, so that the beginnings of slots do not all fall on a few sets of the cache.
struct alignas(64) AuditRing::Slot {
  std::atomic<std::uint64_t> published;              // ticket + 1 of the record in it
  std::array<char, AuditRecord::kMaxPacked> packed;  // a decision about a name takes three cache lines of it
};

void AuditRecord::set_name(const DomainName& canonical) noexcept {
  const std::string_view text = canonical.text();
  name_size = static_cast<std::uint8_t>(text.size());
  std::memcpy(name.data(), text.data(), text.size());
  flags &= static_cast<std::uint8_t>(~(kAuditRaw | kAuditTruncated));
}

void AuditRecord::set_raw(std::string_view refused) noexcept {
  name_size = static_cast<std::uint8_t>(std::min(refused.size(), kMaxName));
  std::copy_n(refused.data(), name_size, name.data());
  flags = static_cast<std::uint8_t>(flags | kAuditRaw | (refused.size() > kMaxName ? kAuditTruncated : 0));
}

void AuditRecord::set_plugin(std::string_view text) noexcept {
  plugin_size = static_cast<std::uint8_t>(std::min(text.size(), kMaxPlugin));
  std::copy_n(text.data(), plugin_size, plugin.data());
}

void AuditRecord::set_user(std::string_view text) noexcept {
  user_size = static_cast<std::uint8_t>(std::min(text.size(), kMaxUser));
  std::copy_n(text.data(), user_size, user.data());
  if (text.size() > kMaxUser) flags |= kAuditUserTruncated;
}

void AuditRecord::set_detail(std::string_view json) noexcept {
  detail_size = 0;
  if (json.size() > kMaxDetail) {
    flags |= kAuditDetailDropped;
    return;
  }
  detail_size = static_cast<std::uint16_t>(json.size());
  std::copy_n(json.data(), json.size(), detail.data());
}

void AuditRecord::set_addr(const Address& address) noexcept {
  addr_family = address.is_v4() ? 4 : 6;
  addr = address.octets();
}

void AuditRecord::set_client_addr(const Address& address, std::uint16_t from_port) noexcept {
  client_addr_family = address.is_v4() ? 4 : 6;
  client_addr = address.octets();
  client_port = from_port;
}

namespace {

Address address_of(std::uint8_t family, const std::array<std::uint8_t, 16>& octets) noexcept {
  if (family == 6) return Address::v6(octets);
  return Address::v4(std::uint32_t{octets[0]} << 24 | std::uint32_t{octets[1]} << 16 | std::uint32_t{octets[2]} << 8 |
                     octets[3]);
}

}  // namespace

Address AuditRecord::address() const noexcept { return address_of(addr_family, addr); }
Address AuditRecord::client_address() const noexcept { return address_of(client_addr_family, client_addr); }

namespace {

// Up to here all is of fixed size and without a hole, so that equal decisions are equal octets.
constexpr std::size_t kFixed = offsetof(AuditRecord, plugin);
static_assert(kFixed == 3 * 8 + 2 * 4 + 8 * 2 + 8 + 2 + 2 * 16);
static_assert(kFixed + (AuditRecord::kMaxPlugin + 1) + (AuditRecord::kMaxUser + 1) + (AuditRecord::kMaxName + 1) +
                  AuditRecord::kMaxDetail <=
              AuditRecord::kMaxPacked);

template <typename Size>
void clamp(Size& size, std::size_t most) noexcept {
  size = static_cast<Size>(std::min<std::size_t>(size, most));
}

void clamp_sizes(AuditRecord& record) noexcept {
  clamp(record.plugin_size, AuditRecord::kMaxPlugin);
  clamp(record.user_size, AuditRecord::kMaxUser);
  clamp(record.name_size, AuditRecord::kMaxName);
  clamp(record.detail_size, AuditRecord::kMaxDetail);
}

}  // namespace

std::size_t AuditRecord::pack(char* out) const noexcept {
  const char* const begin = out;
  const auto put = [&out](const void* octets, std::size_t size) {
    std::memcpy(out, octets, size);
    out += size;
  };
  put(this, kFixed);
  put(plugin.data(), std::min<std::size_t>(plugin_size, kMaxPlugin));
  put(user.data(), std::min<std::size_t>(user_size, kMaxUser));
  put(name.data(), std::min<std::size_t>(name_size, kMaxName));
  put(detail.data(), std::min<std::size_t>(detail_size, kMaxDetail));
  return static_cast<std::size_t>(out - begin);
}

void AuditRecord::unpack(const char* packed, AuditRecord& out) noexcept {
  const auto take = [&packed](void* octets, std::size_t size) {
    std::memcpy(octets, packed, size);
    packed += size;
  };
  take(&out, kFixed);
  std::atomic_signal_fence(std::memory_order_acq_rel);  // the sizes below are those of the copy, and stay so
  clamp_sizes(out);
  take(out.plugin.data(), out.plugin_size);
  take(out.user.data(), out.user_size);
  take(out.name.data(), out.name_size);
  take(out.detail.data(), out.detail_size);
}

void AuditRecord::sanitize() noexcept {
  // Out of range reads as the strictest, as everywhere.
  if (verdict > Effect::kContinue) verdict = Effect::kDeny;
  if (effective > Effect::kContinue) effective = Effect::kDeny;
  if (reason > Reason::kLast) reason = Reason::kUnparsed;
  if (layer > Layer::kDial) layer = Layer::kNone;
  if (kind > AuditKind::kClose) kind = AuditKind::kDecision;
  if (mode > AuditMode::kLearn) mode = AuditMode::kEnforce;
  if (addr_family != 4 && addr_family != 6) addr_family = 0;
  if (client_addr_family != 4 && client_addr_family != 6) client_addr_family = 0;
  clamp_sizes(*this);
  ref &= (std::uint32_t{1} << kRefBits) - 1;
  // A name that is not canonical is refused input, whatever the flag says.
  if (name_size > 0 && (flags & kAuditRaw) == 0 && !DomainName::is_canonical(name_text())) flags |= kAuditRaw;
}

std::uint32_t audit_ref(const AuditRecord& record, std::uint64_t seed) noexcept {
  std::uint64_t state = seed ^ 0x9e3779b97f4a7c15u;
  const auto mix = [&state](std::uint64_t value) {
    const auto product = static_cast<unsigned __int128>(state ^ value) * 0xe7037ed1a0b428dbu;
    state = static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64) ^ 0x8ebc6af09c88c6e3u;
  };
  const auto mix_octets = [&mix](const char* octets, std::size_t size) {
    for (std::size_t at = 0; at < size; at += 8) {
      std::uint64_t word = 0;
      std::memcpy(&word, octets + at, std::min<std::size_t>(8, size - at));
      mix(word);
    }
  };
  mix(record.client_id);
  mix(std::uint64_t{record.port} << 32 | std::uint64_t{static_cast<std::uint16_t>(record.reason)} << 16 |
      record.name_size);
  if (record.name_size > 0) {
    mix(record.flags & kAuditRaw);
    mix_octets(record.name.data(), record.name_size);
  } else {
    mix(record.addr_family);
    if (record.addr_family != 0) mix_octets(reinterpret_cast<const char*>(record.addr.data()), record.addr.size());
  }
  mix(seed);
  return static_cast<std::uint32_t>(state >> (64 - kRefBits));
}

std::array<char, kRefSize> ref_characters(std::uint32_t ref) noexcept {
  constexpr std::string_view kAlphabet = "0123456789abcdefghjkmnpqrstvwxyz";
  std::array<char, kRefSize> out;
  for (std::size_t i = kRefSize; i > 0; --i, ref >>= 5) out[i - 1] = kAlphabet[ref & 31];
  return out;
}

std::string ref_text(std::uint32_t ref) {
  const std::array<char, kRefSize> characters = ref_characters(ref);
  return {characters.data(), characters.size()};
}

AuditRing::Header& AuditRing::header() const noexcept { return *reinterpret_cast<Header*>(memory_.data()); }

AuditRing::Slot& AuditRing::slot(std::uint64_t ticket) const noexcept {
  return reinterpret_cast<Slot*>(memory_.data() + sizeof(Header))[ticket & (slots_ - 1)];
}

Result<AuditRing> AuditRing::create(std::uint32_t slots, int wake_fd, std::uint64_t ref_seed) {
  if (!std::has_single_bit(slots) || slots < 2 * kMaxWriters || slots > kMaxSlots) {
    return Error{ErrorCode::kUnsupported, "an audit ring has 128 to 1048576 slots, a power of two", 0};
  }
  Result<SharedMemory> memory =
      SharedMemory::create("sallyport-audit", sizeof(Header) + std::size_t{slots} * sizeof(Slot));
  if (!memory.ok()) return memory.error();
  AuditRing ring;
  ring.memory_ = *std::move(memory);
  ring.slots_ = slots;
  ring.wake_fd_ = wake_fd;
  ring.ref_seed_ = ring.header().ref_seed = ref_seed;
  ring.header().slots = slots;
  ring.header().record_size = sizeof(AuditRecord);
  ring.header().magic = kMagic;
  return ring;
}

Result<AuditRing> AuditRing::map(int fd, int wake_fd) {
  struct {
    std::uint64_t magic;
    std::uint32_t slots, record_size;
    std::uint64_t ref_seed;
  } seen;
  const Result<std::uint64_t> size = SharedMemory::look(fd, std::as_writable_bytes(std::span(&seen, 1)));
  if (!size.ok()) return size.error();
  if (seen.magic != kMagic) return Error{ErrorCode::kCorrupt, "not an audit ring", 0};
  if (seen.record_size != sizeof(AuditRecord))
    return Error{ErrorCode::kUnsupported, "an audit ring of another version", 0};
  if (!std::has_single_bit(seen.slots) || seen.slots < 2 * kMaxWriters || seen.slots > kMaxSlots ||
      *size != sizeof(Header) + std::size_t{seen.slots} * sizeof(Slot)) {
    return Error{ErrorCode::kCorrupt, "an audit ring with a damaged header", 0};
  }
  Result<SharedMemory> memory = SharedMemory::map(fd, *size);
  if (!memory.ok()) return memory.error();
  AuditRing ring;
  ring.memory_ = *std::move(memory);
  ring.slots_ = seen.slots;
  ring.wake_fd_ = wake_fd;
  ring.ref_seed_ = seen.ref_seed;
  return ring;
}

// The first lines of a slot: what a decision about a name takes. Slots lie on pages of their own, more or less, and
// nothing else would fetch the next.
void AuditRing::expect_write(std::uint64_t ticket) const noexcept {
  const char* const at = reinterpret_cast<const char*>(&slot(ticket));
  for (std::size_t line = 0; line < 4; ++line) __builtin_prefetch(at + 64 * line, 1);
}

void AuditRing::expect_read(std::uint64_t ticket) const noexcept {
  const char* const at = reinterpret_cast<const char*>(&slot(ticket));
  for (std::size_t line = 0; line < 4; ++line) __builtin_prefetch(at + 64 * line, 0);
}

bool AuditRing::write(const AuditRecord& record) noexcept {
  Header& head = header();
  const std::uint64_t in_use =
      head.tickets.load(std::memory_order_relaxed) - head.taken.load(std::memory_order_acquire);
  if (in_use >= slots_ - kMaxWriters) {
    head.lost.fetch_add(1, std::memory_order_relaxed);
    return false;
  }
  const std::uint64_t ticket = head.tickets.fetch_add(1, std::memory_order_relaxed);
  Slot& mine = slot(ticket);
  record.pack(mine.packed.data());
  expect_write(ticket + 1);  // most likely this thread's next
  // Ordered with arm(): either this sees the reader asleep, or the reader sees the record.
  mine.published.store(ticket + 1, std::memory_order_seq_cst);
  if (wake_fd_ >= 0 && head.sleeping.load(std::memory_order_seq_cst) != 0 &&
      head.sleeping.exchange(0, std::memory_order_seq_cst) != 0) {
    const std::uint64_t one = 1;
    [[maybe_unused]] const ssize_t woken = ::write(wake_fd_, &one, sizeof one);  // full means it is awake already
  }
  return true;
}

std::size_t AuditRing::read(std::span<AuditRecord> out) noexcept {
  Header& head = header();
  std::size_t count = 0;
  while (count < out.size()) {
    const Slot& next = slot(next_);
    if (next.published.load(std::memory_order_acquire) != next_ + 1) break;
    expect_read(next_ + 2);
    AuditRecord::unpack(next.packed.data(), out[count]);
    out[count].sanitize();
    ++next_;
    ++count;
    head.taken.store(next_, std::memory_order_release);
  }
  return count;
}

bool AuditRing::arm() noexcept {
  Header& head = header();
  head.sleeping.store(1, std::memory_order_seq_cst);
  if (slot(next_).published.load(std::memory_order_seq_cst) != next_ + 1) return true;
  head.sleeping.store(0, std::memory_order_relaxed);
  return false;
}

std::size_t AuditRing::skip_unfinished() noexcept {
  Header& head = header();
  std::uint64_t given = head.tickets.load(std::memory_order_acquire);
  // A ticket counter that makes no sense is set back to where the reader stands.
  if (given - next_ > slots_) {
    given = next_;
    head.tickets.store(given, std::memory_order_relaxed);
  }
  std::size_t skipped = 0;
  while (next_ != given && slot(next_).published.load(std::memory_order_acquire) != next_ + 1) {
    ++next_;
    ++skipped;
  }
  head.taken.store(next_, std::memory_order_release);
  head.lost.fetch_add(skipped, std::memory_order_relaxed);
  return skipped;
}

std::uint64_t AuditRing::lost() const noexcept { return header().lost.load(std::memory_order_relaxed); }

}  // namespace sallyport
