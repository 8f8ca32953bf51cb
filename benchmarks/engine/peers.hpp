// The structures that peers match names with, rebuilt in their shape: what is kept a node, and what a lookup touches.
// Each answers with the value of the longest listed suffix, 0 for none.
#pragma once

#include <absl/container/flat_hash_map.h>
#include <strings.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace sallyport::bench {

// Where the labels of a name begin, as PowerDNS's RawLabelsVisitor and Unbound's label count find them.
struct LabelStarts {
  explicit LabelStarts(std::string_view name) noexcept {
    at[count++] = 0;
    for (std::size_t i = 0; i < name.size(); ++i) {
      if (name[i] == '.') at[count++] = static_cast<std::uint8_t>(i + 1);
    }
  }
  std::string_view label(std::string_view name, unsigned i) const noexcept {
    const std::size_t end = i + 1 < count ? at[i + 1] - 1u : name.size();
    return name.substr(at[i], end - at[i]);
  }
  std::array<std::uint8_t, 128> at;
  unsigned count = 0;
};

inline int compare_labels(std::string_view a, std::string_view b) noexcept {
  const int order = ::strncasecmp(a.data(), b.data(), std::min(a.size(), b.size()));
  if (order != 0) return order;
  return a.size() < b.size() ? -1 : a.size() > b.size() ? 1 : 0;
}

// dnsdist's SuffixMatchTree (pdns/dnsname.hh): a node a label, children in a std::set. copies_labels: the form before
// 1.5, which makes a vector of strings of the name and a node to search with at each step.
template <bool copies_labels>
class SuffixTree {
 public:
  void add(std::string_view name, std::uint32_t value) {
    const LabelStarts labels(name);
    const Node* node = &root_;
    for (unsigned i = labels.count; i-- > 0;) {
      node = &*node->children.emplace(std::string(labels.label(name, i))).first;
    }
    node->value = value;
  }

  std::uint32_t find(std::string_view name) const {
    const LabelStarts labels(name);
    std::uint32_t best = 0;
    const Node* node = &root_;
    if constexpr (copies_labels) {
      std::vector<std::string> copied;
      for (unsigned i = 0; i < labels.count; ++i) copied.emplace_back(labels.label(name, i));
      for (; !copied.empty(); copied.pop_back()) {
        const Node wanted(copied.back());
        const auto child = node->children.find(wanted);
        if (child == node->children.end()) break;
        node = &*child;
        if (node->value != 0) best = node->value;
      }
    } else {
      for (unsigned i = labels.count; i-- > 0;) {
        const auto child = node->children.find(labels.label(name, i));
        if (child == node->children.end()) break;
        node = &*child;
        if (node->value != 0) best = node->value;
      }
    }
    return best;
  }

 private:
  struct Node {
    explicit Node(std::string text) : label(std::move(text)) {}
    std::string label;
    mutable std::set<Node, std::less<>> children;
    mutable std::uint32_t value = 0;
    friend bool operator<(const Node& a, const Node& b) { return compare_labels(a.label, b.label) < 0; }
    friend bool operator<(const Node& a, std::string_view b) { return compare_labels(a.label, b) < 0; }
    friend bool operator<(std::string_view a, const Node& b) { return compare_labels(a, b.label) < 0; }
  };
  Node root_{""};
};

// Unbound's local zones (services/localzone.c): a red-black tree in canonical order (RFC 4034 §6.1), the last one not
// behind the name, and from there up to the nearest that holds it.
class RedBlackTree {
 public:
  void add(std::string_view name, std::uint32_t value) { zones_.emplace(std::string(name), Zone{value, nullptr}); }

  void link_parents() {
    for (auto at = zones_.begin(); at != zones_.end(); ++at) {
      if (at == zones_.begin()) continue;
      const Item* candidate = &*std::prev(at);
      while (candidate != nullptr && !holds(candidate->first, at->first)) candidate = candidate->second.parent;
      at->second.parent = candidate;
    }
  }

  std::uint32_t find(std::string_view name) const {
    auto at = zones_.upper_bound(name);
    if (at == zones_.begin()) return 0;
    for (const Item* zone = &*std::prev(at); zone != nullptr; zone = zone->second.parent) {
      if (holds(zone->first, name)) return zone->second.value;
    }
    return 0;
  }

 private:
  struct Canonical {
    using is_transparent = void;
    bool operator()(std::string_view a, std::string_view b) const noexcept {
      const LabelStarts of_a(a), of_b(b);
      for (unsigned i = 1;; ++i) {
        if (i > of_a.count || i > of_b.count) return of_a.count < of_b.count;
        const int order = compare_labels(of_a.label(a, of_a.count - i), of_b.label(b, of_b.count - i));
        if (order != 0) return order < 0;
      }
    }
  };
  struct Zone;
  using Item = std::pair<const std::string, Zone>;
  struct Zone {
    std::uint32_t value;
    const Item* parent;
  };
  static bool holds(std::string_view zone, std::string_view name) noexcept {
    return name.ends_with(zone) && (name.size() == zone.size() || name[name.size() - zone.size() - 1] == '.');
  }
  std::map<std::string, Zone, Canonical> zones_;
};

// A hash map of the listed names, asked for each suffix, the longest first: Abseil's, which Envoy and others are built
// on.
class SuffixHashMap {
 public:
  void add(std::string_view name, std::uint32_t value) { map_.emplace(std::string(name), value); }

  std::uint32_t find(std::string_view name) const {
    for (;;) {
      if (const auto found = map_.find(name); found != map_.end()) return found->second;
      const std::size_t dot = name.find('.');
      if (dot == std::string_view::npos) return 0;
      name.remove_prefix(dot + 1);
    }
  }

 private:
  struct Hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const noexcept { return absl::Hash<std::string_view>{}(text); }
  };
  struct Equal {
    using is_transparent = void;
    bool operator()(std::string_view a, std::string_view b) const noexcept { return a == b; }
  };
  absl::flat_hash_map<std::string, std::uint32_t, Hash, Equal> map_;
};

}  // namespace sallyport::bench
