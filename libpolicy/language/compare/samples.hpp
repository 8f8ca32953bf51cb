// One text, address or port of each class that globs, blocks or ranges can tell apart.
//
// Threads  Pure functions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/model.hpp"
#include "names/address.hpp"

namespace sallyport {

struct GlobSamples {
  std::vector<std::string> texts;  // each matched by another set of the globs, the shortest such; one matched by none
  bool complete = true;            // false: there are more sets than were looked for
};

// Texts begin with `begin` and are such that valid() holds. `other`: characters to write what no glob has.
GlobSamples glob_samples(std::span<const std::string> globs, std::string_view begin, std::string_view other,
                         bool (*valid)(std::string_view));

// The first address of each block that no prefix cuts, of both families.
std::vector<Address> address_samples(std::span<const Prefix> prefixes);

// Blocks in order, to look addresses up in.
class Blocks {
 public:
  explicit Blocks(std::span<const Prefix> prefixes);
  bool contains(const Address& address) const noexcept;
  bool empty() const noexcept { return blocks_.empty(); }

 private:
  struct Block {
    Address first, last;
  };
  std::vector<Block> blocks_;  // apart from each other, ascending
};

}  // namespace sallyport
