// PortRange: the ports of one protocol that a binding opens, both ends included.
#pragma once

#include <compare>
#include <cstdint>

namespace sallyport::nft {

struct PortRange {
  std::uint8_t proto = 0;  // 6, 17
  std::uint16_t first = 0, last = 0;
  friend auto operator<=>(const PortRange&, const PortRange&) = default;
};

}  // namespace sallyport::nft
