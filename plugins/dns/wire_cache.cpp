// One allocation per entry holds all that has no fixed size:
//
//   [policy_addr x bindings][name][offset x ttls][reply]
//
// Road not taken: one cache for all threads. It would save the first look-up of each thread and cost a lock, or a copy
// under a sequence number, for every hit; queries of one client socket come to one thread anyway (SO_REUSEPORT).
#include "dns/wire_cache.hpp"

#include <bit>
#include <cstdlib>
#include <cstring>

#include "wire/dns_response.hpp"

namespace sallyport::dns {
namespace {

using net::Clock;

constexpr std::size_t kWays = 4;
constexpr std::size_t kMaxTtls = 80;     // 16 links and 64 addresses
constexpr std::size_t kMaxReply = 4096;  // longer ones are rare and cost memory
constexpr unsigned kHashedLabels = 16;   // deeper names have no hash of the whole, and are not kept

std::int64_t ns_of(Clock::time_point time) { return std::chrono::nanoseconds(time.time_since_epoch()).count(); }

}  // namespace

// All zero is an empty entry.
struct WireCache::Entry {
  std::uint64_t hash;
  std::uint64_t client_id;
  std::uint64_t generation;
  std::int64_t expires_ns;
  std::uint8_t client[16];
  std::uint8_t* blob;
  std::uint16_t type, reply_octets;
  std::uint8_t name_octets, ttls, bindings;
  std::uint8_t variant;  // family of the client's address, EDNS, DO

  const policy_addr* addresses() const { return reinterpret_cast<const policy_addr*>(blob); }
  std::uint8_t* name() const { return blob + bindings * sizeof(policy_addr); }
  std::uint8_t* offsets() const { return name() + name_octets; }
  std::uint8_t* reply() const { return offsets() + std::size_t{ttls} * 2; }
};

namespace {

std::uint8_t variant_of(const WireCache::Key& key) {
  const unsigned family = key.client == nullptr ? 0u : key.client->family;
  return static_cast<std::uint8_t>(family | (key.has_edns ? 0x10u : 0u) | (key.dnssec_ok ? 0x20u : 0u));
}

}  // namespace

WireCache::WireCache(std::size_t entries) {
  if (entries == 0) return;
  const std::size_t sets = std::bit_ceil((entries + kWays - 1) / kWays);
  entries_ = static_cast<Entry*>(std::calloc(sets * kWays, sizeof(Entry)));
  mask_ = sets - 1;
}

WireCache::~WireCache() {
  if (entries_ == nullptr) return;
  for (std::size_t i = 0; i < (mask_ + 1) * kWays; ++i) std::free(entries_[i].blob);
  std::free(entries_);
}

// The name's own hash is there already. Clients choose names: at worst they make their own entries push each other out.
std::uint64_t WireCache::hash_of(const Key& key) noexcept {
  std::uint64_t hash = key.name->suffix_hash[key.name->labels - 1];
  hash ^= key.client_id * UINT64_C(0x9e3779b97f4a7c15);
  hash ^= (std::uint64_t{key.type} << 8 | variant_of(key)) * UINT64_C(0xc2b2ae3d27d4eb4f);
  hash ^= hash >> 32;
  hash *= UINT64_C(0xd6e8feb86659fd93);
  return hash ^ hash >> 32;
}

bool WireCache::is_of(const Entry& entry, const Key& key, std::uint64_t hash) noexcept {
  return entry.blob != nullptr && entry.hash == hash && entry.client_id == key.client_id && entry.type == key.type &&
         entry.variant == variant_of(key) && entry.name_octets == key.name->len &&
         std::memcmp(entry.name(), key.name->text, key.name->len) == 0 &&
         (key.client == nullptr || std::memcmp(entry.client, key.client->ip, sizeof entry.client) == 0);
}

WireCache::Hit WireCache::find(const Key& key, Clock::time_point now) const noexcept {
  Hit hit;
  if (entries_ == nullptr || key.name->labels == 0 || key.name->labels > kHashedLabels) return hit;
  const std::uint64_t hash = hash_of(key);
  const Entry* const set = entries_ + (hash & mask_) * kWays;
  for (std::size_t way = 0; way < kWays; ++way) {
    const Entry& entry = set[way];
    if (!is_of(entry, key, hash)) continue;
    const std::int64_t left = entry.expires_ns - ns_of(now);
    if (entry.generation != key.generation || left < 1'000'000'000) return hit;
    hit.reply = {entry.reply(), entry.reply_octets};
    hit.ttl_offsets = {entry.offsets(), std::size_t{entry.ttls} * 2};
    hit.bindings = {entry.addresses(), entry.bindings};
    hit.ttl = static_cast<std::uint32_t>(left / 1'000'000'000);  // never longer than what it stands on
    return hit;
  }
  return hit;
}

std::span<const std::uint8_t> WireCache::write(const Hit& hit, const wire::DnsQuery& query,
                                               std::span<std::uint8_t> buffer) noexcept {
  std::uint8_t* const out = buffer.data();
  std::memcpy(out, hit.reply.data(), hit.reply.size());
  out[0] = static_cast<std::uint8_t>(query.header.id >> 8);
  out[1] = static_cast<std::uint8_t>(query.header.id);
  constexpr std::uint8_t kRd = 0x01, kCd = 0x10;
  out[2] = static_cast<std::uint8_t>((out[2] & ~kRd) | (query.header.recursion_desired() ? kRd : 0));
  out[3] = static_cast<std::uint8_t>((out[3] & ~kCd) | (query.header.checking_disabled() ? kCd : 0));
  const auto name = query.question->name.octets();  // the same name, so as long; the letters are this client's
  std::memcpy(out + wire::kDnsHeaderOctets, name.data(), name.size());
  const std::uint8_t ttl[4] = {static_cast<std::uint8_t>(hit.ttl >> 24), static_cast<std::uint8_t>(hit.ttl >> 16),
                               static_cast<std::uint8_t>(hit.ttl >> 8), static_cast<std::uint8_t>(hit.ttl)};
  for (std::size_t i = 0; i < hit.ttl_offsets.size(); i += 2)
    std::memcpy(out + (hit.ttl_offsets[i] << 8 | hit.ttl_offsets[i + 1]), ttl, sizeof ttl);
  return buffer.first(hit.reply.size());
}

void WireCache::store(const Key& key, std::span<const std::uint8_t> reply, std::span<const policy_addr> bindings,
                      Clock::time_point now, Clock::time_point expires) {
  if (entries_ == nullptr || key.name->labels == 0 || key.name->labels > kHashedLabels) return;
  if (reply.size() > kMaxReply || bindings.size() > kMaxTtls || expires - now < std::chrono::seconds(1)) return;
  // Read back rather than counted while writing: a TTL that were missed would be given out for ever.
  std::array<std::uint8_t, kMaxTtls * 2> offsets;
  std::size_t ttls = 0;
  Result<wire::DnsResponseReader> reader = wire::DnsResponseReader::open(reply);
  if (!reader.ok() || reader->header().is_truncated()) return;
  if (reader->question().name.octets().size() != std::size_t{key.name->len} + 2) return;
  for (wire::DnsRecord record;;) {
    const Result<bool> more = reader->next(record);
    if (!more.ok()) return;
    if (!*more) break;
    if (record.type == wire::kTypeOpt) continue;
    if (ttls == kMaxTtls) return;
    const std::size_t at = record.rdata_offset - 6;  // TTL and RDLENGTH stand before the data
    offsets[ttls * 2] = static_cast<std::uint8_t>(at >> 8);
    offsets[ttls * 2 + 1] = static_cast<std::uint8_t>(at);
    ++ttls;
  }

  const std::uint64_t hash = hash_of(key);
  Entry* const set = entries_ + (hash & mask_) * kWays;
  Entry* place = set;
  for (std::size_t way = 0; way < kWays; ++way) {
    Entry& entry = set[way];
    if (is_of(entry, key, hash)) {
      place = &entry;
      break;
    }
    if (entry.expires_ns < place->expires_ns) place = &entry;  // an empty one has ended long ago
  }
  const std::size_t octets = bindings.size_bytes() + key.name->len + ttls * 2 + reply.size();
  auto* const blob = static_cast<std::uint8_t*>(std::malloc(octets));
  if (blob == nullptr) return;
  std::free(place->blob);
  *place = Entry{};
  place->hash = hash;
  place->client_id = key.client_id;
  place->generation = key.generation;
  place->expires_ns = ns_of(expires);
  if (key.client != nullptr) std::memcpy(place->client, key.client->ip, sizeof place->client);
  place->blob = blob;
  place->type = key.type;
  place->reply_octets = static_cast<std::uint16_t>(reply.size());
  place->name_octets = key.name->len;
  place->ttls = static_cast<std::uint8_t>(ttls);
  place->bindings = static_cast<std::uint8_t>(bindings.size());
  place->variant = variant_of(key);
  if (!bindings.empty()) std::memcpy(blob, bindings.data(), bindings.size_bytes());
  std::memcpy(place->name(), key.name->text, key.name->len);
  std::memcpy(place->offsets(), offsets.data(), ttls * 2);
  std::memcpy(place->reply(), reply.data(), reply.size());
}

}  // namespace sallyport::dns
