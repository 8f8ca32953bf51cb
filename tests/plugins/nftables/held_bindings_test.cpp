// Which elements stand for which bindings, without a kernel.
#include "nftables/held_bindings.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace sallyport::nft {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::UnorderedElementsAre;

const Address kClient = *Address::parse("172.20.0.7"), kOther = *Address::parse("172.20.0.8");
const Address kServer = *Address::parse("52.1.2.3");

constexpr std::uint64_t kNow = 2000;

class HeldBindingsTest : public ::testing::Test {
 protected:
  std::string add(const std::string& name, std::uint64_t expires_ms, std::uint64_t now_ms = 1000,
                  const Address& client = kClient) {
    return held.add(1, client, kServer, *DomainName::parse(name), expires_ms, now_ms);
  }
  std::map<std::string, std::vector<PortRange>> policy{{"clock.test", {{17, 123, 123}}}};
  HeldBindings held{[this](std::uint64_t, const Address&, const Address&, const DomainName& name) {
    const auto found = policy.find(std::string(name.text()));
    return found == policy.end() ? std::vector<PortRange>{} : found->second;
  }};
};

TEST_F(HeldBindingsTest, WhatPolicyDeniesGetsNoElement) {
  EXPECT_THAT(add("evil.test", 61'000), IsEmpty());
  EXPECT_EQ(held.size(), 0u);
}

TEST_F(HeldBindingsTest, AnElementLivesNoLongerThanItsBinding) {
  EXPECT_EQ(add("clock.test", 61'999),
            "add element inet sallyport bound4 { 172.20.0.7 . 52.1.2.3 . 17 . 123 timeout 60s }\n");
  EXPECT_TRUE(held.covers(kClient, kServer, 17, 123, kNow));
  EXPECT_FALSE(held.covers(kClient, kServer, 6, 123, kNow));
  EXPECT_FALSE(held.covers(kClient, kServer, 17, 124, kNow));
  EXPECT_FALSE(held.covers(kOther, kServer, 17, 123, kNow));
  EXPECT_EQ(held.elements(), 1u);
  held.expire(61'999);
  EXPECT_EQ(held.elements(), 0u);
  EXPECT_EQ(held.size(), 0u);
  EXPECT_FALSE(held.covers(kClient, kServer, 17, 123, kNow));
}

TEST_F(HeldBindingsTest, AnOpenFlowHoldsWhatLetItIn) {
  add("clock.test", 61'000);
  EXPECT_FALSE(held.any_ends_by(60'000));
  EXPECT_TRUE(held.any_ends_by(61'000));
  EXPECT_THAT(held.pin(kClient, kServer, 17, 124, 120'000), IsEmpty()) << "another port's";
  EXPECT_THAT(held.pin(kOther, kServer, 17, 123, 120'000), IsEmpty());
  EXPECT_THAT(held.pin(kClient, kServer, 17, 123, 120'000), UnorderedElementsAre(1u));
  held.expire(61'000);
  EXPECT_EQ(held.elements(), 0u) << "nothing new is let in";
  EXPECT_TRUE(held.covers(kClient, kServer, 17, 123, 119'999));
  EXPECT_THAT(held.decide_again(90'000), IsEmpty());
  EXPECT_TRUE(held.covers(kClient, kServer, 17, 123, 119'999)) << "a policy that allows it spares it";
  EXPECT_FALSE(held.covers(kClient, kServer, 17, 123, 120'000));
  policy.clear();
  held.decide_again(91'000);
  EXPECT_FALSE(held.covers(kClient, kServer, 17, 123, 91'000)) << "one that denies it does not";
  EXPECT_EQ(held.size(), 0u);
}

TEST_F(HeldBindingsTest, WhatTheLedgerOnlyHoldsGetsNoElement) {
  const DomainName name = *DomainName::parse("clock.test");
  EXPECT_THAT(held.add(1, kClient, kServer, name, 1000, 1000, 61'000), IsEmpty());
  EXPECT_EQ(held.elements(), 0u);
  EXPECT_TRUE(held.covers(kClient, kServer, 17, 123, 2000));
  EXPECT_THAT(add("clock.test", 91'000, 31'000), HasSubstr("timeout 60s")) << "a new answer lets in again";
  held.expire(91'000);
  EXPECT_EQ(held.size(), 0u);
}

TEST_F(HeldBindingsTest, AClientThatIsGoneTakesEverythingOfItsOwnAlong) {
  policy["range.test"] = {{17, 5000, 6000}};
  add("clock.test", 61'000);
  add("range.test", 61'000);
  add("clock.test", 61'000, 1000, kOther);
  EXPECT_EQ(held.forget({kClient}, 2000),
            "add element inet sallyport bound4 { 172.20.0.7 . 52.1.2.3 . 17 . 123 timeout 1s }\n"
            "add element inet sallyport range4 { 172.20.0.7 . 52.1.2.3 . 17 . 5000-6000 timeout 1s }\n"
            "delete element inet sallyport bound4 { 172.20.0.7 . 52.1.2.3 . 17 . 123 }\n"
            "delete element inet sallyport range4 { 172.20.0.7 . 52.1.2.3 . 17 . 5000-6000 }\n");
  EXPECT_FALSE(held.covers(kClient, kServer, 17, 123, kNow));
  EXPECT_TRUE(held.covers(kOther, kServer, 17, 123, kNow));
  EXPECT_EQ(held.elements(), 1u);
  EXPECT_THAT(held.forget({kClient}, 2000), IsEmpty());
}

TEST_F(HeldBindingsTest, WhatTheLedgerNoLongerHasGoes) {
  add("clock.test", 61'000);
  add("clock.test", 61'000, 1000, kOther);
  const auto all = [](std::uint64_t, const Address&, const Address&) { return true; };
  EXPECT_THAT(held.keep_only(all, 2000), IsEmpty());
  EXPECT_EQ(held.keep_only([](std::uint64_t, const Address& client, const Address&) { return client == kOther; }, 2000),
            "add element inet sallyport bound4 { 172.20.0.7 . 52.1.2.3 . 17 . 123 timeout 1s }\n"
            "delete element inet sallyport bound4 { 172.20.0.7 . 52.1.2.3 . 17 . 123 }\n");
  EXPECT_TRUE(held.covers(kOther, kServer, 17, 123, kNow));
  EXPECT_EQ(held.elements(), 1u);
}

TEST_F(HeldBindingsTest, AClientOfIpv6ThatIsGoneToo) {
  const Address client = *Address::parse("fd00:20::7"), server = *Address::parse("2600:1f18::3");
  held.add(1, client, server, *DomainName::parse("clock.test"), 61'000, 1000);
  EXPECT_THAT(held.forget({client}, 2000), HasSubstr("delete element inet sallyport bound6 { fd00:20::7 . "));
  EXPECT_EQ(held.size(), 0u);
}

TEST_F(HeldBindingsTest, ARefreshDeletesAndAddsInOneTransaction) {
  add("clock.test", 61'000);
  EXPECT_EQ(add("clock.test", 121'000, 2000),
            "add element inet sallyport bound4 { 172.20.0.7 . 52.1.2.3 . 17 . 123 timeout 119s }\n"
            "delete element inet sallyport bound4 { 172.20.0.7 . 52.1.2.3 . 17 . 123 }\n"
            "add element inet sallyport bound4 { 172.20.0.7 . 52.1.2.3 . 17 . 123 timeout 119s }\n");
  EXPECT_THAT(add("clock.test", 121'000, 2000), IsEmpty());  // nothing new
}

TEST_F(HeldBindingsTest, ARevocationOfMostEmptiesTheSetsAndPutsBackTheRest) {  // NFT-08
  for (std::uint16_t port = 1000; port < 1100; ++port) policy["many.test"].push_back({17, port, port});
  add("clock.test", 61'000);
  add("many.test", 61'000, 1000, kOther);
  EXPECT_EQ(held.elements(), 101u);
  policy.erase("many.test");
  const std::string commands = held.decide_again(2000);
  EXPECT_THAT(commands, HasSubstr("flush set inet sallyport bound4\n"));
  EXPECT_THAT(commands,
              HasSubstr("add element inet sallyport bound4 { 172.20.0.7 . 52.1.2.3 . 17 . 123 timeout 59s }"));
  EXPECT_THAT(commands, Not(HasSubstr("172.20.0.8")));
  EXPECT_EQ(held.elements(), 1u);
}

TEST_F(HeldBindingsTest, APortStaysOpenWhileOneOfSeveralNamesAllowsIt) {
  policy["time.test"] = {{17, 123, 123}, {17, 4460, 4460}};
  add("clock.test", 61'000);
  add("time.test", 61'000);
  policy.erase("clock.test");
  EXPECT_THAT(held.decide_again(2000), IsEmpty());
  policy["time.test"] = {{17, 4460, 4460}};
  EXPECT_THAT(held.decide_again(2000),
              HasSubstr("delete element inet sallyport bound4 { 172.20.0.7 . 52.1.2.3 . 17 . 123 }"));
  EXPECT_THAT(held.expected(2000), UnorderedElementsAre("bound4 172.20.0.7 . 52.1.2.3 . 17 . 4460"));
}

TEST_F(HeldBindingsTest, ARevocationDeletesEveryElement) {  // NFT-08
  add("clock.test", 61'000);
  policy.clear();
  EXPECT_THAT(held.decide_again(2000), HasSubstr("delete element inet sallyport bound4"));
  EXPECT_EQ(held.size(), 0u);
  EXPECT_EQ(held.elements(), 0u);
  EXPECT_THAT(held.all(2000), IsEmpty());
}

TEST_F(HeldBindingsTest, OverlappingRangesAreJoinedUntilTheEarlierEnd) {
  policy["a.test"] = {{17, 1000, 2000}};
  policy["b.test"] = {{17, 1500, 3000}};
  add("a.test", 61'000);
  add("b.test", 31'000);
  EXPECT_THAT(held.expected(1000), UnorderedElementsAre("range4 172.20.0.7 . 52.1.2.3 . 17 . 1000-3000"));
  EXPECT_THAT(held.all(1000), HasSubstr("timeout 30s"));
}

TEST_F(HeldBindingsTest, AFewPortsAreSingleElements) {
  policy["a.test"] = {{17, 10, 12}};
  add("a.test", 61'000);
  EXPECT_EQ(held.elements(), 3u);
  EXPECT_THAT(held.all(1000), Not(HasSubstr("range4")));
}

TEST_F(HeldBindingsTest, IPv6HasSetsOfItsOwn) {
  const std::string commands = held.add(1, *Address::parse("fd00:20::7"), *Address::parse("2600::1"),
                                        *DomainName::parse("clock.test"), 61'000, 1000);
  EXPECT_EQ(commands, "add element inet sallyport bound6 { fd00:20::7 . 2600::1 . 17 . 123 timeout 60s }\n");
}

TEST_F(HeldBindingsTest, ABindingAboutToEndIsNotPutIn) { EXPECT_THAT(add("clock.test", 1900), IsEmpty()); }

}  // namespace
}  // namespace sallyport::nft
