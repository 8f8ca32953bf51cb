#include "support/json.hpp"

#include <algorithm>
#include <cstdio>

namespace sallyport::net {

std::string json_text(std::string_view raw, std::size_t most) {
  std::string out = "\"";
  for (const char c : raw.substr(0, most)) {
    const auto octet = static_cast<unsigned char>(c);
    if (octet == '"' || octet == '\\') {
      out += '\\';
      out += c;
    } else if (octet >= 0x20 && octet <= 0x7e) {
      out += c;
    } else {
      char escaped[8];
      std::snprintf(escaped, sizeof escaped, "\\\\x%02x", octet);
      out += escaped;
    }
  }
  return out + "\"";
}

}  // namespace sallyport::net
