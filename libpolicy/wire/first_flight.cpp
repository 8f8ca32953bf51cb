#include "wire/first_flight.hpp"

#include <array>

namespace sallyport::wire {
namespace {

// Methods that servers act on without looking at the rest of the line (HTTP/0.9 has nothing after the target).
constexpr std::array<std::string_view, 12> kMethods = {"GET",     "HEAD",  "POST",  "PUT",      "DELETE", "CONNECT",
                                                       "OPTIONS", "TRACE", "PATCH", "PROPFIND", "REPORT", "MKCOL"};
constexpr unsigned char kFirstRecordType = 20, kLastRecordType = 24;  // change_cipher_spec to heartbeat
constexpr unsigned char kLastMajorVersion = 0x0f;
constexpr unsigned char kLongestSslV2 = 0xc8;  // of the length's first octet: 18 KiB, RFC 5246's largest record
constexpr std::string_view kPreface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

char upper(char c) { return c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c; }

bool starts_with_any_case(std::string_view text, std::string_view prefix) {
  if (text.size() < prefix.size()) return false;
  for (std::size_t i = 0; i < prefix.size(); ++i) {
    if (upper(text[i]) != prefix[i]) return false;
  }
  return true;
}

// What some server takes for a blank: Python's http.server splits a line at \x0b, \x0c, \x1c to \x1f, \x85 and \xa0,
// others at any control octet. Only the end of the line (LF) is none.
bool is_blank(char c) {
  return c != '\n' && (static_cast<unsigned char>(c) <= 0x20 || static_cast<unsigned char>(c) >= 0x7f);
}

// "GET " with any blank but NUL, which no server takes for one; in any case.
bool starts_with_method(std::string_view text) {
  for (const std::string_view method : kMethods) {
    if (text.size() > method.size() && starts_with_any_case(text, method) && text[method.size()] != '\0' &&
        is_blank(text[method.size()])) {
      return true;
    }
  }
  return false;
}

// What no line of text holds.
bool is_control(char c) {
  return (static_cast<unsigned char>(c) < 0x20 && c != '\t' && c != '\r' && c != '\n') || c == 0x7f;
}

// kOther: no TLS, whatever follows. GnuTLS takes every record version up to 3.x, Go every one below 16; OpenSSL and
// GnuTLS take change_cipher_spec, Go a warning alert before the hello.
FirstFlight tls_or_other(std::string_view octets) {
  const auto at = [&](std::size_t i) { return static_cast<unsigned char>(octets[i]); };
  if (at(0) >= kFirstRecordType && at(0) <= kLastRecordType) {
    if (octets.size() < 2) return FirstFlight::kNeedMore;
    return at(1) <= kLastMajorVersion ? FirstFlight::kTls : FirstFlight::kOther;
  }
  // SSLv2: length with the high bit, CLIENT-HELLO, version 0x0002 or 0x03xx. No server takes one that is longer than
  // its record buffer.
  if (at(0) < 0x80 || at(0) > kLongestSslV2) return FirstFlight::kOther;
  if (octets.size() < 3) return FirstFlight::kNeedMore;
  if (at(2) != 1) return FirstFlight::kOther;
  if (octets.size() < 4) return FirstFlight::kNeedMore;
  if (at(3) == 3) return octets.size() < 5 ? FirstFlight::kNeedMore : FirstFlight::kTls;
  if (at(3) != 0) return FirstFlight::kOther;
  if (octets.size() < 5) return FirstFlight::kNeedMore;
  return at(4) == 2 ? FirstFlight::kTls : FirstFlight::kOther;
}

}  // namespace

FirstFlight first_flight(std::string_view octets) noexcept {
  if (octets.empty()) return FirstFlight::kNeedMore;
  const FirstFlight tls = tls_or_other(octets);
  if (tls != FirstFlight::kOther) return tls;

  // Servers skip empty lines, and some skip blanks, before a request line.
  const std::size_t limit = kFirstLineLimit < octets.size() ? kFirstLineLimit : octets.size();
  bool binary = static_cast<unsigned char>(octets.front()) >= 0x80, has_nul = false;
  std::size_t begin = 0;
  while (begin < limit && (is_blank(octets[begin]) || octets[begin] == '\n')) {
    binary |= is_control(octets[begin]);
    has_nul |= octets[begin] == '\0';
    ++begin;
  }
  const std::string_view line = octets.substr(begin);
  if (!has_nul && starts_with_method(line)) return FirstFlight::kHttp;

  // Any other method shows by the version at the end of the line.
  constexpr std::string_view kVersion = "HTTP/";
  for (std::size_t i = begin; i < limit; ++i) {
    if (octets[i] == '\n') return FirstFlight::kOther;
    binary |= is_control(octets[i]);
    has_nul |= octets[i] == '\0';
    if (octets[i] != '/' || i - begin + 1 < kVersion.size()) continue;
    if (!starts_with_any_case(octets.substr(i + 1 - kVersion.size()), kVersion)) continue;
    if (!line.starts_with("PRI ")) return FirstFlight::kHttp;
    const std::size_t seen = line.size() < kPreface.size() ? line.size() : kPreface.size();
    if (line.substr(0, seen) != kPreface.substr(0, seen)) return FirstFlight::kHttp;
    return seen < kPreface.size() ? FirstFlight::kNeedMore : FirstFlight::kHttp2;
  }
  if (octets.size() < kFirstLineLimit) return binary ? FirstFlight::kOtherSoFar : FirstFlight::kNeedMore;
  // A request line grown past our reading, for a server that reads on, is refused as HTTP is; so long a line with NUL
  // is none.
  return has_nul ? FirstFlight::kOther : FirstFlight::kHttp;
}

}  // namespace sallyport::wire
