// YamlTree: one YAML document as plain nodes with their places, built from yaml-cpp's events.
//
// Form     Nodes refer to each other by index; an alias is the index of what it stands for, so a tree never grows by
// aliases.
//          A walk must bound its own steps (decode.cpp does).
// Errors   P002 through the reporter: syntax, not UTF-8, NUL and other control octets, several documents, tags, aliases
// to
//          themselves, deeper than kMaxDepth. Its events rather than YAML::Node: that one drops the style of scalars,
//          keeps the last of duplicate keys, and converts lazily by exceptions.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "language/source.hpp"

namespace sallyport {

struct YamlNode {
  enum class Kind : std::uint8_t { kNull, kScalar, kSequence, kMap };
  Kind kind = Kind::kNull;
  bool quoted = false;  // scalars: "443" rather than 443
  Span at;              // scalars: the text, without quotes where it is written as it reads
  std::string scalar;
  std::vector<std::uint32_t> children;  // sequence: elements; map: key, value, key, value, ...
};

struct YamlTree {
  static constexpr int kMaxDepth = 32;  // the schema needs 5

  std::vector<YamlNode> nodes;
  std::uint32_t root = 0;

  const YamlNode& operator[](std::uint32_t index) const { return nodes[index]; }
};

// Nothing if an error was reported. An empty document is a null root.
std::optional<YamlTree> parse_yaml(const Source& source, Reporter& reporter);

// Characters that a reader cannot see, or sees elsewhere than the parser does ("Trojan Source", CVE-2021-42574).
bool is_hidden_character(std::uint32_t code_point) noexcept;

}  // namespace sallyport
