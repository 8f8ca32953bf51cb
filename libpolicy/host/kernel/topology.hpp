// Topology: what a gateway stands between, as docs/gateway.md has it in JSON; checked, since rules are made of its
// words.
//
// Form     Addresses and prefixes canonical; interface names as the kernel takes them (1 to 15 letters,
//          digits and "-_.:@").
// Errors   kMalformed, with the first fault; nothing is repaired.
// Threads  A plain value.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "names/address.hpp"
#include "result/result.hpp"

namespace sallyport::kernel {

// An address that is one port's, or one MAC address's, or both.
struct Pin {
  Address address;
  std::string port;  // empty: any
  std::string mac;   // "02:42:ac:14:00:07"; empty: any
};

struct HeldNetwork {
  std::string name;
  std::vector<std::string> interfaces;  // empty: known by its addresses alone
  std::vector<Prefix> addresses;
  unsigned addresses_per_port = 4;  // of each family, at first
  std::vector<Pin> pins;
  bool open_from_host = false;  // programs of this host may begin connections to it; else the gateway's workers alone
};

struct GateListener {
  std::string name;
  std::uint8_t proto = 0;  // IPPROTO_TCP, IPPROTO_UDP
  Address address;
  bool any_address = false;  // 0.0.0.0 or ::
  std::uint16_t port = 0;
  enum class Transparent : std::uint8_t { kNo = 0, kRedirect, kTproxy } transparent = Transparent::kNo;
};

struct InternalPair {
  std::vector<Prefix> from, to;  // both ways
};

struct Topology {
  std::string name;
  std::vector<HeldNetwork> networks;
  std::vector<GateListener> listeners;
  std::vector<InternalPair> internal;
  std::vector<Address> own;
  std::optional<std::uint32_t> worker;  // the user id of the gateway's workers

  bool holds_nothing() const noexcept { return networks.empty(); }
};

// Error::message names the first fault.
Result<Topology> parse_topology(std::string_view json);

}  // namespace sallyport::kernel
