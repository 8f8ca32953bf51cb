#include "dns/words.hpp"

#include <charconv>

namespace sallyport::dns {
namespace {

std::string_view mnemonic(std::uint16_t type) {
  switch (type) {
    case wire::kTypeA:
      return "A";
    case wire::kTypeNs:
      return "NS";
    case wire::kTypeCname:
      return "CNAME";
    case wire::kTypeSoa:
      return "SOA";
    case wire::kTypePtr:
      return "PTR";
    case wire::kTypeMx:
      return "MX";
    case wire::kTypeTxt:
      return "TXT";
    case wire::kTypeAaaa:
      return "AAAA";
    case wire::kTypeSrv:
      return "SRV";
    case wire::kTypeSvcb:
      return "SVCB";
    case wire::kTypeHttps:
      return "HTTPS";
    case wire::kTypeAny:
      return "ANY";
    case wire::kTypeAxfr:
      return "AXFR";
    case wire::kTypeIxfr:
      return "IXFR";
    default:
      return {};
  }
}

constexpr std::array<std::string_view, kRcodes> kWords{"NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN",
                                                       "NOTIMP",  "REFUSED", "BADVERS"};

}  // namespace

std::size_t rcode_index(wire::Rcode rcode) {
  const auto value = static_cast<std::size_t>(rcode);
  if (value < 6) return value;
  return rcode == wire::Rcode::kBadVers ? 6 : static_cast<std::size_t>(wire::Rcode::kServFail);
}

std::string_view rcode_word(std::size_t index) { return kWords[index]; }

FixedText<16> qtype_word(std::uint16_t type) {
  FixedText<16> out;
  const std::string_view known = mnemonic(type);
  if (!known.empty()) return out << known;
  std::array<char, 8> digits;
  const auto [end, error] = std::to_chars(digits.data(), digits.data() + digits.size(), type);
  return out << "TYPE" << std::string_view(digits.data(), static_cast<std::size_t>(end - digits.data()));
}

}  // namespace sallyport::dns
