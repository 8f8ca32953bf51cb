// A policy as a message: what a program sends is what a file would say, or is refused like it.
#include "language/policy_message.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "engine/decide.hpp"
#include "sallyport/policy/v1/policy.pb.h"

namespace sallyport {
namespace {

using testing::HasSubstr;

policy::v1::Rule& add_rule(policy::v1::Policy& policy, const char* name, const char* domain) {
  policy::v1::Rule& rule = *policy.add_rules();
  rule.set_name(name);
  rule.set_action(policy::v1::ACTION_ALLOW);
  rule.add_domains(domain);
  return rule;
}

TEST(PolicyMessage, SaysWhatAFileSays) {
  policy::v1::Policy message;
  message.set_version(1);
  message.set_default_(policy::v1::ACTION_DENY);
  (*message.mutable_clients())["agents"].add_addresses("172.20.0.0/16");
  policy::v1::Rule& rule = add_rule(message, "oneil",
                                    "*.b\xc3\xbc"
                                    "cher.example");
  rule.add_clients("agents");
  rule.add_ports("443");
  rule.add_ports("8000-8010");
  rule.set_tunnel(policy::v1::TUNNEL_ANY);
  const MessageOutcome outcome = load_policy_message(message.SerializeAsString(), "message");
  ASSERT_TRUE(outcome.policy.ok()) << render(outcome.policy.diagnostics, false) << outcome.text;
  const LoadOutcome file = load_policy(R"(version: 1
default: deny
clients: { agents: { addresses: [172.20.0.0/16] } }
rules:
  - name: oneil
    action: allow
    clients: [agents]
    domains: ["*.bücher.example"]
    ports: [443, 8000-8010]
    tunnel: any
)",
                                       "message");
  ASSERT_TRUE(file.ok()) << render(file.diagnostics, false);
  const RuleModel &a = outcome.policy.model->rules[0], &b = file.model->rules[0];
  EXPECT_EQ(a.name, b.name);
  ASSERT_EQ(a.domains.size(), 1u);
  EXPECT_EQ(a.domains[0].name.text(), b.domains[0].name.text());
  EXPECT_EQ(a.domains[0].kind, b.domains[0].kind);
  EXPECT_EQ(a.ports.size(), b.ports.size());
  EXPECT_EQ(a.clients, b.clients);
}

TEST(PolicyMessage, ErrorsAreThoseOfAFile) {
  policy::v1::Policy message;
  message.set_version(1);
  add_rule(message, "broad", "*.co.uk");
  const MessageOutcome outcome = load_policy_message(message.SerializeAsString(), "message");
  EXPECT_FALSE(outcome.policy.ok());
  ASSERT_EQ(outcome.policy.diagnostics.size(), 1u);
  EXPECT_EQ(outcome.policy.diagnostics[0].code, "P014");
  EXPECT_EQ(outcome.policy.diagnostics[0].path, "rules[0].domains[0]");
  EXPECT_THAT(render(outcome.policy.diagnostics, false), HasSubstr("--> message:"));
}

TEST(PolicyMessage, WhatALaterVersionSaysIsRefusedWhole) {  // never applied without the part that is not understood
  policy::v1::Policy message;
  message.set_version(1);
  add_rule(message, "api", "api.example.test");
  const std::string known = message.SerializeAsString();
  ASSERT_TRUE(load_policy_message(known, "message").policy.ok());
  policy::v1::Policy nested = message;
  nested.mutable_rules(0)->GetReflection()->MutableUnknownFields(nested.mutable_rules(0))->AddVarint(99, 1);
  policy::v1::Policy word = message;
  word.set_default_(static_cast<policy::v1::Action>(99));
  for (const std::string& octets : {known + "\xfa\x3e\x03"
                                            "abc",
                                    nested.SerializeAsString(), word.SerializeAsString()}) {
    const MessageOutcome outcome = load_policy_message(octets, "message");
    EXPECT_FALSE(outcome.policy.ok());
    ASSERT_EQ(outcome.policy.diagnostics.size(), 1u);
    EXPECT_EQ(outcome.policy.diagnostics[0].code, "P001");
    EXPECT_THAT(outcome.policy.diagnostics[0].message, HasSubstr("does not know"));
  }
}

TEST(PolicyMessage, OctetsThatAreNone) {
  policy::v1::Policy message;
  message.set_version(1);
  add_rule(message, "api", "api.example.test");
  const std::string whole = message.SerializeAsString();
  for (const std::string& octets :
       {std::string("\xff\xff"), whole.substr(0, whole.size() - 3), std::string("\x22\x05\x0a\x03\xff\xfe\xfd")}) {
    const MessageOutcome outcome = load_policy_message(octets, "message");
    EXPECT_FALSE(outcome.policy.ok());
    ASSERT_EQ(outcome.policy.diagnostics.size(), 1u);
    EXPECT_EQ(outcome.policy.diagnostics[0].code, "P001");
    EXPECT_TRUE(outcome.text.empty());
  }
  EXPECT_FALSE(load_policy_message("", "message").policy.ok()) << "no version: unset is no policy";
}

// Whatever a text has in it, it stays one text.
TEST(PolicyMessage, TextsStayTexts) {
  for (const std::string& text :
       {std::string("a\nrules: []"), std::string("\xc2\x85"), std::string("\xe2\x80\xa8"), std::string("\0x", 2),
        std::string("\x1b[31m"), std::string("\xef\xbb\xbf"), std::string("\" }, { version: 1"), std::string("*alias"),
        std::string("!!binary"), std::string("\xf0\x9f\x98\x80")}) {
    policy::v1::Policy message;
    message.set_version(1);
    add_rule(message, "x", "api.example.test").add_domains(text);
    const MessageOutcome outcome = load_policy_message(message.SerializeAsString(), "message");
    EXPECT_FALSE(outcome.policy.ok()) << text;
    ASSERT_FALSE(outcome.policy.diagnostics.empty());
    for (const Diagnostic& d : outcome.policy.diagnostics) EXPECT_THAT(d.path, HasSubstr("domains[1]")) << text;
  }
}

}  // namespace
}  // namespace sallyport
