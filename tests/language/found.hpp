// What a test wants to know of a diagnostic, in a form that prints well.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "language/load.hpp"

namespace sallyport {

// "P003 4:5 unknown key `domain`", in order.
inline std::vector<std::string> found(const Diagnostics& diagnostics) {
  std::vector<std::string> lines;
  for (const Diagnostic& d : diagnostics) {
    lines.push_back(std::string(d.code) + " " + std::to_string(d.where.line) + ":" + std::to_string(d.where.column) +
                    " " + d.message);
  }
  return lines;
}

inline std::vector<std::string> codes_of(const Diagnostics& diagnostics) {
  std::vector<std::string> codes;
  for (const Diagnostic& d : diagnostics) codes.emplace_back(d.code);
  return codes;
}

}  // namespace sallyport
