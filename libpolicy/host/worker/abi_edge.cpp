// policy.edge/1: canonical objects for plugins, sealed so that decide() can tell them from hand-made ones.
#include <netinet/in.h>
#include <sys/random.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstddef>
#include <cstdio>
#include <cstring>
#include <span>
#include <type_traits>

#include "host/worker/abi_host.hpp"

namespace sallyport {
namespace {

// A canonical name crosses the ABI as it is: same size, same places.
static_assert(sizeof(DomainName) == sizeof(policy_name) && alignof(DomainName) == alignof(policy_name));
static_assert(std::is_standard_layout_v<DomainName> && std::is_trivially_copyable_v<DomainName>);

std::uint64_t mix(std::uint64_t a, std::uint64_t b) {
  const unsigned __int128 product = static_cast<unsigned __int128>(a ^ seal_key()) * (b | 1);
  return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64);
}

std::uint64_t seal_of(const policy_name& name) {
  std::uint64_t shape;  // len, labels and suffix_len, which decide() follows
  static_assert(offsetof(policy_name, text) - offsetof(policy_name, len) == sizeof(shape));
  std::memcpy(&shape, reinterpret_cast<const unsigned char*>(&name) + offsetof(policy_name, len), sizeof(shape));
  return mix(name.suffix_hash[std::min<unsigned>(name.labels, 16) - 1], 0x9e3779b97f4a7c15u + shape) |
         1;  // never 0: zero means unset
}

std::uint64_t seal_of(const policy_addr& addr) {
  std::uint64_t high, low;
  std::memcpy(&high, addr.ip, 8);
  std::memcpy(&low, addr.ip + 8, 8);
  return mix(high + addr.family, low ^ 0xe7037ed1a0b428dbu) | 1;
}

policy_code refuse(policy_error* error, const char* text) {
  if (error != nullptr && POLICY_HAS(error, text)) {
    error->code = POLICY_INVALID;
    std::snprintf(error->text, sizeof error->text, "%s", text);
  }
  return POLICY_INVALID;
}

policy_code edge_name(policy_str raw, uint32_t form, policy_name* out, policy_error* error) noexcept {
  const auto parse = [&]() -> Result<DomainName> {
    const std::string_view text(raw.ptr, raw.len);
    if (form == POLICY_FORM_WIRE)
      return DomainName::from_wire(std::span(reinterpret_cast<const std::uint8_t*>(raw.ptr), raw.len));
    if (form == POLICY_FORM_SNI && text.ends_with('.'))
      return Error{ErrorCode::kMalformed, "a trailing dot is not allowed in SNI (RFC 6066)", raw.len};
    if (form == POLICY_FORM_SNI || form == POLICY_FORM_HOST) return DomainName::parse(text);
    return Error{ErrorCode::kUnsupported, "unknown form of name", 0};
  };
  const Result<DomainName> name = parse();
  if (!name.ok()) return refuse(error, name.error().message);
  name_out(*name, *out);
  return POLICY_OK;
}

policy_code edge_addr(const void* sockaddr, uint32_t length, policy_addr* out, policy_error* error) noexcept {
  const auto* generic = static_cast<const struct ::sockaddr*>(sockaddr);
  const Result<Address> address = Address::from_sockaddr(generic, length);
  if (!address.ok()) return refuse(error, address.error().message);
  const std::uint16_t port = generic->sa_family == AF_INET
                                 ? ntohs(reinterpret_cast<const sockaddr_in*>(generic)->sin_port)
                                 : ntohs(reinterpret_cast<const sockaddr_in6*>(generic)->sin6_port);
  address_out(*address, port, *out);
  return POLICY_OK;
}

}  // namespace

std::uint64_t seal_key() noexcept {
  static const std::uint64_t key = [] {
    std::uint64_t drawn = 0;
    while (::getrandom(&drawn, sizeof drawn, 0) != sizeof drawn) {
    }
    return drawn;
  }();
  return key;
}

void name_out(const DomainName& name, policy_name& out) noexcept {
  std::memcpy(&out, &name, sizeof out);
  out.seal = seal_of(out);
}

const DomainName* name_in(const policy_name* name) noexcept {
  if (name == nullptr || name->labels == 0 || name->seal != seal_of(*name)) return nullptr;
  return reinterpret_cast<const DomainName*>(name);
}

void address_out(const Address& address, std::uint16_t port, policy_addr& out) noexcept {
  out = {};
  std::copy(address.octets().begin(), address.octets().end(), out.ip);
  out.port = port;
  out.family = address.is_v4() ? POLICY_IPV4 : POLICY_IPV6;
  out.seal = seal_of(out);
}

std::optional<Address> address_in(const policy_addr* addr) noexcept {
  if (addr == nullptr || addr->seal != seal_of(*addr)) return std::nullopt;
  std::array<std::uint8_t, 16> octets;
  std::copy(std::begin(addr->ip), std::end(addr->ip), octets.begin());
  if (addr->family == POLICY_IPV6) return Address::v6(octets);
  if (addr->family != POLICY_IPV4) return std::nullopt;
  return Address::v4(static_cast<std::uint32_t>(octets[0]) << 24 | static_cast<std::uint32_t>(octets[1]) << 16 |
                     static_cast<std::uint32_t>(octets[2]) << 8 | octets[3]);
}

const policy_edge_v1& edge_extension() noexcept {
  static constexpr policy_edge_v1 kEdge = {sizeof(policy_edge_v1), edge_name, edge_addr};
  return kEdge;
}

}  // namespace sallyport
