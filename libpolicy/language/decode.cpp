#include "language/decode.hpp"

#include <google/protobuf/descriptor.h>

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <string_view>
#include <unordered_map>

#include "language/suggest.hpp"

namespace sallyport {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::EnumDescriptor;
using google::protobuf::EnumValueDescriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

// Without aliases a walk has as many steps as the tree has nodes; with them nine lines can mean a billion.
constexpr std::size_t kMostStepsForANode = 8;
constexpr std::size_t kFreeSteps = 10'000;  // small files may repeat themselves more

// Words of other tools, for keys that no edit distance finds.
struct Synonym {
  std::string_view word, key;
};
constexpr Synonym kSynonyms[] = {
    {"hosts", "domains"},
    {"hostnames", "domains"},
    {"names", "domains"},
    {"fqdn", "domains"},
    {"sni", "domains"},
    {"urls", "domains"},
    {"ips", "addresses"},
    {"ip", "addresses"},
    {"cidr", "addresses"},
    {"cidrs", "addresses"},
    {"networks", "addresses"},
    {"from", "clients"},
    {"sources", "clients"},
    {"groups", "clients"},
    {"verdict", "action"},
    {"policy", "rules"},
    {"default_action", "default"},
    {"default_policy", "default"},
    {"allowlist", "rules"},
    {"rate", "requests"},
    {"rps", "requests"},
    {"max_connections", "connections"},
    {"concurrency", "connections"},
    {"speed", "bandwidth"},
    {"ingress", "download"},
    {"egress", "upload"},
    {"limit", "limits"},
    {"rate_limit", "limits"},
    {"quota", "limits"},
};

std::string lower(std::string_view text) {
  std::string result(text);
  for (char& c : result) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return result;
}

// "ACTION_ALLOW" of enum Action is written `allow`, "LIST_FORMAT_HOSTS" of ListFormat `hosts`.
std::string yaml_name(const EnumValueDescriptor& value) {
  const std::string name = lower(value.name());
  std::string prefix;
  for (const char c : value.type()->name()) {
    if (c >= 'A' && c <= 'Z' && !prefix.empty()) prefix += '_';
    prefix += c;
  }
  prefix = lower(prefix) + "_";
  return name.starts_with(prefix) ? name.substr(prefix.size()) : name;
}

// Without the value 0: unset, which is written by leaving the key out.
std::vector<std::string> words_of(const EnumDescriptor& type) {
  std::vector<std::string> words;
  for (int i = 0; i < type.value_count(); ++i) {
    if (type.value(i)->number() != 0) words.push_back(yaml_name(*type.value(i)));
  }
  return words;
}

std::string either(const std::vector<std::string>& words) {
  std::string all;
  for (std::size_t i = 0; i < words.size(); ++i)
    all += (i == 0 ? "" : i + 1 == words.size() ? " or " : ", ") + words[i];
  return all;
}

// What to write behind a key with nothing behind it. To leave it out is no remedy where convert.cpp then misses it.
std::string repair_of_nothing(const FieldDescriptor& field) {
  const bool mandatory = field.name() == "version" || field.name() == "name" || field.name() == "action";
  std::string repair = "write one";
  if (field.cpp_type() == FieldDescriptor::CPPTYPE_ENUM) repair = "write " + either(words_of(*field.enum_type()));
  if (field.cpp_type() == FieldDescriptor::CPPTYPE_UINT32) repair = "write a number, such as 1";
  if (field.cpp_type() == FieldDescriptor::CPPTYPE_BOOL) repair = "write true or false";
  return mandatory ? repair : repair + ", or remove the key";
}

// "1.0", "v1" and "+1" to "write 1".
std::string whole_number(std::string_view text) {
  if (text.starts_with('v') || text.starts_with('V') || text.starts_with('+')) text.remove_prefix(1);
  const std::string_view digits = text.substr(0, text.find('.'));
  const std::string_view rest = text.substr(digits.size());
  const bool plain = !digits.empty() && digits.size() < 10 &&
                     digits.find_first_not_of("0123456789") == std::string_view::npos &&
                     rest.find_first_not_of(".0") == std::string_view::npos;
  return plain ? "write " + std::string(digits) : "write a whole number, such as 1";
}

// The words of YAML 1.1 and of people, as YAML 1.2 has them; empty for none of them.
std::string truth(std::string_view text) {
  const std::string word = lower(text);
  for (const std::string_view yes : {"true", "yes", "on", "y", "1"}) {
    if (word == yes) return "true";
  }
  for (const std::string_view no : {"false", "no", "off", "n", "0"}) {
    if (word == no) return "false";
  }
  return "";
}

std::string_view kind_name(YamlNode::Kind kind) {
  switch (kind) {
    case YamlNode::Kind::kNull:
      return "nothing";
    case YamlNode::Kind::kScalar:
      return "a single value";
    case YamlNode::Kind::kSequence:
      return "a list";
    case YamlNode::Kind::kMap:
      return "a mapping";
  }
  return "";
}

class Decoder {
 public:
  Decoder(const YamlTree& tree, Reporter& reporter)
      : tree_(tree), reporter_(reporter), most_steps_(tree.nodes.size() * kMostStepsForANode + kFreeSteps) {}

  void message(std::uint32_t index, Message& message, Place& place, const std::string& path);

 private:
  void field(std::uint32_t index, Message& message, const FieldDescriptor& field, Place& place,
             const std::string& path);
  void list(const YamlNode& node, Message& message, const FieldDescriptor& field, Place& place,
            const std::string& path);
  void map(const YamlNode& node, Message& message, const FieldDescriptor& field, Place& place, const std::string& path);
  void single(std::uint32_t index, Message& message, const FieldDescriptor& field, Place& place,
              const std::string& path);
  void number(const YamlNode& node, Message& message, const FieldDescriptor& field, const std::string& path);
  void boolean(const YamlNode& node, Message& message, const FieldDescriptor& field, const std::string& path);
  void enumeration(const YamlNode& node, Message& message, const FieldDescriptor& field, const std::string& path);
  void unknown_key(const YamlNode& key, const Descriptor& type, const std::string& path);

  // False once the steps are used up, which is reported once.
  bool step(const YamlNode& node);

  void wrong_type(const YamlNode& node, const std::string& path, std::string_view expected, std::string repair = {}) {
    std::string found = node.kind == YamlNode::Kind::kScalar && node.at.length < 60 ? in_ticks(node.scalar)
                                                                                    : std::string(kind_name(node.kind));
    reporter_.error("P005", node.at, path, "expected " + std::string(expected) + ", found " + found, std::move(repair));
  }

  const YamlTree& tree_;
  Reporter& reporter_;
  const std::size_t most_steps_;
  std::size_t steps_ = 0;
};

bool Decoder::step(const YamlNode& node) {
  if (++steps_ <= most_steps_) return true;
  if (steps_ == most_steps_ + 1) {
    reporter_.error("P002", node.at, "",
                    "aliases multiply this file to more than " + std::to_string(most_steps_) + " values",
                    "write the values out");
  }
  return false;
}

std::string child(const std::string& path, std::string_view key) {
  return path.empty() ? std::string(key) : path + "." + std::string(key);
}

std::string element(const std::string& path, std::size_t index) { return path + "[" + std::to_string(index) + "]"; }

void Decoder::message(std::uint32_t index, Message& message, Place& place, const std::string& path) {
  const YamlNode& node = tree_[index];
  const Descriptor& type = *message.GetDescriptor();
  place.value = node.at;
  if (node.kind != YamlNode::Kind::kMap) {
    std::string keys;
    for (int i = 0; i < std::min(type.field_count(), 3); ++i) keys += (i > 0 ? ", " : "") + type.field(i)->name();
    wrong_type(node, path, "a mapping with keys such as " + keys);
    return;
  }
  for (std::size_t i = 0; i + 1 < node.children.size(); i += 2) {
    const YamlNode& key = tree_[node.children[i]];
    if (!step(key)) return;
    if (key.kind != YamlNode::Kind::kScalar) {
      wrong_type(key, path, "a key");
      continue;
    }
    const FieldDescriptor* descriptor = type.FindFieldByName(key.scalar);
    if (descriptor == nullptr) {
      place.partial = true;
      unknown_key(key, type, child(path, key.scalar));
      continue;
    }
    if (const Place* first = place.field(descriptor->number())) {
      Diagnostic& twice = reporter_.error("P012", key.at, child(path, key.scalar),
                                          "duplicate key " + in_ticks(key.scalar), "keep one of the two");
      twice.related.push_back(reporter_.source().excerpt(first->key));
      continue;
    }
    Place& value = place.fields.emplace_back();
    value.number = descriptor->number();
    value.key = key.at;
    field(node.children[i + 1], message, *descriptor, value, child(path, key.scalar));
  }
}

void Decoder::unknown_key(const YamlNode& key, const Descriptor& type, const std::string& path) {
  if (reporter_.full()) {
    reporter_.error("P003", key.at, {}, {});
    return;
  }
  if (type.IsReservedName(key.scalar)) {
    reporter_.error("P004", key.at, path, "key " + in_ticks(key.scalar) + " is not supported by this version yet",
                    "remove it: what it asks for would not be enforced");
    return;
  }
  const std::string message = "unknown key " + in_ticks(key.scalar);
  if (key.scalar == "<<") {
    reporter_.error("P003", key.at, path, message, "YAML merge keys are not supported; write the keys out");
    return;
  }
  std::vector<std::string_view> keys;
  for (int i = 0; i < type.field_count(); ++i) keys.push_back(type.field(i)->name());
  const std::string word = lower(key.scalar);
  if (const std::string_view near = nearest(word, std::span<const std::string_view>(keys)); !near.empty()) {
    reporter_.error("P003", key.at, path, message, "did you mean " + in_ticks(near) + "?");
    return;
  }
  for (const Synonym& synonym : kSynonyms) {
    if (synonym.word == word && type.FindFieldByName(std::string(synonym.key)) != nullptr) {
      reporter_.error("P003", key.at, path, message, "did you mean " + in_ticks(synonym.key) + "?");
      return;
    }
  }
  // Right key, wrong level.
  const auto& file = *type.file();
  for (int i = 0; i < file.message_type_count(); ++i) {
    const Descriptor& other = *file.message_type(i);
    if (&other != &type && (other.FindFieldByName(key.scalar) != nullptr || other.IsReservedName(key.scalar))) {
      reporter_.error("P003", key.at, path, message,
                      in_ticks(key.scalar) + " belongs in a " + lower(other.name()) + "; is the indentation right?");
      return;
    }
  }
  std::string all;
  for (const std::string_view name : keys) all += (all.empty() ? "" : ", ") + std::string(name);
  reporter_.error("P003", key.at, path, message, "the keys here are " + all);
}

void Decoder::field(std::uint32_t index, Message& message, const FieldDescriptor& field, Place& place,
                    const std::string& path) {
  const YamlNode& node = tree_[index];
  if (!step(node)) return;
  place.value = node.at;
  if (node.kind == YamlNode::Kind::kNull) {
    place.explicit_null = true;
    // A list of rules or clients that are all commented out is an empty one; anywhere else nothing may mean anything.
    const bool block = field.is_map() || (field.is_repeated() && field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE);
    if (!block) {
      place.value = place.key;
      reporter_.error("P005", place.key, path, in_ticks(field.name()) + " has no value", repair_of_nothing(field));
    }
    return;
  }
  if (field.is_map()) return map(node, message, field, place, path);
  if (field.is_repeated()) return list(node, message, field, place, path);
  single(index, message, field, place, path);
}

void Decoder::list(const YamlNode& node, Message& message, const FieldDescriptor& field, Place& place,
                   const std::string& path) {
  if (node.kind != YamlNode::Kind::kSequence) {
    std::string repair;
    if (node.kind == YamlNode::Kind::kScalar && node.at.length < 60) {
      repair = "write " + field.name() + ": [" + (node.quoted ? "\"" + node.scalar + "\"" : node.scalar) + "]";
    } else if (node.kind == YamlNode::Kind::kMap) {
      repair = "start each entry with `- `";
    }
    wrong_type(node, path, "a list", std::move(repair));
    return;
  }
  place.elements.reserve(node.children.size());
  for (std::size_t i = 0; i < node.children.size(); ++i) {
    const YamlNode& entry = tree_[node.children[i]];
    if (!step(entry)) return;
    Place where;
    where.value = entry.at;
    where.index = i;
    const std::string at = element(path, i);
    if (entry.kind == YamlNode::Kind::kNull) {
      reporter_.error("P005", entry.at, at, "an empty entry", "write a value, or remove it");
      continue;
    }
    if (field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
      this->message(node.children[i], *message.GetReflection()->AddMessage(&message, &field), where, at);
    } else if (entry.kind != YamlNode::Kind::kScalar) {
      wrong_type(
          entry, at, "a single value",
          entry.kind == YamlNode::Kind::kMap ? "a `:` at the end of a word makes a mapping: put it in quotes" : "");
      continue;
    } else {
      message.GetReflection()->AddString(&message, &field, entry.scalar);
    }
    place.elements.push_back(std::move(where));
  }
}

void Decoder::map(const YamlNode& node, Message& message, const FieldDescriptor& field, Place& place,
                  const std::string& path) {
  if (node.kind != YamlNode::Kind::kMap) {
    wrong_type(node, path, "a mapping of names",
               node.kind == YamlNode::Kind::kSequence ? "write `name: {...}` without `- `" : "");
    return;
  }
  const Descriptor& entry_type = *field.message_type();
  const FieldDescriptor& key_field = *entry_type.map_key();
  const FieldDescriptor& value_field = *entry_type.map_value();
  std::unordered_map<std::string, Span> seen;
  for (std::size_t i = 0; i + 1 < node.children.size(); i += 2) {
    const YamlNode& key = tree_[node.children[i]];
    if (!step(key)) return;
    if (key.kind != YamlNode::Kind::kScalar) {
      wrong_type(key, path, "a name");
      continue;
    }
    const std::string at = child(path, key.scalar);
    const auto [first, fresh] = seen.emplace(key.scalar, key.at);
    if (!fresh) {
      Diagnostic& twice =
          reporter_.error("P012", key.at, at, "duplicate key " + in_ticks(key.scalar), "keep one of the two");
      twice.related.push_back(reporter_.source().excerpt(first->second));
      continue;
    }
    // A map is repeated entries to reflection, which keeps the file's order as well.
    Message& entry = *message.GetReflection()->AddMessage(&message, &field);
    entry.GetReflection()->SetString(&entry, &key_field, key.scalar);
    Place where;
    where.key = key.at;
    where.name = key.scalar;
    this->message(node.children[i + 1], *entry.GetReflection()->MutableMessage(&entry, &value_field), where, at);
    place.elements.push_back(std::move(where));
  }
}

void Decoder::single(std::uint32_t index, Message& message, const FieldDescriptor& field, Place& place,
                     const std::string& path) {
  if (field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
    return this->message(index, *message.GetReflection()->MutableMessage(&message, &field), place, path);
  }
  const YamlNode& node = tree_[index];
  if (node.kind != YamlNode::Kind::kScalar) {
    wrong_type(node, path, "a single value");
    return;
  }
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_STRING:
      return message.GetReflection()->SetString(&message, &field, node.scalar);
    case FieldDescriptor::CPPTYPE_BOOL:
      return boolean(node, message, field, path);
    case FieldDescriptor::CPPTYPE_ENUM:
      return enumeration(node, message, field, path);
    case FieldDescriptor::CPPTYPE_UINT32:
      return number(node, message, field, path);
    default:
      // A type the schema has and this decoder lacks must not pass in silence.
      reporter_.error("P005", node.at, path, "the loader cannot read " + in_ticks(field.name()) + " yet");
  }
}

void Decoder::number(const YamlNode& node, Message& message, const FieldDescriptor& field, const std::string& path) {
  std::uint32_t value = 0;
  const char* end = node.scalar.data() + node.scalar.size();
  const auto [stop, failure] = std::from_chars(node.scalar.data(), end, value);
  const bool whole = failure == std::errc{} && stop == end;
  if (node.quoted || !whole) {
    wrong_type(node, path, "a number", node.quoted && whole ? "remove the quotes" : whole_number(node.scalar));
    return;
  }
  message.GetReflection()->SetUInt32(&message, &field, value);
}

void Decoder::boolean(const YamlNode& node, Message& message, const FieldDescriptor& field, const std::string& path) {
  // YAML 1.2's two words alone: `yes`, `on` and `y` read differently in different tools.
  if (node.quoted || (node.scalar != "true" && node.scalar != "false")) {
    const std::string meant = truth(node.scalar);
    wrong_type(node, path, "true or false",
               meant.empty()                         ? "write true or false"
               : node.quoted && meant == node.scalar ? "remove the quotes"
                                                     : "write " + meant);
    return;
  }
  message.GetReflection()->SetBool(&message, &field, node.scalar == "true");
}

void Decoder::enumeration(const YamlNode& node, Message& message, const FieldDescriptor& field,
                          const std::string& path) {
  const EnumDescriptor& type = *field.enum_type();
  for (int i = 0; i < type.value_count(); ++i) {
    const EnumValueDescriptor& value = *type.value(i);
    if (value.number() != 0 && yaml_name(value) == node.scalar)
      return message.GetReflection()->SetEnum(&message, &field, &value);
  }
  const std::vector<std::string> words = words_of(type);
  const std::string_view near = nearest(lower(node.scalar), std::span<const std::string>(words));
  reporter_.error("P017", node.at, path, "unknown " + field.name() + " " + in_ticks(node.scalar),
                  near.empty() ? "write " + either(words) : "did you mean " + in_ticks(near) + "?");
}

}  // namespace

const Place* Place::field(int wanted) const noexcept {
  for (const Place& place : fields) {
    if (place.number == wanted) return &place;
  }
  return nullptr;
}

void decode(const YamlTree& tree, std::uint32_t node, Message& message, Place& place, Reporter& reporter) {
  Decoder(tree, reporter).message(node, message, place, "");
}

std::string word_of(const EnumValueDescriptor& value) { return yaml_name(value); }

}  // namespace sallyport
