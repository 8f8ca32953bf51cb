// `methods` and `paths` of a rule: what is checked of each, and where no request can be seen.
//
// Threads  Pure functions.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/model.hpp"
#include "language/values.hpp"

namespace sallyport {

// P047: no method, or one that nobody could mean.
Parsed<std::string> read_method(std::string_view text);

// P048: no path that could be compared with another; the result is in the form of names/request_path.hpp.
Parsed<std::string> read_path(std::string_view text);

// Whether requests can be read at one of these ports: not within TLS, which is what runs on 443 and its like (a gateway
// that reads TLS without being told to is not a gateway), and not in UDP.
bool is_clear(const PortRange& range);

}  // namespace sallyport
