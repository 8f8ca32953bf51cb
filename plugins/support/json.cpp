#include "support/json.hpp"

#include <cstdio>

namespace sallyport::net {

std::string json_text(std::string_view raw, std::size_t most) {
  constexpr std::string_view kMark = "...";
  std::string out = "\"";
  std::size_t shown = 0, fits = out.size();  // characters a reader sees; where the mark could stand
  for (const char c : raw) {
    const auto octet = static_cast<unsigned char>(c);
    const bool plain = octet >= 0x20 && octet <= 0x7e;
    shown += plain ? (c == '\\' ? 2 : 1) : 4;
    if (shown > most) {
      out.resize(fits);
      out += kMark.substr(0, most);
      break;
    }
    if (c == '\\') {
      out += R"(\\\\)";
    } else if (c == '"') {
      out += R"(\")";
    } else if (plain) {
      out += c;
    } else {
      char escaped[8];
      std::snprintf(escaped, sizeof escaped, R"(\\x%02x)", octet);
      out += escaped;
    }
    if (shown + kMark.size() <= most) fits = out.size();
  }
  return out + "\"";
}

}  // namespace sallyport::net
