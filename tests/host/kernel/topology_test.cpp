// What rules are made of is checked first: no word of a topology may end a rule and begin another.
#include "host/kernel/topology.hpp"

#include <gtest/gtest.h>
#include <netinet/in.h>

namespace sallyport::kernel {
namespace {

TEST(TopologyTest, ReadsWhatTheDocumentShows) {
  const auto read = parse_topology(R"({"name": "agents-1",
    "networks": [{"name": "agents", "interfaces": ["br-agents"], "addresses": ["172.20.0.0/16", "fd00:20::/64"]}],
    "listeners": [{"name": "dns", "proto": "udp", "address": "172.20.0.3", "port": 53, "transparent": "no"},
                  {"name": "catch", "proto": "tcp", "address": "0.0.0.0", "port": 15001, "transparent": "redirect"}],
    "internal": [{"from": ["172.20.0.0/24"], "to": ["172.20.0.5/32"]}],
    "own": ["172.20.0.1", "fd00:20::1"]})");
  ASSERT_TRUE(read.ok()) << read.error().message;
  EXPECT_EQ(read->networks.at(0).addresses.size(), 2u);
  EXPECT_EQ(read->listeners.at(0).proto, IPPROTO_UDP);
  EXPECT_FALSE(read->listeners.at(0).any_address);
  EXPECT_TRUE(read->listeners.at(1).any_address);
  EXPECT_EQ(read->listeners.at(1).transparent, GateListener::Transparent::kRedirect);
  EXPECT_EQ(read->own.size(), 2u);
}

TEST(TopologyTest, RefusesWordsThatAreNone) {
  for (const char* text :
       {"", "[]", "{", R"({"networks": 3})", R"({"networks": [{"interfaces": ["br0\" }; accept"]}]})",
        R"({"networks": [{"interfaces": [""]}]})", R"({"networks": [{"interfaces": ["sixteen-letters-"]}]})",
        R"({"networks": [{"interfaces": [".."]}]})", R"({"networks": [{"interfaces": ["br*"]}]})",
        R"({"networks": [{"addresses": ["172.20.0.0/33"]}]})", R"({"networks": [{"addresses": ["all"]}]})",
        R"({"listeners": [{"proto": "sctp", "address": "1.2.3.4", "port": 1}]})",
        R"({"listeners": [{"proto": "udp", "address": "here", "port": 1}]})", R"({"own": ["localhost"]})",
        R"({"own": [7]})", R"({"internal": [{"from": ["x"], "to": []}]})"}) {
    EXPECT_FALSE(parse_topology(text).ok()) << text;
  }
}

}  // namespace
}  // namespace sallyport::kernel
