// The rendering is YAML's flow style with every text in double quotes: JSON but for enumerations and numbers, which the
// decoder wants as a user writes them.
#include "language/policy_message.hpp"

#include <google/protobuf/message.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <utility>
#include <vector>

#include "language/decode.hpp"
#include "sallyport/policy/v1/policy.pb.h"

namespace sallyport {
namespace {

using google::protobuf::EnumValueDescriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

constexpr int kMostDepth = 8;  // of the schema's own messages; none contains itself

// Of well-formed UTF-8 (Protobuf has checked it): the code point there, and how many octets it has.
std::pair<std::uint32_t, std::size_t> code_point(std::string_view text) {
  const auto first = static_cast<unsigned char>(text[0]);
  const std::size_t octets = first < 0x80 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
  std::uint32_t out = octets == 1 ? first : first & (0x7fu >> octets);
  for (std::size_t i = 1; i < octets && i < text.size(); ++i)
    out = out << 6 | (static_cast<unsigned char>(text[i]) & 0x3fu);
  return {out, std::min(octets, text.size())};
}

// Breaks and controls of every kind, and marks that a reader of YAML takes for its own.
bool is_escaped(std::uint32_t point) {
  return point < 0x20 || (point >= 0x7f && point < 0xa0) || point == 0x2028 || point == 0x2029 || point == 0xfeff ||
         point == 0xfffe || point == 0xffff;
}

void quote(std::string_view text, std::string& out) {
  out += '"';
  while (!text.empty()) {
    const auto [point, octets] = code_point(text);
    if (point == '"' || point == '\\') out += '\\';
    if (is_escaped(point)) {
      char escaped[12];
      std::snprintf(escaped, sizeof escaped, "\\U%08x", point);
      out += escaped;
    } else {
      out += text.substr(0, octets);
    }
    text.remove_prefix(octets);
  }
  out += '"';
}

class Writer {
 public:
  // False: something that this version has no words for.
  bool write(const Message& message, int depth) {
    if (depth > kMostDepth || !message.GetReflection()->GetUnknownFields(message).empty()) return false;
    std::vector<const FieldDescriptor*> fields;
    message.GetReflection()->ListFields(message, &fields);
    out_ += '{';
    for (std::size_t i = 0; i < fields.size(); ++i) {
      out_ += i == 0 ? " " : ",\n  ";
      out_ += fields[i]->name() + ": ";
      if (!value(message, *fields[i], depth)) return false;
    }
    out_ += fields.empty() ? "}" : " }";
    return true;
  }
  std::string take() { return std::move(out_) + "\n"; }

 private:
  bool value(const Message& message, const FieldDescriptor& field, int depth) {
    if (!field.is_repeated()) return single(message, field, -1, depth);
    const int count = message.GetReflection()->FieldSize(message, &field);
    out_ += field.is_map() ? '{' : '[';
    for (int i = 0; i < count; ++i) {
      out_ += i == 0 ? " " : ", ";
      if (field.is_map()) {
        const Message& entry = message.GetReflection()->GetRepeatedMessage(message, &field, i);
        const FieldDescriptor& key = *field.message_type()->map_key();
        quote(entry.GetReflection()->GetString(entry, &key), out_);
        out_ += ": ";
        if (!single(entry, *field.message_type()->map_value(), -1, depth + 1)) return false;
      } else if (!single(message, field, i, depth)) {
        return false;
      }
    }
    out_ += field.is_map() ? " }" : " ]";
    return true;
  }

  bool single(const Message& message, const FieldDescriptor& field, int index, int depth) {
    const Reflection& of = *message.GetReflection();
    switch (field.cpp_type()) {
      case FieldDescriptor::CPPTYPE_MESSAGE:
        return write(index < 0 ? of.GetMessage(message, &field) : of.GetRepeatedMessage(message, &field, index),
                     depth + 1);
      case FieldDescriptor::CPPTYPE_STRING: {
        std::string scratch;
        quote(index < 0 ? of.GetStringReference(message, &field, &scratch)
                        : of.GetRepeatedStringReference(message, &field, index, &scratch),
              out_);
        return true;
      }
      case FieldDescriptor::CPPTYPE_ENUM: {
        const int number =
            index < 0 ? of.GetEnumValue(message, &field) : of.GetRepeatedEnumValue(message, &field, index);
        const EnumValueDescriptor* const known = field.enum_type()->FindValueByNumber(number);
        if (known == nullptr) return false;
        out_ += word_of(*known);
        return true;
      }
      case FieldDescriptor::CPPTYPE_BOOL:
        out_ += of.GetBool(message, &field) ? "true" : "false";
        return true;
      case FieldDescriptor::CPPTYPE_UINT32:
        out_ += std::to_string(of.GetUInt32(message, &field));
        return true;
      default:
        return false;  // the schema has no other kind
    }
  }

  std::string out_;
};

MessageOutcome refused(std::string_view file_name, std::string message, std::string help) {
  MessageOutcome out;
  Diagnostic diagnostic;
  diagnostic.code = "P001";
  diagnostic.severity = Severity::kError;
  diagnostic.where.file = std::string(file_name);
  diagnostic.message = std::move(message);
  diagnostic.repair = std::move(help);
  out.policy.diagnostics.push_back(std::move(diagnostic));
  return out;
}

}  // namespace

MessageOutcome load_policy_message(std::string_view wire, std::string_view file_name, const LoadOptions& options) {
  if (wire.size() > kMaxPolicyOctets)
    return refused(file_name, "the message is too long", "a policy has 64 MiB at most");
  policy::v1::Policy message;
  if (!message.ParseFromArray(wire.data(), static_cast<int>(wire.size())))
    return refused(file_name, "this is no message sallyport.policy.v1.Policy",
                   "send it in Protobuf's wire form, UTF-8");
  Writer writer;
  if (!writer.write(message, 0))
    return refused(file_name, "the message has a key or word that this version does not know",
                   "it was made for a later version: leave it out, or bring this one up to date");
  MessageOutcome out;
  out.text = writer.take();
  out.policy = load_policy(out.text, file_name, options);
  return out;
}

}  // namespace sallyport
