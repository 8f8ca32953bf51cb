// What YAML may write shorter than the schema: the tree as the schema has it.
//
// A lone address becomes a list of one, a pair [a, b] becomes {clients: [a, b]}, a plugin's config becomes one scalar
// (its content is read from the user's own tree, by the schema of its manifest). Whatever else is there stays for the
// decoder to refuse.
#pragma once

#include "language/yaml_tree.hpp"

namespace sallyport {

YamlTree lower(YamlTree tree);

// The value of a key in a map; nullptr: not there, or no map.
const std::uint32_t* value_of(const YamlTree& tree, std::uint32_t map, std::string_view key);

}  // namespace sallyport
