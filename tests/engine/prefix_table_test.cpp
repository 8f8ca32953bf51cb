#include "engine/prefix_table.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "oracle.hpp"
#include "small_world.hpp"

namespace sallyport {
namespace {

using small_world::address;
using small_world::prefix;

std::vector<Prefix> prefixes(std::initializer_list<const char*> texts) {
  std::vector<Prefix> out;
  for (const char* text : texts) out.push_back(prefix(text));
  return out;
}

TEST(Reduce, DropsWhatAnotherContains) {
  const auto keys =
      reduce(prefixes({"10.1.0.0/16", "10.0.0.0/8", "10.0.0.0/9", "10.0.0.0/8", "192.0.2.1/32", "fd00::/8"}));
  ASSERT_EQ(keys.size(), 3u);
  EXPECT_EQ(format::address_of(keys[0]).text(), "10.0.0.0");
  EXPECT_EQ(keys[0].bits, 8);
  EXPECT_EQ(format::address_of(keys[1]).text(), "192.0.2.1");
  EXPECT_EQ(format::address_of(keys[2]).text(), "fd00::");
  EXPECT_TRUE(is_reduced(keys));
}

struct Wrong {
  const char* why;
  std::vector<format::PrefixKey> keys;
};

class IsReduced : public testing::TestWithParam<Wrong> {};

TEST_P(IsReduced, Refuses) { EXPECT_FALSE(is_reduced(GetParam().keys)); }

constexpr std::uint64_t kTen = std::uint64_t{10} << 56;

INSTANTIATE_TEST_SUITE_P(Keys, IsReduced,
                         testing::ValuesIn(std::vector<Wrong>{
                             {"UnknownFamily", {{kTen, 0, 5, 8, 0}}},
                             {"TooManyBitsV4", {{kTen, 0, 4, 33, 0}}},
                             {"TooManyBitsV6", {{kTen, 0, 6, 129, 0}}},
                             {"HostBits", {{kTen | 1, 0, 6, 64 - 8, 0}}},
                             {"HostBitsLow", {{kTen, 1, 6, 127, 0}}},
                             {"LowHalfOfV4", {{kTen, 1, 4, 32, 0}}},
                             {"Twice", {{kTen, 0, 4, 8, 0}, {kTen, 0, 4, 8, 0}}},
                             {"Nested", {{kTen, 0, 4, 8, 0}, {kTen, 0, 4, 16, 0}}},
                             {"NestedFurtherIn", {{kTen, 0, 4, 8, 0}, {kTen | std::uint64_t{1} << 48, 0, 4, 16, 0}}},
                             {"Backwards", {{kTen, 0, 6, 8, 0}, {kTen, 0, 4, 8, 0}}},
                             {"Reserved", {{kTen, 0, 4, 8, 1}}},
                         }),
                         [](const auto& row) { return row.param.why; });

TEST(Contains, BothEndsOfABlock) {
  const auto keys = reduce(prefixes({"203.0.113.0/24", "2001:db8::/32", "198.51.100.7/32"}));
  const auto in = [&keys](const char* text) { return contains(keys, format::key_of(address(text))); };
  EXPECT_TRUE(in("203.0.113.0"));
  EXPECT_TRUE(in("203.0.113.255"));
  EXPECT_FALSE(in("203.0.112.255"));
  EXPECT_FALSE(in("203.0.114.0"));
  EXPECT_TRUE(in("2001:db8::"));
  EXPECT_TRUE(in("2001:db8:ffff:ffff:ffff:ffff:ffff:ffff"));
  EXPECT_FALSE(in("2001:db9::"));
  EXPECT_TRUE(in("198.51.100.7"));
  EXPECT_FALSE(in("198.51.100.8"));
  EXPECT_FALSE(in("::ffff:203.0.113.1"));  // ADR-02: another family, never the same address
  EXPECT_FALSE(contains({}, format::key_of(address("1.2.3.4"))));
}

// Dense: few leading bits differ, so blocks nest and touch.
class ContainsAgainstOracle : public testing::TestWithParam<unsigned> {};

TEST_P(ContainsAgainstOracle, AnyAddress) {
  std::mt19937 random(GetParam());
  const auto octets = [&random] {
    std::array<std::uint8_t, 16> bytes{};
    for (auto& byte : bytes) byte = static_cast<std::uint8_t>((random() & 1) ? 0x00 : random() & 0x81);
    return bytes;
  };
  const auto some_address = [&] {
    const auto bytes = octets();
    if (random() & 1) return Address::v6(bytes);
    return Address::v4(std::uint32_t{bytes[0]} << 24 | std::uint32_t{bytes[1]} << 16 | std::uint32_t{bytes[2]} << 8 |
                       bytes[3]);
  };
  std::vector<Prefix> list;
  for (unsigned n = random() % 40; n > 0; --n) {
    const Address network = some_address();
    list.push_back(Prefix::of(network, random() % (network.is_v4() ? 33u : 129u)));
    if (list.back().bits() < 4) list.pop_back();  // a few of these would swallow the world
  }
  const auto keys = reduce(list);
  ASSERT_TRUE(is_reduced(keys)) << "seed " << GetParam();
  for (int i = 0; i < 500; ++i) {
    const Address one = some_address();
    const bool expected =
        std::any_of(list.begin(), list.end(), [&](const Prefix& p) { return oracle::contains(p, one); });
    ASSERT_EQ(contains(keys, format::key_of(one)), expected) << one.text() << " seed " << GetParam();
    ASSERT_EQ(format::address_of(format::key_of(one)), one);
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, ContainsAgainstOracle, testing::Range(0u, 200u));

}  // namespace
}  // namespace sallyport
