// The address guard: which addresses are never a final destination unless a rule says so (DESIGN, Address guard).
//
// Source   IANA special-purpose registries for IPv4 and IPv6, the multicast ranges, and every form that embeds an IPv4
// address
//          (IPv4-mapped, IPv4-compatible, IPv4-translated, NAT64 well-known and local-use, 6to4, Teredo, ISATAP): an
//          embedded address makes the whole guarded, whatever it embeds, since no public service lives there.
// Threads  Pure functions.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "names/address.hpp"

namespace sallyport {

enum class AddressClass : std::uint8_t {
  kUnspecified = 0,  // "this network" too. Zero is guarded: an unset class permits nothing
  kPublic,           // the only one that is not guarded
  kLoopback,
  kPrivate,
  kLinkLocal,
  kSharedCgnat,  // 100.64.0.0/10
  kUniqueLocal,
  kMulticast,
  kBroadcast,
  kDocumentation,
  kBenchmarking,  // 198.18.0.0/15, where synthetic answers live
  kReserved,
  kEmbedded,  // an IPv6 form that carries an IPv4 address
  kMetadata,  // cloud metadata services
};

AddressClass classify(const Address& address) noexcept;
inline bool is_guarded(AddressClass c) noexcept { return c != AddressClass::kPublic; }

// The IPv4 address that an IPv6 form carries, if it is one of those forms; metadata inside one is kMetadata. For
// messages: Teredo carries a server as well, and NAT64 local-use can be read in several ways, of which this is the
// likeliest.
std::optional<Address> embedded_v4(const Address& address) noexcept;

// Whether it may carry an IPv4 address. Such interface identifiers (ISATAP) stand below any IPv6 prefix.
bool carries_v4(const Address& address) noexcept;

// The blocks at whose edges classify() changes, but for addresses that carries_v4() is true of.
std::vector<Prefix> guard_blocks();

std::string_view to_string(AddressClass c) noexcept;  // "cloud metadata", "private", ... for messages

}  // namespace sallyport
