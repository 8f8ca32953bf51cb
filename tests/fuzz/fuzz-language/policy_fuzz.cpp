// Any bytes are a policy or a list of errors, never both, and what is a policy compiles. REL-10.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "diagnostic_check.hpp"
#include "engine/decide.hpp"
#include "language/load.hpp"

using sallyport::fuzz::check_diagnostics, sallyport::fuzz::require;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const sallyport::LoadOutcome outcome = sallyport::load_policy(text, "fuzz.yaml");
  check_diagnostics(outcome.ok(), outcome.diagnostics, sallyport::explain_code);
  if (outcome.ok()) {
    const auto bytes = sallyport::compile(*outcome.model, 1);
    require(bytes.ok(), "a valid policy compiles");
    require(sallyport::Snapshot::open(*bytes).ok(), "a compiled policy opens");
  }
  // The first line as an argument of --allow.
  const std::string argument[] = {std::string(text.substr(0, text.find('\n')))};
  const sallyport::LoadOutcome allowed = sallyport::model_from_allow(argument);
  check_diagnostics(allowed.ok(), allowed.diagnostics, sallyport::explain_code);
  return 0;
}
