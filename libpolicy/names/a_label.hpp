// A-labels: is a label that starts with "xn--" what an IDNA implementation would write for its own decoding?
//
// Form     Folded (lower case) label of 1 to 63 octets, "xn--" included.
// Threads  Any thread. Labels without "xn--" never come here, so the hot path pays for a prefix compare.
// Source   RFC 3492 §6.2, RFC 5890 §2.3.2.1, UTS #46 §4 step 4 (non-transitional).
#pragma once

#include <string_view>

namespace sallyport {

// Null if the label is a valid A-label, else why not: a static message.
const char* why_not_an_a_label(std::string_view label) noexcept;

}  // namespace sallyport
