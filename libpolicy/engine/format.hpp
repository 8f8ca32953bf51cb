// The bytes of a snapshot. Internal to engine/; tests and the fuzz target use it to damage snapshots on purpose.
//
// Form     One header, then one array a section in the order of SectionId, each at the next multiple of 64 octets: the
// counts
//          alone determine every offset. Nothing holds a pointer, so the bytes mean the same wherever they are mapped.
// Lifetime Plain views over bytes that somebody else keeps.
// Errors   None here: verify.hpp refuses what decide() could not walk blindly.
// Version  Native byte order and the hash of this build (name_hash_probe); a snapshot of another build is refused, not
// read.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <type_traits>

#include "engine/model.hpp"
#include "names/address.hpp"

namespace sallyport::format {

inline constexpr std::uint64_t kMagic = 0x31504e5354524f50u;  // "PORTSNP1" in memory order
inline constexpr std::uint32_t kVersion = 6;
inline constexpr std::size_t kAlignment = 64;   // a cache line: one bucket of the domain index
inline constexpr std::size_t kNamesFront = 32;  // unused octets before the first name: a load that ends in it fits
inline constexpr unsigned kMaxClients = 64;     // one bit each in Query::groups

enum SectionId : unsigned {
  kRules,     // Rule, in policy order
  kPorts,     // Port
  kPrefixes,  // PrefixKey, sorted and disjoint inside each Range
  kClients,   // Client; the n-th owns bit n
  kCells,     // Range into kStrings: glob patterns of cells, users, methods, glob patterns of paths
  kLists,     // u32: ascending rule indices
  kNameSets,  // NameSet
  kFilter,    // u64: words of a blocked Bloom filter
  kBuckets,   // Bucket: primary ones, then the overflow
  kNames,     // octets: [length][text] of each indexed name, behind kNamesFront octets of nothing; offset 0 is "none"
  kStrings,   // octets: names for messages
  kFiles,     // Range into kStrings: files that the policy includes
  kHttp,      // Http
  kAddressSets,    // AddressSet, by rising `first`
  kAddressDirect,  // u32: slots, tables of 2^kDirectBits
  kAddressNodes,   // AddressNode
  kLimits,         // Limits, in the order of the rules that have some
  kSections,
};

// A run of elements in another section.
struct Range {
  std::uint32_t first = 0;
  std::uint32_t count = 0;
};

struct Section {
  std::uint64_t offset = 0;  // octets from the start of the snapshot
  std::uint64_t count = 0;   // elements
};

struct Header {
  std::uint64_t magic = kMagic;
  std::uint32_t version = kVersion;
  std::uint32_t header_size = 0;
  std::uint64_t size = 0;      // of the whole snapshot
  std::uint64_t checksum = 0;  // of the whole snapshot with this field as 0
  std::uint64_t generation = 0;
  std::uint64_t name_hash_probe = 0;  // DomainName's hash of a fixed name: two builds may hash differently
  std::uint64_t index_seed = 0;
  std::uint64_t primary_buckets = 0;  // the rest of kBuckets is overflow
  std::uint64_t depths[2] = {};       // bit d-1: some indexed name has d labels
  std::uint32_t default_action = 0;   // 0 denies
  std::uint32_t default_line = 0, default_column = 0;
  std::uint32_t default_file = 0;  // as Rule::file
  std::int64_t observe_until = 0;  // the whole policy is on trial until then, seconds since 1970; 0: it is on none
  Range source;                    // kStrings
  Range own_addresses;             // kPrefixes
  Range named_general;             // kLists: the rules for which is_named_general() holds
  Section sections[kSections];
};

enum RuleFlag : std::uint32_t {
  kRuleAllow = 1u << 0,
  kRuleClients = 1u << 1,  // only for the clients in `groups`
  kRuleDomains = 1u << 2,
  kRuleAddresses = 1u << 3,
  kRuleResolvesTo = 1u << 4,
  kRulePorts = 1u << 5,
  kRuleTunnelAny = 1u << 6,
  kRuleMetadata = 1u << 7,  // allow_metadata
  kRuleObserve = 1u << 8,   // on trial: decides nothing
  kRuleAllFlags = (1u << 9) - 1,
};

// With a known name, a rule matches only if its domains list the name, or if this holds: it names no destination at
// all, or it denies by address.
constexpr bool is_named_general(std::uint32_t flags) noexcept {
  const bool anywhere = (flags & (kRuleDomains | kRuleAddresses)) == 0;
  return anywhere || (flags & (kRuleAllow | kRuleAddresses)) == kRuleAddresses;
}

struct Rule {
  std::uint64_t groups = 0;
  std::uint32_t flags = 0;
  Range ports;        // kPorts
  Range addresses;    // kPrefixes
  Range resolves_to;  // kPrefixes
  Range name;         // kStrings
  std::uint32_t line = 0, column = 0;
  std::uint32_t http = 0;    // 1 + index into kHttp; 0: any request
  std::uint32_t limits = 0;  // 1 + index into kLimits; 0: none
  std::uint32_t file = 0;    // 0: the header's source; else the n-th of kFiles
};

// What a rule says of requests; an empty range is anything.
struct Http {
  Range methods, paths;  // kCells
};

// `limits` of one rule. An amount or a count of 0 is no bound; its period is 0 then.
struct Limits {
  struct Rate {
    std::uint64_t amount = 0;
    std::uint32_t seconds = 0;  // 1, 60, 3600 or 86400
    std::uint32_t reserved = 0;
  };
  Rate requests, bandwidth, upload, download;
  std::uint32_t connections = 0, reserved = 0;
};

struct Port {
  std::uint16_t first = 0, last = 0, proto = 0, reserved = 0;
};

// A prefix, or an address as one of full length, as a number: the octets in network order read as 128 bits. IPv4 stands
// in the top 32 of them.
struct PrefixKey {
  std::uint64_t high = 0, low = 0;
  std::uint16_t family = 0;  // 4 or 6
  std::uint16_t bits = 0;
  std::uint32_t reserved = 0;
};

// Slots of an address index: outside the set, inside, or the node of number slot - kSlotNode.
inline constexpr std::uint32_t kSlotOutside = 0, kSlotInside = 1, kSlotNode = 2;
inline constexpr unsigned kDirectBits = 18, kNodeBits = 6;

// The index of a Range of many prefixes; for IPv4 and IPv6 a slot, or the place of a table behind 1.
struct AddressSet {
  std::uint32_t first = 0;  // of the range, in kPrefixes
  std::uint32_t slot[2] = {};
  std::uint32_t direct[2] = {};
  std::uint32_t reserved = 0;
};

// 64 blocks of the next kNodeBits bits.
struct AddressNode {
  std::uint64_t nodes = 0;   // bit n: block n is a node
  std::uint64_t inside = 0;  // bit n: block n is not, and inside
  std::uint32_t first = 0;   // of its nodes, which follow each other
  std::uint32_t reserved = 0;
};

struct Client {
  Range name;                      // kStrings
  Range addresses;                 // kPrefixes
  Range cells;                     // kCells
  Range users;                     // kCells: whole names
  std::int64_t observe_until = 0;  // as in Header
};

// The rules whose domains match a name, once for the indexed name itself and once for every name below it. Both hold
// what the ancestors contribute, so that the longest hit ends a lookup.
struct NameSet {
  Range self, below;  // kLists
};

struct Bucket {
  static constexpr unsigned kSlots = 6;
  std::uint16_t tag[kSlots] = {};
  std::uint32_t name[kSlots] = {};  // offset into kNames; 0: the slot is free
  std::uint32_t set[kSlots] = {};   // index into kNameSets
  std::uint32_t next : 24 = 0;      // index of an overflow bucket, always a later one; 0: none
  std::uint32_t spilled : 8 = 0;    // bit spill_bit(tag) for each name behind this bucket: few lookups go on in vain
};

static_assert(sizeof(Header) % 8 == 0 && sizeof(Rule) == 64 && sizeof(Port) == 8 && sizeof(PrefixKey) == 24);
static_assert(sizeof(AddressSet) == 24 && sizeof(AddressNode) == 24);
static_assert(sizeof(Client) == 40 && sizeof(Http) == 16 && sizeof(NameSet) == 16 && sizeof(Bucket) == kAlignment);
static_assert(sizeof(Limits) == 72);
static_assert(std::is_trivially_copyable_v<Header> && std::is_trivially_copyable_v<Bucket>);

inline constexpr std::size_t kElementSize[kSections] = {sizeof(Rule),
                                                        sizeof(Port),
                                                        sizeof(PrefixKey),
                                                        sizeof(Client),
                                                        sizeof(Range),
                                                        sizeof(std::uint32_t),
                                                        sizeof(NameSet),
                                                        sizeof(std::uint64_t),
                                                        sizeof(Bucket),
                                                        1,
                                                        1,
                                                        sizeof(Range),
                                                        sizeof(Http),
                                                        sizeof(AddressSet),
                                                        sizeof(std::uint32_t),
                                                        sizeof(AddressNode),
                                                        sizeof(Limits)};

// Any change of one 8-octet word changes it (each round is a bijection of its lane); it finds damage, not forgery.
std::uint64_t checksum(std::span<const std::byte> bytes) noexcept;

// Writes the checksum that the bytes should have. bytes holds at least a Header.
void seal(std::span<std::byte> bytes) noexcept;

// The value of Header::name_hash_probe in this build.
std::uint64_t name_hash_probe() noexcept;

Limits packed(const LimitsModel& limits) noexcept;
LimitsModel unpacked(const Limits& limits) noexcept;
// Within what the language takes.
bool is_sound(const Limits& limits) noexcept;

PrefixKey key_of(const Prefix& prefix) noexcept;
PrefixKey key_of(const Address& address) noexcept;
Address address_of(const PrefixKey& key) noexcept;

}  // namespace sallyport::format
