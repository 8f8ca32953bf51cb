#include "engine/address_index.hpp"

#include <algorithm>
#include <limits>

namespace sallyport {
namespace {

constexpr std::size_t kDirectPrefixes = 16384;  // of one family: 1 MB for a table are then 64 octets a prefix
constexpr std::size_t kMaxNodes = std::numeric_limits<std::uint32_t>::max() - 1024;

}  // namespace

bool AddressIndexBuilder::add(std::uint32_t first, std::span<const format::PrefixKey> keys) {
  if (keys.size() < kIndexedPrefixes) return true;
  format::AddressSet set;
  set.first = first;
  const auto v6 = std::find_if(keys.begin(), keys.end(), [](const format::PrefixKey& key) { return key.family == 6; });
  const auto fours = static_cast<std::size_t>(v6 - keys.begin());
  const Keys of[] = {keys.first(fours), keys.subspan(fours)};
  for (unsigned family = 0; family < 2; ++family) {
    if (of[family].size() < kDirectPrefixes) {
      set.slot[family] = slot_of(of[family], 0);
      continue;
    }
    constexpr std::size_t kEntries = std::size_t{1} << format::kDirectBits;
    const std::size_t table = direct.size();
    set.direct[family] = static_cast<std::uint32_t>(table) + 1;
    direct.resize(table + kEntries, format::kSlotOutside);
    Keys left = of[family];
    for (std::size_t entry = 0; entry < kEntries && !left.empty(); ++entry) {
      const auto entry_of = [](const format::PrefixKey& key) { return key.high >> (64 - format::kDirectBits); };
      if (entry_of(left.front()) != entry) continue;
      const auto end = std::find_if(left.begin(), left.end(), [&](const auto& key) { return entry_of(key) != entry; });
      const Keys here = left.first(static_cast<std::size_t>(end - left.begin()));
      left = left.subspan(here.size());
      if (here.front().bits <= format::kDirectBits) {  // and nothing else: they are disjoint
        std::fill_n(direct.begin() + static_cast<std::ptrdiff_t>(table + entry),
                    std::size_t{1} << (format::kDirectBits - here.front().bits), format::kSlotInside);
      } else {
        direct[table + entry] = slot_of(here, format::kDirectBits);
      }
    }
  }
  sets.push_back(set);
  return nodes.size() <= kMaxNodes && direct.size() <= kMaxNodes;
}

// Of the block of the first `depth` bits, in which all keys are.
std::uint32_t AddressIndexBuilder::slot_of(Keys keys, unsigned depth) {
  if (keys.empty()) return format::kSlotOutside;
  if (keys.front().bits <= depth) return format::kSlotInside;
  const std::size_t node = nodes.size();
  nodes.emplace_back();
  fill(node, keys, depth);
  return format::kSlotNode + static_cast<std::uint32_t>(node);
}

void AddressIndexBuilder::fill(std::size_t node, Keys keys, unsigned depth) {
  const unsigned below = depth + format::kNodeBits;
  format::AddressNode made;
  std::vector<Keys> children;
  while (!keys.empty()) {
    const format::PrefixKey& key = keys.front();
    const unsigned block = AddressIndex::block_at(key, depth);
    std::size_t here = 1;
    if (key.bits <= below) {
      const unsigned blocks = 1u << (below - key.bits);
      made.inside |= (blocks == 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << blocks) - 1) << block;
    } else {
      while (here < keys.size() && AddressIndex::block_at(keys[here], depth) == block) ++here;
      made.nodes |= std::uint64_t{1} << block;
      children.push_back(keys.first(here));
    }
    keys = keys.subspan(here);
  }
  made.first = static_cast<std::uint32_t>(nodes.size());
  nodes.resize(nodes.size() + children.size());
  nodes[node] = made;
  for (std::size_t i = 0; i < children.size(); ++i) fill(made.first + i, children[i], below);
}

bool is_walkable(std::span<const format::AddressSet> sets, std::span<const std::uint32_t> direct,
                 std::span<const format::AddressNode> nodes) noexcept {
  const auto is_slot = [&nodes](std::uint32_t slot) {
    return slot < format::kSlotNode || slot - format::kSlotNode < nodes.size();
  };
  for (std::size_t i = 0; i < sets.size(); ++i) {
    const format::AddressSet& set = sets[i];
    if (set.reserved != 0 || (i != 0 && sets[i - 1].first >= set.first)) return false;
    for (unsigned family = 0; family < 2; ++family) {
      if (!is_slot(set.slot[family])) return false;
      if (set.direct[family] == 0) continue;
      const std::size_t table = set.direct[family] - 1;
      if (table > direct.size() || direct.size() - table < std::size_t{1} << format::kDirectBits) return false;
    }
  }
  if (!std::all_of(direct.begin(), direct.end(), is_slot)) return false;
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    const format::AddressNode& node = nodes[i];
    if (node.reserved != 0 || (node.nodes & node.inside) != 0) return false;
    if (node.nodes == 0) continue;
    const auto children = static_cast<std::size_t>(std::popcount(node.nodes));
    if (node.first <= i || node.first > nodes.size() || nodes.size() - node.first < children) return false;
  }
  return true;
}

}  // namespace sallyport
