// A policy as a message of the schema in Protobuf's wire form, as a program sends it: rendered as a policy file, and
// loaded like one.
//
// There is one loader (DESIGN, rule 6): what a message may say is what a file may say, and every check, code and repair
// is the file's. Places in diagnostics are those of the rendered text, which the outcome carries.
//
// Errors   P001: no such message, a key of a later version, or text that is not UTF-8. Else as load_policy().
// Threads  Any.
#pragma once

#include <string>
#include <string_view>

#include "language/load.hpp"

namespace sallyport {

struct MessageOutcome {
  LoadOutcome policy;
  std::string text;  // what was loaded; empty: the octets are no message
};

// file_name is for diagnostics; the message's files (`include`, `lists`) are not opened, as with load_policy().
MessageOutcome load_policy_message(std::string_view wire, std::string_view file_name, const LoadOptions& options = {});

}  // namespace sallyport
