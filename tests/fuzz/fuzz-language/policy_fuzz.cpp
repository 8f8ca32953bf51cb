// Any bytes are a policy or a list of errors, never both, and what is a policy compiles. REL-10.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

#include "engine/decide.hpp"
#include "language/load.hpp"

namespace {

void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "broken: %s\n", what);
  std::abort();
}

bool is_printable(std::string_view text) {
  for (const char c : text) {
    const auto octet = static_cast<unsigned char>(c);
    if ((octet < 0x20 && c != '\n') || octet == 0x7f) return false;
  }
  return true;
}

void check_diagnostics(const sallyport::LoadOutcome& outcome) {
  require(outcome.ok() != sallyport::has_errors(outcome.diagnostics), "a model exactly if there is no error");
  for (const sallyport::Diagnostic& d : outcome.diagnostics) {
    require(!sallyport::explain_code(d.code).empty(), "every code is explained");
    require(!d.message.empty(), "every diagnostic has a cause");
    require(sallyport::render_line(d).find('\n') == std::string::npos, "one line is one line");
  }
  require(is_printable(sallyport::render(outcome.diagnostics, false)), "nothing reaches the terminal raw");
  sallyport::render_json(outcome.diagnostics);
  sallyport::render_github(outcome.diagnostics);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const sallyport::LoadOutcome outcome = sallyport::load_policy(text, "fuzz.yaml");
  check_diagnostics(outcome);
  if (outcome.ok()) {
    const auto bytes = sallyport::compile(*outcome.model, 1);
    require(bytes.ok(), "a valid policy compiles");
    require(sallyport::Snapshot::open(*bytes).ok(), "a compiled policy opens");
  }
  // The first line as an argument of --allow.
  const std::string argument[] = {std::string(text.substr(0, text.find('\n')))};
  check_diagnostics(sallyport::model_from_allow(argument));
  return 0;
}
