#include "names/request_path.hpp"

#include <vector>

namespace sallyport {
namespace {

// RFC 3986 §3.3: pchar, less `;` (which some servers take for the start of parameters) and `%`.
bool stands_for_itself(unsigned char c) noexcept {
  const bool letter = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
  return letter ||
         (c != 0 && std::string_view("-._~!$&'()*+,=:@").find(static_cast<char>(c)) != std::string_view::npos);
}

int hex(char c) noexcept {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

Error malformed(const char* message, std::size_t at) { return {ErrorCode::kMalformed, message, at}; }

bool is_dots(std::string_view segment) noexcept { return segment == "." || segment == ".."; }

// pattern: `*` is a wildcard, so one that is meant as it is has to be written %2A, and is refused: no path needs it.
Result<std::size_t> canonical(std::string_view path, std::span<char> room, bool pattern) noexcept {
  static constexpr char kDigits[] = "0123456789ABCDEF";
  if (path.empty() || (path.front() != '/' && !(pattern && path.front() == '*'))) {
    return malformed("a path that does not start with `/`", 0);
  }
  std::size_t used = 0, segment = 0;  // octets of room, and where its last segment starts
  const auto put = [&](char c) {
    if (used == room.size()) return false;
    room[used++] = c;
    return true;
  };
  const Error too_long{ErrorCode::kExhausted, "a path too long to compare", room.size()};
  for (std::size_t at = 0; at < path.size(); ++at) {
    const auto c = static_cast<unsigned char>(path[at]);
    if (c == '/') {
      if (at > 0 && used > 0 && room[used - 1] == '/') return malformed("an empty segment, `//`", at);
      if (is_dots({room.data() + segment, used - segment})) return malformed("a dot segment", at);
      if (!put('/')) return too_long;
      segment = used;
    } else if (c == '%') {
      const int high = at + 2 < path.size() ? hex(path[at + 1]) : -1;
      const int low = high >= 0 ? hex(path[at + 2]) : -1;
      if (low < 0) return malformed("a `%` without two hexadecimal digits", at);
      const auto octet = static_cast<unsigned char>(high * 16 + low);
      if (octet < 0x20 || octet == 0x7f) return malformed("an encoded control octet", at);
      if (octet == '/' || octet == '\\') return malformed("an encoded slash or backslash", at);
      if (octet == '%') return malformed("an encoded percent sign: decoded twice, it is another path", at);
      if (octet == ';') return malformed("an encoded `;`, which some servers cut paths at", at);
      if (octet == '*' && pattern) return malformed("an encoded `*`", at);
      if (stands_for_itself(octet)) {
        if (!put(static_cast<char>(octet))) return too_long;
      } else if (!put('%') || !put(kDigits[octet >> 4]) || !put(kDigits[octet & 15])) {
        return too_long;
      }
      at += 2;
    } else if (stands_for_itself(c)) {
      if (!put(static_cast<char>(c))) return too_long;
    } else {
      return malformed(c == ';' ? "a `;`, which some servers cut paths at" : "a character that paths must encode", at);
    }
  }
  if (is_dots({room.data() + segment, used - segment})) return malformed("a dot segment", path.size());
  return used;
}

}  // namespace

Result<std::string_view> canonical_path(std::string_view target, std::span<char> room) noexcept {
  const Result<std::size_t> used = canonical(target.substr(0, target.find('?')), room, false);
  if (!used.ok()) return used.error();
  return std::string_view(room.data(), *used);
}

bool is_canonical_method(std::string_view method) noexcept {
  if (method.empty()) return false;
  for (const char c : method) {
    if (c >= 'a' && c <= 'z') return false;
  }
  return true;
}

Result<std::string> canonical_path_pattern(std::string_view pattern) {
  std::vector<char> room(kMostPathOctets);
  const Result<std::size_t> used = canonical(pattern, room, true);
  if (!used.ok()) return used.error();
  return std::string(room.data(), *used);
}

}  // namespace sallyport
