// The words of reasons stand twice, since a plugin gets only the number through the ABI: here they are held together.
#include "support/reason.hpp"

#include <gtest/gtest.h>

#include "engine/decide.hpp"

namespace sallyport {
namespace {

TEST(ReasonWord, IsTheEngines) {
  for (std::uint16_t reason = 0; reason <= static_cast<std::uint16_t>(Reason::kLast); ++reason)
    EXPECT_EQ(net::reason_word(reason), to_string(static_cast<Reason>(reason))) << reason;
}

TEST(ReasonWord, OfAnUnknownValueIsTheStrictest) {
  EXPECT_EQ(net::reason_word(static_cast<std::uint16_t>(Reason::kLast) + 1), "no_rule");
  EXPECT_EQ(net::reason_word(0xffff), "no_rule");
}

}  // namespace
}  // namespace sallyport
