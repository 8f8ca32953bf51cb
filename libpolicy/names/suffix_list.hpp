// The public suffix list, asked about a whole subtree: libpsl says whether a name is a suffix, a pattern also needs to
// know whether there are suffixes below it ("*.amazonaws.com" covers the bucket of every tenant of s3.amazonaws.com).
//
// Form     Names in the canonical form of DomainName.
// Threads  Any; loaded once at the first question and kept.
// Errors   Without any list libpsl is built with or the system has, is_loaded() is false and nothing is a suffix.
// Source   publicsuffix.org/list, its two sections; libpsl for the rules, the system's text of the list for what is
// below.
#pragma once

#include <cstdint>
#include <string>

namespace sallyport {

enum class SuffixSection : std::uint8_t { kIcann, kPrivate };

namespace suffix_list {

bool is_loaded() noexcept;

// A rule of this section itself makes `name` a suffix; the implied rule "*" for unknown top-level names does not count.
bool is_suffix(const std::string& name, SuffixSection section) noexcept;

// Some proper descendant of `name` is a suffix by a rule of this section. Without the text of the list only the
// wildcard rules right below `name` are seen.
bool has_suffix_below(const std::string& name, SuffixSection section);

// The suffix of `name` and one label more; empty if there is none. Both sections count.
std::string registrable_domain(const std::string& name);

}  // namespace suffix_list
}  // namespace sallyport
