#include "http-proxy/credentials.hpp"

#include <strings.h>

#include <algorithm>
#include <cstdint>

namespace sallyport::http_proxy {
namespace {

int value_of(char c) {
  if (c >= 'A' && c <= 'Z') return c - 'A';
  if (c >= 'a' && c <= 'z') return c - 'a' + 26;
  if (c >= '0' && c <= '9') return c - '0' + 52;
  if (c == '+') return 62;
  if (c == '/') return 63;
  return -1;
}

// Padded to a multiple of four, and the bits that stand for nothing are 0: one text for each value.
bool decode(std::string_view text, std::string& out) {
  if (text.empty() || text.size() % 4 != 0) return false;
  std::size_t padding = 0;
  while (padding < 2 && text[text.size() - 1 - padding] == '=') ++padding;
  std::uint32_t bits = 0;
  unsigned count = 0;
  for (const char c : text.substr(0, text.size() - padding)) {
    const int value = value_of(c);
    if (value < 0) return false;
    bits = bits << 6 | static_cast<std::uint32_t>(value);
    count += 6;
    if (count >= 8) {
      count -= 8;
      out += static_cast<char>(bits >> count & 0xff);
    }
  }
  return (bits & ((1u << count) - 1)) == 0 && count == padding * 2;
}

}  // namespace

std::optional<Credentials> parse_basic(std::string_view field) {
  constexpr std::string_view kScheme = "basic";
  if (field.size() > kMaxCredentials || field.size() <= kScheme.size() + 1 || field[kScheme.size()] != ' ' ||
      ::strncasecmp(field.data(), kScheme.data(), kScheme.size()) != 0) {
    return std::nullopt;
  }
  field.remove_prefix(kScheme.size());
  field.remove_prefix(std::min(field.find_first_not_of(' '), field.size()));
  std::string both;
  if (!decode(field, both)) return std::nullopt;
  for (const char c : both) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) return std::nullopt;
  }
  const std::size_t colon = both.find(':');
  if (colon == std::string::npos || colon == 0) return std::nullopt;
  return Credentials{both.substr(0, colon), both.substr(colon + 1)};
}

}  // namespace sallyport::http_proxy
