// The JSON Schema of a file of ours, for editors and for whoever checks without policyctl.
//
// Form     Draft 7, as YAML language servers read it: keys, words and descriptions are the .proto's, so that the schema
//          cannot fall behind it; what protobuf cannot say (patterns, ranges, short forms) is a table beside it.
//          Wider than the loader, never narrower: what it refuses the loader refuses too, and only the loader knows
//          whether a name is defined, a pattern too broad, a rule without effect.
// Threads  Pure functions.
#pragma once

#include <string>
#include <vector>

namespace sallyport {

// Ends with a line feed; the same octets each time.
std::string policy_json_schema();
std::string gateway_json_schema();

// What the tables beside the schemas say of keys that no schema has; for the test that there are none.
std::vector<std::string> stray_schema_entries();

}  // namespace sallyport
