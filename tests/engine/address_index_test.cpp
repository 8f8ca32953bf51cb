// The index of large prefix sets against the oracle, which compares bit by bit; and against the binary search where the
// oracle would take hours.
#include "engine/address_index.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "oracle.hpp"
#include "small_world.hpp"

namespace sallyport {
namespace {

struct Built {
  explicit Built(std::span<const Prefix> prefixes) : keys(reduce(prefixes)) { builder.add(5, keys); }
  AddressIndex view() const { return {builder.sets, builder.direct, builder.nodes}; }
  bool contains(const Address& address) const { return view().contains(5, keys, format::key_of(address)); }
  std::vector<format::PrefixKey> keys;
  AddressIndexBuilder builder;
};

// Addresses that differ in twelve bits from `shift` on, counted from the last: 4,096 of them, whole.
Address nth(bool v4, unsigned shift, std::uint32_t n) {
  if (v4) return Address::v4(0x5db80000u | n << shift);
  std::array<std::uint8_t, 16> octets = {0x26, 0x20};
  for (unsigned bit = 0; bit < 12; ++bit) {
    if ((n >> bit & 1) == 0) continue;
    const unsigned place = shift + bit;
    octets[15 - place / 8] = static_cast<std::uint8_t>(octets[15 - place / 8] | 1u << place % 8);
  }
  return Address::v6(octets);
}

struct Range {
  const char* why;
  bool v4;
  unsigned shift;
};

class AddressIndexAgainstOracle : public testing::TestWithParam<std::tuple<Range, unsigned>> {};  // and a seed

TEST_P(AddressIndexAgainstOracle, EveryAddressOfASmallWorld) {
  const auto [range, seed] = GetParam();
  std::mt19937 random(seed);
  const unsigned last = range.v4 ? 32 - range.shift : 128 - range.shift;  // bits of a single address of the world
  std::vector<Prefix> prefixes;
  for (unsigned i = 0; i < 400; ++i) {
    const unsigned host = std::min(12u, static_cast<unsigned>(random() % 24 < 20 ? random() % 4 : random() % 13));
    prefixes.push_back(Prefix::of(nth(range.v4, range.shift, random() % 4096), last - host));
  }
  const Built built(prefixes);
  if (built.keys.size() >= kIndexedPrefixes) {
    ASSERT_EQ(built.builder.sets.size(), 1u);
    ASSERT_TRUE(is_walkable(built.builder.sets, built.builder.direct, built.builder.nodes));
  }
  for (std::uint32_t n = 0; n < 4096; ++n) {
    const Address address = nth(range.v4, range.shift, n);
    const bool expected = std::any_of(prefixes.begin(), prefixes.end(),
                                      [&](const Prefix& prefix) { return oracle::contains(prefix, address); });
    ASSERT_EQ(built.contains(address), expected) << address.text() << " seed " << seed;
  }
  EXPECT_FALSE(built.contains(nth(!range.v4, range.shift, 0))) << "the other family";
}

INSTANTIATE_TEST_SUITE_P(Worlds, AddressIndexAgainstOracle,
                         testing::Combine(testing::ValuesIn(std::vector<Range>{{"V4Last", true, 0},
                                                                               {"V4Middle", true, 4},
                                                                               {"V6Last", false, 0},
                                                                               {"V6AcrossTheHalves", false, 58},
                                                                               {"V6First", false, 100}}),
                                          testing::Range(0u, 8u)),
                         [](const auto& row) {
                           return std::get<0>(row.param).why + std::string("Seed") +
                                  std::to_string(std::get<1>(row.param));
                         });

TEST(AddressIndex, ThousandsOfPrefixesBehindADirectTable) {
  std::mt19937 random(7);
  std::vector<Prefix> prefixes;
  for (unsigned i = 0; i < 25'000; ++i) {
    prefixes.push_back(Prefix::of(Address::v4(random()), i < 40 ? 9 + i % 8 : 17 + random() % 16));
    std::array<std::uint8_t, 16> octets = {0x20};
    for (unsigned octet = 1; octet < 8; ++octet) octets[octet] = static_cast<std::uint8_t>(random());
    prefixes.push_back(Prefix::of(Address::v6(octets), i < 6 ? 14 + i % 3 : 20 + random() % 45));
  }
  const Built built(prefixes);
  ASSERT_EQ(built.builder.direct.size(), 2u << format::kDirectBits);
  ASSERT_TRUE(is_walkable(built.builder.sets, built.builder.direct, built.builder.nodes));
  const auto agree = [&built](const format::PrefixKey& address) {
    EXPECT_EQ(built.view().contains(5, built.keys, address), contains(built.keys, address))
        << format::address_of(address).text();
  };
  for (format::PrefixKey key : built.keys) {  // first address, the one before it, some other
    key.bits = key.family == 4 ? 32 : 128;
    agree(key);
    const std::uint64_t one = key.family == 4 ? std::uint64_t{1} << 32 : 1;
    key.high -= one;
    agree(key);
    key.high += one + (random() % 4096) * one;
    agree(key);
  }
}

TEST(AddressIndex, Everything) {
  std::vector<Prefix> prefixes = {small_world::prefix("0.0.0.0/0")};
  for (unsigned i = 0; i < 100; ++i) prefixes.push_back(Prefix::of(nth(false, 16, i), 128));
  const Built built(prefixes);
  ASSERT_EQ(built.builder.sets.size(), 1u);
  EXPECT_TRUE(built.contains(small_world::address("9.9.9.9")));
  EXPECT_TRUE(built.contains(nth(false, 16, 99)));
  EXPECT_FALSE(built.contains(nth(false, 16, 100)));
}

TEST(AddressIndex, FewPrefixesHaveNone) {
  std::vector<Prefix> prefixes;
  for (std::uint32_t i = 0; i + 1 < kIndexedPrefixes; ++i) prefixes.push_back(Prefix::of(nth(true, 1, i), 32));
  const Built built(prefixes);
  EXPECT_TRUE(built.builder.sets.empty());
  EXPECT_TRUE(built.contains(nth(true, 1, 3)));
  EXPECT_FALSE(built.contains(nth(true, 0, 1)));
}

struct Spoiled {
  const char* why;
  void (*spoil)(AddressIndexBuilder&);
};

class Walkable : public testing::TestWithParam<Spoiled> {};

TEST_P(Walkable, IsRefused) {
  std::mt19937 random(7);
  std::vector<Prefix> prefixes;
  for (unsigned i = 0; i < 17'000; ++i) prefixes.push_back(Prefix::of(Address::v4(random()), 26));
  Built built(prefixes);
  AddressIndexBuilder& builder = built.builder;
  ASSERT_TRUE(is_walkable(builder.sets, builder.direct, builder.nodes));
  GetParam().spoil(builder);
  EXPECT_FALSE(is_walkable(builder.sets, builder.direct, builder.nodes));
}

INSTANTIATE_TEST_SUITE_P(
    Damage, Walkable,
    testing::ValuesIn(std::vector<Spoiled>{
        {"SlotBehindTheNodes",
         [](AddressIndexBuilder& b) { b.sets[0].slot[1] = static_cast<std::uint32_t>(b.nodes.size()) + 2; }},
        {"TableOutside", [](AddressIndexBuilder& b) { b.sets[0].direct[0] = 2; }},
        {"TableOfTheOtherFamilyOutside", [](AddressIndexBuilder& b) { b.sets[0].direct[1] = 0xffffffff; }},
        {"DirectSlot", [](AddressIndexBuilder& b) { b.direct[77] = 0xffffffff; }},
        {"NodeLeadsToItself",
         [](AddressIndexBuilder& b) {
           b.nodes[1].nodes = 1;
           b.nodes[1].inside = 0;
           b.nodes[1].first = 1;
         }},
        {"NodeLeadsOut",
         [](AddressIndexBuilder& b) {
           b.nodes[1].nodes = 3;
           b.nodes[1].inside = 0;
           b.nodes[1].first = static_cast<std::uint32_t>(b.nodes.size()) - 1;
         }},
        {"BlockThatIsBoth", [](AddressIndexBuilder& b) { b.nodes[0].nodes = b.nodes[0].inside = 1; }},
        {"SetsOutOfOrder", [](AddressIndexBuilder& b) { b.sets.push_back(b.sets[0]); }},
        {"ReservedOfASet", [](AddressIndexBuilder& b) { b.sets[0].reserved = 1; }},
        {"ReservedOfANode", [](AddressIndexBuilder& b) { b.nodes[0].reserved = 1; }},
    }),
    [](const auto& row) { return row.param.why; });

}  // namespace
}  // namespace sallyport
