// Any bytes are a message that is a policy, or a list of errors, never both; a policy says the same as its rendering.
// REL-10.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "diagnostic_check.hpp"
#include "engine/decide.hpp"
#include "language/policy_message.hpp"

using sallyport::fuzz::check_diagnostics, sallyport::fuzz::require;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const sallyport::MessageOutcome outcome =
      sallyport::load_policy_message({reinterpret_cast<const char*>(data), size}, "message");
  check_diagnostics(outcome.policy.ok(), outcome.policy.diagnostics, sallyport::explain_code);
  if (!outcome.text.empty()) {
    for (const sallyport::Diagnostic& d : outcome.policy.diagnostics)
      require(d.code != "P002", "what is rendered is YAML");
  }
  if (!outcome.policy.ok()) return 0;
  const auto bytes = sallyport::compile(*outcome.policy.model, 1);
  require(bytes.ok(), "a valid policy compiles");
  const auto again = sallyport::load_policy(outcome.text, "message");
  require(again.ok() && *sallyport::compile(*again.model, 1) == *bytes, "the rendering says the same");
  return 0;
}
