// Decoding YAML into a message of the schema, by walking the schema's descriptors: the .proto is the only list of keys.
//
// Form     Keys are field names; an enum value is its name without the type's prefix, in lower case; a plain number may
// stand
//          where the schema has a string. A key that the schema reserves is one of a later version.
// Errors   P003 unknown key, P004 key of a later version, P005 wrong type, P012 duplicate key, P017 unknown value, P002
// too
//          many nodes (aliases multiplied). Decoding goes on after each, so that all are reported.
//
// Internal to language/: it names protobuf types, which no header outside this folder may.
#pragma once

#include <google/protobuf/message.h>

#include <cstddef>
#include <string>
#include <vector>

#include "language/source.hpp"
#include "language/yaml_tree.hpp"

namespace sallyport {

// Where each part of a decoded message was written: a tree beside the message.
struct Place {
  int number = 0;  // of a field: its number in the schema
  Span key;        // of a field: its key
  Span value;
  std::string name;             // of a map entry: its key's text
  bool explicit_null = false;   // written as `key:` with nothing behind
  bool partial = false;         // a message: some of its keys were refused
  std::size_t index = 0;        // of a list entry, as written
  std::vector<Place> fields;    // of a message, in the file's order
  std::vector<Place> elements;  // of a list or map, in the file's order

  const Place* field(int wanted) const noexcept;  // nullptr: not written
};

// Fills message and place; what was wrong is left out. path is the message's own, "" for the root.
void decode(const YamlTree& tree, std::uint32_t node, google::protobuf::Message& message, Place& place,
            Reporter& reporter);

// How a value of an enumeration is written: `allow` for "ACTION_ALLOW" of enum Action.
std::string word_of(const google::protobuf::EnumValueDescriptor& value);

}  // namespace sallyport
