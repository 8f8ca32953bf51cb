#include "names/sip_hash.hpp"

#include <gtest/gtest.h>

#include <string>

namespace sallyport {
namespace {

TEST(SipHash, TheAuthorsVectors) {  // Aumasson, Bernstein 2012, appendix A
  std::array<std::uint64_t, 2> key{0x0706050403020100u, 0x0f0e0d0c0b0a0908u};
  std::string data;
  for (char i = 0; i < 15; ++i) data.push_back(i);
  EXPECT_EQ(sip_hash(key, data), 0xa129ca6149be45e5u);
  EXPECT_EQ(sip_hash(key, {}), 0x726fdb47dd0e0e31u);
}

}  // namespace
}  // namespace sallyport
