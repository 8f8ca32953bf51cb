// Own readers rather than inet_pton: that one takes "1.2.3.04" on some systems, and a string with its NUL elsewhere
// than at the end; here the whole text is the address or it is refused.
#include "names/address.hpp"

#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <optional>

namespace sallyport {
namespace {

constexpr std::size_t kV6Groups = 8;

// Decimal without sign, blank or leading zero, at most three digits.
std::optional<unsigned> small_decimal(std::string_view text, unsigned most) noexcept {
  if (text.empty() || text.size() > 3 || (text.size() > 1 && text[0] == '0')) return std::nullopt;
  unsigned value = 0;
  for (const char c : text) {
    if (c < '0' || c > '9') return std::nullopt;
    value = value * 10 + static_cast<unsigned>(c - '0');
  }
  if (value > most) return std::nullopt;
  return value;
}

std::optional<std::uint32_t> dotted_quad(std::string_view text) noexcept {
  std::uint32_t value = 0;
  for (int part = 0; part < 4; ++part) {
    const std::size_t dot = text.find('.');
    if ((part < 3) == (dot == std::string_view::npos)) return std::nullopt;
    const std::optional<unsigned> octet = small_decimal(text.substr(0, dot), 255);
    if (!octet) return std::nullopt;
    value = value << 8 | *octet;
    text.remove_prefix(part < 3 ? dot + 1 : text.size());
  }
  return value;
}

// One to four hexadecimal digits.
std::optional<std::uint16_t> group(std::string_view text) noexcept {
  if (text.empty() || text.size() > 4) return std::nullopt;
  std::uint16_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, 16);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

// The groups of "a:b:c", the last of which may be a dotted quad; npos for anything else. Empty text has none.
std::size_t read_groups(std::string_view text, bool quad_allowed, std::array<std::uint16_t, kV6Groups>& out) noexcept {
  std::size_t count = 0;
  while (!text.empty()) {
    const std::size_t colon = text.find(':');
    const std::string_view part = text.substr(0, colon);
    const bool last = colon == std::string_view::npos;
    if (last && quad_allowed && part.find('.') != std::string_view::npos) {
      const std::optional<std::uint32_t> quad = dotted_quad(part);
      if (!quad || count + 2 > kV6Groups) return std::string_view::npos;
      out[count++] = static_cast<std::uint16_t>(*quad >> 16);
      out[count++] = static_cast<std::uint16_t>(*quad);
      return count;
    }
    const std::optional<std::uint16_t> value = group(part);
    if (!value || count == kV6Groups) return std::string_view::npos;
    out[count++] = *value;
    if (last) return count;
    text.remove_prefix(colon + 1);
    if (text.empty()) return std::string_view::npos;  // ends in ':'
  }
  return count;
}

std::optional<std::array<std::uint8_t, 16>> v6_octets(std::string_view text) noexcept {
  std::array<std::uint16_t, kV6Groups> head{};
  std::array<std::uint16_t, kV6Groups> tail{};
  const std::size_t gap = text.find("::");
  std::size_t heads = 0;
  std::size_t tails = 0;
  if (gap == std::string_view::npos) {
    heads = read_groups(text, true, head);
    if (heads != kV6Groups) return std::nullopt;
  } else {
    heads = read_groups(text.substr(0, gap), false, head);
    tails = read_groups(text.substr(gap + 2), true, tail);
    if (heads == std::string_view::npos || tails == std::string_view::npos) return std::nullopt;
    if (heads + tails >= kV6Groups) return std::nullopt;  // "::" stands for one group at least (RFC 4291 §2.2)
  }
  std::copy_n(tail.begin(), tails, head.begin() + static_cast<std::ptrdiff_t>(kV6Groups - tails));
  std::array<std::uint8_t, 16> octets{};
  for (std::size_t i = 0; i < kV6Groups; ++i) {
    octets[2 * i] = static_cast<std::uint8_t>(head[i] >> 8);
    octets[2 * i + 1] = static_cast<std::uint8_t>(head[i]);
  }
  return octets;
}

std::string quad_text(const std::uint8_t* octets) {
  std::string text;
  for (int i = 0; i < 4; ++i) {
    if (i > 0) text += '.';
    text += std::to_string(octets[i]);
  }
  return text;
}

void append_hex(std::string& text, unsigned value) {
  char digits[4];
  const auto [end, error] = std::to_chars(digits, digits + sizeof digits, value, 16);
  text.append(digits, error == std::errc{} ? end : digits);
}

// RFC 5952: the leftmost longest run of two or more zero groups becomes "::"; IPv4-mapped keeps its dotted quad (§5).
std::string v6_text(const std::array<std::uint8_t, 16>& octets) {
  static constexpr std::array<std::uint8_t, 12> kMapped = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
  if (std::equal(kMapped.begin(), kMapped.end(), octets.begin())) return "::ffff:" + quad_text(octets.data() + 12);
  std::array<unsigned, kV6Groups> groups{};
  for (std::size_t i = 0; i < kV6Groups; ++i) groups[i] = static_cast<unsigned>(octets[2 * i] << 8 | octets[2 * i + 1]);
  std::size_t best = kV6Groups;
  std::size_t best_length = 1;
  for (std::size_t i = 0; i < kV6Groups; ++i) {
    std::size_t end = i;
    while (end < kV6Groups && groups[end] == 0) ++end;
    if (end - i > best_length) {
      best = i;
      best_length = end - i;
    }
  }
  std::string text;
  for (std::size_t i = 0; i < kV6Groups;) {
    if (i == best) {
      text += "::";
      i += best_length;
      continue;
    }
    if (!text.empty() && text.back() != ':') text += ':';
    append_hex(text, groups[i]);
    ++i;
  }
  return text;
}

}  // namespace

Result<Address> Address::parse(std::string_view text) noexcept {
  if (text.find(':') == std::string_view::npos) {
    const std::optional<std::uint32_t> quad = dotted_quad(text);
    if (!quad) return Error{ErrorCode::kMalformed, "not an address of four decimal numbers", 0};
    return v4(*quad);
  }
  if (const std::size_t zone = text.find('%'); zone != std::string_view::npos) {
    return Error{ErrorCode::kMalformed, "an address with a zone", zone};
  }
  const std::optional<std::array<std::uint8_t, 16>> octets = v6_octets(text);
  if (!octets) return Error{ErrorCode::kMalformed, "not an IPv6 address", 0};
  return v6(*octets);
}

Address Address::v4(std::uint32_t host_order) noexcept {
  // All sixteen octets by one store: a processor that copies them soon after waits if they came by several.
  using Words = std::uint32_t __attribute__((vector_size(16)));
  const Words words = {htonl(host_order), 0, 0, 0};
  Address address;
  static_assert(sizeof words == sizeof address.octets_);
  std::memcpy(address.octets_.data(), &words, sizeof words);
  return address;
}

Address Address::v6(const std::array<std::uint8_t, 16>& network_order) noexcept {
  Address address;
  address.v4_ = false;
  address.octets_ = network_order;
  return address;
}

Result<Address> Address::from_sockaddr(const ::sockaddr* address, std::size_t length) noexcept {
  if (address == nullptr || length < sizeof(address->sa_family)) {
    return Error{ErrorCode::kMalformed, "no socket address", 0};
  }
  ::sa_family_t family = 0;
  std::memcpy(&family, address, sizeof family);
  if (family == AF_INET && length == sizeof(::sockaddr_in)) {
    ::sockaddr_in in{};
    std::memcpy(&in, address, sizeof in);
    return v4(ntohl(in.sin_addr.s_addr));
  }
  if (family == AF_INET6 && length == sizeof(::sockaddr_in6)) {
    ::sockaddr_in6 in{};
    std::memcpy(&in, address, sizeof in);
    if (in.sin6_scope_id != 0) return Error{ErrorCode::kMalformed, "an address with a zone", 0};
    std::array<std::uint8_t, 16> octets{};
    std::memcpy(octets.data(), &in.sin6_addr, octets.size());
    return v6(octets);
  }
  return Error{ErrorCode::kMalformed, "a socket address of another family or length", 0};
}

std::uint32_t Address::v4_host_order() const noexcept {
  return std::uint32_t{octets_[0]} << 24 | std::uint32_t{octets_[1]} << 16 | std::uint32_t{octets_[2]} << 8 |
         octets_[3];
}

std::string Address::text() const { return v4_ ? quad_text(octets_.data()) : v6_text(octets_); }

Result<Prefix> Prefix::parse(std::string_view text) noexcept {
  const std::size_t slash = text.find('/');
  const Result<Address> address = Address::parse(text.substr(0, slash));
  if (!address.ok()) return address.error();
  const unsigned most = address->is_v4() ? 32 : 128;
  unsigned bits = most;
  if (slash != std::string_view::npos) {
    const std::optional<unsigned> given = small_decimal(text.substr(slash + 1), most);
    if (!given) return Error{ErrorCode::kMalformed, "not a prefix length", slash + 1};
    bits = *given;
  }
  const Prefix prefix = of(*address, bits);
  if (prefix.network_ != *address) return Error{ErrorCode::kMalformed, "host bits are set", 0};
  return prefix;
}

Prefix Prefix::of(const Address& address, unsigned bits) noexcept {
  const unsigned most = address.is_v4() ? 32 : 128;
  bits = std::min(bits, most);
  std::array<std::uint8_t, 16> octets = address.octets();
  for (unsigned i = 0; i < 16; ++i) {
    const unsigned kept = bits > 8 * i ? std::min(8U, bits - 8 * i) : 0;
    octets[i] = static_cast<std::uint8_t>(octets[i] & (0xff00U >> kept));
  }
  Prefix prefix;
  prefix.bits_ = static_cast<std::uint8_t>(bits);
  prefix.network_ = Address::v6(octets);
  if (address.is_v4()) {
    prefix.network_ = Address::v4(std::uint32_t{octets[0]} << 24 | std::uint32_t{octets[1]} << 16 |
                                  std::uint32_t{octets[2]} << 8 | octets[3]);
  }
  return prefix;
}

bool Prefix::contains(const Address& address) const noexcept {
  return address.is_v4() == network_.is_v4() && of(address, bits_).network_ == network_;
}

bool Prefix::contains(const Prefix& inner) const noexcept { return inner.bits_ >= bits_ && contains(inner.network_); }

std::string Prefix::text() const { return network_.text() + "/" + std::to_string(bits_); }

}  // namespace sallyport
