// policyctl schema: the JSON Schema of a policy, or of gateway.yaml, for editors.
#include <ostream>

#include "language/schema/json_schema.hpp"
#include "language/suggest.hpp"
#include "policyctl/command.hpp"

namespace sallyport::policyctl {

int schema(const Invocation& invocation, const Terminal& terminal) {
  const std::string which = invocation.arguments.empty() ? "policy" : invocation.arguments[0];
  if (which != "policy" && which != "gateway")
    return usage_error(terminal, "no schema of " + in_ticks(which) + "; write policy or gateway");
  terminal.out << (which == "policy" ? policy_json_schema() : gateway_json_schema());
  return kYes;
}

}  // namespace sallyport::policyctl
