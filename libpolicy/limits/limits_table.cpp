// Entries lie in sets of kWays that a key's hash picks. Nothing is ever moved: an entry is taken by one
// compare-and-swap of its key, when it is empty or has been at rest for kRestNs. Whoever took one looks again, and of
// two entries with one key the first in its set counts; so does whoever was just about to charge an entry that changed
// hands.
//
//   set      | key touched requests questions bandwidth upload download | connections of each holder |   2 cache lines
//
// Road not taken: a lock for each set. Its holder may die, and a charge must not wait.
#include "limits/limits_table.hpp"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <utility>

#include "limits/buckets.hpp"

namespace sallyport {
namespace {

using limits::Quota;
using limits::Rate;
using limits::Word;

constexpr std::uint64_t kMagic = 0x314d'494c'5950'4c53;  // "SLPYLIM1"
constexpr std::uint32_t kVersion = 1;
constexpr std::size_t kHeaderOctets = 4096;
constexpr std::size_t kMostSets = LimitsTable::kMaxCapacity / LimitsTable::kWays;
constexpr std::uint64_t kSecond = 1'000'000'000;

// A quarter of a second's octets at once: short enough to be a bandwidth, long enough that a timer's grain costs none
// of it. Small ones still move a page or two at a time.
constexpr std::uint64_t kLeastBurst = 16 * 1024;
constexpr std::uint64_t kMostAtOnce = 256 * 1024;  // a pipe (PERF 5)

std::uint64_t mix(std::uint64_t a, std::uint64_t b) noexcept {
  const auto product = static_cast<unsigned __int128>(a ^ 0x9e3779b97f4a7c15u) * (b ^ 0xd1b54a32d192ed03u);
  return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64);
}

std::uint64_t hash_of(std::string_view text, std::uint64_t a, std::uint64_t b) noexcept {
  std::uint64_t hash = mix(a, text.size());
  for (std::size_t at = 0; at < text.size(); at += 8) {
    std::uint64_t word = 0;
    std::memcpy(&word, text.data() + at, std::min<std::size_t>(8, text.size() - at));
    hash = mix(hash ^ word, b + at);
  }
  return mix(hash, a ^ b);
}

Rate requests_of(const RateModel& rate) noexcept { return {rate.amount, rate.seconds, rate.amount}; }
Rate questions_of(const RateModel& rate) noexcept {
  const std::uint64_t amount = rate.amount * LimitsTable::kQuestionsARequest;
  return {amount, rate.seconds, amount};
}
Rate bandwidth_of(const RateModel& rate) noexcept {
  return {rate.amount, rate.seconds, std::max(kLeastBurst, rate.amount / rate.seconds / 4)};
}

}  // namespace

std::string_view to_string(Limit limit) noexcept {
  switch (limit) {
    case Limit::kRequests:
      return "requests";
    case Limit::kConnections:
      return "connections";
    case Limit::kBandwidth:
      return "bandwidth";
    case Limit::kUpload:
      return "upload";
    case Limit::kDownload:
      return "download";
    case Limit::kNone:
      break;
  }
  return "none";
}

struct LimitsTable::Header {
  std::uint64_t magic;
  std::uint32_t version, header_size, entry_size, capacity;
  std::uint64_t seed[2];
  std::atomic<std::uint64_t> overflowed;
  std::atomic<std::int64_t> lost_at;
  // One bit a set that has an entry, so that used() does not touch the rest of the file.
  std::atomic<std::uint8_t> sets[kMostSets / 8];
};

struct alignas(64) LimitsTable::Entry {
  Word key, touched, requests, questions, bandwidth, upload, download;
  alignas(64) std::atomic<std::uint16_t> held[kHolders];

  // Two that enter at the same time each see the other.
  std::uint32_t connections() const noexcept {
    std::uint32_t sum = 0;
    for (const auto& of_one : held) sum += of_one.load(std::memory_order_seq_cst);
    return sum;
  }
};

LimitsTable::Header& LimitsTable::header() const noexcept { return *reinterpret_cast<Header*>(memory_.data()); }

LimitsTable::Entry& LimitsTable::at(std::uint32_t index) const noexcept {
  return reinterpret_cast<Entry*>(memory_.data() + kHeaderOctets)[index];
}

Result<LimitsTable> LimitsTable::create(const Options& options) {
  static_assert(sizeof(Header) <= kHeaderOctets && sizeof(Entry) == 128 && Word::is_always_lock_free);
  const std::uint32_t n = options.capacity;
  if (n < kWays || n > kMaxCapacity || (n & (n - 1)) != 0)
    return Error{ErrorCode::kUnsupported, "the capacity of a table of limits is a power of two, 16 to 262144", 0};
  Result<SharedMemory> memory =
      SharedMemory::create("sallyport-limits", kHeaderOctets + (n + kOverflow) * sizeof(Entry));
  if (!memory.ok()) return memory.error();
  LimitsTable table;
  table.memory_ = *std::move(memory);
  table.capacity_ = n;
  table.seed_ = options.seed;
  Header& header = table.header();
  header.version = kVersion;
  header.header_size = sizeof(Header);
  header.entry_size = sizeof(Entry);
  header.capacity = n;
  header.seed[0] = options.seed[0];
  header.seed[1] = options.seed[1];
  header.magic = kMagic;
  return table;
}

Result<LimitsTable> LimitsTable::map(int fd) {
  struct {
    std::uint64_t magic;
    std::uint32_t version, header_size, entry_size, capacity;
    std::uint64_t seed[2];
  } seen;
  const Result<std::uint64_t> size = SharedMemory::look(fd, std::as_writable_bytes(std::span(&seen, 1)));
  if (!size.ok()) return size.error();
  if (seen.magic != kMagic) return Error{ErrorCode::kCorrupt, "not a table of limits", 0};
  if (seen.version != kVersion || seen.header_size != sizeof(Header) || seen.entry_size != sizeof(Entry))
    return Error{ErrorCode::kUnsupported, "a table of limits of another version", 0};
  const std::uint32_t n = seen.capacity;
  if (n < kWays || n > kMaxCapacity || (n & (n - 1)) != 0 || *size != kHeaderOctets + (n + kOverflow) * sizeof(Entry))
    return Error{ErrorCode::kCorrupt, "a table of limits with a damaged header", 0};
  Result<SharedMemory> memory = SharedMemory::map(fd, *size);
  if (!memory.ok()) return memory.error();
  LimitsTable table;
  table.memory_ = *std::move(memory);
  table.capacity_ = n;
  table.seed_ = {seen.seed[0], seen.seed[1]};
  return table;
}

std::uint64_t LimitsTable::rule_hash(std::string_view rule) const noexcept { return hash_of(rule, seed_[0], seed_[1]); }

LimitsTable::Key LimitsTable::key(std::uint64_t rule_hash, std::string_view client) const noexcept {
  // Never 0, and never the number of an overflow entry (used()).
  return {hash_of(client, rule_hash, seed_[1]) | std::uint64_t{1} << 63, rule_hash};
}

std::uint32_t LimitsTable::overflow_of(const Key& key) const noexcept {
  return capacity_ + static_cast<std::uint32_t>(key.rule % kOverflow);
}

bool LimitsTable::is_at_rest(const Entry& entry, const Now& now) noexcept {
  const auto is_past = [&now](const Word& due) { return due.load(std::memory_order_relaxed) <= now.steady_ns; };
  return entry.touched.load(std::memory_order_relaxed) + kRestNs < now.steady_ns && is_past(entry.requests) &&
         is_past(entry.questions) && is_past(entry.bandwidth) &&
         limits::is_over(entry.upload.load(std::memory_order_relaxed), now.wall_s) &&
         limits::is_over(entry.download.load(std::memory_order_relaxed), now.wall_s) && entry.connections() == 0;
}

std::uint32_t LimitsTable::find(const Key& key, const Now& now) const noexcept {
  const std::uint32_t set = static_cast<std::uint32_t>(key.client >> 32) & (capacity_ / kWays - 1);
  const std::uint32_t first = set * kWays;
  constexpr unsigned kRounds = 4;  // each is lost to somebody who took a place
  for (unsigned round = 0; round < kRounds; ++round) {
    std::uint32_t free = UINT32_MAX;
    std::uint64_t before = 0;
    for (std::uint32_t i = first; i < first + kWays; ++i) {
      Entry& entry = at(i);
      const std::uint64_t seen = entry.key.load(std::memory_order_acquire);
      if (seen == key.client) {
        entry.touched.store(now.steady_ns, std::memory_order_seq_cst);
        if (entry.key.load(std::memory_order_seq_cst) == key.client) return i;
      } else if (free == UINT32_MAX && (seen == 0 || is_at_rest(entry, now))) {
        free = i;
        before = seen;
      }
    }
    if (free == UINT32_MAX) break;
    header().sets[set / 8].fetch_or(static_cast<std::uint8_t>(1u << set % 8), std::memory_order_relaxed);
    Entry& entry = at(free);
    // Before the key: whoever looks now does not take it for one at rest.
    entry.touched.store(now.steady_ns, std::memory_order_seq_cst);
    // What is left there is past, so it means nothing to the next. The next round finds the first with this key.
    entry.key.compare_exchange_strong(before, key.client, std::memory_order_seq_cst);
  }
  header().overflowed.fetch_add(1, std::memory_order_relaxed);
  return overflow_of(key);
}

LimitsTable::Charged LimitsTable::charge(const Key& key, const LimitsModel& limits, Charge kind, std::uint64_t amount,
                                         const Now& now) const noexcept {
  Entry& entry = at(find(key, now));
  const std::int64_t lost = lost_at();
  const auto quota_of = [lost](const RateModel& rate) { return Quota{rate.amount, rate.seconds, lost}; };
  const auto refused_by_quota = [&](Limit limit, const Word& word, const RateModel& rate) {
    return Charged{limit, limits::seconds_to_next(word, quota_of(rate), now.wall_s) * kSecond};
  };
  switch (kind) {
    case Charge::kRequest: {
      // What cannot be sent or answered is refused while it still can be said.
      if (limits.upload && limits::left(entry.upload, quota_of(*limits.upload), now.wall_s) == 0)
        return refused_by_quota(Limit::kUpload, entry.upload, *limits.upload);
      if (limits.download && limits::left(entry.download, quota_of(*limits.download), now.wall_s) == 0)
        return refused_by_quota(Limit::kDownload, entry.download, *limits.download);
      if (!limits.requests) return {};
      const std::uint64_t wait = limits::take(entry.requests, requests_of(*limits.requests), amount, now.steady_ns);
      return wait == 0 ? Charged{} : Charged{Limit::kRequests, wait};
    }
    case Charge::kQuestion: {
      if (!limits.requests) return {};
      const std::uint64_t wait = limits::take(entry.questions, questions_of(*limits.requests), amount, now.steady_ns);
      return wait == 0 ? Charged{} : Charged{Limit::kRequests, wait};
    }
    case Charge::kUp:
    case Charge::kDown: {
      const bool up = kind == Charge::kUp;
      const std::optional<RateModel>& quota = up ? limits.upload : limits.download;
      Word& word = up ? entry.upload : entry.download;
      if (quota && !limits::use(word, quota_of(*quota), amount, now.wall_s))
        return refused_by_quota(up ? Limit::kUpload : Limit::kDownload, word, *quota);
      if (!limits.bandwidth) return {};
      return {Limit::kNone, limits::queue(entry.bandwidth, bandwidth_of(*limits.bandwidth), amount, now.steady_ns)};
    }
  }
  return {Limit::kRequests, kSecond};  // a kind that this version does not know
}

std::uint64_t LimitsTable::room(const Key& key, const LimitsModel& limits, Charge kind, const Now& now) const noexcept {
  std::uint64_t most = UINT64_MAX;
  if (limits.bandwidth) most = std::min(kMostAtOnce, bandwidth_of(*limits.bandwidth).burst / 2);
  const std::optional<RateModel>& quota = kind == Charge::kUp ? limits.upload : limits.download;
  if (quota) {
    const Entry& entry = at(find(key, now));
    const Word& word = kind == Charge::kUp ? entry.upload : entry.download;
    most = std::min(most, limits::left(word, {quota->amount, quota->seconds, lost_at()}, now.wall_s));
  }
  return std::max<std::uint64_t>(1, most);
}

LimitsTable::Place LimitsTable::enter(const Key& key, unsigned holder, std::uint32_t most,
                                      const Now& now) const noexcept {
  if (holder >= kHolders) return {};
  const std::uint32_t index = find(key, now);
  Entry& entry = at(index);
  // Counted first, and given back if that was too many: of those who come at once none overlooks another.
  const std::uint16_t mine = entry.held[holder].fetch_add(1, std::memory_order_seq_cst);
  const bool fits = mine < UINT16_MAX / 2 && (most == kAnyNumber || entry.connections() <= most);
  if (fits) return {index, holder};
  entry.held[holder].fetch_sub(1, std::memory_order_seq_cst);
  return {};
}

void LimitsTable::leave(const Place& place) const noexcept {
  if (place.entry >= capacity_ + kOverflow || place.holder >= kHolders) return;
  at(place.entry).held[place.holder].fetch_sub(1, std::memory_order_seq_cst);
}

std::uint32_t LimitsTable::connections(const Key& key, const Now& now) const noexcept {
  return at(find(key, now)).connections();
}

void LimitsTable::forget_holder(unsigned holder) const noexcept {
  if (holder >= kHolders) return;
  const auto forget = [&](std::uint32_t index) {
    auto& held = at(index).held[holder];
    if (held.load(std::memory_order_relaxed) != 0) held.store(0, std::memory_order_seq_cst);
  };
  for (std::uint32_t set = 0; set < capacity_ / kWays; ++set) {
    if ((header().sets[set / 8].load(std::memory_order_relaxed) & 1u << set % 8) == 0) continue;
    for (std::uint32_t i = 0; i < kWays; ++i) forget(set * kWays + i);
  }
  for (std::uint32_t i = 0; i < kOverflow; ++i) forget(capacity_ + i);
}

std::vector<LimitsTable::Used> LimitsTable::used(std::int64_t wall_s) const {
  std::vector<Used> out;
  const auto look = [&](std::uint32_t index, std::uint64_t key) {
    const Entry& entry = at(index);
    const Used one{key, entry.upload.load(std::memory_order_relaxed), entry.download.load(std::memory_order_relaxed)};
    if (key != 0 && (!limits::is_over(one.upload, wall_s) || !limits::is_over(one.download, wall_s)))
      out.push_back(one);
  };
  for (std::uint32_t set = 0; set < capacity_ / kWays; ++set) {
    if ((header().sets[set / 8].load(std::memory_order_relaxed) & 1u << set % 8) == 0) continue;
    for (std::uint32_t i = set * kWays; i < (set + 1) * kWays; ++i) look(i, at(i).key.load(std::memory_order_acquire));
  }
  for (std::uint32_t i = 0; i < kOverflow; ++i) look(capacity_ + i, i + 1);
  return out;
}

void LimitsTable::restore(std::span<const Used> used, const Now& now) const noexcept {
  for (const Used& one : used) {
    const bool shared = one.key != 0 && one.key <= kOverflow;
    const std::uint32_t index =
        shared ? capacity_ + static_cast<std::uint32_t>(one.key - 1) : find({one.key, one.key}, now);
    at(index).upload.store(one.upload, std::memory_order_relaxed);
    at(index).download.store(one.download, std::memory_order_relaxed);
  }
}

void LimitsTable::lose(std::int64_t wall_s) const noexcept {
  header().lost_at.store(wall_s, std::memory_order_relaxed);
}

std::int64_t LimitsTable::lost_at() const noexcept { return header().lost_at.load(std::memory_order_relaxed); }

std::uint64_t LimitsTable::overflowed() const noexcept { return header().overflowed.load(std::memory_order_relaxed); }

}  // namespace sallyport
