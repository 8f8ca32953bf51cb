#include "language/gateway/lower.hpp"

#include <utility>

namespace sallyport {
namespace {

// Nodes are shared by aliases: what is changed is a copy, put in the place of the original in its own parent alone.
std::uint32_t add(YamlTree& tree, YamlNode node) {
  tree.nodes.push_back(std::move(node));
  return static_cast<std::uint32_t>(tree.nodes.size() - 1);
}

std::uint32_t list_of_one(YamlTree& tree, std::uint32_t value) {
  if (tree[value].kind != YamlNode::Kind::kScalar) return value;
  YamlNode list;
  list.kind = YamlNode::Kind::kSequence;
  list.at = tree[value].at;
  list.children = {value};
  return add(tree, std::move(list));
}

std::uint32_t pair_as_map(YamlTree& tree, std::uint32_t value) {
  if (tree[value].kind != YamlNode::Kind::kSequence) return value;
  YamlNode key;
  key.kind = YamlNode::Kind::kScalar;
  key.at = tree[value].at;
  key.scalar = "clients";
  YamlNode map;
  map.kind = YamlNode::Kind::kMap;
  map.at = tree[value].at;
  map.children = {add(tree, std::move(key)), value};
  return add(tree, std::move(map));
}

std::uint32_t config_as_scalar(YamlTree& tree, std::uint32_t value) {
  if (tree[value].kind == YamlNode::Kind::kNull) return value;
  YamlNode scalar;
  scalar.kind = YamlNode::Kind::kScalar;
  scalar.quoted = true;
  scalar.at = tree[value].at;
  scalar.scalar = "{}";
  return add(tree, std::move(scalar));
}

// Calls change(key, value) for each value of a map (key: of its text) or sequence (key: ""); a copy of the container
// with what came back.
template <typename Change>
std::uint32_t changed(YamlTree& tree, std::uint32_t container, Change change) {
  const YamlNode::Kind kind = tree[container].kind;
  if (kind != YamlNode::Kind::kMap && kind != YamlNode::Kind::kSequence) return container;
  YamlNode copy = tree[container];
  const std::size_t step = kind == YamlNode::Kind::kMap ? 2 : 1;
  for (std::size_t i = 0; i + step <= copy.children.size(); i += step) {
    const std::string key = step == 2 ? tree[copy.children[i]].scalar : std::string();
    std::uint32_t& value = copy.children[i + step - 1];
    value = change(key, value);
  }
  return add(tree, std::move(copy));
}

}  // namespace

const std::uint32_t* value_of(const YamlTree& tree, std::uint32_t map, std::string_view key) {
  const YamlNode& node = tree[map];
  if (node.kind != YamlNode::Kind::kMap) return nullptr;
  for (std::size_t i = 0; i + 1 < node.children.size(); i += 2) {
    if (tree[node.children[i]].scalar == key) return &node.children[i + 1];
  }
  return nullptr;
}

YamlTree lower(YamlTree tree) {
  tree.root = changed(tree, tree.root, [&](const std::string& section, std::uint32_t value) {
    if (section == "listeners") {
      return changed(tree, value, [&](const std::string&, std::uint32_t listener) {
        return changed(tree, listener, [&](const std::string& key, std::uint32_t address) {
          return key == "udp" || key == "tcp" ? list_of_one(tree, address) : address;
        });
      });
    }
    if (section == "plugins") {
      return changed(tree, value, [&](const std::string&, std::uint32_t plugin) {
        return changed(tree, plugin, [&](const std::string& key, std::uint32_t config) {
          return key == "config" ? config_as_scalar(tree, config) : config;
        });
      });
    }
    if (section == "internal") {
      return changed(tree, value, [&](const std::string&, std::uint32_t pair) { return pair_as_map(tree, pair); });
    }
    return value;
  });
  return tree;
}

}  // namespace sallyport
