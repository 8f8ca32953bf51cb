// What would let a denied destination pass: an --allow argument, or the rule that only a file can hold. Nothing is
// suggested that was not tried: the argument is loaded, compiled and asked as a cell asks (explain_flow.hpp).
//
// Cost     Two policies of a few rules are compiled, whatever the size of `policy`; its rules are looked at once.
// Threads  Pure functions.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "engine/model.hpp"
#include "names/address.hpp"

namespace sallyport {

struct AllowSuggestion {
  std::string argument;  // "--allow db.internal:5432"; empty if no argument would help
  std::string rule;  // "domains: [db.internal], ports: [5432], resolves_to: [10.0.0.6]", keys of an allow rule for a
                     // policy file; empty if an argument will do, or no rule helps either
};

// destination: a name or an address as an audit record has it, without port. port 0: not known, as of a look-up.
// resolved: where the name leads, if that is known.
AllowSuggestion suggest_allow(const PolicyModel& policy, std::string_view destination, std::uint16_t port,
                              const std::optional<Address>& resolved = std::nullopt);

// The argument alone: "--allow X[:P]", or empty.
std::string allow_argument_that_helps(const PolicyModel& policy, std::string_view destination, std::uint16_t port);

}  // namespace sallyport
