#include "host/plugin/config_schema.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace sallyport {
namespace {

using nlohmann::json;

const json kSchema = json::parse(R"({"type":"object","additionalProperties":false,"required":["listen"],"properties":{
  "listen":{"type":"array","items":{"type":"string","maxLength":31},"minItems":1},
  "timeout_ms":{"type":"integer","minimum":1,"maximum":60000,"default":5000},
  "answers":{"type":"string","enum":["synthetic","real"]}}})");

std::vector<std::string> faults(json config) {
  std::vector<std::string> lines;
  for (const ConfigError& error : apply_schema(kSchema, config)) lines.push_back(error.pointer + ": " + error.text);
  return lines;
}

TEST(ConfigSchema, FillsDefaults) {
  json config = {{"listen", {"dns"}}};
  EXPECT_THAT(apply_schema(kSchema, config), testing::IsEmpty());
  EXPECT_EQ(config["timeout_ms"], 5000);
  EXPECT_FALSE(config.contains("answers"));
}

TEST(ConfigSchema, ReportsEverythingAtOnce) {
  EXPECT_THAT(faults({{"listne", {"dns"}}, {"timeout_ms", 0}, {"answers", "fake"}}),
              testing::UnorderedElementsAre(
                  "/listne: unknown option `listne`; did you mean `listen`?", "/timeout_ms: expected at least 1",
                  R"(/answers: expected one of ["synthetic","real"], found "fake")", ": option `listen` is missing"));
  EXPECT_THAT(faults({{"listen", {1, "a"}}}), testing::ElementsAre("/listen/0: expected string, found number"));
  EXPECT_THAT(faults({{"listen", json::array()}}), testing::ElementsAre("/listen: expected at least 1 items"));
  EXPECT_THAT(faults(json::array()), testing::ElementsAre(": expected object, found array"));
}

TEST(ConfigSchema, Formats) {
  const json schema = json::parse(R"({"type":"object","additionalProperties":false,"properties":{
    "idle":{"type":"string","format":"duration"},"buffer":{"type":"string","format":"size"},"file":{"type":"string","format":"path"}}})");
  EXPECT_THAT(check_schema(schema), testing::IsEmpty());
  json good = {{"idle", "500ms"}, {"buffer", "64kB"}, {"file", "/etc/x"}};
  EXPECT_THAT(apply_schema(schema, good), testing::IsEmpty());
  for (const char* value : {"5", "s", "5 s", "-5s", "5d", "1234567890s", ""}) {
    json bad = {{"idle", value}};
    EXPECT_EQ(apply_schema(schema, bad).size(), 1u) << value;
  }
  json relative = {{"file", "etc/x"}};
  EXPECT_EQ(apply_schema(schema, relative).size(), 1u);
}

TEST(ConfigSchema, RefusesSchemasItDoesNotUnderstand) {
  for (const char* text : {R"({"type":"object"})", R"({"type":"array","items":{"type":"string"}})",
                           R"({"type":"object","additionalProperties":false,"oneOf":[]})",
                           R"({"type":"object","additionalProperties":false,"properties":{"a":{}}})", R"([])",
                           R"({"type":"object","additionalProperties":false,"properties":{"a":{"type":"array"}}})"}) {
    EXPECT_THAT(check_schema(json::parse(text)), testing::Not(testing::IsEmpty())) << text;
  }
  EXPECT_THAT(check_schema(kSchema), testing::IsEmpty());
}

}  // namespace
}  // namespace sallyport
