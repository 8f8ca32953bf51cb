// A plugin's config against the schema in its manifest, before any plugin code runs.
//
// Form     A closed subset of JSON Schema: type, properties, required, items, enum, minimum, maximum, minItems,
// maxItems, maxLength,
//          format (duration, size, cidr, name, path, secret), default, description, and the mandatory
//          additionalProperties: false. Any other keyword makes the manifest invalid.
// Errors   All at once, each with a JSON Pointer; near misses are suggested.
// Threads  Pure functions.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace sallyport {

struct ConfigError {
  std::string pointer;  // into the config, or into the schema for a manifest's fault
  std::string text;     // lower case, no full stop
};

// Is this a schema the host understands? Empty: yes.
std::vector<ConfigError> check_schema(const nlohmann::json& schema);

// Fills defaults into config and reports what does not fit. schema has passed check_schema().
std::vector<ConfigError> apply_schema(const nlohmann::json& schema, nlohmann::json& config);

}  // namespace sallyport
