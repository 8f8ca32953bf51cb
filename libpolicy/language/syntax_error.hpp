// What to say of text that is not YAML: the parser knows where it gave up, the text around it says what was meant.
//
// Internal to language/.
#pragma once

#include <cstddef>
#include <string_view>

#include "language/source.hpp"

namespace sallyport {

// P002 at the octet where the parser stopped, or at the bracket or quote that was opened before it and never closed.
// cause is the parser's own message.
void report_syntax_error(const Source& source, Reporter& reporter, std::size_t at, std::string_view cause);

}  // namespace sallyport
