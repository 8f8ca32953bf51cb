// The JSON Schemas are the ones that docs/ ships, and their tables speak of keys that exist.
#include "language/schema/json_schema.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

namespace sallyport {
namespace {

std::string content(const std::string& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

TEST(JsonSchema, IsWhatIsShipped) {
  // policyctl schema > docs/policy.schema.json, and the same of the gateway's, after an edit of a .proto.
  EXPECT_EQ(policy_json_schema(), content("docs/policy.schema.json"));
  EXPECT_EQ(gateway_json_schema(), content("docs/gateway.schema.json"));
}

TEST(JsonSchema, HasNoEntryForAKeyThatIsNone) { EXPECT_THAT(stray_schema_entries(), testing::IsEmpty()); }

TEST(JsonSchema, WordsAreTheLanguagesAndSaidWhatTheyMean) {
  const auto schema = nlohmann::json::parse(policy_json_schema());
  const auto& rule = schema["definitions"]["Rule"];
  EXPECT_EQ(rule["properties"]["action"]["enum"], (nlohmann::json{"deny", "allow"}));
  EXPECT_EQ(rule["required"], (nlohmann::json{"name", "action"}));
  EXPECT_EQ(rule["additionalProperties"], false);
  EXPECT_THAT(rule["properties"]["tunnel"]["description"].get<std::string>(),
              testing::HasSubstr("`any`: Any bytes: TLS without SNI"));
  EXPECT_THAT(schema["definitions"]["List"]["properties"]["format"]["enum"], testing::Contains("adblock"));
  // Reserved for later versions: an editor must not offer them.
  EXPECT_FALSE(rule["properties"].contains("headers"));
}

}  // namespace
}  // namespace sallyport
