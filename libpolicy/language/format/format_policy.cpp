// Reading gives the values (yaml_tree.hpp) and what stands around them (layout.hpp); writing walks both, the keys of
// each mapping in canonical order. Whether a container is written on one line is decided before it is written, from its
// width.
#include "language/format/format_policy.hpp"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/util/message_differencer.h>

#include <algorithm>
#include <iterator>
#include <span>
#include <utility>

#include "language/decode.hpp"
#include "language/format/layout.hpp"
#include "language/format/scalar_text.hpp"
#include "language/load.hpp"
#include "sallyport/policy/v1/policy.pb.h"

namespace sallyport {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;

constexpr std::size_t kMostColumns = 120;

// What a reader wants first: who and what it is about, then on what condition, then exceptions.
constexpr std::string_view kPolicyKeys[] = {"version", "include", "default", "mode", "until",
                                            "clients", "lists",   "rules",   "tests"};
constexpr std::string_view kClientKeys[] = {"addresses", "cells", "credentials", "mode", "until"};
constexpr std::string_view kListKeys[] = {"file", "format", "max_invalid"};
constexpr std::string_view kRuleKeys[] = {
    "name",         "mode",          "action",  "clients", "domains", "lists",  "preset", "addresses",
    "resolves_to",  "ports",         "inspect", "methods", "paths",   "tunnel", "limits", "allow_public_suffix",
    "multi_tenant", "allow_metadata"};
constexpr std::string_view kTestKeys[] = {"allow", "deny", "client", "cell", "method", "resolved"};
constexpr std::string_view kLimitsKeys[] = {"requests", "connections", "bandwidth", "upload", "download"};

struct Kind {
  std::string_view message;
  std::span<const std::string_view> keys;
  bool one_line;  // if it fits
};
constexpr Kind kKinds[] = {
    {"Policy", kPolicyKeys, false}, {"Client", kClientKeys, true}, {"List", kListKeys, true},
    {"Rule", kRuleKeys, false},     {"Test", kTestKeys, true},     {"Limits", kLimitsKeys, true},
};

const Kind* kind_of(const Descriptor* type) {
  if (type == nullptr) return nullptr;
  const auto found = std::find_if(std::begin(kKinds), std::end(kKinds),
                                  [&](const Kind& kind) { return kind.message == type->name(); });
  return found == std::end(kKinds) ? nullptr : found;
}

std::size_t rank(const Kind* kind, std::string_view key) {
  if (kind == nullptr) return 0;
  return static_cast<std::size_t>(std::find(kind->keys.begin(), kind->keys.end(), key) - kind->keys.begin());
}

std::size_t width(std::string_view text) {
  return static_cast<std::size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }));
}

// What a value is by the schema: a message, a mapping from names to messages, or a list or value of a field.
struct Type {
  const Descriptor* message = nullptr;
  const FieldDescriptor* field = nullptr;
  bool names = false;  // a mapping from names to `message`
};

Type element_of(const Type& type) { return {type.message, type.field, false}; }

class Writer {
 public:
  Writer(const YamlTree& tree, Layout& layout) : tree_(tree), layout_(layout) {}

  std::string run() {
    const Type root{policy::v1::Policy::descriptor(), nullptr, false};
    arrange(layout_.roots, root);
    notes(layout_.head, 0, true);
    // The file's first comment says what the file is, wherever the key under it went.
    pairs(layout_.roots, root, 0, layout_.head.empty());
    notes(layout_.feet, 0, out_.empty());
    return std::move(out_);
  }

 private:
  std::string_view key(const Item& item) const { return tree_[item.key].scalar; }

  Type type_of(const Item& pair, const Type& container) const {
    if (container.names) return {container.message, nullptr, false};
    if (container.message == nullptr) return {};
    const FieldDescriptor* field = container.message->FindFieldByName(std::string(key(pair)));
    if (field == nullptr) return {};
    if (field->is_map()) return {field->message_type()->map_value()->message_type(), field, true};
    return {field->message_type(), field, false};
  }

  // Canonical order, here and below.
  void arrange(std::vector<std::uint32_t>& items, const Type& type) {
    if (items.empty()) return;
    if (layout_.items[items[0]].key == Item::kNone) {
      for (const std::uint32_t index : items) arrange(layout_.items[index].items, element_of(type));
      return;
    }
    const std::uint32_t first = items[0];
    const Kind* kind = type.names ? nullptr : kind_of(type.message);
    // Indexes are the file's order.
    std::sort(items.begin(), items.end(), [&](std::uint32_t a, std::uint32_t b) {
      return std::pair(rank(kind, key(layout_.items[a])), a) < std::pair(rank(kind, key(layout_.items[b])), b);
    });
    if (items[0] != first) {
      Item& moved = layout_.items[first];
      if (moved.owner == Item::kNone) {
        layout_.head = std::move(moved.lead);
        moved.lead.clear();
        if (moved.after_gap && !layout_.head.empty()) layout_.items[items[0]].after_gap = true;
      }
    }
    for (const std::uint32_t index : items) {
      Item& item = layout_.items[index];
      arrange(item.items, type_of(item, type));
    }
  }

  static void indent(std::string& out, std::size_t columns) { out.append(columns, ' '); }

  void notes(const std::vector<Note>& all, std::size_t columns, bool first) {
    for (const Note& note : all) {
      if (note.after_gap && !first) out_ += '\n';
      first = false;
      indent(out_, columns);
      out_ += note.text;
      out_ += '\n';
    }
  }

  // What stands above an item. first: of its container, where a blank line has nothing to divide.
  void above(const Item& item, std::size_t columns, bool first) {
    notes(item.lead, columns, first);
    if (item.after_gap && !(first && item.lead.empty())) out_ += '\n';
  }

  void end_line(const Item& item) {
    if (item.beside) out_ += "  " + item.beside->text;
    out_ += '\n';
  }

  bool number_like(const Type& type) const {
    return type.field == nullptr || type.field->name() == "ports" || is_number(type);
  }
  static bool is_number(const Type& type) {
    return type.field != nullptr && type.field->cpp_type() == FieldDescriptor::CPPTYPE_UINT32;
  }

  std::string scalar(const YamlNode& node, const Type& type) const {
    // What the schema has as a number or as true and false is that by being plain.
    if (!node.quoted && type.field != nullptr && type.field->cpp_type() != FieldDescriptor::CPPTYPE_STRING)
      return node.scalar;
    return scalar_text(node.scalar, number_like(type));
  }

  // On one line, whatever its width.
  std::string inline_text(const Item& item, const Type& type) const {
    const YamlNode& node = tree_[item.value];
    if (node.kind == YamlNode::Kind::kNull) return "";
    if (node.kind == YamlNode::Kind::kScalar) return scalar(node, type);
    const bool map = node.kind == YamlNode::Kind::kMap;
    if (item.items.empty()) return map ? "{}" : "[]";
    std::string out = map ? "{ " : "[";
    bool first = true;
    for (const std::uint32_t index : item.items) {
      const Item& inner = layout_.items[index];
      if (!first) out += ", ";
      first = false;
      if (map) out += scalar_text(key(inner), false) + ": ";
      out += inline_text(inner, map ? type_of(inner, type) : element_of(type));
    }
    return out + (map ? " }" : "]");
  }

  bool may_be_inline(const Item& item, const Type& type) const {
    const YamlNode& node = tree_[item.value];
    if (node.kind == YamlNode::Kind::kNull || node.kind == YamlNode::Kind::kScalar || item.items.empty()) return true;
    if (item.spread) return false;
    if (node.kind == YamlNode::Kind::kSequence) return type.message == nullptr;
    const Kind* kind = kind_of(type.message);
    return !type.names && kind != nullptr && kind->one_line;
  }

  // The value behind `before`, which is what its line holds so far; and whatever is below.
  void value(Item& item, const Type& type, const std::string& before, std::size_t columns) {
    out_ += before;
    if (may_be_inline(item, type)) {
      const std::string text = inline_text(item, type);
      const bool fits = width(before) + 1 + width(text) <= kMostColumns;
      if (fits || item.items.empty()) {
        if (!text.empty()) out_ += " " + text;
        end_line(item);
        notes(item.feet, columns + 2, false);
        return;
      }
    }
    end_line(item);
    contents(item, type, columns + 2);
  }

  void contents(Item& item, const Type& type, std::size_t columns) {
    if (tree_[item.value].kind == YamlNode::Kind::kMap) {
      pairs(item.items, type, columns, true);
    } else {
      elements(item.items, element_of(type), columns);
    }
    notes(item.feet, columns, false);
  }

  void pairs(const std::vector<std::uint32_t>& items, const Type& type, std::size_t columns, bool first) {
    for (const std::uint32_t index : items) {
      Item& item = layout_.items[index];
      above(item, columns, first);
      first = false;
      pair(item, type, columns, std::string(columns, ' '));
    }
  }

  void pair(Item& item, const Type& type, std::size_t columns, const std::string& margin) {
    value(item, type_of(item, type), margin + scalar_text(key(item), false) + ":", columns);
  }

  void elements(const std::vector<std::uint32_t>& items, const Type& type, std::size_t columns) {
    bool first = true;
    const std::string dash = std::string(columns, ' ') + "-";
    for (const std::uint32_t index : items) {
      Item& item = layout_.items[index];
      const bool map = tree_[item.value].kind == YamlNode::Kind::kMap && !item.items.empty();
      const bool fits = may_be_inline(item, type) && width(dash) + 1 + width(inline_text(item, type)) <= kMostColumns;
      if (map && !fits) {
        // The first key stands behind the dash: what is above it, or beside the dash, stands above both.
        Item& head = layout_.items[item.items[0]];
        if (item.beside) add_lead(item, std::exchange(item.beside, std::nullopt)->text);
        for (Note& note : head.lead) add_lead(item, std::move(note.text));
        head.lead.clear();
        above(item, columns, first);
        bool behind_dash = true;
        for (const std::uint32_t inner : item.items) {
          if (behind_dash) {
            pair(layout_.items[inner], type, columns + 2, dash + " ");
          } else {
            above(layout_.items[inner], columns + 2, false);
            pair(layout_.items[inner], type, columns + 2, std::string(columns + 2, ' '));
          }
          behind_dash = false;
        }
        notes(item.feet, columns + 2, false);
      } else {
        above(item, columns, first);
        value(item, type, dash, columns);
      }
      first = false;
    }
  }

  const YamlTree& tree_;
  Layout& layout_;
  std::string out_;
};

struct Understood {
  YamlTree tree;
  policy::v1::Policy message;
};

std::optional<Understood> understand(const Source& source, Reporter& reporter) {
  std::optional<YamlTree> tree = parse_yaml(source, reporter);
  if (!tree) return std::nullopt;
  Understood out{*std::move(tree), {}};
  if (out.tree[out.tree.root].kind == YamlNode::Kind::kNull) {
    reporter.error("P006", {}, "", "the policy is empty", "write `version: 1`; that alone denies everything");
    return std::nullopt;
  }
  Place place;
  decode(out.tree, out.tree.root, out.message, place, reporter);
  if (reporter.failed()) return std::nullopt;
  return out;
}

// Whether the text says what the message says, and holds those comments.
bool says_the_same(const std::string& text, const policy::v1::Policy& message, std::vector<std::string> comments) {
  const Source source(text, "");
  Reporter reporter(source);
  const std::optional<Understood> again = understand(source, reporter);
  if (!again || !google::protobuf::util::MessageDifferencer::Equals(message, again->message)) return false;
  const std::optional<Layout> layout = lay_out(source, again->tree, reporter);
  if (!layout) return false;
  std::vector<std::string> now = comments_of(*layout);
  std::sort(now.begin(), now.end());
  std::sort(comments.begin(), comments.end());
  return now == comments;
}

std::optional<std::string> formatted(const Source& source, Reporter& reporter) {
  if (source.text().size() > kMaxPolicyOctets) {
    reporter.error("P001", {}, "", "larger than " + std::to_string(kMaxPolicyOctets >> 20) + " MiB",
                   "is this the right file?");
    return std::nullopt;
  }
  const std::optional<Understood> understood = understand(source, reporter);
  if (!understood) return std::nullopt;
  std::optional<Layout> layout = lay_out(source, understood->tree, reporter);
  if (!layout) return std::nullopt;
  std::vector<std::string> comments = comments_of(*layout);
  std::string text = Writer(understood->tree, *layout).run();
  if (!says_the_same(text, understood->message, std::move(comments))) {
    reporter.error("P061", {}, "", "the canonical form would not say the same",
                   "nothing was changed; please report it");
    return std::nullopt;
  }
  return text;
}

}  // namespace

std::vector<std::string> keys_without_order() {
  std::vector<std::string> out;
  std::vector<const Descriptor*> types = {policy::v1::Policy::descriptor()};
  for (std::size_t i = 0; i < types.size(); ++i) {
    const Kind* kind = kind_of(types[i]);
    for (int k = 0; k < types[i]->field_count(); ++k) {
      const FieldDescriptor& field = *types[i]->field(k);
      if (kind == nullptr || rank(kind, field.name()) == kind->keys.size()) out.push_back(field.full_name());
      const Descriptor* below = field.message_type();
      if (below != nullptr && field.is_map()) below = below->map_value()->message_type();
      if (below != nullptr && std::find(types.begin(), types.end(), below) == types.end()) types.push_back(below);
    }
  }
  return out;
}

FormatOutcome format_policy(std::string_view yaml, std::string_view file_name) {
  constexpr std::string_view kMark = "\xef\xbb\xbf";
  if (yaml.starts_with(kMark)) yaml.remove_prefix(kMark.size());
  const Source source(yaml, file_name);
  Reporter reporter(source);
  FormatOutcome outcome;
  outcome.text = formatted(source, reporter);
  outcome.diagnostics = reporter.take();
  return outcome;
}

}  // namespace sallyport
