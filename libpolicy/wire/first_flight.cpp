#include "wire/first_flight.hpp"

#include <array>

namespace sallyport::wire {
namespace {

// Methods that servers act on without looking at the rest of the line (HTTP/0.9 has nothing after the target).
constexpr std::array<std::string_view, 12> kMethods = {"GET",     "HEAD",  "POST",  "PUT",      "DELETE", "CONNECT",
                                                       "OPTIONS", "TRACE", "PATCH", "PROPFIND", "REPORT", "MKCOL"};
constexpr std::string_view kPreface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

char upper(char c) { return c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c; }

bool starts_with_any_case(std::string_view text, std::string_view prefix) {
  if (text.size() < prefix.size()) return false;
  for (std::size_t i = 0; i < prefix.size(); ++i) {
    if (upper(text[i]) != prefix[i]) return false;
  }
  return true;
}

// "GET " or "GET\t", in any case.
bool starts_with_method(std::string_view text) {
  for (const std::string_view method : kMethods) {
    if (text.size() > method.size() && starts_with_any_case(text, method) &&
        (text[method.size()] == ' ' || text[method.size()] == '\t')) {
      return true;
    }
  }
  return false;
}

bool is_line_octet(char c) { return static_cast<unsigned char>(c) >= 0x20 || c == '\t' || c == '\r'; }

FirstFlight tls_or_other(std::string_view octets) {
  const auto at = [&](std::size_t i) { return static_cast<unsigned char>(octets[i]); };
  if (at(0) == 22) {
    if (octets.size() < 2) return FirstFlight::kNeedMore;
    return at(1) == 3 ? FirstFlight::kTls : FirstFlight::kOther;
  }
  // SSLv2: length with the high bit, CLIENT-HELLO, version 0x0002 or 0x03xx.
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
  const auto first = static_cast<unsigned char>(octets.front());
  if (first == 22 || (first & 0x80) != 0) return tls_or_other(octets);

  // Servers skip empty lines, and some skip blanks, before a request line.
  std::size_t begin = 0;
  while (begin < octets.size() && (octets[begin] == '\r' || octets[begin] == '\n' || octets[begin] == ' ')) ++begin;
  if (begin > kFirstLineLimit) return FirstFlight::kHttp;  // to be refused: only an HTTP server would wait this out
  octets.remove_prefix(begin);
  if (octets.empty()) return FirstFlight::kNeedMore;
  if (starts_with_method(octets)) return FirstFlight::kHttp;

  // Any other method shows by the version at the end of the line.
  constexpr std::string_view kVersion = "HTTP/";
  const std::size_t limit = kFirstLineLimit < octets.size() ? kFirstLineLimit : octets.size();
  for (std::size_t i = 0; i < limit; ++i) {
    if (octets[i] == '\n' || !is_line_octet(octets[i])) return FirstFlight::kOther;
    if (octets[i] != '/' || i + 1 < kVersion.size()) continue;
    if (!starts_with_any_case(octets.substr(i + 1 - kVersion.size()), kVersion)) continue;
    if (!octets.starts_with("PRI ")) return FirstFlight::kHttp;
    const std::size_t seen = octets.size() < kPreface.size() ? octets.size() : kPreface.size();
    if (octets.substr(0, seen) != kPreface.substr(0, seen)) return FirstFlight::kHttp;
    return seen < kPreface.size() ? FirstFlight::kNeedMore : FirstFlight::kHttp2;
  }
  // Over the limit and text all along: a request line grown past our reading, for a server that reads on. Refused as
  // HTTP is.
  return octets.size() < kFirstLineLimit ? FirstFlight::kNeedMore : FirstFlight::kHttp;
}

}  // namespace sallyport::wire
