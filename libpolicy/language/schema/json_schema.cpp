#include "language/schema/json_schema.hpp"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/descriptor.pb.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "language/schema/descriptors.hpp"
#include "language/schema/shapes.hpp"

namespace sallyport {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::EnumDescriptor;
using google::protobuf::FieldDescriptor;
using Json = nlohmann::ordered_json;

// What was built in is what protoc wrote: what is wrong with it is a fault of the build.
const google::protobuf::FileDescriptor* read(google::protobuf::DescriptorPool& pool, std::string_view octets) {
  google::protobuf::FileDescriptorSet set;
  if (!set.ParseFromArray(octets.data(), static_cast<int>(octets.size())) || set.file_size() != 1) return nullptr;
  return pool.BuildFile(set.file(0));
}

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return out;
}

// A comment's lines as paragraphs.
std::string flowing(std::string_view comment) {
  std::string out;
  for (std::size_t at = 0; at < comment.size();) {
    const std::size_t end = std::min(comment.find('\n', at), comment.size());
    std::string_view line = comment.substr(at, end - at);
    at = end + 1;
    while (line.starts_with(' ')) line.remove_prefix(1);
    while (line.ends_with(' ')) line.remove_suffix(1);
    if (line.empty()) {
      if (!out.empty() && !out.ends_with('\n')) out += "\n\n";
      continue;
    }
    if (!out.empty() && !out.ends_with('\n')) out += ' ';
    out += line;
  }
  while (out.ends_with('\n')) out.pop_back();
  return out;
}

template <typename Described>
std::string description_of(const Described& described) {
  google::protobuf::SourceLocation location;
  if (!described.GetSourceLocation(&location)) return {};
  std::string text = flowing(location.leading_comments);
  const std::string beside = flowing(location.trailing_comments);
  if (!text.empty() && !beside.empty()) text += "\n\n";
  return text + beside;
}

// "ListFormat" to "list_format_".
std::string prefix_of(std::string_view type) {
  std::string out;
  for (const char c : type) {
    if (c >= 'A' && c <= 'Z' && !out.empty()) out += '_';
    out += c;
  }
  return lower(out) + "_";
}

void describe(Json& json, std::string text) {
  text.erase(0, text.find_first_not_of('\n'));
  if (!text.empty()) json["description"] = std::move(text);
}

class Writer {
 public:
  Json run(const Descriptor& root, std::string_view title) {
    Json json{{"$schema", "http://json-schema.org/draft-07/schema#"}, {"title", title}};
    const Json top = message(root);
    for (const auto& [key, value] : top.items()) json[key] = value;
    // Messages are written as they are met, and name others.
    while (!waiting_.empty()) {
      const Descriptor* next = *waiting_.begin();
      waiting_.erase(waiting_.begin());
      definitions_[next->name()] = message(*next);
    }
    json["definitions"] = Json::object();
    for (auto& [name, definition] : definitions_) json["definitions"][name] = std::move(definition);
    return json;
  }

 private:
  struct ByName {
    bool operator()(const Descriptor* a, const Descriptor* b) const { return a->name() < b->name(); }
  };

  Json message(const Descriptor& type) {
    written_.insert(&type);
    Json json{{"type", "object"}};
    describe(json, description_of(type));
    Json required = Json::array();
    json["properties"] = Json::object();
    for (int i = 0; i < type.field_count(); ++i) {
      const FieldDescriptor& field = *type.field(i);
      const Shape* shape = shape_of(field.full_name());
      json["properties"][field.name()] = property(field, shape != nullptr ? *shape : Shape{});
      if (shape != nullptr && shape->mandatory) required.push_back(field.name());
    }
    if (!required.empty()) json["required"] = std::move(required);
    json["additionalProperties"] = false;
    for (const std::string_view key : one_of(type.full_name())) json["oneOf"].push_back({{"required", {key}}});
    return json;
  }

  Json property(const FieldDescriptor& field, const Shape& shape) {
    Json json = Json::object();
    if (field.is_map()) {
      // Commented out to the last entry it is an empty one.
      json["type"] = {"object", "null"};
      if (!shape.keys.empty()) json["propertyNames"] = {{"pattern", shape.keys}};
      if (shape.most > 0) json["maxProperties"] = shape.most;
      json["additionalProperties"] = reference(*field.message_type()->map_value()->message_type());
    } else if (field.is_repeated() && field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
      json["type"] = {"array", "null"};
      json["items"] = shape.shorter == Short::kPair
                          ? Json{{"type", "array"}, {"items", text({})}, {"minItems", 2}, {"maxItems", 2}}
                          : reference(*field.message_type());
    } else if (field.is_repeated()) {
      Json list{{"type", "array"}, {"items", text(shape)}};
      if (shape.least > 0) list["minItems"] = shape.least;
      if (shape.shorter == Short::kOneOrMany) {
        json["anyOf"] = {text(shape), std::move(list)};
      } else {
        json = std::move(list);
      }
    } else {
      json = single(field, shape);
    }
    describe(json, description_of(field) + words_of(field));
    if (!shape.example.empty()) {
      const Json example(shape.example);
      json["examples"].push_back(field.is_repeated() ? Json::array({example}) : example);
    }
    return json;
  }

  Json single(const FieldDescriptor& field, const Shape& shape) {
    if (shape.shorter == Short::kAnyObject) return {{"type", "object"}};
    switch (field.cpp_type()) {
      case FieldDescriptor::CPPTYPE_MESSAGE:
        // Beside $ref draft 7 reads nothing else, and the key's own description is the better one.
        return {{"allOf", {reference(*field.message_type())}}};
      case FieldDescriptor::CPPTYPE_ENUM:
        return {{"enum", words(*field.enum_type())}};
      case FieldDescriptor::CPPTYPE_BOOL:
        return {{"type", "boolean"}};
      case FieldDescriptor::CPPTYPE_STRING:
        return text(shape);
      default: {
        Json json{{"type", "integer"}, {"minimum", shape.least}};
        json["maximum"] = shape.most > 0 ? shape.most : 0xffffffffu;
        return json;
      }
    }
  }

  // A plain number may stand where the schema has a text; a pattern says nothing of numbers.
  static Json text(const Shape& shape) {
    Json json{{"type", {"string", "number"}}};
    if (shape.pattern.empty()) return json;
    json["pattern"] = shape.pattern;
    if (shape.pattern.find("(tcp|udp)") != std::string_view::npos) {
      json["type"] = {"string", "integer"};
      json["minimum"] = 1;
      json["maximum"] = 65535;
    }
    return json;
  }

  static std::string word(const google::protobuf::EnumValueDescriptor& value) {
    const std::string name = lower(value.name()), prefix = prefix_of(value.type()->name());
    return name.starts_with(prefix) ? name.substr(prefix.size()) : name;
  }

  static Json words(const EnumDescriptor& type) {
    Json json = Json::array();
    for (int i = 0; i < type.value_count(); ++i) {
      if (type.value(i)->number() != 0) json.push_back(word(*type.value(i)));
    }
    return json;
  }

  // What each word of an enum means, below the key's own description.
  static std::string words_of(const FieldDescriptor& field) {
    if (field.cpp_type() != FieldDescriptor::CPPTYPE_ENUM) return {};
    std::string out;
    for (int i = 0; i < field.enum_type()->value_count(); ++i) {
      const auto& value = *field.enum_type()->value(i);
      const std::string meaning = description_of(value);
      if (value.number() != 0 && !meaning.empty()) out += "\n\n`" + word(value) + "`: " + meaning;
    }
    return out;
  }

  Json reference(const Descriptor& type) {
    if (!written_.contains(&type)) waiting_.insert(&type);
    return {{"$ref", "#/definitions/" + type.name()}};
  }

  std::set<const Descriptor*> written_;
  std::set<const Descriptor*, ByName> waiting_;
  std::map<std::string, Json> definitions_;
};

std::string schema_of(std::string_view octets, const char* message, std::string_view title) {
  google::protobuf::DescriptorPool pool;
  const auto* file = read(pool, octets);
  const Descriptor* root = file != nullptr ? file->FindMessageTypeByName(message) : nullptr;
  if (root == nullptr) return {};
  return Writer().run(*root, title).dump(2) + "\n";
}

}  // namespace

std::string policy_json_schema() { return schema_of(policy_descriptors(), "Policy", "Sallyport policy"); }

std::string gateway_json_schema() { return schema_of(gateway_descriptors(), "Gateway", "Sallyport gateway"); }

std::vector<std::string> stray_schema_entries() {
  google::protobuf::DescriptorPool of_policy, of_gateway;
  read(of_policy, policy_descriptors());
  read(of_gateway, gateway_descriptors());
  std::vector<std::string> stray;
  for (const Shape& shape : shapes()) {
    const std::string key(shape.key);
    if (of_policy.FindFieldByName(key) == nullptr && of_gateway.FindFieldByName(key) == nullptr) stray.push_back(key);
  }
  return stray;
}

}  // namespace sallyport
