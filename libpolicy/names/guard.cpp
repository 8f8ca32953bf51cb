// Two tables, searched from the top: a narrow block stands above the wider one it lies in.
//
// A block of the registries that is "globally reachable" there (AS112 sinks, AMT relays, PCP and TURN anycast) is
// guarded all the same: no service that a workload is to be given by name lives in one. For IPv6 what is not allocated
// for global unicast (2000::/3) is guarded as a whole, so that the next special block is guarded before we hear of it.
#include "names/guard.hpp"

#include <array>
#include <cstring>

namespace sallyport {
namespace {

using enum AddressClass;

struct BlockV4 {
  std::uint32_t network;
  unsigned bits;
  AddressClass address_class;
};

constexpr std::uint32_t quad(std::uint32_t a, std::uint32_t b, std::uint32_t c, std::uint32_t d) {
  return a << 24 | b << 16 | c << 8 | d;
}

// Cloud metadata: credentials for whoever asks. Vendors' documentation.
constexpr BlockV4 kMetadataV4[] = {
    {quad(169, 254, 169, 254), 32,
     kMetadata},  // AWS, Azure, Google, OCI, OpenStack, DigitalOcean, Hetzner, Akamai, IBM, ...
    {quad(169, 254, 170, 2), 32, kMetadata},    // AWS ECS task credentials
    {quad(169, 254, 170, 23), 32, kMetadata},   // AWS EKS pod identity
    {quad(169, 254, 169, 250), 32, kMetadata},  // Rancher metadata
    {quad(169, 254, 0, 23), 32, kMetadata},     // Tencent Cloud
    {quad(169, 254, 42, 42), 32, kMetadata},    // Scaleway
    {quad(100, 100, 100, 200), 32, kMetadata},  // Alibaba Cloud
    {quad(168, 63, 129, 16), 32, kMetadata},    // Azure WireServer, in public space
    {quad(192, 0, 0, 192), 32, kMetadata},      // Oracle Cloud at Customer and Classic
};

// IANA IPv4 Special-Purpose Address Registry, and IPv4 Multicast Address Space.
constexpr BlockV4 kBlocksV4[] = {
    {quad(0, 0, 0, 0), 8, kUnspecified},      // "this network", RFC 791 §3.2
    {quad(10, 0, 0, 0), 8, kPrivate},         // RFC 1918
    {quad(100, 64, 0, 0), 10, kSharedCgnat},  // RFC 6598
    {quad(127, 0, 0, 0), 8, kLoopback},       // RFC 1122 §3.2.1.3
    {quad(169, 254, 0, 0), 16, kLinkLocal},   // RFC 3927
    {quad(172, 16, 0, 0), 12, kPrivate},      // RFC 1918
    {quad(192, 0, 0, 0), 24, kReserved},      // IETF protocol assignments, RFC 6890 §2.1; those inside as well:
                                          // /29 RFC 7335, .8 RFC 7600, .9 RFC 7723, .10 RFC 8155, .170 .171 RFC 8880
    {quad(192, 0, 2, 0), 24, kDocumentation},     // TEST-NET-1, RFC 5737
    {quad(192, 31, 196, 0), 24, kReserved},       // AS112-v4, RFC 7535
    {quad(192, 52, 193, 0), 24, kReserved},       // AMT, RFC 7450
    {quad(192, 88, 99, 0), 24, kReserved},        // 6to4 relay anycast, deprecated, RFC 7526
    {quad(192, 168, 0, 0), 16, kPrivate},         // RFC 1918
    {quad(192, 175, 48, 0), 24, kReserved},       // direct delegation AS112, RFC 7534
    {quad(198, 18, 0, 0), 15, kBenchmarking},     // RFC 2544
    {quad(198, 51, 100, 0), 24, kDocumentation},  // TEST-NET-2, RFC 5737
    {quad(203, 0, 113, 0), 24, kDocumentation},   // TEST-NET-3, RFC 5737
    {quad(224, 0, 0, 0), 4, kMulticast},          // RFC 5771
    {quad(255, 255, 255, 255), 32, kBroadcast},   // RFC 8190, RFC 919 §7
    {quad(240, 0, 0, 0), 4, kReserved},           // RFC 1112 §4
};

struct BlockV6 {
  std::uint64_t high;
  std::uint64_t low;
  unsigned bits;
  AddressClass address_class;
};

constexpr BlockV6 kMetadataV6[] = {
    {0xfd00'0ec2'0000'0000, 0x254, 128, kMetadata},        // AWS
    {0xfd00'0ec2'0000'0000, 0x23, 128, kMetadata},         // AWS EKS pod identity
    {0xfd20'00ce'0000'0000, 0x254, 128, kMetadata},        // Google Cloud
    {0xfd00'00c1'0000'0000, 0xa9fe'a9fe, 128, kMetadata},  // Oracle Cloud
    {0xfd00'a9fe'a9fe'0000, 0x1, 128, kMetadata},          // Akamai (Linode)
    {0xfd00'0042'0000'0000, 0x42, 128, kMetadata},         // Scaleway
    {0xfe80'0000'0000'0000, 0xa9fe'a9fe, 128, kMetadata},  // OpenStack
};

// IANA IPv6 Special-Purpose Address Registry, IPv6 Address Space, and the forms that embed IPv4 and are not in it.
constexpr BlockV6 kBlocksV6[] = {
    {0, 0, 128, kUnspecified},                       // RFC 4291 §2.5.2
    {0, 1, 128, kLoopback},                          // RFC 4291 §2.5.3
    {0, 0, 96, kEmbedded},                           // IPv4-compatible, deprecated, RFC 4291 §2.5.5.1
    {0, 0x0000'ffff'0000'0000, 96, kEmbedded},       // IPv4-mapped, RFC 4291 §2.5.5.2
    {0, 0xffff'0000'0000'0000, 96, kEmbedded},       // IPv4-translated, RFC 2765 §2.1
    {0x0064'ff9b'0000'0000, 0, 96, kEmbedded},       // NAT64 well-known, RFC 6052 §2.1
    {0x0064'ff9b'0001'0000, 0, 48, kEmbedded},       // NAT64 local-use, RFC 8215
    {0x0100'0000'0000'0000, 0, 64, kReserved},       // discard-only, RFC 6666
    {0x0100'0000'0000'0001, 0, 64, kReserved},       // dummy prefix, RFC 9780
    {0x2001'0000'0000'0000, 0, 32, kEmbedded},       // Teredo, RFC 4380 §4
    {0x2001'0002'0000'0000, 0, 48, kBenchmarking},   // RFC 5180 §8, erratum 1752
    {0x2001'0000'0000'0000, 0, 23, kReserved},       // IETF protocol assignments, RFC 2928; those inside as well:
                                                     // 2001:1::1 RFC 7723, ::2 RFC 8155, ::3 RFC 9665,
                                                     // 2001:3::/32 RFC 7450, 2001:4:112::/48 RFC 7535,
                                                     // 2001:10::/28 RFC 4843, 2001:20::/28 RFC 7343,
                                                     // 2001:30::/28 RFC 9374
    {0x2001'0db8'0000'0000, 0, 32, kDocumentation},  // RFC 3849
    {0x2002'0000'0000'0000, 0, 16, kEmbedded},       // 6to4, RFC 3056 §2
    {0x2620'004f'8000'0000, 0, 48, kReserved},       // direct delegation AS112, RFC 7534
    {0x3fff'0000'0000'0000, 0, 20, kDocumentation},  // RFC 9637
    {0x5f00'0000'0000'0000, 0, 16, kReserved},       // segment routing SIDs, RFC 9602
    {0xfc00'0000'0000'0000, 0, 7, kUniqueLocal},     // RFC 4193
    {0xfe80'0000'0000'0000, 0, 10, kLinkLocal},      // RFC 4291 §2.5.6
    {0xfec0'0000'0000'0000, 0, 10, kPrivate},        // site-local, deprecated, RFC 3879
    {0xff00'0000'0000'0000, 0, 8, kMulticast},       // RFC 4291 §2.7
    {0x2000'0000'0000'0000, 0, 3, kPublic},          // global unicast, RFC 4291 §2.4
    {0, 0, 0, kReserved},                            // the rest: reserved by IETF (IPv6 Address Space registry)
};

struct Words {
  std::uint64_t high;
  std::uint64_t low;
};

constexpr std::uint64_t mask64(unsigned bits) { return bits == 0 ? 0 : ~std::uint64_t{0} << (64 - bits); }

constexpr bool covers(const BlockV4& block, std::uint32_t address) {
  return ((address ^ block.network) & static_cast<std::uint32_t>(mask64(block.bits) >> 32)) == 0;
}

constexpr bool covers(const BlockV6& block, const Words& address) {
  const unsigned high_bits = block.bits < 64 ? block.bits : 64;
  return ((address.high ^ block.high) & mask64(high_bits)) == 0 &&
         ((address.low ^ block.low) & mask64(block.bits - high_bits)) == 0;
}

template <typename Block, std::size_t n, typename Value>
constexpr AddressClass find(const Block (&blocks)[n], const Value& address, AddressClass otherwise) {
  for (const Block& block : blocks) {
    if (covers(block, address)) return block.address_class;
  }
  return otherwise;
}

Words words(const Address& address) noexcept {
  Words w{0, 0};
  for (std::size_t i = 0; i < 8; ++i) {
    w.high = w.high << 8 | address.octets()[i];
    w.low = w.low << 8 | address.octets()[i + 8];
  }
  return w;
}

bool is_metadata_v4(std::uint32_t address) noexcept { return find(kMetadataV4, address, kPublic) == kMetadata; }

// ISATAP (RFC 5214 §6.1): the interface identifier 0000:5efe or 0200:5efe, below any prefix.
constexpr bool is_isatap(const Words& w) { return (w.low >> 32 & ~std::uint64_t{0x0200'0000}) == 0x5efe; }

// All the IPv4 addresses that an IPv6 form may carry, most likely first. NAT64 local-use has no fixed length: the
// network chooses a prefix of 48, 56, 64 or 96 bits inside its /48 (RFC 6052 §2.2; octet 8 of the address is zero).
struct Carried {
  std::array<std::uint32_t, 4> v4{};
  std::size_t count = 0;
};

Carried carried_v4(const Words& w) noexcept {
  const auto low32 = static_cast<std::uint32_t>(w.low);
  const auto with = [](auto... values) { return Carried{{static_cast<std::uint32_t>(values)...}, sizeof...(values)}; };
  if (w.high == 0) {
    const std::uint64_t middle = w.low >> 32;
    if (middle == 0 && low32 > 1) return with(low32);                   // IPv4-compatible, neither :: nor ::1
    if (middle == 0xffff || middle == 0xffff'0000) return with(low32);  // mapped, translated
    if (middle == 0) return {};
  }
  if (w.high == 0x0064'ff9b'0000'0000 && w.low >> 32 == 0) return with(low32);
  if (w.high >> 16 == 0x0064'ff9b'0001) {
    const std::uint64_t in_48 = (w.high & 0xffff) << 16 | (w.low >> 40 & 0xffff);
    const std::uint64_t in_56 = (w.high & 0xff) << 24 | (w.low >> 32 & 0xff'ffff);
    const std::uint64_t in_64 = w.low >> 24 & 0xffff'ffff;
    // What lies behind the IPv4 address is zero, which tells the lengths apart but for addresses that end in zero.
    if ((low32 & 0xff'ffff) != 0) return with(low32, in_48, in_56, in_64);
    if (low32 != 0) return with(in_64, in_48, in_56, low32);
    if ((w.low >> 32 & 0xff) != 0) return with(in_56, in_48);
    return with(in_48, in_56);
  }
  if (w.high >> 48 == 0x2002) return with(w.high >> 16);
  if (w.high >> 32 == 0x2001'0000) return with(~low32, w.high);  // client (inverted), then server
  if (is_isatap(w)) return with(low32);
  return {};
}

}  // namespace

AddressClass classify(const Address& address) noexcept {
  if (address.is_v4()) {
    const std::uint32_t v4 = address.v4_host_order();
    return is_metadata_v4(v4) ? kMetadata : find(kBlocksV4, v4, kPublic);
  }
  const Words w = words(address);
  if (find(kMetadataV6, w, kPublic) == kMetadata) return kMetadata;
  const Carried carried = carried_v4(w);
  for (std::size_t i = 0; i < carried.count; ++i) {
    if (is_metadata_v4(carried.v4[i])) return kMetadata;
  }
  const AddressClass by_block = find(kBlocksV6, w, kReserved);
  return by_block == kPublic && carried.count > 0 ? kEmbedded : by_block;  // ISATAP below a public prefix
}

std::optional<Address> embedded_v4(const Address& address) noexcept {
  if (address.is_v4()) return std::nullopt;
  const Carried carried = carried_v4(words(address));
  if (carried.count == 0) return std::nullopt;
  return Address::v4(carried.v4[0]);
}

bool carries_v4(const Address& address) noexcept {
  return address.is_v6() && (classify(address) == kEmbedded || carried_v4(words(address)).count > 0);
}

std::vector<Prefix> guard_blocks() {
  std::vector<Prefix> out;
  const auto add_v4 = [&](const auto& blocks) {
    for (const BlockV4& block : blocks) out.push_back(Prefix::of(Address::v4(block.network), block.bits));
  };
  const auto add_v6 = [&](const auto& blocks) {
    for (const BlockV6& block : blocks) {
      std::array<std::uint8_t, 16> octets;
      for (std::size_t i = 0; i < 8; ++i) {
        octets[i] = static_cast<std::uint8_t>(block.high >> (56 - 8 * i));
        octets[i + 8] = static_cast<std::uint8_t>(block.low >> (56 - 8 * i));
      }
      out.push_back(Prefix::of(Address::v6(octets), block.bits));
    }
  };
  add_v4(kMetadataV4);
  add_v4(kBlocksV4);
  add_v6(kMetadataV6);
  add_v6(kBlocksV6);
  return out;
}

std::string_view to_string(AddressClass c) noexcept {
  switch (c) {
    case kUnspecified:
      return "unspecified";
    case kPublic:
      return "public";
    case kLoopback:
      return "loopback";
    case kPrivate:
      return "private";
    case kLinkLocal:
      return "link-local";
    case kSharedCgnat:
      return "carrier-grade NAT";
    case kUniqueLocal:
      return "unique local";
    case kMulticast:
      return "multicast";
    case kBroadcast:
      return "broadcast";
    case kDocumentation:
      return "documentation";
    case kBenchmarking:
      return "benchmarking";
    case kReserved:
      return "reserved";
    case kEmbedded:
      return "embedded IPv4";
    case kMetadata:
      return "cloud metadata";
  }
  return "unspecified";
}

}  // namespace sallyport
