// Builds ClientHellos octet by octet, right or wrong on purpose.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace sallyport::wire::testing {

inline std::string u8(std::size_t v) { return std::string(1, static_cast<char>(v)); }
inline std::string u16(std::size_t v) { return u8(v >> 8 & 0xff) + u8(v & 0xff); }
inline std::string u24(std::size_t v) { return u8(v >> 16 & 0xff) + u16(v & 0xffff); }
inline std::string vec8(std::string_view s) { return u8(s.size()) + std::string(s); }
inline std::string vec16(std::string_view s) { return u16(s.size()) + std::string(s); }
inline std::string extension(std::uint16_t type, std::string_view data) { return u16(type) + vec16(data); }

inline std::string host_name(std::string_view name) { return u8(0) + vec16(name); }
inline std::string sni(std::string_view name) { return extension(0, vec16(host_name(name))); }
inline std::string alpn(std::initializer_list<std::string_view> protocols) {
  std::string list;
  for (const auto protocol : protocols) list += vec8(protocol);
  return extension(16, vec16(list));
}
inline std::string versions(std::initializer_list<std::uint16_t> list) {
  std::string octets;
  for (const auto version : list) octets += u16(version);
  return extension(43, vec8(octets));
}
// X25519MLKEM768 (0x11ec): a key share of 1216 octets, beside the 32 of X25519.
inline std::string post_quantum_key_share() {
  const std::string shares =
      u16(0x11ec) + vec16(std::string(1216, '\x5a')) + u16(0x001d) + vec16(std::string(32, '\x5b'));
  return extension(51, vec16(shares));
}

struct HelloParts {
  std::uint16_t version = 0x0303;
  std::string session = std::string(32, '\x42');
  std::string ciphers = u16(0x1301) + u16(0xc02f);
  std::string compression = u8(0);
  std::string extensions;
  bool has_extensions = true;
};

inline std::string hello_body(const HelloParts& p) {
  std::string body =
      u16(p.version) + std::string(32, '\x11') + vec8(p.session) + vec16(p.ciphers) + vec8(p.compression);
  if (p.has_extensions) body += vec16(p.extensions);
  return body;
}
inline std::string handshake(std::string_view body, std::uint8_t type = 1) {
  return u8(type) + u24(body.size()) + std::string(body);
}
inline std::string record(std::string_view payload, std::uint8_t type = 22, std::uint16_t version = 0x0301) {
  return u8(type) + u16(version) + vec16(payload);
}
// In records of at most `size` octets.
inline std::string records(std::string_view message, std::size_t size = 16384) {
  std::string out;
  for (std::size_t i = 0; i < message.size(); i += size) out += record(message.substr(i, size));
  return out;
}
inline std::string hello_with(std::string extensions) {
  HelloParts parts;
  parts.extensions = std::move(extensions);
  return records(handshake(hello_body(parts)));
}

}  // namespace sallyport::wire::testing
