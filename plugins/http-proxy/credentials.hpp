// Basic credentials of a Proxy-Authorization field (RFC 7617), read strictly.
//
// Threads  Pure.
// Errors   nullopt: another scheme, not canonical base64, no colon, a control octet, or over kMaxCredentials octets.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace sallyport::http_proxy {

inline constexpr std::size_t kMaxCredentials = 1024;  // of the field's value; SQUID-2023:3

struct Credentials {
  std::string user, password;
};

std::optional<Credentials> parse_basic(std::string_view field);

}  // namespace sallyport::http_proxy
