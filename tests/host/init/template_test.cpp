// What `init` does to a text, and that deploy/ has the services it looks for.
#include "host/init/template.hpp"

#include <gtest/gtest.h>

#include "host/init/deploy_files.hpp"
#include "host/init/generate.hpp"

namespace sallyport {
namespace {

const std::vector<std::string> kAgents = {"one", "two"};

TEST(Fill, PartsAndWords) {
  EXPECT_EQ(fill("a\n#each\n- {{agent}}: 172.20.{{n}}.0/24\n#end\nb [{{all web-}}]\n", kAgents, "proxy"),
            "a\n- one: 172.20.1.0/24\n- two: 172.20.2.0/24\nb [web-one, web-two]\n");
}

TEST(Fill, AShapeWithinEach) {
  const char* text = "#each\n{{agent}}\n#proxy\np{{n}}\n#end\n#transparent\nt{{n}}\n#end\n#end\nend\n";
  EXPECT_EQ(fill(text, kAgents, "proxy"), "one\np1\ntwo\np2\nend\n");
  EXPECT_EQ(fill(text, kAgents, "transparent"), "one\nt1\ntwo\nt2\nend\n");
}

TEST(Fill, OtherTextStays) {
  for (const char* text : {"", "a", "# each\n", "${IMAGE:-x} { a: { b: c } }\n", "{{", "a {{agent"})
    EXPECT_EQ(fill(text, kAgents, "proxy"), text);
}

TEST(ServiceOf, FromItsLineToTheNext) {
  constexpr const char* kText =
      "version: \"2.4\"\n\nservices:\n  one:\n    image: x\n\n  # about two\n  two: &two\n    image: y\n\nnetworks:\n  "
      "one:\n";
  EXPECT_EQ(service_of(kText, "one"), "  one:\n    image: x\n\n  # about two\n");
  EXPECT_EQ(service_of(kText, "two"), "  two: &two\n    image: y\n\n");
  EXPECT_EQ(service_of(kText, "three"), "");
  EXPECT_EQ(service_of("services:\n  last:\n    image: x\n", "last"), "  last:\n    image: x\n");
}

// A change of deploy/ that init would not understand fails here, not at a user's.
TEST(Deploy, HasWhatInitLooksFor) {
  std::string_view compose, cells;
  for (const DeployFile& file : deploy_files()) {
    EXPECT_FALSE(file.text.empty()) << file.path;
    if (file.path == "compose/transparent/compose.yaml") compose = file.text;
    if (file.path == "compose/cells/compose.yaml") cells = file.text;
  }
  EXPECT_TRUE(service_of(compose, "agent").starts_with("  agent: &agent\n"));
  EXPECT_NE(service_of(compose, "agent2").find("<<: *agent"), std::string_view::npos);
  EXPECT_NE(service_of(cells, "agent").find("container_name: ${AGENT_NAME:-agent}"), std::string_view::npos);
  EXPECT_NE(service_of(cells, "cell").find("\"--name\", \"agent\""), std::string_view::npos);
}

TEST(Generate, NoNameOfTheExampleIsLeft) {
  for (const char* shape : {"transparent", "proxy", "cells"}) {
    InitOptions options;
    options.shape = shape;
    options.agents = kAgents;
    const auto generated = generate(options);
    ASSERT_TRUE(generated.ok());
    for (const GeneratedFile& file : generated->files) {
      if (file.path != "compose.yaml") continue;
      EXPECT_TRUE(service_of(file.text, "agent").empty()) << shape;
      EXPECT_TRUE(service_of(file.text, "agent2").empty()) << shape;
      EXPECT_FALSE(service_of(file.text, "one").empty()) << shape;
      EXPECT_FALSE(service_of(file.text, "two").empty()) << shape;
      EXPECT_EQ(file.text.find("AGENT_NAME"), std::string::npos) << shape;
    }
  }
}

}  // namespace
}  // namespace sallyport
