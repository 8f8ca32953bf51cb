// TunnelBudgets: what reaches a budget, what does not, and whom it concerns. The clock is passed in.
#include "support/tunnel_budgets.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "names/domain_name.hpp"
#include "support/config.hpp"

namespace sallyport::net {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr std::array<std::uint64_t, 2> kKey{0x1234, 0x5678};
const Clock::time_point kStart = Clock::time_point(std::chrono::hours(1000));

policy_name name(const std::string& text) {
  policy_name out{};
  const DomainName parsed = *DomainName::parse(text);
  static_assert(sizeof parsed == sizeof out);
  std::memcpy(static_cast<void*>(&out), &parsed, sizeof out);
  return out;
}

// Forty hex characters, as many different ones as are wanted.
std::string hex40(unsigned i) {
  char text[48];
  std::snprintf(text, sizeof text, "%08x%032x", i, i * 2654435761u);
  return text;
}

class Budgets : public testing::Test {
 protected:
  TunnelBudgets::Finding ask(const std::string& text, std::uint64_t client = 1, std::uint32_t listed = 2) {
    const policy_name asked = name(text);
    return budgets.ask(client, asked, TunnelBudgets::parent_labels(asked, listed), now);
  }
  TunnelBudgets::Finding absent(const std::string& text, std::uint64_t client = 1) {
    const policy_name asked = name(text);
    return budgets.absent(client, asked, 2, now);
  }
  bool is_suspect(const std::string& text, std::uint64_t client = 1, std::uint32_t listed = 2) {
    const policy_name asked = name(text);
    return static_cast<bool>(budgets.is_suspect(client, asked, TunnelBudgets::parent_labels(asked, listed), now));
  }
  // How many pass, of names that a function makes, before the first that does not.
  template <typename Make>
  unsigned pass(unsigned most, Make make, milliseconds apart = milliseconds(0)) {
    for (unsigned i = 0; i < most; ++i) {
      if (ask(make(i))) return i;
      now += apart;
    }
    return most;
  }
  TunnelLimits limits;
  TunnelBudgets budgets{limits, kKey};
  Clock::time_point now = kStart;
};

TEST_F(Budgets, TwoHundredHexLabelsInAMinuteAreATunnel) {  // DNS-32
  const unsigned passed = pass(200, [](unsigned i) { return hex40(i) + ".cdn.test"; }, milliseconds(300));
  EXPECT_EQ(passed, 49u) << "the fiftieth long name reaches it";
  EXPECT_TRUE(is_suspect("www.cdn.test")) << "whatever is asked below the parent now";
  EXPECT_FALSE(is_suspect("www.cdn.test", 2)) << "another client";
  EXPECT_FALSE(is_suspect("www.pkg.test")) << "another parent";
  EXPECT_FALSE(ask("www.pkg.test"));
  EXPECT_FALSE(ask("www.cdn.test", 2));
  const TunnelBudgets::Finding again = ask("www.cdn.test");
  EXPECT_EQ(again.reached, TunnelBudget::kLongNames);
  EXPECT_FALSE(again.first) << "one alarm";
}

TEST_F(Budgets, EndWithTheCooldown) {
  pass(200, [](unsigned i) { return hex40(i) + ".cdn.test"; });
  EXPECT_FALSE(budgets.is_quiet(now));
  now += limits.cooldown - milliseconds(1);
  EXPECT_TRUE(is_suspect("www.cdn.test"));
  EXPECT_TRUE(ask("www.cdn.test"));
  now += milliseconds(1);
  EXPECT_TRUE(budgets.is_quiet(now));
  EXPECT_FALSE(is_suspect("www.cdn.test"));
  EXPECT_FALSE(ask("www.cdn.test"));
  EXPECT_EQ(pass(200, [](unsigned i) { return hex40(i) + ".cdn.test"; }), 49u) << "and everything counts anew";
}

TEST_F(Budgets, AreOfAWindow) {
  for (unsigned window = 0; window < 5; ++window) {
    EXPECT_EQ(pass(49, [&](unsigned i) { return hex40(1000 * window + i) + ".cdn.test"; }), 49u) << window;
    now += limits.window;
  }
  EXPECT_EQ(pass(200, [](unsigned i) { return hex40(i) + ".cdn.test"; }), 49u);
}

TEST_F(Budgets, RepeatsAndOtherTypesCountOnce) {
  for (unsigned i = 0; i < 10'000; ++i) ASSERT_FALSE(ask(hex40(i % 40) + ".cdn.test")) << i;
  for (unsigned i = 0; i < 10'000; ++i) ASSERT_FALSE(absent(hex40(i % 40) + ".cdn.test")) << i;
}

TEST_F(Budgets, OctetsWhateverTheLabels) {
  // Labels of twenty characters, four to a name: none is long.
  const auto make = [](unsigned i) {
    const std::string label = hex40(i).substr(0, 20);
    return label + "." + label + "." + label + "." + label + ".cdn.test";
  };
  EXPECT_EQ(pass(200, make), 49u) << "49 x 83 octets are less than 4096, 50 are more";
  EXPECT_EQ(ask("www.cdn.test").reached, TunnelBudget::kOctets);
}

TEST_F(Budgets, ManyShortNames) {
  EXPECT_EQ(pass(1000, [](unsigned i) { return std::to_string(i) + ".cdn.test"; }), 299u);
  EXPECT_EQ(ask("www.cdn.test").reached, TunnelBudget::kNames);
}

TEST_F(Budgets, NamesThatDoNotExist) {
  for (unsigned i = 0; i < 59; ++i) ASSERT_FALSE(absent("n" + std::to_string(i) + ".cdn.test"));
  ASSERT_FALSE(absent("n1.cdn.test")) << "again";
  const TunnelBudgets::Finding finding = absent("another.cdn.test");
  EXPECT_EQ(finding.reached, TunnelBudget::kAbsent);
  EXPECT_TRUE(finding.first);
  EXPECT_EQ(budgets.words(finding, name("another.cdn.test"), 2),
            "60 names that do not exist below cdn.test within 60 s: this client asks for none there for 600 s");
}

TEST_F(Budgets, WhatComesBack) {
  const policy_name asked = name("www.cdn.test");
  for (unsigned i = 0; i < 31; ++i) ASSERT_FALSE(budgets.answered(1, asked, 2, 1024, now));
  ASSERT_FALSE(budgets.answered(1, asked, 3, 1u << 20, now)) << "a listed name's";
  ASSERT_FALSE(budgets.answered(2, asked, 2, 1024, now));
  EXPECT_EQ(budgets.answered(1, asked, 2, 1024, now).reached, TunnelBudget::kAnswers);
  EXPECT_TRUE(is_suspect("www.cdn.test"));
}

TEST_F(Budgets, AListedNameIsNeverSuspect) {
  pass(200, [](unsigned i) { return hex40(i) + ".cdn.test"; });
  EXPECT_FALSE(ask("listed.cdn.test", 1, 3));
  EXPECT_FALSE(is_suspect("listed.cdn.test", 1, 3));
  for (unsigned i = 0; i < 1000; ++i) ASSERT_FALSE(ask(hex40(i) + ".pkg.test", 1, 3));
}

// What registries, CDNs, buckets and a browser ask for in a minute: docs/threat-model.md has the reasons.
TEST_F(Budgets, HonestClientsReachNone) {
  const auto all_pass = [&](unsigned count, auto make, std::uint32_t listed = 2) {
    for (unsigned i = 0; i < count; ++i) ASSERT_FALSE(ask(make(i), 1, listed)) << make(i);
  };
  all_pass(20, [](unsigned i) { return "productionresultssa" + std::to_string(i) + ".blob.core.windows.net"; }, 4);
  all_pass(40, [](unsigned i) { return "rr" + std::to_string(i) + "---sn-4g5ednsl.googlevideo.com"; });
  all_pass(25, [](unsigned i) { return "d" + hex40(i).substr(0, 13) + ".cloudfront.net"; });
  all_pass(
      40, [](unsigned i) { return "build-artifacts-bucket-of-team-" + std::to_string(i) + ".s3.amazonaws.com"; }, 3);
  all_pass(290, [](unsigned i) { return "l" + std::to_string(i) + ".wikipedia.org"; });
  all_pass(20, [](unsigned i) { return "k8s-ingress-" + hex40(i).substr(0, 20) + ".us-east-1.elb.amazonaws.com"; }, 4);
}

TEST(TunnelParent, IsTheWildcardsApexOrARegistrableDomain) {
  const auto parent = [](const char* text, std::uint32_t listed) {
    const policy_name asked = name(text);
    return std::string(TunnelBudgets::parent_of(asked, TunnelBudgets::parent_labels(asked, listed)));
  };
  EXPECT_EQ(parent("a.b.cdn.test", 2), "cdn.test");
  EXPECT_EQ(parent("a.b.cdn.test", 4), "a.b.cdn.test");
  EXPECT_EQ(parent("a.b.deep.cdn.test", 3), "deep.cdn.test");
  EXPECT_EQ(parent("a.bucket.s3.amazonaws.com", 3), "s3.amazonaws.com") << "whoever has a bucket may have a thousand";
  EXPECT_EQ(parent("a.b.example.co.uk", 2), "example.co.uk") << "*.co.uk";
  EXPECT_EQ(parent("a.b.example.com", 1), "example.com") << "*.com";
  EXPECT_EQ(parent("a.b.example.com", 0), "example.com") << "default: allow";
  EXPECT_EQ(parent("a.b.example.co.uk", 0), "example.co.uk");
  EXPECT_EQ(parent("host", 0), "host");
  EXPECT_EQ(parent("co.uk", 0), "co.uk");
}

// A client that has many parents to choose from: coarser budgets for itself, and nothing for or against anybody else.
TEST_F(Budgets, AFullShareIsSharedByItsOwnClientAlone) {
  const auto parent = [](unsigned i) { return "p" + std::to_string(i) + ".test"; };
  ASSERT_FALSE(ask("www.other.test", 2));
  unsigned passed = 0;
  for (unsigned i = 0; i < 100'000; ++i) passed += !ask(hex40(i) + "." + parent(i % 5000));
  // 64 pairs and the rest: of each less than its budget of long names.
  EXPECT_LE(passed, 65u * 49u);
  EXPECT_GE(passed, 49u);
  EXPECT_EQ(budgets.pairs(), 65u) << "and the other client's";
  EXPECT_TRUE(is_suspect("x." + parent(4999))) << "it found no place, and the rest is suspect";
  EXPECT_FALSE(ask("www.other.test", 2));
  EXPECT_FALSE(ask("a." + parent(4999), 2)) << "another client";
}

TEST_F(Budgets, AFullTableNeitherOpensNorDeniesOthers) {
  for (std::uint64_t client = 100; client < 400; ++client) {
    for (unsigned i = 0; i < 70; ++i) ask("a.p" + std::to_string(i) + ".test", client);
  }
  EXPECT_EQ(budgets.pairs(), TunnelBudgets::kPairs);
  EXPECT_EQ(pass(200, [](unsigned i) { return hex40(i) + ".cdn.test"; }), 49u) << "without a place of its own";
  EXPECT_TRUE(is_suspect("www.cdn.test"));
  EXPECT_FALSE(ask("www.cdn.test", 2));
  EXPECT_FALSE(is_suspect("www.cdn.test", 2));
  EXPECT_TRUE(is_suspect("www.cdn.test")) << "and it stays";
  // A suspect's place is no other's, however many there are.
  now += limits.window;
  EXPECT_TRUE(is_suspect("www.cdn.test"));
  EXPECT_TRUE(ask("www.cdn.test"));
  EXPECT_FALSE(ask("www.cdn.test", 2));
  EXPECT_LT(budgets.pairs(), TunnelBudgets::kPairs) << "what is over has gone";
}

TEST_F(Budgets, MoreClientsThanThereAreKept) {
  pass(200, [](unsigned i) { return hex40(i) + ".cdn.test"; });
  for (std::uint64_t client = 10; client < 3 * TunnelBudgets::kClients; ++client) {
    ASSERT_FALSE(ask("www.cdn.test", client));
    now += milliseconds(1);
  }
  EXPECT_LE(budgets.pairs(), TunnelBudgets::kClients);
  EXPECT_TRUE(is_suspect("www.cdn.test"));
}

TEST(TunnelLimits, ZeroIsNoBudget) {
  TunnelLimits none;
  none.names = none.long_names = none.octets = none.absent = none.answers = 0;
  TunnelBudgets budgets(none, kKey);
  for (unsigned i = 0; i < 200'000; ++i) {
    const policy_name asked = name(hex40(i) + ".cdn.test");
    ASSERT_FALSE(budgets.ask(1, asked, 2, kStart));
    ASSERT_FALSE(budgets.absent(1, asked, 2, kStart));
    ASSERT_FALSE(budgets.answered(1, asked, 2, 1024, kStart));
  }
  EXPECT_TRUE(budgets.is_quiet(kStart));
}

TEST(TunnelLimits, AreReadFromTheConfig) {
  ConfigReader reader(
      R"({"budgets": {"window": "10s", "cooldown": "1h", "names": 7, "long_names": 0, "long_label": 20, "octets": 512, "absent": 9, "answers": 11}})");
  const TunnelLimits read = read_tunnel_limits(reader);
  ASSERT_TRUE(reader.status().ok());
  EXPECT_EQ(read.window, seconds(10));
  EXPECT_EQ(read.cooldown, seconds(3600));
  EXPECT_EQ(read.names, 7u);
  EXPECT_EQ(read.long_names, 0u);
  EXPECT_EQ(read.long_label, 20u);
  EXPECT_EQ(read.octets, 512u);
  EXPECT_EQ(read.absent, 9u);
  EXPECT_EQ(read.answers, 11u);
  ConfigReader wrong(R"({"budgets": {"windows": "10s", "names": -1}})");
  read_tunnel_limits(wrong);
  const policy::Status status = wrong.status();
  EXPECT_NE(status.text.find("budgets.names: expected a number"), std::string::npos) << status.text;
  EXPECT_NE(status.text.find("budgets.unknown key `windows`; did you mean `window`?"), std::string::npos)
      << status.text;
  EXPECT_EQ(status.pointer, "/budgets/names");
  ConfigReader scalar(R"({"budgets": false})");
  read_tunnel_limits(scalar);
  EXPECT_FALSE(scalar.status().ok());
}

}  // namespace
}  // namespace sallyport::net
