// A scalar as it is written: plain, or in double quotes where a reader of YAML could take it for something else.
//
// Source   YAML 1.2.2, 7.3; the words and numbers of YAML 1.1, which many readers still have.
// Threads  Pure functions.
#pragma once

#include <string>
#include <string_view>

namespace sallyport {

// number_like: a value that looks like a number may stand without quotes, as a port does.
std::string scalar_text(std::string_view value, bool number_like);

}  // namespace sallyport
