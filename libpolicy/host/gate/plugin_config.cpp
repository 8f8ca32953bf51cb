#include "host/gate/plugin_config.hpp"

#include <charconv>
#include <set>

#include "host/plugin/config_schema.hpp"
#include "language/suggest.hpp"

namespace sallyport {
namespace {

using nlohmann::json;

constexpr std::size_t kMostNodes = 20'000;  // aliases multiply

// A nullptr schema knows nothing.
const json* property(const json* schema, const std::string& key) {
  if (schema == nullptr || !schema->contains("properties")) return nullptr;
  const auto found = (*schema)["properties"].find(key);
  return found == (*schema)["properties"].end() ? nullptr : &*found;
}

const json* items(const json* schema) {
  if (schema == nullptr || !schema->contains("items")) return nullptr;
  return &(*schema)["items"];
}

json scalar(const YamlNode& node, const json* schema) {
  const std::string& text = node.scalar;
  const bool wants_text = schema != nullptr && schema->value("type", "") == "string";
  if (node.quoted || wants_text) return text;
  if (text == "true" || text == "false") return text == "true";
  if (text == "null" || text == "~") return nullptr;
  std::int64_t whole = 0;
  const char* end = text.data() + text.size();
  if (const auto [stop, failure] = std::from_chars(text.data(), end, whole); failure == std::errc{} && stop == end)
    return whole;
  double number = 0;
  const bool digits =
      text.find_first_of("0123456789") != std::string::npos && text.find_first_of("nNxX") == std::string::npos;
  if (const auto [stop, failure] = std::from_chars(text.data(), end, number);
      digits && failure == std::errc{} && stop == end)
    return number;
  return text;
}

class Reading {
 public:
  Reading(const GatewayModel& gateway, const PluginModel& plugin, Reporter& reporter)
      : tree_(gateway.source->tree), plugin_(plugin), reporter_(reporter) {}

  json value(std::uint32_t index, const json* schema, const std::string& path) {
    const YamlNode& node = tree_[index];
    if (++nodes_ > kMostNodes) {
      if (nodes_ == kMostNodes + 1)
        reporter_.error("P002", plugin_.config_at, plugin_.path + ".config", "aliases multiply this config",
                        "write the values out");
      return nullptr;
    }
    switch (node.kind) {
      case YamlNode::Kind::kNull:
        return nullptr;
      case YamlNode::Kind::kScalar:
        return scalar(node, schema);
      case YamlNode::Kind::kSequence: {
        json list = json::array();
        for (std::size_t i = 0; i < node.children.size(); ++i)
          list.push_back(value(node.children[i], items(schema), path + "[" + std::to_string(i) + "]"));
        return list;
      }
      case YamlNode::Kind::kMap:
        break;
    }
    json object = json::object();
    for (std::size_t i = 0; i + 1 < node.children.size(); i += 2) {
      const YamlNode& key = tree_[node.children[i]];
      if (object.contains(key.scalar)) {
        reporter_.error("P012", key.at, path + "." + key.scalar, "duplicate key " + in_ticks(key.scalar),
                        "keep one of the two");
        continue;
      }
      object[key.scalar] = value(node.children[i + 1], property(schema, key.scalar), path + "." + key.scalar);
    }
    return object;
  }

  // Where a JSON Pointer of apply_schema() leads: to the value, or for an unknown option to its key. Not there: as far
  // as it goes.
  Span place(std::string_view pointer, bool key_wanted) const {
    Span at = plugin_.config_at;
    if (!plugin_.has_config) return at;
    std::uint32_t index = plugin_.config;
    while (!pointer.empty()) {
      const YamlNode& node = tree_[index];
      std::string_view rest;
      bool found = false;
      for (std::size_t i = 0; i < node.children.size() && !found; ++i) {
        const bool map = node.kind == YamlNode::Kind::kMap;
        if (map && i % 2 == 1) continue;
        const std::string step = "/" + (map ? tree_[node.children[i]].scalar : std::to_string(i));
        if (!pointer.starts_with(step)) continue;
        rest = pointer.substr(step.size());
        if (!rest.empty() && rest[0] != '/') continue;
        found = true;
        index = node.children[map ? i + 1 : i];
        const YamlNode& value = tree_[index];
        const bool points_at_key = map && ((rest.empty() && key_wanted) || value.kind == YamlNode::Kind::kNull ||
                                           value.kind == YamlNode::Kind::kMap);
        at = points_at_key ? tree_[node.children[i]].at : value.at;
      }
      if (!found) break;
      pointer = rest;
    }
    return at;
  }

 private:
  const YamlTree& tree_;
  const PluginModel& plugin_;
  Reporter& reporter_;
  std::size_t nodes_ = 0;
};

// "/listen/0" of plugins[1]: "plugins[1].config.listen[0]".
std::string path_of(const PluginModel& plugin, std::string_view pointer) {
  std::string path = plugin.path + ".config";
  while (pointer.starts_with('/')) {
    pointer.remove_prefix(1);
    const std::string_view step = pointer.substr(0, pointer.find('/'));
    pointer.remove_prefix(step.size());
    const bool index = !step.empty() && step.find_first_not_of("0123456789") == std::string_view::npos;
    path += index ? "[" + std::string(step) + "]" : "." + std::string(step);
  }
  return path;
}

}  // namespace

std::optional<json> read_plugin_config(const GatewayModel& gateway, const PluginModel& plugin, const PluginImage& image,
                                       Reporter& reporter) {
  Reading reading(gateway, plugin, reporter);
  const bool failed_before = reporter.failed();
  json config =
      plugin.has_config ? reading.value(plugin.config, &image.schema, plugin.path + ".config") : json::object();
  std::size_t faults = 0;
  for (const ConfigError& error : apply_schema(image.schema, config)) {
    ++faults;
    const std::size_t cut = error.text.find("; ");
    const std::string message = error.text.substr(0, cut);
    std::string repair = cut == std::string::npos ? "" : error.text.substr(cut + 2);
    const bool unknown = message.starts_with("unknown option");
    if (repair.empty() && unknown) {
      const json options = image.schema.value("properties", json::object());  // items() only borrows
      for (const auto& [name, unused] : options.items()) repair += (repair.empty() ? "the options are " : ", ") + name;
    }
    reporter.error("G013", reading.place(error.pointer, unknown), path_of(plugin, error.pointer),
                   plugin.name + ": " + message, std::move(repair));
  }
  if (faults > 0 || (!failed_before && reporter.failed())) return std::nullopt;
  return config;
}

}  // namespace sallyport
