#include "host/plugin/config_schema.hpp"

#include <algorithm>
#include <array>
#include <string_view>

namespace sallyport {
namespace {

using nlohmann::json;

constexpr int kMaxDepth = 16;  // a plugin's config is flat; more is a mistake or an attack on the host's stack

constexpr std::array<std::string_view, 14> kKeywords = {
    "type",    "format",   "properties", "required",  "items",   "enum",        "minimum",
    "maximum", "minItems", "maxItems",   "maxLength", "default", "description", "additionalProperties"};
constexpr std::array<std::string_view, 6> kTypes = {"object", "array", "string", "integer", "number", "boolean"};

constexpr std::array<std::string_view, 6> kFormats = {"duration", "size", "cidr", "name", "path", "secret"};

// The formats that are a number with a unit; the others are checked by whoever reads the value, who knows more of it.
bool has_format(const std::string& value, const std::string& format) {
  static constexpr std::array<std::string_view, 4> kDurations = {"ms", "s", "m", "h"};
  static constexpr std::array<std::string_view, 4> kSizes = {"B", "kB", "MB", "GB"};
  if (format == "path") return value.starts_with('/');
  if (format != "duration" && format != "size") return true;
  const std::size_t digits = std::min(value.find_first_not_of("0123456789"), value.size());
  const std::string_view unit = std::string_view(value).substr(digits);
  const auto& units = format == "duration" ? kDurations : kSizes;
  return digits > 0 && digits <= 9 && std::find(units.begin(), units.end(), unit) != units.end();
}

bool has_type(const json& value, const std::string& type) {
  if (type == "object") return value.is_object();
  if (type == "array") return value.is_array();
  if (type == "string") return value.is_string();
  if (type == "integer") return value.is_number_integer();
  if (type == "number") return value.is_number();
  return type == "boolean" && value.is_boolean();
}

// Levenshtein distance, for "did you mean".
std::size_t distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t substituted = diagonal + (a[i - 1] != b[j - 1]);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, substituted});
    }
  }
  return row[b.size()];
}

std::string suggestion(const json& properties, const std::string& key) {
  std::string best;
  std::size_t best_distance = 3;
  for (const auto& [name, unused] : properties.items()) {
    if (const std::size_t d = distance(name, key); d < best_distance) best = name, best_distance = d;
  }
  return best.empty() ? "" : "; did you mean `" + best + "`?";
}

void check_at(const json& schema, const std::string& pointer, int depth, std::vector<ConfigError>& errors) {
  if (depth > kMaxDepth) return errors.push_back({pointer, "schema is nested too deep"});
  if (!schema.is_object()) return errors.push_back({pointer, "a schema is an object"});
  for (const auto& [key, unused] : schema.items()) {
    if (std::find(kKeywords.begin(), kKeywords.end(), key) == kKeywords.end())
      errors.push_back({pointer + "/" + key, "schema keyword is not supported"});
  }
  const auto type = schema.find("type");
  if (type == schema.end() || !type->is_string() ||
      std::find(kTypes.begin(), kTypes.end(), type->get<std::string>()) == kTypes.end()) {
    return errors.push_back({pointer + "/type", "expected one of object, array, string, integer, number, boolean"});
  }
  if (*type == "object") {
    if (schema.value("additionalProperties", json(true)) != json(false))
      errors.push_back({pointer + "/additionalProperties", "must be false"});
    if (schema.contains("properties")) {
      if (!schema["properties"].is_object()) return errors.push_back({pointer + "/properties", "expected an object"});
      for (const auto& [name, inner] : schema["properties"].items())
        check_at(inner, pointer + "/properties/" + name, depth + 1, errors);
    }
    if (schema.contains("required")) {
      const json& required = schema["required"];
      const bool names = required.is_array() &&
                         std::all_of(required.begin(), required.end(), [](const json& n) { return n.is_string(); });
      if (!names) errors.push_back({pointer + "/required", "expected an array of names"});
    }
  }
  if (*type == "array") {
    if (!schema.contains("items")) return errors.push_back({pointer + "/items", "is missing"});
    check_at(schema["items"], pointer + "/items", depth + 1, errors);
  }
  if (schema.contains("format")) {
    const json& format = schema["format"];
    const bool known = *type == "string" && format.is_string() &&
                       std::find(kFormats.begin(), kFormats.end(), format.get<std::string>()) != kFormats.end();
    if (!known)
      errors.push_back({pointer + "/format", "expected duration, size, cidr, name, path or secret, on a string"});
  }
  if (schema.contains("enum") && !schema["enum"].is_array()) errors.push_back({pointer + "/enum", "expected an array"});
  for (const char* bound : {"minimum", "maximum", "minItems", "maxItems", "maxLength"}) {
    if (schema.contains(bound) && !schema[bound].is_number())
      errors.push_back({pointer + "/" + bound, "expected a number"});
  }
}

void apply_at(const json& schema, json& value, const std::string& pointer, std::vector<ConfigError>& errors) {
  const std::string type = schema["type"];
  if (!has_type(value, type)) return errors.push_back({pointer, "expected " + type + ", found " + value.type_name()});
  if (schema.contains("enum") &&
      std::find(schema["enum"].begin(), schema["enum"].end(), value) == schema["enum"].end()) {
    errors.push_back({pointer, "expected one of " + schema["enum"].dump() + ", found " + value.dump()});
  }
  if (value.is_number()) {
    if (schema.contains("minimum") && value < schema["minimum"])
      errors.push_back({pointer, "expected at least " + schema["minimum"].dump()});
    if (schema.contains("maximum") && value > schema["maximum"])
      errors.push_back({pointer, "expected at most " + schema["maximum"].dump()});
  }
  if (value.is_string() && schema.contains("maxLength") &&
      json(value.get_ref<const std::string&>().size()) > schema["maxLength"]) {
    errors.push_back({pointer, "longer than " + schema["maxLength"].dump() + " octets"});
  }
  if (value.is_string() && schema.contains("format") && !has_format(value, schema["format"])) {
    const std::string example = schema["format"] == "duration" ? " such as 500ms, 5s or 1h"
                                : schema["format"] == "size"   ? " such as 64kB or 1GB"
                                                               : "";
    errors.push_back(
        {pointer, "expected a " + schema["format"].get<std::string>() + example + ", found " + value.dump()});
  }
  if (value.is_array()) {
    if (schema.contains("minItems") && json(value.size()) < schema["minItems"])
      errors.push_back({pointer, "expected at least " + schema["minItems"].dump() + " items"});
    if (schema.contains("maxItems") && json(value.size()) > schema["maxItems"])
      errors.push_back({pointer, "expected at most " + schema["maxItems"].dump() + " items"});
    for (std::size_t i = 0; i < value.size(); ++i)
      apply_at(schema["items"], value[i], pointer + "/" + std::to_string(i), errors);
  }
  if (!value.is_object()) return;
  static const json kNoProperties = json::object();
  const json& properties = schema.contains("properties") ? schema["properties"] : kNoProperties;
  for (const auto& [key, unused] : value.items()) {
    if (!properties.contains(key))
      errors.push_back({pointer + "/" + key, "unknown option `" + key + "`" + suggestion(properties, key)});
  }
  for (const auto& [name, inner] : properties.items()) {
    if (!value.contains(name) && inner.contains("default")) value[name] = inner["default"];
    if (value.contains(name)) apply_at(inner, value[name], pointer + "/" + name, errors);
  }
  if (!schema.contains("required")) return;
  for (const auto& name : schema["required"]) {
    if (!value.contains(name.get<std::string>()))
      errors.push_back({pointer, "option `" + name.get<std::string>() + "` is missing"});
  }
}

}  // namespace

std::vector<ConfigError> check_schema(const json& schema) {
  std::vector<ConfigError> errors;
  check_at(schema, "", 0, errors);
  if (errors.empty() && schema["type"] != "object") errors.push_back({"/type", "a plugin's config is an object"});
  return errors;
}

std::vector<ConfigError> apply_schema(const json& schema, json& config) {
  std::vector<ConfigError> errors;
  apply_at(schema, config, "", errors);
  return errors;
}

}  // namespace sallyport
