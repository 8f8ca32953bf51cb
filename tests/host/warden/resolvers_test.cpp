#include "host/warden/resolvers.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace sallyport {
namespace {

using testing::ElementsAre;

TEST(Resolvers, CanonicalForms) {
  EXPECT_EQ(*parse_resolver("9.9.9.9"), "9.9.9.9:53");
  EXPECT_EQ(*parse_resolver("9.9.9.9:5353"), "9.9.9.9:5353");
  EXPECT_EQ(*parse_resolver("::1"), "[::1]:53");
  EXPECT_EQ(*parse_resolver("[2620:FE::fe]:853"), "[2620:fe::fe]:853");
}

TEST(Resolvers, Refused) {
  for (const char* text : {"", "dns.example", "9.9.9.9:", "9.9.9.9:0", "9.9.9.9:65536", "9.9.9.9:53x", "127.1", "[::1",
                           "[::1]", "fe80::1%eth0"}) {
    const auto parsed = parse_resolver(text);
    EXPECT_FALSE(parsed.ok()) << text;
    EXPECT_NE(parsed.status().message().find("expected"), std::string_view::npos) << text;
  }
}

TEST(Resolvers, ResolvConf) {
  EXPECT_THAT(resolvers_of("# nameserver 1.1.1.1\nsearch lan\nnameserver 127.0.0.53\nnameserver\t::1 # local\n"),
              ElementsAre("127.0.0.53:53", "[::1]:53"));
  EXPECT_THAT(resolvers_of("nameserver 1.1.1.1\nnameserver 1.1.1.2\nnameserver 1.1.1.3\nnameserver 1.1.1.4"),
              ElementsAre("1.1.1.1:53", "1.1.1.2:53", "1.1.1.3:53"));
  EXPECT_THAT(resolvers_of("nameservers 1.1.1.1\nnameserver fe80::1%eth0\nnameserver"), ElementsAre());
}

}  // namespace
}  // namespace sallyport
