#include "language/presets.hpp"

#include <algorithm>
#include <utility>
#include <variant>

#include "language/decode.hpp"
#include "language/preset_files.hpp"
#include "language/source.hpp"
#include "language/suggest.hpp"
#include "language/values.hpp"
#include "language/yaml_tree.hpp"
#include "sallyport/policy/v1/policy.pb.h"

namespace sallyport {
namespace {

// A file of ours: whatever could not be read of it is missing, and a test reads each in full.
Preset read(const PresetFile& file) {
  Preset preset{file.name, file.text, {}, {}, {}, {}};
  const Source source(file.text, file.name);
  Reporter reporter(source);
  const std::optional<YamlTree> tree = parse_yaml(source, reporter);
  if (!tree) return preset;
  policy::v1::Preset message;
  Place place;
  decode(*tree, tree->root, message, place, reporter);
  if (reporter.failed() || message.preset() != file.name) return preset;
  preset.date = message.date();
  preset.source = message.source();
  for (const std::string& text : message.domains()) {
    Parsed<Pattern> pattern = read_domain(text, {});
    if (std::holds_alternative<Pattern>(pattern)) preset.domains.push_back(std::get<Pattern>(std::move(pattern)));
  }
  for (const std::string& text : message.ports()) {
    const Parsed<PortRange> port = read_port(text);
    if (const auto* range = std::get_if<PortRange>(&port)) preset.ports.push_back(*range);
  }
  return preset;
}

}  // namespace

std::span<const Preset> presets() {
  static const std::vector<Preset> all = [] {
    std::vector<Preset> list;
    for (const PresetFile& file : preset_files()) list.push_back(read(file));
    std::sort(list.begin(), list.end(), [](const Preset& a, const Preset& b) { return a.name < b.name; });
    return list;
  }();
  return all;
}

const Preset* find_preset(std::string_view name) {
  for (const Preset& preset : presets()) {
    if (preset.name == name) return &preset;
  }
  return nullptr;
}

std::string_view nearest_preset(std::string_view name) {
  constexpr std::pair<std::string_view, std::string_view> kOtherWords[] = {{"pip", "pypi"},
                                                                           {"python", "pypi"},
                                                                           {"uv", "pypi"},
                                                                           {"yarn", "npm"},
                                                                           {"pnpm", "npm"},
                                                                           {"node", "npm"},
                                                                           {"cargo", "crates"},
                                                                           {"crates.io", "crates"},
                                                                           {"rust", "crates"},
                                                                           {"docker", "docker-hub"},
                                                                           {"dockerhub", "docker-hub"},
                                                                           {"golang", "go"},
                                                                           {"gem", "rubygems"},
                                                                           {"bundler", "rubygems"},
                                                                           {"ruby", "rubygems"},
                                                                           {"gradle", "maven"},
                                                                           {"claude", "anthropic"},
                                                                           {"apt", "debian"},
                                                                           {"apk", "alpine"},
                                                                           {"composer", "packagist"},
                                                                           {"git", "github"},
                                                                           {"dotnet", "nuget"}};
  for (const auto& [word, preset] : kOtherWords) {
    if (word == name) return preset;
  }
  std::vector<std::string_view> names;
  for (const Preset& preset : presets()) names.push_back(preset.name);
  return nearest(name, std::span<const std::string_view>(names));
}

}  // namespace sallyport
