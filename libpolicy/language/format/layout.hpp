// Layout: a policy's values with the comments and blank lines that belong to each.
//
// Form     An Item is a pair of a mapping or an entry of a sequence. A comment above it leads it, one on its line
//          stands beside it, one below that is indented deeper than what follows is at its foot.
// Lifetime Borrows the tree.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "language/source.hpp"
#include "language/yaml_tree.hpp"

namespace sallyport {

struct Note {
  std::string text;
  bool after_gap = false;  // a blank line stands above it
};

struct Item {
  static constexpr std::uint32_t kNone = 0xffffffffu;

  std::uint32_t key = kNone;         // a node; kNone for an entry of a sequence
  std::uint32_t value = 0;           // a node
  std::uint32_t owner = kNone;       // the item whose value holds this one; kNone at the top
  std::vector<std::uint32_t> items;  // of the value, in the file's order
  std::size_t start = 0;             // of its key, dash or text
  std::uint32_t column = 0;
  bool after_gap = false;
  bool in_flow = false;            // its container is written in brackets
  std::size_t container_last = 0;  // of a container in brackets: where it closes
  std::optional<Note> beside;
  std::vector<Note> lead, feet;
  bool spread = false;  // the value holds comments or blank lines, so it needs lines of its own
};

// Adds to what leads an item, nearest to it; the gap above the item then stands above that.
void add_lead(Item& item, std::string text);

struct Layout {
  std::vector<Item> items;           // in the file's order
  std::vector<std::uint32_t> roots;  // of the top
  std::vector<Note> head, feet;      // of the file
};

// Nothing if an error was reported.
std::optional<Layout> lay_out(const Source& source, const YamlTree& tree, Reporter& reporter);

// Every comment, in the file's order; empty if the text cannot be read.
std::vector<std::string> comments_of(const Layout& layout);

}  // namespace sallyport
