// Reading integers in network order from a message whose bounds the caller has checked. Private to the DNS readers.
#pragma once

#include <cstdint>
#include <span>

namespace sallyport::wire {

inline std::uint16_t get16(std::span<const std::uint8_t> octets, std::size_t at) noexcept {
  return static_cast<std::uint16_t>(octets[at] << 8 | octets[at + 1]);
}

inline std::uint32_t get32(std::span<const std::uint8_t> octets, std::size_t at) noexcept {
  return static_cast<std::uint32_t>(get16(octets, at)) << 16 | get16(octets, at + 2);
}

}  // namespace sallyport::wire
