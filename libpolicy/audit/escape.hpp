// printable(): octets that a workload chose, as text that no terminal, log viewer or JSON reader acts on.
//
// Form     Printable ASCII stays; a backslash becomes "\\", every other octet "\xNN". The result is ASCII.
// Threads  Pure.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace sallyport {

// At most max_size characters; longer results end in "...", and so does one whose octets were cut before.
std::string printable(std::string_view octets, std::size_t max_size = 1024, bool was_cut = false);

// The same for text that came in that form, as a plugin's does: backslashes stay single, the rest is not trusted.
std::string printable_again(std::string_view text, std::size_t max_size = 1024);

}  // namespace sallyport
