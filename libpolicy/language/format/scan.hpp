// What yaml-cpp's events leave out: comments, dashes, and where brackets close, found by walking over the text between
// the scalars that the events name.
//
// Errors   P060 for anchors, aliases, tags, complex keys, block scalars and directives.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "language/source.hpp"
#include "language/yaml_tree.hpp"

namespace sallyport {

struct FoundComment {
  std::size_t at = 0;
  std::uint32_t line = 0, column = 0;
  std::string text;        // from `#`, without blanks at the end
  bool alone = false;      // nothing before it on its line
  bool after_gap = false;  // the line above is blank
};

struct Flow {
  std::size_t first = 0, last = 0;  // of its brackets
};

struct Scan {
  std::vector<FoundComment> comments;
  std::vector<std::size_t> dashes;  // of block sequences
  std::vector<Flow> flows;          // by where they begin
};

// Of a scalar: where it begins, its quote included.
std::size_t start_of_scalar(const Source& source, const YamlNode& scalar);

// Whether there is nothing, or nothing but blanks, on the line above.
bool is_after_gap(const Source& source, std::uint32_t line);
// Whether nothing but blanks stands before it on its line.
bool is_first_on_line(const Source& source, std::size_t at);

// Nothing if an error was reported.
std::optional<Scan> scan(const Source& source, const YamlTree& tree, Reporter& reporter);

}  // namespace sallyport
