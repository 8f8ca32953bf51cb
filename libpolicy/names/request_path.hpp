// The one form in which paths of HTTP requests are compared with `paths` of a policy, and methods with `methods`.
//
// Form     What stands before `?`, absolute, in visible ASCII. %XX of what may stand in a path as it is (RFC 3986
//          §3.3) is that character; of all else it is kept, in upper case. Nothing is removed or merged.
// Errors   kMalformed for a path that servers read in different ways, so that nobody can say what it asks for: empty
//          segments (//), dot segments, `;`, `\`, an encoded slash, backslash, control octet or percent sign, a broken
//          %, octets that may not stand in a target, a fragment. Nothing is repaired: no allow rule matches it.
// Lifetime Results are views into `room`.
// Threads  Pure functions; no allocation.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

#include "result/result.hpp"

namespace sallyport {

inline constexpr std::size_t kMostPathOctets = 4096;  // of a path that can be compared

// target: the path and query of a request, as sent. kExhausted: longer than room.
Result<std::string_view> canonical_path(std::string_view target, std::span<char> room) noexcept;

// Upper case, as all methods are written. A server may take `get` for GET; which of them do, nobody can say.
bool is_canonical_method(std::string_view method) noexcept;

// A pattern of `paths`, brought to the same form: `*` is any run of characters. kMalformed with the offset of what is
// wrong with it.
Result<std::string> canonical_path_pattern(std::string_view pattern);

}  // namespace sallyport
