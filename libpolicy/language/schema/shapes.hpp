// What a schema of protobuf cannot say of a key: which texts it takes, how many, and how YAML may write it shorter.
//
// Form     Patterns are ECMA 262's, anchored, and take everything that the loader takes (language/values.hpp).
// Lifetime Static.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace sallyport {

enum class Short : std::uint8_t {
  kNone = 0,
  kOneOrMany,  // a lone value for a list of one
  kPair,       // [a, b] for {clients: [a, b]}
  kAnyObject,  // any mapping, where the schema has a text
};

struct Shape {
  std::string_view key;           // "sallyport.policy.v1.Rule.ports"
  std::string_view pattern = {};  // of the text, or of each text of a list
  std::string_view keys = {};     // of a mapping's keys
  std::uint32_t least = 0;        // entries of a list, or the least number
  std::uint32_t most = 0;         // the largest number, or entries of a mapping; 0: no bound
  Short shorter = Short::kNone;
  bool mandatory = false;
  std::string_view example = {};
};

std::span<const Shape> shapes() noexcept;
const Shape* shape_of(std::string_view key) noexcept;  // nullptr: nothing to add

// Of a message, the keys of which exactly one must stand; empty: none such.
std::span<const std::string_view> one_of(std::string_view message) noexcept;

}  // namespace sallyport
