// include: several files that are one policy; tests and trials of a policy.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "found.hpp"
#include "language/load.hpp"
#include "language/policy_tests.hpp"
#include "language/trial.hpp"

namespace sallyport {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

class Include : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = fs::canonical(fs::temp_directory_path()).string() + "/include_test.XXXXXX";
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    directory_ = pattern;
  }
  void TearDown() override { fs::remove_all(directory_); }

  std::string file(const std::string& name, const std::string& content, mode_t mode = 0644) {
    const std::string path = directory_ + "/" + name;
    fs::create_directories(fs::path(path).parent_path());
    std::ofstream(path, std::ios::binary) << content;
    EXPECT_EQ(::chmod(path.c_str(), mode), 0);
    return path;
  }

  // Their text without the directory.
  std::string text(const LoadOutcome& outcome) const {
    std::string all = render(outcome.diagnostics, false);
    for (std::size_t at; (at = all.find(directory_ + "/")) != std::string::npos;) all.erase(at, directory_.size() + 1);
    return all;
  }

  std::string directory_;
};

TEST_F(Include, RulesStandBeforeThoseOfTheFileThatIncludes) {
  file("base/deny.yaml", "version: 1\nrules:\n  - { name: never, action: deny, domains: [bad.example] }\n");
  file("base/all.yaml",
       "version: 1\ninclude: [deny.yaml]\nclients:\n  ci: { cells: [ci] }\nrules:\n  - { name: all, action: allow, "
       "domains: [all.example] }\n");
  const std::string path =
      file("policy.yaml",
           "version: 1\ninclude: [base/all.yaml]\nrules:\n  - { name: own, action: allow, clients: "
           "[ci], domains: [own.example, bad.example] }\n");
  const LoadOutcome outcome = load_policy_file(path);
  ASSERT_TRUE(outcome.ok()) << text(outcome);
  const PolicyModel& model = *outcome.model;
  ASSERT_THAT(model.rules, SizeIs(3));
  EXPECT_EQ(model.rules[0].name, "never");
  EXPECT_EQ(model.rules[1].name, "all");
  EXPECT_EQ(model.rules[2].name, "own");
  EXPECT_EQ(model.source, path);
  EXPECT_EQ(model.file_of(model.rules[0].where), directory_ + "/base/deny.yaml");
  EXPECT_EQ(model.file_of(model.rules[1].where), directory_ + "/base/all.yaml");
  EXPECT_EQ(model.rules[1].where.line, 6u);
  EXPECT_EQ(model.file_of(model.rules[2].where), path);
  EXPECT_EQ(model.file_of(model.default_where), path);
  EXPECT_THAT(outcome.files, ElementsAre(path, directory_ + "/base/all.yaml", directory_ + "/base/deny.yaml"));

  // The snapshot says so too.
  const Result<std::vector<std::byte>> bytes = compile(model, 3);
  ASSERT_TRUE(bytes.ok());
  const auto snapshot = Snapshot::open(*bytes);
  ASSERT_TRUE(snapshot.ok());
  EXPECT_EQ((*snapshot)->file_of((*snapshot)->rule_where(0)), directory_ + "/base/deny.yaml");
  EXPECT_EQ((*snapshot)->file_of((*snapshot)->rule_where(2)), path);
  EXPECT_EQ((*snapshot)->file_of((*snapshot)->rule_where(kNoRuleIndex)), path);
}

TEST_F(Include, EachFileIsToldWithItsOwnPlaces) {
  file("a.yaml", "version: 1\nrules:\n  - { name: a, action: allow, domain: [a.example] }\n");
  const LoadOutcome outcome = load_policy_file(file("policy.yaml", "version: 1\ninclude: [a.yaml]\nrulez: []\n"));
  EXPECT_FALSE(outcome.ok());
  EXPECT_EQ(text(outcome),
            "error[P003]: unknown key `rulez`\n"
            " --> policy.yaml:3:1\n"
            "3 | rulez: []\n"
            "  | ^^^^^ did you mean `rules`?\n"
            "\n"
            "error[P003]: unknown key `domain`\n"
            " --> a.yaml:3:31\n"
            "3 |   - { name: a, action: allow, domain: [a.example] }\n"
            "  |                               ^^^^^^ did you mean `domains`?\n");
}

TEST_F(Include, NamesGivenTwiceAreErrorsWithBothPlaces) {
  file("a.yaml",
       "version: 1\nclients:\n  ci: { cells: [ci] }\nrules:\n  - { name: same, action: allow, clients: [ci], domains: "
       "[a.example] }\n");
  const LoadOutcome outcome = load_policy_file(
      file("policy.yaml",
           "version: 1\ninclude: [a.yaml]\nclients:\n  ci: { cells: [ci] }\nrules:\n  - { name: same, action: allow, "
           "domains: [b.example] }\n"));
  EXPECT_FALSE(outcome.ok());
  EXPECT_EQ(text(outcome),
            "error[P013]: two clients are named `ci`\n"
            " --> policy.yaml:4:3\n"
            "4 |   ci: { cells: [ci] }\n"
            "  |   ^^ rename one, or define it once\n"
            " ::: a.yaml:3:3\n"
            "3 |   ci: { cells: [ci] }\n"
            "  |   ^^ first here\n"
            "\n"
            "error[P013]: two rules are named `same`\n"
            " --> policy.yaml:6:13\n"
            "6 |   - { name: same, action: allow, domains: [b.example] }\n"
            "  |             ^^^^ rename one: the audit tells them apart\n"
            " ::: a.yaml:5:13\n"
            "5 |   - { name: same, action: allow, clients: [ci], domains: [a.example] }\n"
            "  |             ^^^^ first here\n");
}

TEST_F(Include, AShadowAcrossFilesNamesBoth) {
  file("a.yaml", "version: 1\nrules:\n  - { name: wide, action: allow, domains: [.a.example] }\n");
  const LoadOutcome outcome = load_policy_file(
      file("policy.yaml",
           "version: 1\ninclude: [a.yaml]\nrules:\n  - { name: narrow, action: allow, domains: [x.a.example] }\n"));
  EXPECT_THAT(text(outcome), HasSubstr("error[P021]: rule `narrow` can never take effect\n --> policy.yaml:4:13\n"));
  EXPECT_THAT(text(outcome), HasSubstr(" ::: a.yaml:3:13\n"));
}

TEST_F(Include, ACycleIsRefused) {
  file("b.yaml", "version: 1\ninclude: [./policy.yaml]\n");
  const LoadOutcome outcome = load_policy_file(file("policy.yaml", "version: 1\ninclude: [b.yaml]\n"));
  EXPECT_FALSE(outcome.ok());
  EXPECT_THAT(found(outcome.diagnostics), SizeIs(1));
  EXPECT_THAT(text(outcome), HasSubstr("error[P027]: `./policy.yaml` includes itself\n --> b.yaml:2:11\n"));
}

TEST_F(Include, AFileThatIncludesItselfIsRefused) {
  const LoadOutcome outcome = load_policy_file(file("policy.yaml", "version: 1\ninclude: [policy.yaml]\n"));
  EXPECT_THAT(text(outcome), HasSubstr("`policy.yaml` includes itself"));
}

TEST_F(Include, TwiceIsRefusedWithBothPlaces) {
  file("a.yaml", "version: 1\n");
  file("b.yaml", "version: 1\ninclude: [a.yaml]\n");
  const LoadOutcome outcome = load_policy_file(file("policy.yaml", "version: 1\ninclude: [a.yaml, b.yaml]\n"));
  EXPECT_EQ(text(outcome),
            "error[P027]: `a.yaml` is included twice\n"
            " --> b.yaml:2:11\n"
            "2 | include: [a.yaml]\n"
            "  |           ^^^^^^ its rules stand once; remove one of the two\n"
            " ::: policy.yaml:2:11\n"
            "2 | include: [a.yaml, b.yaml]\n"
            "  |           ^^^^^^ included here before\n");
}

// CFG-03
TEST_F(Include, WhatOthersCouldWriteIsNotIncluded) {
  file("missing-target.yaml", "version: 1\n");
  file("open.yaml", "version: 1\n", 0666);
  fs::create_symlink(directory_ + "/missing-target.yaml", directory_ + "/link.yaml");
  const LoadOutcome outcome =
      load_policy_file(file("policy.yaml", "version: 1\ninclude: [missing.yaml, open.yaml, link.yaml, .]\n"));
  EXPECT_FALSE(outcome.ok());
  EXPECT_THAT(codes_of(outcome.diagnostics), ElementsAre("P027", "P027", "P027", "P027"));
  EXPECT_THAT(text(outcome), HasSubstr("missing.yaml` does not exist"));
  EXPECT_THAT(text(outcome), HasSubstr("open.yaml` is writable by everyone"));
  EXPECT_THAT(text(outcome), HasSubstr("link.yaml` is a symbolic link"));
  // What is not there yet is waited for all the same.
  EXPECT_THAT(outcome.files, SizeIs(5));
}

TEST_F(Include, DepthAndNumberAreBounded) {
  for (int i = 0; i < 12; ++i) {
    file("d" + std::to_string(i) + ".yaml", "version: 1\ninclude: [d" + std::to_string(i + 1) + ".yaml]\n");
  }
  EXPECT_THAT(text(load_policy_file(directory_ + "/d0.yaml")), HasSubstr("files that include files, 9 deep"));
  std::string many = "version: 1\ninclude:\n";
  for (int i = 0; i < 70; ++i) {
    file("w" + std::to_string(i) + ".yaml", "version: 1\n");
    many += "  - w" + std::to_string(i) + ".yaml\n";
  }
  const LoadOutcome outcome = load_policy_file(file("many.yaml", many));
  EXPECT_THAT(codes_of(outcome.diagnostics), ElementsAre("P027", "P027", "P027", "P027", "P027", "P027"));
}

TEST_F(Include, OnlyThePolicyItselfSaysWhatHoldsForAll) {
  file("a.yaml", "version: 1\ndefault: allow\nmode: observe\nuntil: 2027-01-01\n");
  const LoadOutcome outcome = load_policy_file(file("policy.yaml", "version: 1\ninclude: [a.yaml]\n"));
  EXPECT_THAT(codes_of(outcome.diagnostics), ElementsAre("P044", "P044", "P044"));
}

TEST_F(Include, EmptyAndCutOffFilesAreNoPart) {
  file("empty.yaml", "");
  const LoadOutcome outcome = load_policy_file(file("policy.yaml", "version: 1\ninclude: [empty.yaml]\n"));
  EXPECT_FALSE(outcome.ok());
  EXPECT_THAT(codes_of(outcome.diagnostics), ElementsAre("P006"));
  EXPECT_THAT(text(outcome), HasSubstr("empty.yaml"));
}

TEST_F(Include, TestsOfEveryFileAreRunAgainstTheWhole) {
  file("a.yaml",
       "version: 1\nrules:\n  - { name: a, action: deny, domains: [x.a.example] }\ntests:\n  - { deny: x.a.example }\n "
       " - { "
       "allow: y.a.example }\n");
  const std::string path = file(
      "policy.yaml",
      "version: 1\ninclude: [a.yaml]\nrules:\n  - { name: own, action: allow, domains: [.a.example] }\ntests:\n  - { "
      "allow: x.a.example }\n");
  const LoadOutcome outcome = load_policy_file(path);
  EXPECT_FALSE(outcome.ok());
  EXPECT_EQ(text(outcome),
            "error[P028]: this test fails: `x.a.example` must be allowed\n"
            " --> policy.yaml:6:14\n"
            "6 |   - { allow: x.a.example }\n"
            "  |              ^^^^^^^^^^^ it is denied by `a` (a.yaml:3), name_not_allowed\n"
            " ::: a.yaml:3:7\n"
            "3 |   - { name: a, action: deny, domains: [x.a.example] }\n"
            "  |       ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^ this rule decides\n");
}

// ---- tests of a policy

struct TestCase {
  const char* why;
  const char* test;
  bool passes;
};
class PolicyTests : public testing::TestWithParam<TestCase> {};

TEST_P(PolicyTests, AskTheDecisionItself) {
  const std::string policy =
      "version: 1\nclients:\n  agents: { addresses: [172.20.0.0/16] }\n  build: { cells: [\"build-*\"] }\nrules:\n"
      "  - { name: models, action: allow, clients: [agents], domains: [api.example.com], ports: [443] }\n"
      "  - { name: reads, action: allow, domains: [repo.example.com], ports: [80], methods: [GET], paths: [/pub/*] }\n"
      "  - { name: cache, action: allow, clients: [build], domains: [cache.internal], resolves_to: [10.0.0.5], ports: "
      "[8080] }\n"
      "  - { name: time, action: allow, clients: [agents], domains: [time.example.com], ports: [123/udp] }\n"
      "  - { name: trial, action: deny, domains: [api.example.com], mode: observe }\n"
      "tests:\n  - " +
      std::string(GetParam().test) + "\n";
  const LoadOutcome outcome = load_policy(policy, "p");
  EXPECT_EQ(outcome.ok(), GetParam().passes) << render(outcome.diagnostics, false);
  if (!GetParam().passes) EXPECT_THAT(codes_of(outcome.diagnostics), testing::Contains("P028"));
}

INSTANTIATE_TEST_SUITE_P(
    Rows, PolicyTests,
    testing::ValuesIn<TestCase>({
        {"AllowedForClient", "{ allow: \"https://api.example.com/v1\", client: agents }", true},
        {"DeniedForNobody", "{ deny: \"https://api.example.com/v1\" }", true},
        {"NobodyIsNotAgents", "{ allow: \"https://api.example.com/v1\" }", false},
        {"OtherPort", "{ deny: \"api.example.com:22\", client: agents }", true},
        {"Cell", "{ allow: \"cache.internal:8080\", cell: build-7 }", true},
        {"OtherCell", "{ deny: \"cache.internal:8080\", cell: other }", true},
        {"ResolvedElsewhere", "{ deny: \"cache.internal:8080\", cell: build-7, resolved: 10.0.0.6 }", true},
        {"ResolvedThere", "{ allow: \"cache.internal:8080\", cell: build-7, resolved: 10.0.0.5 }", true},
        {"Request", "{ allow: \"http://repo.example.com/pub/x\" }", true},
        {"RequestOfAnotherPath", "{ deny: \"http://repo.example.com/priv/x\" }", true},
        {"RequestOfAnotherMethod", "{ deny: \"http://repo.example.com/pub/x\", method: POST }", true},
        {"RequestThatGoesUp", "{ deny: \"http://repo.example.com/pub/../priv/x\" }", true},
        {"RequestEncoded", "{ allow: \"http://repo.example.com/%70ub/x\" }", true},
        {"RequestInTls", "{ deny: \"https://repo.example.com/pub/x\" }", true},
        {"Udp", "{ allow: \"time.example.com:123/udp\", client: agents }", true},
        {"Address", "{ deny: \"192.0.2.1:443\", client: agents }", true},
        {"ExpectedOtherwise", "{ allow: \"192.0.2.1:443\", client: agents }", false},
    }),
    [](const auto& row) { return row.param.why; });

TEST(PolicyTests, AreAskedAsIfNoTrialWereOn) {
  const LoadOutcome outcome = load_policy(
      "version: 1\nmode: observe\nuntil: 2999-01-01\ntests:\n  - { deny: \"https://a.example/\" }\n", "p", {{}, 1});
  EXPECT_TRUE(outcome.ok()) << render(outcome.diagnostics, false);
}

// ---- trials

TEST(Trial, HasAnEndThatMayBePast) {
  const std::string text = "version: 1\nclients:\n  b: { cells: [b], mode: observe, until: 2027-01-01 }\n";
  const LoadOutcome before = load_policy(text, "p", {{}, 1'700'000'000});
  ASSERT_TRUE(before.ok());
  EXPECT_THAT(before.diagnostics, IsEmpty());
  EXPECT_EQ(before.model->clients[0].observe->until, 1'798'761'600);
  // A gateway must start again after the end.
  const LoadOutcome after = load_policy(text, "p", {{}, 1'798'761'600});
  ASSERT_TRUE(after.ok());
  EXPECT_THAT(codes_of(after.diagnostics), ElementsAre("P046"));
  EXPECT_THAT(load_policy(text, "p").diagnostics, IsEmpty());  // nobody said what time it is
}

struct Time {
  const char* why;
  const char* text;
  std::int64_t seconds;  // -1: none
};
class Times : public testing::TestWithParam<Time> {};
TEST_P(Times, AreDatesOrRfc3339) { EXPECT_EQ(read_time(GetParam().text).value_or(-1), GetParam().seconds); }
INSTANTIATE_TEST_SUITE_P(Rows, Times,
                         testing::ValuesIn<Time>({
                             {"Date", "2027-01-01", 1'798'761'600},
                             {"LeapDay", "2028-02-29", 1'835'395'200},
                             {"Utc", "2027-01-01T12:00:00Z", 1'798'804'800},
                             {"LowerCase", "2027-01-01t12:00:00z", 1'798'804'800},
                             {"Fraction", "2027-01-01T12:00:00.25Z", 1'798'804'800},
                             {"Offset", "2027-01-01T12:00:00+02:00", 1'798'797'600},
                             {"OffsetBehind", "2027-01-01T12:00:00-05:30", 1'798'824'600},
                             {"NoSuchDay", "2027-02-29", -1},
                             {"NoSuchMonth", "2027-13-01", -1},
                             {"NoZone", "2027-01-01T12:00:00", -1},
                             {"HourTooLarge", "2027-01-01T24:00:00Z", -1},
                             {"ShortYear", "27-01-01", -1},
                             {"Word", "tomorrow", -1},
                             {"Empty", "", -1},
                             {"BeforeAll", "1969-12-31", -1},
                             {"Behind", "2027-01-01x", -1},
                             {"Signed", "2027--1-01", -1},
                         }),
                         [](const auto& row) { return row.param.why; });

TEST(Trial, TimesAreWrittenAsTheyAreRead) {
  for (const std::int64_t seconds : {1'798'761'600LL, 1'835'395'199LL, 951'782'400LL}) {
    EXPECT_EQ(read_time(time_text(seconds)), seconds) << time_text(seconds);
  }
}

}  // namespace
}  // namespace sallyport
