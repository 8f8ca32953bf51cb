// Membership of an address in a set of prefixes: the index beside the binary search it replaces, a binary trie (the
// shape of dnsdist's NetmaskTree and the kernel's LPM map) and DIR-24-8 (the fastest known for IPv4, at 32 MB).
//
// Prefixes have the lengths of routing tables: IPv4 mostly /24 and /20 to /23, IPv6 mostly /48 and /32.
#include <benchmark/benchmark.h>

#include <map>
#include <memory>

#include "engine/address_index.hpp"
#include "names.hpp"
#include "suites.hpp"

namespace sallyport::bench {
namespace {

class BinaryTrie {
 public:
  void add(const format::PrefixKey& key) {
    Node* node = &root_;
    for (unsigned depth = 0; depth < key.bits; ++depth) {
      auto& child = node->child[bit(key, depth)];
      if (child == nullptr) child = std::make_unique<Node>();
      node = child.get();
    }
    node->inside = true;
  }
  bool contains(const format::PrefixKey& key) const noexcept {
    const Node* node = &root_;
    for (unsigned depth = 0; node != nullptr; ++depth) {
      if (node->inside) return true;
      if (depth == 128) return false;
      node = node->child[bit(key, depth)].get();
    }
    return false;
  }

 private:
  struct Node {
    std::unique_ptr<Node> child[2];
    bool inside = false;
  };
  static unsigned bit(const format::PrefixKey& key, unsigned depth) noexcept {
    return depth < 64 ? key.high >> (63 - depth) & 1 : key.low >> (127 - depth) & 1;
  }
  Node root_;
};

// IPv4 alone: an entry for each /24, which says outside, inside, or which table of 256 to ask.
class Dir24 {
 public:
  void add(const format::PrefixKey& key) {
    const auto first = static_cast<std::uint32_t>(key.high >> 32);
    if (key.bits <= 24) {
      std::fill_n(wide_.begin() + (first >> 8), std::size_t{1} << (24 - key.bits), std::uint16_t{1});
      return;
    }
    std::uint16_t& entry = wide_[first >> 8];
    if (entry == 0) {
      narrow_.emplace_back();
      entry = static_cast<std::uint16_t>(narrow_.size() + 1);
    }
    std::fill_n(narrow_[entry - 2u].begin() + (first & 0xff), std::size_t{1} << (32 - key.bits), std::uint8_t{1});
  }
  bool contains(const format::PrefixKey& key) const noexcept {
    const auto address = static_cast<std::uint32_t>(key.high >> 32);
    const std::uint16_t entry = wide_[address >> 8];
    return entry < 2 ? entry != 0 : narrow_[entry - 2u][address & 0xff] != 0;
  }

 private:
  std::vector<std::uint16_t> wide_ = std::vector<std::uint16_t>(1u << 24);
  std::vector<std::array<std::uint8_t, 256>> narrow_;
};

struct Set {
  Set(std::size_t count, bool v4) {
    std::vector<Prefix> prefixes;
    for (std::uint64_t n = 0; prefixes.size() < count; ++n) {
      const std::uint64_t draw = mixed(n ^ (v4 ? 4 : 6));
      if (v4) {
        const unsigned bits = draw % 100 < 62 ? 24 : draw % 100 < 95 ? 18 + draw / 100 % 6 : 25 + draw / 100 % 8;
        prefixes.push_back(Prefix::of(Address::v4(static_cast<std::uint32_t>(draw >> 32)), bits));
      } else {
        const unsigned bits = draw % 100 < 50 ? 48 : draw % 100 < 85 ? 32 + draw / 100 % 16 : 49 + draw / 100 % 16;
        std::array<std::uint8_t, 16> octets = {0x20};
        for (unsigned i = 1; i < 9; ++i) octets[i] = static_cast<std::uint8_t>(mixed(draw) >> 8 * (i - 1));
        prefixes.push_back(Prefix::of(Address::v6(octets), bits));
      }
    }
    keys = reduce(prefixes);
    builder.add(0, keys);
    index = AddressIndex(builder.sets, builder.direct, builder.nodes);
    trie = std::make_unique<BinaryTrie>();
    if (v4) dir = std::make_unique<Dir24>();
    for (const format::PrefixKey& key : keys) {
      trie->add(key);
      if (dir != nullptr) dir->add(key);
    }
    for (std::uint64_t n = 0; n < 1u << 16; ++n) {  // half inside, half anywhere
      format::PrefixKey address = keys[mixed(n) % keys.size()];
      if (n % 2 == 0) address.high ^= (mixed(n * 3) >> (v4 ? 0 : 8)) & (v4 ? 0xffffffff00000000u : ~std::uint64_t{0});
      address.bits = v4 ? 32 : 128;
      asked.push_back(address);
    }
  }
  std::vector<format::PrefixKey> keys, asked;
  AddressIndexBuilder builder;
  AddressIndex index;
  std::unique_ptr<BinaryTrie> trie;
  std::unique_ptr<Dir24> dir;
};

const Set& set_of(std::size_t count, bool v4) {
  static std::map<std::pair<std::size_t, bool>, std::unique_ptr<const Set>> all;
  auto& of = all[{count, v4}];
  if (of == nullptr) of = std::make_unique<const Set>(count, v4);
  return *of;
}

volatile std::size_t nothing = 0;  // no compiler knows that

template <typename Contains>
void add(const std::string& what, std::size_t count, bool v4, Contains contains) {
  const std::string name = std::string("address/") + (v4 ? "v4/" : "v6/") + what + "/" + std::to_string(count);
  benchmark::RegisterBenchmark(name.c_str(), [=](benchmark::State& state) {
    const Set& set = set_of(count, v4);
    for (std::size_t n = 0; n < set.asked.size(); n += 64) {  // right before fast
      if (contains(set, set.asked[n]) != sallyport::contains(set.keys, set.asked[n])) {
        return state.SkipWithError("a wrong answer");
      }
    }
    const std::size_t last = set.asked.size() - 1, zero = nothing;
    std::size_t i = 0;
    for (auto _ : state) i = (i + 1 + (contains(set, set.asked[i]) & zero)) & last;
    benchmark::DoNotOptimize(i);
    state.counters["octets/prefix"] =
        static_cast<double>(set.builder.nodes.size() * sizeof(format::AddressNode) + set.builder.direct.size() * 4) /
        static_cast<double>(set.keys.size());
  })->MinTime(0.02);
}

}  // namespace

void register_addresses(const Scale&) {
  for (const std::size_t count : {100u, 1'000u, 100'000u, 1'000'000u}) {
    for (const bool v4 : {true, false}) {
      add("index", count, v4, [](const Set& set, const auto& key) { return set.index.contains(0, set.keys, key); });
      add("binary-search", count, v4, [](const Set& set, const auto& key) { return contains(set.keys, key); });
      add("binary-trie", count, v4, [](const Set& set, const auto& key) { return set.trie->contains(key); });
      if (v4 && count <= 100'000) {
        add("dir-24-8", count, v4, [](const Set& set, const auto& key) { return set.dir->contains(key); });
      }
    }
  }
}

}  // namespace sallyport::bench
