// Clients by address, by credentials, by both: every combination against what the language says in words.
#include <gtest/gtest.h>

#include "small_world.hpp"

namespace sallyport {
namespace {

using small_world::address;
using small_world::Compiled;
using small_world::prefix;

constexpr const char* kUsers[] = {"", "bot", "ci", "BOT", "bo", "bott"};
constexpr const char* kPeers[] = {"10.0.0.1", "10.1.0.1", "192.0.2.1", "fd00::1", "a00:1::"};

// Bit 1: addresses; bit 2: credentials; bit 4: cells.
PolicyModel every_kind_of_client() {
  PolicyModel policy;
  for (unsigned kind = 1; kind < 8; ++kind) {
    ClientModel client;
    client.name = "kind-" + std::to_string(kind);
    if ((kind & 1) != 0) client.addresses = {prefix("10.0.0.0/16"), prefix("fd00::/8")};
    if ((kind & 2) != 0) client.credentials = {"ci", "bot"};
    if ((kind & 4) != 0) client.cells = {"build-*"};
    policy.clients.push_back(client);
  }
  return policy;
}

TEST(CredentialClients, EveryCombination) {
  const PolicyModel policy = every_kind_of_client();
  const Compiled compiled(policy);
  ASSERT_NE(compiled.snapshot, nullptr);
  for (const char* peer : kPeers) {
    for (const char* user : kUsers) {
      const std::uint64_t groups = compiled.snapshot->groups_of_address(address(peer), user);
      const std::uint64_t by_user = compiled.snapshot->groups_of_user(user);
      for (std::size_t i = 0; i < policy.clients.size(); ++i) {
        const ClientModel& client = policy.clients[i];
        bool from = false, is = false;
        for (const Prefix& block : client.addresses) from |= block.contains(address(peer));
        for (const std::string& name : client.credentials) is |= name == user;
        const bool wants_address = !client.addresses.empty(), wants_user = !client.credentials.empty();
        const bool expected = wants_address && wants_user ? from && is : (wants_address && from) || (wants_user && is);
        EXPECT_EQ((groups >> i & 1) != 0, expected) << client.name << " " << peer << " " << user;
        EXPECT_EQ((by_user >> i & 1) != 0, !wants_address && is) << client.name << " " << user;
        const bool cell = (compiled.snapshot->groups_of_cell("build-7") >> i & 1) != 0;
        EXPECT_EQ(cell, !client.cells.empty()) << client.name << ": a cell needs no credentials";
      }
    }
  }
}

TEST(CredentialClients, AUserNameIsNoGlob) {
  PolicyModel policy;
  policy.clients = {{"stars", {}, {}, {"*", "b*"}}};
  const Compiled compiled(policy);
  ASSERT_NE(compiled.snapshot, nullptr);
  EXPECT_EQ(compiled.snapshot->groups_of_address(address("10.0.0.1"), "bot"), 0u);
  EXPECT_EQ(compiled.snapshot->groups_of_address(address("10.0.0.1"), "b*"), 1u);
}

TEST(CredentialClients, WhereAUserMaySendFrom) {
  PolicyModel policy;
  policy.clients = {{"bound", {prefix("10.0.0.0/16")}, {}, {"bot", "both"}},
                    {"also", {prefix("10.2.0.0/16")}, {}, {"bot"}},
                    {"free", {}, {}, {"roamer", "both"}}};
  const Compiled compiled(policy);
  ASSERT_NE(compiled.snapshot, nullptr);
  const auto may = [&](const char* user, const char* from) {
    return compiled.snapshot->user_may_send_from(user, address(from));
  };
  EXPECT_TRUE(may("bot", "10.0.0.1"));
  EXPECT_TRUE(may("bot", "10.2.0.1"));
  EXPECT_FALSE(may("bot", "10.1.0.1"));
  EXPECT_TRUE(may("both", "10.1.0.1")) << "one client binds him to nothing";
  EXPECT_TRUE(may("roamer", "192.0.2.1"));
  EXPECT_TRUE(may("nobody", "192.0.2.1")) << "no client's";
}

TEST(CredentialClients, ASnapshotKeepsThem) {
  PolicyModel policy = every_kind_of_client();
  const auto bytes = compile(policy, 3);
  ASSERT_TRUE(bytes.ok());
  policy.clients[1].credentials = {"other", "bot"};
  EXPECT_NE(*bytes, *compile(policy, 3));
}

}  // namespace
}  // namespace sallyport
