#include "host/warden/resolvers.hpp"

#include <absl/strings/str_format.h>

#include <charconv>
#include <fstream>
#include <iterator>

#include "names/address.hpp"

namespace sallyport {
namespace {

std::string canonical(const Address& address, unsigned port) {
  return address.is_v4() ? absl::StrFormat("%s:%u", address.text(), port)
                         : absl::StrFormat("[%s]:%u", address.text(), port);
}

absl::Status not_a_resolver(std::string_view text) {
  return absl::InvalidArgumentError(
      absl::StrFormat("\"%s\" is not a resolver; expected an address such as 9.9.9.9, 9.9.9.9:5353, ::1 or [::1]:5353",
                      std::string(text)));
}

}  // namespace

absl::StatusOr<std::string> parse_resolver(std::string_view text) {
  if (const Result<Address> plain = Address::parse(text); plain.ok()) return canonical(*plain, 53);
  const std::size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) return not_a_resolver(text);
  std::string_view host = text.substr(0, colon);
  const std::string_view digits = text.substr(colon + 1);
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') host = host.substr(1, host.size() - 2);
  unsigned port = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), port);
  const Result<Address> address = Address::parse(host);
  const bool whole = error == std::errc() && end == digits.data() + digits.size() && port >= 1 && port <= 65535;
  if (!whole || !address.ok()) return not_a_resolver(text);
  return canonical(*address, port);
}

std::vector<std::string> resolvers_of(std::string_view text) {
  constexpr std::size_t kMost = 3;  // MAXNS of libc
  std::vector<std::string> found;
  while (!text.empty() && found.size() < kMost) {
    std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(text.size(), line.size() + 1));
    constexpr std::string_view kKeyword = "nameserver";
    if (!line.starts_with(kKeyword)) continue;
    line.remove_prefix(kKeyword.size());
    const std::size_t start = line.find_first_not_of(" \t");
    if (start == 0 || start == std::string_view::npos) continue;
    line = line.substr(start, line.find_first_of(" \t\r#;", start) - start);
    if (const absl::StatusOr<std::string> resolver = parse_resolver(line); resolver.ok()) found.push_back(*resolver);
  }
  return found;
}

absl::StatusOr<std::vector<std::string>> host_resolvers() {
  std::ifstream file("/etc/resolv.conf");
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  std::vector<std::string> found = resolvers_of(text);
  if (found.empty()) {
    return absl::FailedPreconditionError("no resolver: /etc/resolv.conf names none; name one with --resolver ADDRESS");
  }
  return found;
}

}  // namespace sallyport
