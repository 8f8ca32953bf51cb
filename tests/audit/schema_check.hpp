// The part of JSON Schema (draft 7) that docs/audit.schema.json uses. A keyword it does not know is a failure, so that
// the schema cannot say more than is checked.
#pragma once

#include <fstream>
#include <nlohmann/json.hpp>
#include <regex>
#include <set>
#include <string>

namespace sallyport::testing_kit {

inline bool has_type(const nlohmann::json& value, const std::string& type) {
  if (type == "object") return value.is_object();
  if (type == "string") return value.is_string();
  if (type == "integer") return value.is_number_integer();
  if (type == "number") return value.is_number();
  return type == "null" && value.is_null();
}

// Empty if value fits, else what does not.
inline std::string violation(const nlohmann::json& schema, const nlohmann::json& value, const std::string& at = "") {
  static const std::set<std::string> kNotes = {"$schema", "$id", "title", "description", "additionalProperties"};
  for (const auto& [keyword, rule] : schema.items()) {
    if (kNotes.contains(keyword)) continue;
    bool fits = true;
    if (keyword == "type") {
      fits = false;
      for (const auto& type : rule.is_array() ? rule : nlohmann::json::array({rule}))
        fits |= has_type(value, type.get<std::string>());
    } else if (keyword == "const") {
      fits = value == rule;
    } else if (keyword == "enum") {
      fits = std::find(rule.begin(), rule.end(), value) != rule.end();
    } else if (keyword == "pattern") {
      fits = !value.is_string() || std::regex_search(value.get<std::string>(), std::regex(rule.get<std::string>()));
    } else if (keyword == "minLength") {
      fits = !value.is_string() || value.get<std::string>().size() >= rule.get<std::size_t>();
    } else if (keyword == "maxLength") {
      fits = !value.is_string() || value.get<std::string>().size() <= rule.get<std::size_t>();
    } else if (keyword == "minimum") {
      fits = !value.is_number() || value >= rule;
    } else if (keyword == "maximum") {
      fits = !value.is_number() || value <= rule;
    } else if (keyword == "required") {
      for (const auto& name : rule) fits &= value.contains(name.get<std::string>());
    } else if (keyword == "properties") {
      for (const auto& [name, member] : value.items()) {
        if (!rule.contains(name)) {
          if (schema.value("additionalProperties", true) == false) return at + "/" + name + ": not in the schema";
          continue;
        }
        const std::string inner = violation(rule[name], member, at + "/" + name);
        if (!inner.empty()) return inner;
      }
    } else {
      return "unknown keyword " + keyword;
    }
    if (!fits) return at + ": " + keyword + " " + rule.dump() + " does not fit " + value.dump().substr(0, 200);
  }
  return "";
}

inline nlohmann::json audit_schema() {
  std::ifstream file(SALLYPORT_AUDIT_SCHEMA);
  return nlohmann::json::parse(file);
}

}  // namespace sallyport::testing_kit
