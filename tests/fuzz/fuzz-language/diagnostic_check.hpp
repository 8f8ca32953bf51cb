// What holds of every outcome of a loader, whatever it was given.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <span>
#include <string>
#include <string_view>

#include "language/diagnostic.hpp"

namespace sallyport::fuzz {

inline void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "broken: %s\n", what);
  std::abort();
}

inline bool is_printable(std::string_view text) {
  for (const char c : text) {
    const auto octet = static_cast<unsigned char>(c);
    if ((octet < 0x20 && c != '\n') || octet == 0x7f) return false;
  }
  return true;
}

// explain: of this loader's codes.
template <typename Explain>
void check_diagnostics(bool has_model, std::span<const Diagnostic> diagnostics, Explain explain) {
  require(has_model != has_errors(diagnostics), "a model exactly if there is no error");
  for (const Diagnostic& d : diagnostics) {
    require(!explain(d.code).empty(), "every code is explained");
    require(!d.message.empty(), "every diagnostic has a cause");
    require(render_line(d).find('\n') == std::string::npos, "one line is one line");
  }
  require(is_printable(render(diagnostics, false)), "nothing reaches the terminal raw");
  render_json(diagnostics);
  render_github(diagnostics);
}

}  // namespace sallyport::fuzz
