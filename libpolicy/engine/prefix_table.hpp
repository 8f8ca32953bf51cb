// Membership of an address in a set of prefixes: sorted, disjoint keys and one binary search.
//
// CIDR blocks nest or are disjoint. Once those inside another are dropped, only the last block that starts at or before
// an address can hold it. From kIndexedPrefixes on, address_index.hpp answers instead.
//
// Threads  Pure functions. Neither allocation nor failure, except reduce().
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/format.hpp"

namespace sallyport {

// Sorts and drops every prefix that another one contains.
std::vector<format::PrefixKey> reduce(std::span<const Prefix> prefixes);

// True for keys as reduce() leaves them: known families, no host bits, strictly ascending, disjoint.
bool is_reduced(std::span<const format::PrefixKey> keys) noexcept;

inline bool covers(const format::PrefixKey& block, const format::PrefixKey& inner) noexcept {
  if (block.family != inner.family || block.bits > inner.bits) return false;
  const std::uint64_t high = block.bits >= 64  ? ~std::uint64_t{0}
                             : block.bits == 0 ? 0
                                               : ~std::uint64_t{0} << (64 - block.bits);
  const std::uint64_t low = block.bits <= 64 ? 0 : ~std::uint64_t{0} << (128 - block.bits);
  return ((block.high ^ inner.high) & high) == 0 && ((block.low ^ inner.low) & low) == 0;
}

// By family, then by first address.
inline bool starts_before(const format::PrefixKey& a, const format::PrefixKey& b) noexcept {
  if (a.family != b.family) return a.family < b.family;
  return a.high != b.high ? a.high < b.high : a.low < b.low;
}

// keys are reduced. False across families.
inline bool contains(std::span<const format::PrefixKey> keys, const format::PrefixKey& address) noexcept {
  std::size_t low = 0, high = keys.size();
  while (low < high) {
    const std::size_t middle = low + (high - low) / 2;
    if (starts_before(address, keys[middle])) {
      high = middle;
    } else {
      low = middle + 1;
    }
  }
  return low != 0 && covers(keys[low - 1], address);
}

}  // namespace sallyport
