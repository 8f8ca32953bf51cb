// Pattern: what a policy may write where a name is expected.
//
// Form     "a.b" that name alone; "*.a.b" and "**.a.b" every name below at any depth, not the apex; ".a.b" both.
//          U-labels are mapped once to A-labels (UTS #46 non-transitional, by libidn2).
// Errors   kMalformed for anything else ("a*.b", "http://x", "x y", "a..b", an address, a port, "xn--" that does not
// round-trip);
//          kTooBroad for "*", "**" and ".", which no key permits (`default: allow` says that). Whether any other is too
//          broad is not decided here: breadth() says what a pattern covers, the language decides by its keys.
// Threads  parse() and breadth() may be called from any thread.
#pragma once

#include <string>
#include <string_view>

#include "names/domain_name.hpp"

namespace sallyport {

enum class PatternKind : std::uint8_t { kExact = 0, kBelow, kExactAndBelow };

struct Pattern {
  DomainName name;
  PatternKind kind = PatternKind::kExact;

  static Result<Pattern> parse(std::string_view text);

  bool matches(const DomainName& candidate) const noexcept;
  std::string text() const;  // canonical: "a.b", "*.a.b", ".a.b"
};

// A host name as a user types it (U-labels allowed), for explain TARGET and --allow.
Result<DomainName> parse_user_name(std::string_view text);

enum class Breadth : std::uint8_t {
  kTooBroad = 0,  // unknown reads as the strictest
  kOrganisation,  // below a registrable domain, or exactly one name
  kPublicSuffix,  // "*", a top-level name, or an ICANN public suffix: needs allow_public_suffix
  kMultiTenant,   // a suffix of the list's private section (github.io): needs multi_tenant
};

// The list is the system's (libpsl's built-in or newest file). A single label without wildcard is kOrganisation only in
// the sense of DESIGN's single-label rule; the language asks for resolves_to.
Breadth breadth(const Pattern& pattern);

// The registrable domain of a name ("example.co.uk"), empty if the name is itself a public suffix.
std::string registrable_domain(const DomainName& name);

}  // namespace sallyport
