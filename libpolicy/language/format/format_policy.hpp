// The canonical form of a policy: one way to write it, so that a diff of two policies shows what changed.
//
// Form     Keys in one order (docs/policyctl.md), two spaces a level, quotes only where YAML or one of its readers
//          needs them, lists and small mappings on one line up to 120 columns. Comments stay with what they stand at,
//          one blank line stays one, several become one. Line feeds end lines; a byte order mark and `---` go.
// Meaning  Never changed: the text that comes back was read again, and decodes to the same message and holds the same
//          comments, or nothing comes back.
// Errors   Those of reading a policy; P060 for what no canonical form can keep (anchors, block scalars, directives),
//          P061 if the check above failed.
// Threads  Pure.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "language/diagnostic.hpp"

namespace sallyport {

struct FormatOutcome {
  std::optional<std::string> text;  // there exactly if no diagnostic is an error
  Diagnostics diagnostics;
};

// Keys of the schema that have no place in the canonical order; for the test that there are none.
std::vector<std::string> keys_without_order();

FormatOutcome format_policy(std::string_view yaml, std::string_view file_name);

}  // namespace sallyport
