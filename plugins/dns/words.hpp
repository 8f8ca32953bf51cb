// The words of DNS as the audit and the metrics have them, and text built without an allocation.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <string_view>

#include "wire/dns_message.hpp"

namespace sallyport::dns {

// Text in place; what does not fit is left out.
template <std::size_t kRoom>
class FixedText {
 public:
  FixedText& operator<<(std::string_view part) {
    const std::size_t taken = part.size() < kRoom - size_ ? part.size() : kRoom - size_;
    std::memcpy(text_.data() + size_, part.data(), taken);
    size_ += taken;
    return *this;
  }
  FixedText& operator<<(char c) { return *this << std::string_view(&c, 1); }
  std::string_view view() const { return {text_.data(), size_}; }

 private:
  std::array<char, kRoom> text_;
  std::size_t size_ = 0;
};

// Rcodes that are given, in the order of rcode_index().
inline constexpr std::size_t kRcodes = 7;
std::size_t rcode_index(wire::Rcode rcode);
std::string_view rcode_word(std::size_t index);

// The mnemonic, or TYPEnnn (RFC 3597).
FixedText<16> qtype_word(std::uint16_t type);

}  // namespace sallyport::dns
