// --allow NAME[:PORT,PORT...].
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "found.hpp"
#include "language/load.hpp"
#include "language/values.hpp"

namespace sallyport {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;

// "api.example.com 80/tcp 443/tcp"
std::string meaning(const RuleModel& rule) {
  std::string text;
  for (const Pattern& pattern : rule.domains) text += pattern.text();
  for (const Prefix& prefix : rule.addresses) text += prefix.text();
  for (const PortRange& port : rule.ports) text += " " + port_text(port);
  return text;
}

struct Row {
  const char* why;
  const char* argument;
  const char* meaning;
};
class Allow : public testing::TestWithParam<Row> {};

TEST_P(Allow, IsOneRule) {
  const std::vector<std::string> arguments = {GetParam().argument};
  const LoadOutcome outcome = model_from_allow(arguments);
  ASSERT_TRUE(outcome.ok()) << render(outcome.diagnostics, false);
  ASSERT_THAT(outcome.model->rules, SizeIs(1));
  EXPECT_EQ(meaning(outcome.model->rules[0]), GetParam().meaning);
  EXPECT_EQ(outcome.model->rules[0].action, Action::kAllow);
  EXPECT_EQ(outcome.model->rules[0].where.line, 0u);
  EXPECT_EQ(outcome.model->default_action, Action::kDeny);
  EXPECT_EQ(outcome.model->source, "command line");
}
INSTANTIATE_TEST_SUITE_P(Arguments, Allow,
                         testing::ValuesIn<Row>({
                             {"Name", "api.example.com", "api.example.com 80/tcp 443/tcp"},
                             {"NameAndPort", "api.example.com:443", "api.example.com 443/tcp"},
                             {"NameAndPorts", "api.example.com:443,8000-8010", "api.example.com 443/tcp 8000-8010/tcp"},
                             {"Below", "*.example.com", "*.example.com 80/tcp 443/tcp"},
                             {"ApexAndBelow", ".example.com:22", ".example.com 22/tcp"},
                             {"ULabels", "bücher.example", "xn--bcher-kva.example 80/tcp 443/tcp"},
                             {"TrailingDot", "Example.COM.", "example.com 80/tcp 443/tcp"},
                             {"Address", "203.0.113.9", "203.0.113.9/32 80/tcp 443/tcp"},
                             {"AddressAndPort", "203.0.113.9:5432", "203.0.113.9/32 5432/tcp"},
                             {"Block", "203.0.113.0/24:22", "203.0.113.0/24 22/tcp"},
                             {"AddressV6", "2001:db8::1", "2001:db8::1/128 80/tcp 443/tcp"},
                             {"AddressV6InBrackets", "[2001:db8::1]", "2001:db8::1/128 80/tcp 443/tcp"},
                             {"AddressV6AndPort", "[2001:db8::1]:22", "2001:db8::1/128 22/tcp"},
                             {"BlockV6", "[2001:db8::/32]:22", "2001:db8::/32 22/tcp"},
                         }),
                         [](const auto& row) { return row.param.why; });

struct Wrong {
  const char* why;
  const char* argument;
  const char* said;  // code, column, message
  const char* repair;
};
class WrongAllow : public testing::TestWithParam<Wrong> {};

TEST_P(WrongAllow, PointsIntoTheArgument) {
  const std::vector<std::string> arguments = {"ok.example.com", GetParam().argument};
  const LoadOutcome outcome = model_from_allow(arguments);
  EXPECT_FALSE(outcome.ok());
  ASSERT_THAT(outcome.diagnostics, SizeIs(1));
  const Diagnostic& d = outcome.diagnostics[0];
  EXPECT_EQ(std::string(d.code) + " " + std::to_string(d.where.column) + " " + d.message, GetParam().said);
  EXPECT_EQ(d.repair, GetParam().repair);
  EXPECT_EQ(d.where.text, GetParam().argument);
}
INSTANTIATE_TEST_SUITE_P(
    Arguments, WrongAllow,
    testing::ValuesIn<Wrong>({
        {"Empty", "", "P008 1 an empty name", "write --allow NAME[:PORT,PORT...]"},
        {"Url", "https://api.example.com/v1", "P007 1 expected a domain, found a URL",
         "write --allow api.example.com:443"},
        {"PlainUrl", "http://api.example.com", "P007 1 expected a domain, found a URL",
         "write --allow api.example.com:80"},
        {"PortOutOfRange", "a.example.com:99999", "P011 15 `99999` is out of range", "ports are 1 to 65535"},
        {"SecondPort", "a.example.com:443,x", "P011 19 `x` is no port", "write 443, 22/tcp or 8000-8010"},
        {"NoPort", "a.example.com:", "P011 14 no port after `:`",
         "write a.example.com:443, or a.example.com for 80 and 443"},
        {"TwoNames", "a.example.com,b.example.com", "P008 14 two names in one --allow",
         "give it twice: --allow a.example.com --allow b.example.com"},
        {"TwoNamesWithPorts", "a.example.com:80,443,b.example.com:22", "P008 21 two names in one --allow",
         "give it twice: --allow a.example.com:80,443 --allow b.example.com:22"},
        {"Udp", "a.example.com:53/udp", "P022 15 UDP cannot leave a cell: `53/udp`",
         "cells carry TCP and their own DNS"},
        {"Star", "*", "P014 1 `*` covers every name there is",
         "name the organisations (*.example.com); to allow everything, set default: allow"},
        {"PublicSuffix", "*.com:443", "P014 1 `*.com` covers every registrant below a top-level name",
         "name the organisation (*.example.com), or set allow_public_suffix: true"},
        {"SingleLabel", "supervisor:8080", "P018 1 the single label `supervisor` is never asked for outside",
         "write the full name, or a policy file with resolves_to"},
        {"HostBits", "10.0.0.1/8", "P009 1 `10.0.0.1/8` has host bits set",
         "did you mean 10.0.0.0/8 (the network) or 10.0.0.1/32 (one host)?"},
        {"Legacy", "2130706433", "P010 1 `2130706433` is no address of four decimal numbers",
         "legacy spellings are refused: write all four, without leading zeros"},
        {"NameInBrackets", "[example.com]:443", "P010 2 expected an address, found the name `example.com`",
         "write it in domains"},
        {"Metadata", "169.254.169.254:80",
         "P021 1 `169.254.169.254` is a cloud metadata service, which hands out credentials",
         "to mean it, write a policy file with allow_metadata: true"},
        {"OpenBracket", "[::1", "P010 1 brackets around the address `[::1`", "write `[::1`"},
    }),
    [](const auto& row) { return row.param.why; });

TEST(AllowWithAPolicy, ComesBeforeItsRulesAndKeepsTheRest) {
  const LoadOutcome file = load_policy(
      "version: 1\ndefault: deny\nrules:\n  - { name: r, action: deny, domains: [.example.com] }\n", "p.yaml");
  ASSERT_TRUE(file.ok());
  const std::vector<std::string> arguments = {"a.example.com", "b.example.com:22"};
  const LoadOutcome both = model_from_allow(arguments, &*file.model);
  ASSERT_TRUE(both.ok());
  ASSERT_THAT(both.model->rules, SizeIs(3));
  EXPECT_EQ(both.model->rules[0].name, "--allow a.example.com");
  EXPECT_EQ(both.model->rules[2].name, "r");
  EXPECT_EQ(both.model->source, "p.yaml");
}

TEST(AllowWithAPolicy, EveryWrongArgumentIsReported) {
  const std::vector<std::string> arguments = {"*", "a:b", "ok.example.com", "x y"};
  const LoadOutcome outcome = model_from_allow(arguments);
  EXPECT_THAT(codes_of(outcome.diagnostics), ElementsAre("P014", "P018", "P011", "P008"));
}

TEST(AllowWithAPolicy, AWideBlockIsWarnedAbout) {
  const std::vector<std::string> arguments = {"0.0.0.0/0:22"};
  const LoadOutcome outcome = model_from_allow(arguments);
  ASSERT_TRUE(outcome.ok());
  ASSERT_THAT(codes_of(outcome.diagnostics), ElementsAre("P041"));
  // In the words of a file.
  const LoadOutcome file =
      load_policy("version: 1\nrules:\n  - { name: r, action: allow, addresses: [0.0.0.0/0], ports: [22] }\n", "p");
  ASSERT_THAT(codes_of(file.diagnostics), ElementsAre("P041"));
  EXPECT_EQ(outcome.diagnostics[0].message, file.diagnostics[0].message);
  EXPECT_EQ(outcome.diagnostics[0].repair, file.diagnostics[0].repair);
}

TEST(AllowWithAPolicy, NoArgumentsDenyEverything) {
  const LoadOutcome outcome = model_from_allow({});
  ASSERT_TRUE(outcome.ok());
  EXPECT_THAT(outcome.model->rules, IsEmpty());
  EXPECT_EQ(outcome.model->default_action, Action::kDeny);
}

}  // namespace
}  // namespace sallyport
