// FlowId: who talks to whom, as seen from the one that began; the key of the flow table.
//
// Threads  Plain values.
#pragma once

#include <cstdint>
#include <string>

#include "names/address.hpp"

namespace sallyport::monitor {

struct FlowId {
  Address client, destination;  // client: whoever sent the first packet
  std::uint16_t client_port = 0, port = 0;
  std::uint8_t proto = 0;  // of IP
  friend auto operator<=>(const FlowId&, const FlowId&) = default;

  FlowId reversed() const noexcept { return {destination, client, port, client_port, proto}; }
};

// FNV-1a over the address, good enough below a keyed mix: a workload chooses ports and destinations.
inline std::uint64_t mix(std::uint64_t seed, const void* octets, std::size_t size) noexcept {
  const auto* at = static_cast<const unsigned char*>(octets);
  for (std::size_t i = 0; i < size; ++i) {
    seed = (seed ^ at[i]) * 0x9e3779b97f4a7c15u;
    seed ^= seed >> 29;
  }
  return seed;
}

struct HashOf {
  // Per table and process: chains cannot be built from outside.
  std::uint64_t seed = 0;

  std::size_t operator()(const Address& a) const noexcept { return address(seed, a); }
  std::size_t operator()(const FlowId& f) const noexcept {
    const std::uint32_t ports = static_cast<std::uint32_t>(f.client_port) << 16 | f.port;
    std::uint64_t h = mix(address(address(seed, f.client), f.destination), &ports, sizeof ports);
    return mix(h, &f.proto, 1);
  }
  std::size_t operator()(const std::string& text) const noexcept { return mix(seed, text.data(), text.size()); }

 private:
  static std::uint64_t address(std::uint64_t h, const Address& a) noexcept {
    return mix(h, a.octets().data(), a.is_v4() ? 4 : 16);
  }
};

}  // namespace sallyport::monitor
