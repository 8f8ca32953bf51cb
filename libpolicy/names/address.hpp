// Address: a canonical IPv4 or IPv6 address, without port or zone; Prefix: a CIDR block.
//
// Form     Dotted quad of four decimal numbers without leading zeros, or RFC 4291 text; printed as RFC 5952.
// Threads  Plain values.
// Errors   Legacy spellings (2130706433, 0x7f.1, 127.1, 017.0.0.1), zones and brackets are kMalformed, never repaired.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <string>
#include <string_view>

#include "result/result.hpp"

struct sockaddr;

namespace sallyport {

class Address {
 public:
  Address() = default;  // 0.0.0.0, which the guard refuses

  static Result<Address> parse(std::string_view text) noexcept;
  static Address v4(std::uint32_t host_order) noexcept;
  static Address v6(const std::array<std::uint8_t, 16>& network_order) noexcept;
  // AF_INET or AF_INET6 of the right length; a link-local zone is kMalformed. An IPv4-mapped IPv6 address stays what it
  // is.
  static Result<Address> from_sockaddr(const ::sockaddr* address, std::size_t length) noexcept;

  bool is_v4() const noexcept { return v4_; }
  bool is_v6() const noexcept { return !v4_; }
  // Network order; IPv4 in the first four octets, the rest 0.
  const std::array<std::uint8_t, 16>& octets() const noexcept { return octets_; }
  std::uint32_t v4_host_order() const noexcept;

  std::string text() const;

  friend auto operator<=>(const Address&, const Address&) = default;

 private:
  bool v4_ = true;
  std::array<std::uint8_t, 16> octets_{};
};

class Prefix {
 public:
  // "203.0.113.0/24", "2001:db8::/32", or a single address. Host bits set: kMalformed (the language suggests both
  // repairs).
  static Result<Prefix> parse(std::string_view text) noexcept;
  // The network of an address, host bits cleared.
  static Prefix of(const Address& address, unsigned bits) noexcept;

  const Address& network() const noexcept { return network_; }
  unsigned bits() const noexcept { return bits_; }
  bool contains(const Address& address) const noexcept;  // false across families
  bool contains(const Prefix& inner) const noexcept;
  std::string text() const;  // always with "/bits"

  friend auto operator<=>(const Prefix&, const Prefix&) = default;

 private:
  Address network_;
  std::uint8_t bits_ = 32;
};

}  // namespace sallyport
