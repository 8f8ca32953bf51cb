#include "engine/format.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

#include "names/domain_name.hpp"

namespace sallyport::format {
namespace {

constexpr std::uint64_t kPrime1 = 0x9e3779b185ebca87u;  // those of XXH64: odd, and well mixed under rotation
constexpr std::uint64_t kPrime2 = 0xc2b2ae3d27d4eb4fu;

std::uint64_t round(std::uint64_t lane, std::uint64_t word) noexcept {
  return std::rotl(lane + word * kPrime2, 31) * kPrime1;
}

std::uint64_t word_at(std::span<const std::byte> bytes, std::size_t offset) noexcept {
  // The checksum's own place reads as 0.
  if (offset == offsetof(Header, checksum)) return 0;
  std::uint64_t word = 0;
  const std::size_t left = bytes.size() - offset;
  std::memcpy(&word, bytes.data() + offset, left < 8 ? left : 8);
  return word;
}

}  // namespace

std::uint64_t checksum(std::span<const std::byte> bytes) noexcept {
  static_assert(offsetof(Header, checksum) % 8 == 0);
  std::array<std::uint64_t, 4> lanes = {kPrime1, kPrime2, kPrime1 ^ kPrime2,
                                        0};  // four, so that multiplications overlap
  std::size_t offset = 0;
  for (; offset + 32 <= bytes.size(); offset += 32) {
    for (unsigned i = 0; i < 4; ++i) lanes[i] = round(lanes[i], word_at(bytes, offset + 8 * i));
  }
  for (unsigned i = 0; offset < bytes.size(); offset += 8, ++i) lanes[i] = round(lanes[i], word_at(bytes, offset));
  std::uint64_t sum = bytes.size();
  for (const std::uint64_t lane : lanes) sum = round(sum, lane);
  return sum ^ (sum >> 29);
}

void seal(std::span<std::byte> bytes) noexcept {
  const std::uint64_t sum = checksum(bytes);
  std::memcpy(bytes.data() + offsetof(Header, checksum), &sum, sizeof(sum));
}

std::uint64_t name_hash_probe() noexcept {
  static const std::uint64_t probe = [] {
    const Result<DomainName> name = DomainName::parse("snapshot.probe.invalid");
    return name.ok() ? name->hash() : 0;
  }();
  return probe;
}

namespace {

Limits::Rate packed(const std::optional<RateModel>& rate) noexcept {
  return rate ? Limits::Rate{rate->amount, rate->seconds, 0} : Limits::Rate{};
}

std::optional<RateModel> unpacked(const Limits::Rate& rate) noexcept {
  return rate.amount != 0 ? std::optional(RateModel{rate.amount, rate.seconds}) : std::nullopt;
}

bool is_sound(const Limits::Rate& rate, std::uint64_t most) noexcept {
  const std::uint32_t s = rate.seconds;
  if (rate.reserved != 0 || rate.amount > most) return false;
  return rate.amount == 0 ? s == 0 : s == 1 || s == 60 || s == 3600 || s == 86400;
}

}  // namespace

Limits packed(const LimitsModel& limits) noexcept {
  return {packed(limits.requests), packed(limits.bandwidth),       packed(limits.upload),
          packed(limits.download), limits.connections.value_or(0), 0};
}

LimitsModel unpacked(const Limits& limits) noexcept {
  LimitsModel out;
  out.requests = unpacked(limits.requests);
  if (limits.connections != 0) out.connections = limits.connections;
  out.bandwidth = unpacked(limits.bandwidth);
  out.upload = unpacked(limits.upload);
  out.download = unpacked(limits.download);
  return out;
}

bool is_sound(const Limits& limits) noexcept {
  const bool any = limits.requests.amount != 0 || limits.bandwidth.amount != 0 || limits.upload.amount != 0 ||
                   limits.download.amount != 0 || limits.connections != 0;
  return any && limits.reserved == 0 && limits.connections <= kMostConnections &&
         is_sound(limits.requests, kMostRequests) &&
         is_sound(limits.bandwidth, kMostBandwidth * std::max<std::uint64_t>(limits.bandwidth.seconds, 1)) &&
         is_sound(limits.upload, kMostQuota) && is_sound(limits.download, kMostQuota);
}

PrefixKey key_of(const Address& address) noexcept {
  PrefixKey key;
  const auto& octets = address.octets();
  for (unsigned i = 0; i < 8; ++i) {
    key.high = key.high << 8 | octets[i];
    key.low = key.low << 8 | octets[i + 8];
  }
  key.family = address.is_v4() ? 4 : 6;
  key.bits = address.is_v4() ? 32 : 128;
  return key;
}

PrefixKey key_of(const Prefix& prefix) noexcept {
  PrefixKey key = key_of(prefix.network());
  key.bits = static_cast<std::uint16_t>(prefix.bits());
  return key;
}

Address address_of(const PrefixKey& key) noexcept {
  if (key.family == 4) return Address::v4(static_cast<std::uint32_t>(key.high >> 32));
  std::array<std::uint8_t, 16> octets{};
  for (unsigned i = 0; i < 8; ++i) {
    octets[i] = static_cast<std::uint8_t>(key.high >> (56 - 8 * i));
    octets[i + 8] = static_cast<std::uint8_t>(key.low >> (56 - 8 * i));
  }
  return Address::v6(octets);
}

}  // namespace sallyport::format
