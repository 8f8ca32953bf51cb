// The policy that a command is to read: a file that can be trusted, or `-` for standard input.
//
// Threads  One; standard input is read once.
#pragma once

#include <cstddef>
#include <string>

#include "language/load.hpp"

namespace sallyport::policyctl {

// Whoever pipes a policy in answers for where it comes from: nothing of a file is checked then. Messages say "<stdin>".
LoadOutcome load_policy_input(const std::string& file);

// The text of any file, trusted or not; of more than `most` octets only so much that it is seen.
struct TextInput {
  std::string text;
  std::string name;     // for messages
  std::string failure;  // empty: it was read
};
TextInput read_text_input(const std::string& file, std::size_t most);

}  // namespace sallyport::policyctl
