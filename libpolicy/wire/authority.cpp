#include "wire/authority.hpp"

#include <arpa/inet.h>

#include <algorithm>
#include <cstring>

namespace sallyport::wire {
namespace {

constexpr std::size_t kMaxHost = 254;  // 253 octets and a trailing dot

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_hex(char c) { return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'); }
bool is_host_octet(char c) {
  return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' || c == '_';
}

bool is_dotted_quad(std::string_view text) {
  for (int part = 0; part < 4; ++part) {
    if (part > 0) {
      if (text.empty() || text.front() != '.') return false;
      text.remove_prefix(1);
    }
    std::size_t size = 0;
    unsigned value = 0;
    while (size < text.size() && size < 4 && is_digit(text[size]))
      value = value * 10 + static_cast<unsigned>(text[size++] - '0');
    if (size == 0 || size > 3 || value > 255 || (size > 1 && text.front() == '0')) return false;
    text.remove_prefix(size);
  }
  return text.empty();
}

bool is_ipv6(std::string_view text) {
  char buffer[INET6_ADDRSTRLEN];
  if (text.empty() || text.size() >= sizeof buffer || text.find('\0') != text.npos) return false;
  std::memcpy(buffer, text.data(), text.size());
  buffer[text.size()] = '\0';
  in6_addr unused;
  return inet_pton(AF_INET6, buffer, &unused) == 1;  // refuses zones
}

Result<Authority> name_or_v4(std::string_view host) {
  if (host.empty()) return Error{ErrorCode::kMalformed, "the host is empty", 0};
  if (host.size() > kMaxHost) return Error{ErrorCode::kTooLong, "the host is over 254 octets", kMaxHost};
  bool label_is_empty = true;
  for (std::size_t i = 0; i < host.size(); ++i) {
    if (host[i] == '.') {
      if (label_is_empty) return Error{ErrorCode::kMalformed, "the host has an empty label", i};
      label_is_empty = true;
    } else if (!is_host_octet(host[i])) {
      return Error{ErrorCode::kMalformed, "an octet that no host name has", i};
    } else {
      label_is_empty = false;
    }
  }
  if (!ends_in_number(host)) return Authority{HostKind::kName, host, std::nullopt};
  if (is_dotted_quad(host)) return Authority{HostKind::kIpv4, host, std::nullopt};
  return Error{ErrorCode::kMalformed, "a host that ends in a number and is no dotted quad", 0};
}

Result<Authority> bracketed(std::string_view inside) {
  if (!is_ipv6(inside)) return Error{ErrorCode::kMalformed, "brackets around something other than an IPv6 address", 0};
  return Authority{HostKind::kIpv6, inside, std::nullopt};
}

}  // namespace

bool ends_in_number(std::string_view host) noexcept {
  if (!host.empty() && host.back() == '.') host.remove_suffix(1);
  std::string_view last = host.substr(host.rfind('.') + 1);  // npos + 1 is 0: the whole
  if (last.empty()) return false;
  if (std::all_of(last.begin(), last.end(), is_digit)) return true;
  if (last.size() < 2 || last[0] != '0' || (last[1] != 'x' && last[1] != 'X')) return false;
  last.remove_prefix(2);
  return std::all_of(last.begin(), last.end(), is_hex);
}

Result<Authority> parse_host(std::string_view text) noexcept {
  if (text.size() >= 2 && text.front() == '[' && text.back() == ']') return bracketed(text.substr(1, text.size() - 2));
  return name_or_v4(text);
}

Result<Authority> parse_authority(std::string_view text) noexcept {
  // A colon outside brackets starts the port; a second one is an octet that no host and no port has.
  std::size_t colon = text.npos;
  if (!text.empty() && text.front() == '[') {
    const std::size_t close = text.find(']');
    if (close == text.npos) return Error{ErrorCode::kMalformed, "no closing bracket", text.size()};
    if (close + 1 < text.size()) {
      if (text[close + 1] != ':') return Error{ErrorCode::kMalformed, "octets after the closing bracket", close + 1};
      colon = close + 1;
    }
  } else {
    colon = text.find(':');
  }
  Result<Authority> authority = parse_host(text.substr(0, colon));
  if (!authority.ok() || colon == text.npos) return authority;

  const std::string_view port = text.substr(colon + 1);
  if (port.empty() || port.size() > 5)
    return Error{ErrorCode::kMalformed, "a port of 1 to 5 digits expected", colon + 1};
  unsigned value = 0;
  for (const char c : port) {
    if (!is_digit(c)) return Error{ErrorCode::kMalformed, "the port is not a number", colon + 1};
    value = value * 10 + static_cast<unsigned>(c - '0');
  }
  if (value == 0 || value > 65535 || port.front() == '0') {
    return Error{ErrorCode::kMalformed, "a port from 1 to 65535 without leading zeros expected", colon + 1};
  }
  authority->port = static_cast<std::uint16_t>(value);
  return authority;
}

}  // namespace sallyport::wire
