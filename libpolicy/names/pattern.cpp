#include "names/pattern.hpp"

#include <idn2.h>

#include <cstdint>
#include <memory>

#include "names/suffix_list.hpp"

namespace sallyport {
namespace {

// Longest text handed to libidn2: room for every octet of a name written as a code point of four octets.
constexpr std::size_t kMostText = 4 * DomainName::kMaxOctets;

bool is_ascii(std::string_view text) noexcept {
  for (const char c : text) {
    if (static_cast<unsigned char>(c) >= 0x80) return false;
  }
  return true;
}

bool is_name_octet(char c) noexcept {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.';
}

}  // namespace

Result<DomainName> parse_user_name(std::string_view text) {
  if (is_ascii(text)) return DomainName::parse(text);
  if (text.size() > kMostText) return Error{ErrorCode::kTooLong, "a name has more than 253 octets", kMostText};
  // Before libidn2, which takes a C string and maps some of these away.
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (static_cast<unsigned char>(text[i]) < 0x80 && !is_name_octet(text[i])) {
      return Error{ErrorCode::kMalformed, "an octet that no name may hold", i};
    }
  }
  const std::string terminated(text);
  std::uint8_t* mapped = nullptr;
  // Not IDN2_USE_STD3_ASCII_RULES: libidn2 2.3 deletes what those rules forbid ("a_b" becomes "ab"). DomainName::parse
  // refuses the same octets below.
  const int status =
      idn2_lookup_u8(reinterpret_cast<const std::uint8_t*>(terminated.c_str()), &mapped, IDN2_NONTRANSITIONAL);
  if (status != IDN2_OK) return Error{ErrorCode::kMalformed, "not a valid internationalised name (UTS #46)", 0};
  const std::unique_ptr<std::uint8_t, void (*)(void*)> owner(mapped, idn2_free);
  Result<DomainName> name = DomainName::parse(reinterpret_cast<const char*>(mapped));
  if (name.ok()) return name;
  Error error = name.error();
  error.offset = 0;  // it counted octets of the mapped form, which the user never saw
  return error;
}

Result<Pattern> Pattern::parse(std::string_view text) {
  if (text.empty()) return Error{ErrorCode::kMalformed, "the pattern is empty", 0};
  if (text == "*" || text == "**" || text == ".") {
    return Error{ErrorCode::kTooBroad, "the pattern covers every name", 0};
  }
  PatternKind kind = PatternKind::kExact;
  std::string_view rest = text;
  if (rest.starts_with("**.")) {
    kind = PatternKind::kBelow;
    rest.remove_prefix(3);
  } else if (rest.starts_with("*.")) {
    kind = PatternKind::kBelow;
    rest.remove_prefix(2);
  } else if (rest.starts_with('.')) {
    kind = PatternKind::kExactAndBelow;
    rest.remove_prefix(1);
  }
  if (const std::size_t star = rest.find('*'); star != std::string_view::npos) {
    return Error{ErrorCode::kMalformed, "'*' stands only for whole labels at the front: \"*.\"",
                 text.size() - rest.size() + star};
  }
  Result<DomainName> name = parse_user_name(rest);
  if (!name.ok()) {
    Error error = name.error();
    error.offset += text.size() - rest.size();
    return error;
  }
  return Pattern{*name, kind};
}

bool Pattern::matches(const DomainName& candidate) const noexcept {
  if (!candidate.is_within(name)) return false;
  const bool is_apex = candidate.labels() == name.labels();
  switch (kind) {
    case PatternKind::kExact:
      return is_apex;
    case PatternKind::kBelow:
      return !is_apex;
    case PatternKind::kExactAndBelow:
      return true;
  }
  return false;
}

std::string Pattern::text() const {
  const std::string name_text(name.text());
  switch (kind) {
    case PatternKind::kExact:
      return name_text;
    case PatternKind::kBelow:
      return "*." + name_text;
    case PatternKind::kExactAndBelow:
      return "." + name_text;
  }
  return name_text;
}

Breadth breadth(const Pattern& pattern) {
  if (!suffix_list::is_loaded()) return Breadth::kTooBroad;
  const std::string name(pattern.name.text());
  const bool below = pattern.kind != PatternKind::kExact;
  if (below && pattern.name.labels() == 1) return Breadth::kPublicSuffix;  // on the list or not: a whole top-level name
  const auto covers = [&](SuffixSection section) {
    return suffix_list::is_suffix(name, section) || (below && suffix_list::has_suffix_below(name, section));
  };
  if (covers(SuffixSection::kIcann)) return Breadth::kPublicSuffix;
  if (covers(SuffixSection::kPrivate)) return Breadth::kMultiTenant;
  return Breadth::kOrganisation;
}

std::string registrable_domain(const DomainName& name) {
  return suffix_list::registrable_domain(std::string(name.text()));
}

}  // namespace sallyport
