// The policy that a command is to read: a file that can be trusted, or `-` for standard input.
//
// Threads  One; standard input is read once.
#pragma once

#include <string>

#include "language/load.hpp"

namespace sallyport::policyctl {

// Whoever pipes a policy in answers for where it comes from: nothing of a file is checked then. Messages say "<stdin>".
LoadOutcome load_policy_input(const std::string& file);

}  // namespace sallyport::policyctl
