// The tables in a real kernel, in a network namespace of the test's own: installed, replaced, refused, removed.
#include "host/kernel/kernel_tables.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "host/kernel/claims.hpp"
#include "host/kernel/ruleset.hpp"
#include "host/kernel/steering.hpp"
#include "support/private_network.hpp"

namespace sallyport::kernel {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::UnorderedElementsAre;

constexpr const char* kTopology = R"({"name": "t",
  "networks": [{"name": "agents", "interfaces": ["br-agents"], "addresses": ["172.20.0.0/16", "fd00:20::/64"]},
               {"name": "lan", "interfaces": [], "addresses": ["10.9.0.0/16", "10.9.1.0/24"]}],
  "listeners": [{"name": "dns", "proto": "udp", "address": "172.20.0.3", "port": 53, "transparent": "no"},
                {"name": "dns", "proto": "tcp", "address": "::", "port": 53, "transparent": "no"},
                {"name": "catch", "proto": "tcp", "address": "0.0.0.0", "port": 15001, "transparent": "redirect"}],
  "internal": [{"from": ["172.20.0.0/24"], "to": ["172.20.0.5/32"]}],
  "own": ["172.20.0.1", "fd00:20::1"]})";

constexpr const char* kSteered = R"({"networks": [{"name": "a", "interfaces": ["br0"], "addresses": ["10.0.0.0/8"]}],
  "listeners": [{"name": "c", "proto": "tcp", "address": "0.0.0.0", "port": 15001, "transparent": "tproxy"},
                {"name": "c", "proto": "tcp", "address": "fd00::1", "port": 15001, "transparent": "tproxy"}]})";

class KernelTablesTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() { entered = testing_kit::enter_private_network(); }
  void SetUp() override {
    if (!entered.empty()) GTEST_SKIP() << entered;
    ASSERT_EQ(tables.remove(), std::nullopt);
  }
  std::string listing(const std::string& what = "list ruleset") {
    std::string json;
    EXPECT_EQ(tables.context().list(what, json), std::nullopt);
    return json;
  }
  static Topology topology(const char* text = kTopology) { return *parse_topology(text); }

  static inline std::string entered;
  KernelTables tables;
};

TEST_F(KernelTablesTest, AreInstalledFoundAndRemoved) {
  EXPECT_FALSE(tables.present(topology()));
  ASSERT_EQ(tables.install(topology()), std::nullopt);
  EXPECT_TRUE(tables.present(topology()));
  ASSERT_EQ(tables.install(topology()), std::nullopt);  // again: the same
  ASSERT_EQ(tables.remove(), std::nullopt);
  EXPECT_FALSE(tables.present(topology()));
  ASSERT_EQ(tables.remove(), std::nullopt);
}

TEST_F(KernelTablesTest, HalfATableIsNotPresent) {
  ASSERT_EQ(tables.install(topology()), std::nullopt);
  ASSERT_EQ(tables.context().run("delete table bridge sallyport\n"), std::nullopt);
  EXPECT_FALSE(tables.present(topology()));
  ASSERT_EQ(tables.install(topology()), std::nullopt);
  ASSERT_EQ(tables.context().run("flush chain inet sallyport guard\ndelete chain inet sallyport guard\n"),
            std::nullopt);
  EXPECT_FALSE(tables.present(topology()));
}

TEST_F(KernelTablesTest, LeaveForeignTablesAlone) {
  ASSERT_EQ(tables.context().run("add table inet other\nadd chain inet other c\n"), std::nullopt);
  ASSERT_EQ(tables.install(topology()), std::nullopt);
  ASSERT_EQ(tables.remove(), std::nullopt);
  EXPECT_THAT(listing(), HasSubstr("other"));
  ASSERT_EQ(tables.context().run("delete table inet other\n"), std::nullopt);
}

TEST_F(KernelTablesTest, ARulesetThatIsRefusedLeavesTheOldOne) {  // NFT-05
  ASSERT_EQ(tables.install(topology()), std::nullopt);
  const std::string before = listing("list chains");
  const KernelError error = tables.install_inet(topology(), "add element inet sallyport nowhere { 1 }\n");
  ASSERT_TRUE(error.has_value());
  EXPECT_THAT(*error, Not(::testing::IsEmpty()));
  EXPECT_EQ(listing("list chains"), before);
  EXPECT_TRUE(tables.present(topology()));
}

TEST_F(KernelTablesTest, ListenersThatDrainGoOnThroughChanges) {
  const Topology before = topology(), after = topology("{}");
  std::vector<GateListener> gone = before.listeners;
  gone.push_back({"proxy", 6, *Address::parse("172.20.0.1"), false, 3128, GateListener::Transparent::kNo});
  gone.push_back({"proxy", 6, *Address::parse("fd00:20::1"), false, 3128, GateListener::Transparent::kNo});
  gone.push_back({"steered", 6, *Address::parse("172.20.0.1"), false, 15002, GateListener::Transparent::kTproxy});
  ASSERT_EQ(tables.install(before, drained_elements(gone, std::chrono::seconds(60))), std::nullopt);
  ASSERT_EQ(tables.install(after), std::nullopt);   // the next topology
  ASSERT_EQ(tables.install(before), std::nullopt);  // and the plugin that keeps it
  EXPECT_THAT(listing("list set inet sallyport drained4"), AllOf(HasSubstr("172.20.0.1"), HasSubstr("3128")));
  EXPECT_THAT(listing("list set inet sallyport drained4"), Not(HasSubstr("15002"))) << "nothing delivers to it";
  EXPECT_THAT(listing("list set inet sallyport drained6"), HasSubstr("3128"));
  EXPECT_THAT(listing("list set inet sallyport drained_any4"), HasSubstr("15001"));
  EXPECT_THAT(listing("list set inet sallyport drained_any6"), HasSubstr("53"));
  EXPECT_THAT(listing("list set inet sallyport drained_any4"), Not(HasSubstr("\"expires\": 3600")));
  ASSERT_EQ(tables.remove(), std::nullopt);
  ASSERT_EQ(tables.install(before), std::nullopt);
  EXPECT_THAT(listing("list set inet sallyport drained4"), Not(HasSubstr("3128"))) << "none where there were no tables";
}

TEST_F(KernelTablesTest, TakesEveryShapeOfGateway) {
  for (const char* text :
       {R"({"networks": [{"name": "a", "interfaces": ["br0"], "addresses": []}]})",
        R"({"networks": [{"name": "a", "interfaces": [], "addresses": ["10.0.0.0/8"]}]})",
        R"({"networks": [{"name": "a", "interfaces": ["br0"], "addresses": ["fd00::/64"]}], "own": ["fd00::1"],
            "listeners": [{"name": "catch", "proto": "tcp", "address": "fd00::1", "port": 15001, "transparent": "redirect"},
                          {"name": "dns", "proto": "udp", "address": "fd00::1", "port": 53, "transparent": "no"}]})",
        R"({"networks": [{"name": "a", "interfaces": ["br0", "br1"], "addresses": ["10.0.0.0/8"]}],
            "listeners": [{"name": "c", "proto": "tcp", "address": "10.0.0.1", "port": 15001, "transparent": "tproxy"}]})",
        "{}"}) {
    const Topology one = topology(text);
    EXPECT_EQ(tables.install(one), std::nullopt) << text << "\n" << inet_table(one) << bridge_table(one, {});
    EXPECT_TRUE(tables.present(one)) << text;
  }
}

TEST_F(KernelTablesTest, TheRulesNeedNoFilesToBeRead) {
  // Names of protocols, ports, ICMP types would be looked up in /etc, which a jail does not have.
  for (const std::string& text :
       {inet_table(topology()), inet_table(topology(kSteered)), bridge_table(topology(), {{"v-a"}, {"v-x"}})}) {
    for (const char* word : {" tcp }", " udp ", "l4proto tcp", "l4proto udp", "dport domain", "nd-router"})
      EXPECT_THAT(text, Not(HasSubstr(word)));
  }
}

// What is there already counts as nothing missing.
unsigned missing_routes(const Topology& topology) {
  unsigned missing = 0;
  EXPECT_EQ(put_steering(topology, &missing), std::nullopt);
  return missing;
}

TEST_F(KernelTablesTest, RoutesForTproxyComeWithTheTablesAndGoWithThem) {
  ASSERT_EQ(tables.install(topology(kSteered)), std::nullopt);
  EXPECT_EQ(missing_routes(topology(kSteered)), 0u);
  ASSERT_EQ(tables.install(topology(kSteered)), std::nullopt);  // again: the same
  ASSERT_EQ(tables.install(topology()), std::nullopt);          // a gateway that redirects instead
  EXPECT_EQ(missing_routes(topology(kSteered)), 4u);            // a rule and a route of each family
  ASSERT_EQ(tables.remove(), std::nullopt);
  EXPECT_EQ(missing_routes(topology(kSteered)), 4u);
  ASSERT_EQ(remove_steering(), std::nullopt);
  ASSERT_EQ(remove_steering(), std::nullopt);  // none there
}

TEST_F(KernelTablesTest, AGatewayWithoutTproxySteersNothing) {
  EXPECT_FALSE(needs_steering(topology()));
  EXPECT_EQ(missing_routes(topology()), 0u);
  EXPECT_THAT(inet_table(topology()), Not(HasSubstr("tproxy")));
}

std::vector<std::string> texts_of(const std::optional<std::vector<Claim>>& claims) {
  std::vector<std::string> out;
  if (!claims) return {"no answer"};
  for (const Claim& claim : *claims) {
    out.push_back(claim.what + " at " + std::to_string(claim.port) +
                  (claim.address ? " is " + claim.address->text() : ""));
  }
  return out;
}

class ClaimsTest : public KernelTablesTest {
 protected:
  // As the bridge's rules would, for ports that are gone: their indexes have no name.
  void claim(const std::string& kind, const std::string& what, int port) {
    ASSERT_EQ(tables.context().run("add element bridge sallyport claim" + kind + " { " + what + " . " +
                                   std::to_string(port) + " expires 600s }\nadd element bridge sallyport claimed" +
                                   kind + " { " + what + " expires 600s }\n"),
              std::nullopt);
  }
  std::string set(const std::string& name) { return listing("list set bridge sallyport " + name); }
};

TEST_F(ClaimsTest, OutliveTheirTablesOnePortAtATime) {
  EXPECT_FALSE(read_claims().has_value()) << "there are no tables";
  ASSERT_EQ(tables.install(topology()), std::nullopt);
  EXPECT_THAT(texts_of(read_claims()), IsEmpty());
  claim("4", "172.20.0.7", 7001);
  claim("4", "172.20.0.8", 7002);
  claim("6", "0xfd000020000000000000000000000007", 7001);
  claim("_mac", "02:42:ac:14:00:07", 7001);
  const auto all =
      UnorderedElementsAre("172.20.0.7 at 7001 is 172.20.0.7", "172.20.0.8 at 7002 is 172.20.0.8",
                           "0xfd000020000000000000000000000007 at 7001 is fd00:20::7", "02:42:ac:14:00:07 at 7001");
  EXPECT_THAT(texts_of(read_claims()), all);
  // The set by address is written from the one by address and port: here it had lost one.
  ASSERT_EQ(tables.context().run("flush set bridge sallyport claimed4\n"), std::nullopt);
  ASSERT_EQ(tables.install(topology()), std::nullopt);
  const auto claims = read_claims();
  EXPECT_THAT(texts_of(claims), all);
  for (const Claim& claim : *claims) EXPECT_NEAR(static_cast<double>(claim.expires_ms), 600'000, 5'000);
  EXPECT_THAT(set("claimed4"), AllOf(HasSubstr("172.20.0.7"), HasSubstr("172.20.0.8")));
  EXPECT_THAT(set("claimed_mac"), HasSubstr("02:42:ac:14:00:07"));
}

TEST_F(ClaimsTest, ThatAreReleasedAreFreeUnlessAnotherPortHasThem) {
  ASSERT_EQ(tables.install(topology()), std::nullopt);
  claim("4", "172.20.0.7", 7001);
  claim("4", "172.20.0.7", 7003);
  claim("4", "172.20.0.9", 7001);
  const std::vector<Claim> all = *read_claims();
  std::vector<Claim> gone = all;
  std::erase_if(gone, [](const Claim& claim) { return claim.port != 7001; });
  ASSERT_EQ(tables.context().run(claims_released(gone, all)), std::nullopt);
  EXPECT_THAT(texts_of(read_claims()), ElementsAre("172.20.0.7 at 7003 is 172.20.0.7"));
  EXPECT_THAT(set("claimed4"), AllOf(HasSubstr("172.20.0.7"), Not(HasSubstr("172.20.0.9"))));
  ASSERT_EQ(tables.context().run(claims_released(gone, all)), std::nullopt) << "expired meanwhile: no error";
}

TEST_F(ClaimsTest, OfAPinnedAddressGoWithTheNextTables) {
  ASSERT_EQ(tables.install(topology()), std::nullopt);
  claim("4", "172.20.0.7", 7001);
  claim("4", "172.20.0.8", 7001);
  Topology pinned = topology();
  pinned.networks[0].pins = {{*Address::parse("172.20.0.7"), "v-a", ""}};
  ASSERT_EQ(tables.install(pinned), std::nullopt);
  EXPECT_THAT(texts_of(read_claims()), ElementsAre("172.20.0.8 at 7001 is 172.20.0.8"));
  EXPECT_THAT(set("claimed4"), Not(HasSubstr("172.20.0.7")));
}

// This namespace has a user namespace around it, so its sockets are small; test_nftables.py has the other way.
TEST_F(KernelTablesTest, TenThousandElementsFitWhereSocketsAreSmall) {
  std::string elements;
  for (int i = 0; i < 10'000; ++i) {
    elements += i % 500 == 0 ? "add element inet sallyport bound4 { " : ", ";
    elements +=
        "172.20.0.7 . 52.0." + std::to_string(i / 250) + "." + std::to_string(1 + i % 250) + " . 17 . 123 timeout 600s";
    if (i % 500 == 499) elements += " }\n";
  }
  ASSERT_EQ(tables.install_inet(topology(), elements), std::nullopt);
  const std::string set = listing("list set inet sallyport bound4");
  std::size_t count = 0;
  for (std::size_t at = 0; (at = set.find("\"concat\"", at)) != std::string::npos; ++at) ++count;
  EXPECT_EQ(count, 10'000u);
}

}  // namespace
}  // namespace sallyport::kernel
