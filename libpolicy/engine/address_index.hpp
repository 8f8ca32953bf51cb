// AddressIndex: membership of an address in a large set of prefixes, in one memory access for each six bits that
// matter.
//
//   address ── first 18 bits ── slot ── next six bits ── slot ── ...          slot: outside, inside, or a node
//              (direct, for sets
//               of thousands)
//
// A poptrie whose leaves are single bits, since a set has no values: a node says for each of 64 blocks whether it is a
// node itself, and if not, whether it is inside. Nodes below one are neighbours, counted by their bits in front. One
// array of nodes serves IPv4 and IPv6 and all sets of a policy. Small sets are searched as they are (prefix_table.hpp).
//
// Lifetime A view over a verified snapshot's sections.
// Threads  Immutable; contains() is noexcept, allocates nothing, takes no lock.
// Source   H. Asai, Y. Ohara, Poptrie, SIGCOMM 2015.
#pragma once

#include <bit>
#include <cstdint>
#include <span>
#include <vector>

#include "engine/format.hpp"
#include "engine/prefix_table.hpp"

namespace sallyport {

// Below, a binary search over neighbours in memory is as fast, and the prefixes are there anyway.
inline constexpr std::size_t kIndexedPrefixes = 64;

class AddressIndex {
 public:
  AddressIndex() = default;
  AddressIndex(std::span<const format::AddressSet> sets, std::span<const std::uint32_t> direct,
               std::span<const format::AddressNode> nodes) noexcept
      : sets_(sets), direct_(direct), nodes_(nodes) {}

  // keys: the prefixes of a range that starts at `first`, as reduce() leaves them.
  bool contains(std::uint32_t first, std::span<const format::PrefixKey> keys,
                const format::PrefixKey& address) const noexcept {
    if (keys.size() >= kIndexedPrefixes) {
      if (const format::AddressSet* set = find(first)) return contains(*set, address);
    }
    return sallyport::contains(keys, address);
  }

 private:
  const format::AddressSet* find(std::uint32_t first) const noexcept {  // a policy has few
    std::size_t low = 0, high = sets_.size();
    while (low < high) {
      const std::size_t middle = low + (high - low) / 2;
      if (sets_[middle].first < first) {
        low = middle + 1;
      } else {
        high = middle;
      }
    }
    return low < sets_.size() && sets_[low].first == first ? &sets_[low] : nullptr;
  }

  bool contains(const format::AddressSet& set, const format::PrefixKey& address) const noexcept {
    const unsigned family = address.family == 4 ? 0 : 1;
    std::uint32_t slot = set.slot[family];
    unsigned depth = 0;
    if (set.direct[family] != 0) {
      slot = direct_[set.direct[family] - 1 + (address.high >> (64 - format::kDirectBits))];
      depth = format::kDirectBits;
    }
    while (slot >= format::kSlotNode && depth < 128) {
      const format::AddressNode& node = nodes_[slot - format::kSlotNode];
      const std::uint64_t bit = std::uint64_t{1} << block_at(address, depth);
      if ((node.nodes & bit) == 0) return (node.inside & bit) != 0;
      slot = format::kSlotNode + node.first + static_cast<std::uint32_t>(std::popcount(node.nodes & (bit - 1)));
      depth += format::kNodeBits;
    }
    return slot == format::kSlotInside;
  }

 public:
  // Six bits from depth on; zeros behind the last.
  static unsigned block_at(const format::PrefixKey& key, unsigned depth) noexcept {
    const std::uint64_t word = depth >= 64  ? key.low << (depth - 64)
                               : depth == 0 ? key.high
                                            : key.high << depth | key.low >> (64 - depth);
    return static_cast<unsigned>(word >> (64 - format::kNodeBits));
  }

 private:
  std::span<const format::AddressSet> sets_;
  std::span<const std::uint32_t> direct_;
  std::span<const format::AddressNode> nodes_;
};

class AddressIndexBuilder {
 public:
  // Once for each range, by rising `first`. False: more nodes than an index counts.
  bool add(std::uint32_t first, std::span<const format::PrefixKey> keys);

  std::vector<format::AddressSet> sets;
  std::vector<std::uint32_t> direct;
  std::vector<format::AddressNode> nodes;

 private:
  using Keys = std::span<const format::PrefixKey>;
  std::uint32_t slot_of(Keys keys, unsigned depth);
  void fill(std::size_t node, Keys keys, unsigned depth);
};

// Whether contains() may follow what is there: in bounds, and nodes lead only to later ones.
bool is_walkable(std::span<const format::AddressSet> sets, std::span<const std::uint32_t> direct,
                 std::span<const format::AddressNode> nodes) noexcept;

}  // namespace sallyport
