// Authority: "host[:port]" of a Host field, a CONNECT target or an absolute URI.
//
// Form     A name of letters, digits, '-', '_' and '.', a dotted quad, or a bracketed IPv6 address; then optionally
//          ':' and a port of 1 to 65535 without leading zeros (RFC 3986 §3.2, narrowed).
// Lifetime Views point into the text that was parsed.
// Threads  Pure.
// Errors   kMalformed: userinfo, brackets around a name, two ports, an empty or zero port, '#', '\\', '%', ',', white
//          space, an empty host or label, and every host that ends in a number without being a dotted quad (127.1,
//          0x7f000001, 2130706433, 017.0.0.1): others read an address into it.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "result/result.hpp"

namespace sallyport::wire {

enum class HostKind : std::uint8_t { kName = 1, kIpv4, kIpv6 };

struct Authority {
  HostKind kind = HostKind::kName;
  std::string_view host;  // as sent, in the client's case; without brackets; a name may have one trailing dot
  std::optional<std::uint16_t> port;
};

Result<Authority> parse_authority(std::string_view text) noexcept;

// A host without port, as above.
Result<Authority> parse_host(std::string_view text) noexcept;

// The last label of a dotted name is a number, as the URL standard's "ends in a number" has it: digits, or 0x and hex
// digits.
bool ends_in_number(std::string_view host) noexcept;

}  // namespace sallyport::wire
