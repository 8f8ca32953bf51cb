// `lists` of a policy: what they say of their files and lines, and what rules with lists do. CFG-01, CFG-03.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "language/list_content.hpp"
#include "language/load.hpp"
#include "names/pattern_set.hpp"

namespace sallyport {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::StartsWith;

class PolicyLists : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = fs::canonical(fs::temp_directory_path()).string() + "/policy_lists_test.XXXXXX";
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    directory_ = pattern;
  }
  void TearDown() override { fs::remove_all(directory_); }

  std::string write(const std::string& name, const std::string& content, mode_t mode = 0644) {
    const std::string path = directory_ + "/" + name;
    fs::create_directories(fs::path(path).parent_path());
    std::ofstream(path, std::ios::binary) << content;
    EXPECT_EQ(::chmod(path.c_str(), mode), 0);
    return path;
  }

  // A policy of one list called `list` and one rule that uses it.
  LoadOutcome load(const std::string& format, const std::string& rule, const std::string& more = "") {
    return load_policy_file(write("policy.yaml", "version: 1\nlists:\n  list: { file: list.txt, format: " + format +
                                                     more + " }\nrules:\n  - { name: r, lists: [list], " + rule +
                                                     " }\n"));
  }

  // As printed, with the directory taken off.
  std::string rendered(const LoadOutcome& outcome) const {
    std::string text = render(outcome.diagnostics, false);
    for (std::size_t at = text.find(directory_ + "/"); at != std::string::npos; at = text.find(directory_ + "/"))
      text.erase(at, directory_.size() + 1);
    return text;
  }

  std::string directory_;
};

std::vector<std::string> codes(const LoadOutcome& outcome) {
  std::vector<std::string> all;
  for (const Diagnostic& d : outcome.diagnostics) all.emplace_back(d.code);
  return all;
}

std::vector<std::string> names(const LoadOutcome& outcome, std::size_t rule = 0) {
  std::vector<std::string> all;
  for (const auto& list : outcome.model->rules[rule].lists) {
    for (std::size_t i = 0; i < list->size(); ++i) all.push_back(list->pattern(i).text());
  }
  return all;
}

TEST_F(PolicyLists, NamesOfAListAreTheRules) {
  const std::string list = write("list.txt", "a.test\n*.b.test\n.c.test\na.test\n");
  const LoadOutcome outcome = load("domains", "action: allow");
  ASSERT_TRUE(outcome.ok()) << rendered(outcome);
  EXPECT_THAT(outcome.diagnostics, IsEmpty());
  EXPECT_THAT(names(outcome), ElementsAre("a.test", "*.b.test", ".c.test", "a.test"));
  EXPECT_EQ(outcome.model->rules[0].ports.size(), 2u);  // as for domains: 80 and 443
  EXPECT_THAT(outcome.files, ElementsAre(directory_ + "/policy.yaml", list));
}

// UX section 3, word for word.
TEST_F(PolicyLists, LinesNotUnderstood) {
  std::string list;
  for (int line = 1; line <= 148201; ++line) {
    list += line == 812 || line == 900 || line == 148201 ? "||ads.example^$third-party\n"
                                                         : "||ad" + std::to_string(line) + ".example^\n";
  }
  write("lists/ads.txt", list);
  const std::string policy =
      "version: 1\nlists:\n  ads: { file: lists/ads.txt, format: adblock }\nrules:\n  - { name: r, action: deny, "
      "lists: [ads] }\n";
  EXPECT_EQ(rendered(load_policy_file(write("policy.yaml", policy))),
            "error[P031]: list `ads`: 3 of 148201 lines not understood; a deny list with holes lets traffic through\n"
            "   --> lists/ads.txt:812:1\n"
            "812 | ||ads.example^$third-party\n"
            "    |               ^^^^^^^^^^^^ modifier has no meaning for a gateway; convert, or set max_invalid: 3\n");
}

TEST_F(PolicyLists, AnAllowListWithHolesRefuses) {
  write("list.txt", "a.test\nb..test\n");
  EXPECT_THAT(rendered(load("domains", "action: allow")),
              HasSubstr("1 of 2 lines not understood; an allow list with holes refuses what it was to let pass"));
}

TEST_F(PolicyLists, MaxInvalidAcceptsSoMany) {
  write("list.txt", "a.test\nb..test\nc test\n");
  EXPECT_THAT(codes(load("domains", "action: deny", ", max_invalid: 1")), ElementsAre("P031"));
  EXPECT_THAT(rendered(load("domains", "action: deny", ", max_invalid: 1")), HasSubstr("set max_invalid: 2"));
  const LoadOutcome outcome = load("domains", "action: deny", ", max_invalid: 2");
  ASSERT_TRUE(outcome.ok());
  EXPECT_THAT(names(outcome), ElementsAre("a.test"));
}

struct Refusal {
  std::string why, format, list, rule, code, message;
};

class RefusedLists : public PolicyLists, public testing::WithParamInterface<Refusal> {};

TEST_P(RefusedLists, SayWhy) {
  write("list.txt", GetParam().list);
  const LoadOutcome outcome = load(GetParam().format, GetParam().rule);
  EXPECT_FALSE(outcome.ok());
  EXPECT_THAT(codes(outcome), ElementsAre(GetParam().code));
  EXPECT_THAT(rendered(outcome), HasSubstr(GetParam().message));
}

INSTANTIATE_TEST_SUITE_P(
    Rows, RefusedLists,
    testing::ValuesIn<Refusal>({
        {"Nul", "domains", std::string("a.test\n\0\n", 9), "action: deny", "P031", "list.txt:2:1"},
        {"Everything", "domains", "a.test\n*\n", "action: deny", "P031", "covers every name"},
        {"TopLevel", "domains", "a.test\ncom\n*.co.uk\n", "action: allow", "P014", "`com` and 1 more cover public"},
        {"ManyTenants", "domains", "*.github.io\n", "action: allow", "P015", "`*.github.io` is shared"},
        {"SingleLabel", "domains", "db\n", "action: allow", "P018", "`db` is a single label"},
        {"AllowBlocks", "dnsmasq", "server=/a.test/9.9.9.9\naddress=/b.test/0.0.0.0\n", "action: allow", "P035",
         "1 entry says the opposite of the rule"},
        {"DenyPasses", "rpz", "a.test CNAME .\nb.test CNAME rpz-passthru.\n", "action: deny", "P035",
         "this lets pass `b.test`, and the rule would deny it"},
        {"NothingDenied", "hosts", "# none\n127.0.0.1 localhost\n", "action: deny", "P036", "has no names"},
    }),
    [](const auto& row) { return row.param.why; });

TEST_F(PolicyLists, KeysOfTheRuleAllowWhatIsBroad) {
  write("list.txt", "com\n");
  EXPECT_TRUE(load("domains", "action: allow, allow_public_suffix: true").ok());
  write("list.txt", "*.github.io\n");
  EXPECT_TRUE(load("domains", "action: allow, multi_tenant: true").ok());
  write("list.txt", "db\n");
  EXPECT_TRUE(load("domains", "action: allow, resolves_to: [10.0.0.1]").ok());
}

// A block list names top-level domains on purpose: docs/decisions/0056.
TEST_F(PolicyLists, ADenyListMayNamePublicSuffixes) {
  write("list.txt", "||zip^\n||github.io^\n||localhost^\n");
  const LoadOutcome outcome = load("adblock", "action: deny");
  ASSERT_TRUE(outcome.ok()) << rendered(outcome);
  EXPECT_THAT(names(outcome), ElementsAre(".zip", ".github.io", ".localhost"));
}

TEST_F(PolicyLists, AnEmptyAllowListAllowsNothing) {  // CFG-02
  write("list.txt", "");
  const LoadOutcome outcome = load("domains", "action: allow");
  ASSERT_TRUE(outcome.ok());
  EXPECT_THAT(codes(outcome), ElementsAre("P036"));
  EXPECT_TRUE(outcome.model->rules[0].lists_names());
}

TEST_F(PolicyLists, FilesAreTrustedAsThePolicyIs) {
  fs::remove(directory_ + "/list.txt");
  EXPECT_THAT(codes(load("domains", "action: deny")), ElementsAre("P032"));
  EXPECT_THAT(rendered(load("domains", "action: deny")), HasSubstr("does not exist"));
  write("list.txt", "a.test\n", 0666);
  EXPECT_THAT(rendered(load("domains", "action: deny")), HasSubstr("is writable by everyone"));
  fs::remove(directory_ + "/list.txt");
  fs::create_symlink(write("other.txt", "a.test\n"), directory_ + "/list.txt");
  EXPECT_THAT(rendered(load("domains", "action: deny")), HasSubstr("is a symbolic link"));
  fs::remove(directory_ + "/list.txt");
  fs::create_directory(directory_ + "/list.txt");
  const LoadOutcome outcome = load("domains", "action: deny");
  EXPECT_THAT(rendered(outcome), HasSubstr("is a directory"));
  EXPECT_THAT(outcome.files, ElementsAre(directory_ + "/policy.yaml", directory_ + "/list.txt"));  // to be watched
}

TEST_F(PolicyLists, AGigabyteIsRefusedByItsSize) {
  fs::resize_file(write("list.txt", ""), std::uintmax_t{1} << 30);  // sparse
  EXPECT_THAT(rendered(load("domains", "action: deny")), HasSubstr("1073741824 octets, more than 536870912"));
}

TEST_F(PolicyLists, AFileThatIsWrittenWhileItIsReadIsRefused) {
  const std::string path = write("list.txt", std::string(3 << 20, '\n') + "a.test\n");
  TrustedFile::Opened opened = TrustedFile::open(path, kMaxListOctets);
  ASSERT_TRUE(opened.file);
  bool first = true;
  const auto failure = opened.file->read([&](std::string_view) {
    if (!first) return;
    first = false;
    fs::last_write_time(path, fs::last_write_time(path) + std::chrono::seconds(1));  // of the same size
  });
  ASSERT_TRUE(failure);
  EXPECT_EQ(failure->kind, TrustFailure::Kind::kChanged);
}

TEST_F(PolicyLists, ACutOffFileIsWarnedAbout) {
  write("list.txt", "a.test\nb.te");
  EXPECT_THAT(codes(load("domains", "action: deny")), ElementsAre("P043"));
}

TEST_F(PolicyLists, KeysAreChecked) {
  const LoadOutcome outcome = load_policy_file(write("policy.yaml",
                                                     "version: 1\nlists:\n"
                                                     "  a: { format: hosts }\n"
                                                     "  b: { file: b.txt }\n"
                                                     "  c: { file: c.txt, format: bind }\n"
                                                     "  d: { file: d.txt, format: hosts, max_invalid: -1 }\n"
                                                     "  e e: { file: e.txt, format: hosts }\n"
                                                     "rules:\n"
                                                     "  - { name: r, action: deny, lists: [adz] }\n"
                                                     "  - { name: s, action: deny, lists: [] }\n"
                                                     "  - { name: t, action: deny, lists: [a, a] }\n"));
  EXPECT_THAT(codes(outcome), ElementsAre("P006", "P006", "P017", "P005", "P025", "P033", "P019", "P012"));
  EXPECT_THAT(rendered(outcome), HasSubstr("a list without `file`"));
  EXPECT_THAT(rendered(outcome), HasSubstr("a list without `format`"));
  EXPECT_THAT(rendered(outcome), HasSubstr("write domains, hosts, adblock, dnsmasq, squid or rpz"));
}

TEST_F(PolicyLists, UnknownAndUnusedLists) {
  write("list.txt", "a.test\n");
  const std::string lists = "version: 1\nlists:\n  ads: { file: list.txt, format: domains }\n";
  EXPECT_THAT(
      rendered(load_policy_file(write("policy.yaml", lists + "rules:\n  - { name: r, action: deny, lists: [add] }\n"))),
      HasSubstr("unknown list `add`\n --> policy.yaml:5:38\n5 |   - { name: r, action: deny, lists: [add] }\n"
                "  |                                      ^^^ did you mean `ads`?"));
  const LoadOutcome unused = load_policy_file(write("policy.yaml", lists));
  EXPECT_TRUE(unused.ok());
  EXPECT_THAT(codes(unused), ElementsAre("P034"));
}

TEST_F(PolicyLists, ATextThatIsNoFileOpensNone) {
  const LoadOutcome outcome = load_policy(
      "version: 1\nlists:\n  a: { file: /etc/hostname, format: domains }\nrules:\n  - { name: r, action: deny, lists: "
      "[a] }\n",
      "p");
  EXPECT_THAT(codes(outcome), ElementsAre("P032"));
  EXPECT_THAT(outcome.files, IsEmpty());
}

TEST_F(PolicyLists, AListReadOnceServesSeveralRules) {
  write("list.txt", "a.test\n");
  const LoadOutcome outcome =
      load_policy_file(write("policy.yaml",
                             "version: 1\nlists:\n  l: { file: list.txt, format: domains }\nrules:\n"
                             "  - { name: r, action: deny, lists: [l], ports: [80] }\n  - { name: s, action: deny, "
                             "lists: [l], ports: [443] }\n"));
  ASSERT_TRUE(outcome.ok());
  EXPECT_EQ(outcome.model->rules[0].lists[0], outcome.model->rules[1].lists[0]);
  EXPECT_EQ(outcome.files.size(), 2u);
}

// The first rule that matches decides, of names in lists too.
class RulesOfLists : public PolicyLists {
 protected:
  LoadOutcome rules(const std::string& rules) {
    write("ads.txt", "ad.test\n.tracker.test\n");
    write("few.txt", "www.tracker.test\n");
    return load_policy_file(write("policy.yaml",
                                  "version: 1\nlists:\n  ads: { file: ads.txt, format: domains }\n"
                                  "  few: { file: few.txt, format: domains }\nrules:\n" +
                                      rules));
  }
};

TEST_F(RulesOfLists, ANameThatAListDeniesFirst) {
  const LoadOutcome outcome = rules(
      "  - { name: ads, action: deny, lists: [ads] }\n"
      "  - { name: site, action: allow, domains: [ok.test, www.tracker.test] }\n"
      "  - { name: other, action: allow, lists: [few] , ports: [22], domains: [x.test] }\n");
  EXPECT_TRUE(outcome.ok()) << rendered(outcome);
  EXPECT_THAT(rendered(outcome), StartsWith("warning[P042]: `www.tracker.test` is already denied by `ads`"));
}

TEST_F(RulesOfLists, ARuleAllOfWhoseListIsDecidedBefore) {
  EXPECT_THAT(rendered(rules("  - { name: ads, action: deny, lists: [ads] }\n"
                             "  - { name: few, action: allow, lists: [few] }\n")),
              StartsWith("error[P021]: rule `few` can never take effect"));
  EXPECT_THAT(rendered(rules("  - { name: ads, action: deny, lists: [ads], ports: [443] }\n"
                             "  - { name: few, action: deny, lists: [few], ports: [443] }\n")),
              StartsWith("error[P021]: rule `few` can never take effect"));
  EXPECT_THAT(rendered(rules("  - { name: ads, action: deny, lists: [ads] }\n"
                             "  - { name: again, action: deny, lists: [ads], ports: [443] }\n"
                             "  - { name: few, action: allow, domains: [few.test], lists: [few] }\n")),
              StartsWith("error[P021]: rule `again` can never take effect"));
}

TEST_F(RulesOfLists, AListDeniedOnlyInPart) {
  const LoadOutcome outcome = rules(
      "  - { name: site, action: allow, domains: [.tracker.test, ad.test] }\n"
      "  - { name: ads, action: deny, lists: [ads, few] }\n");
  ASSERT_TRUE(outcome.ok()) << rendered(outcome);
  EXPECT_THAT(codes(outcome), ElementsAre("P042"));
  EXPECT_THAT(rendered(outcome), HasSubstr("`ad.test` and 2 more are denied only in part: `site`"));
}

TEST_F(RulesOfLists, APartOfAListIsNoReasonToWarn) {
  const LoadOutcome outcome = rules(
      "  - { name: ads, action: deny, lists: [ads], ports: [443] }\n"
      "  - { name: few, action: deny, lists: [few] }\n");
  EXPECT_THAT(outcome.diagnostics, IsEmpty()) << rendered(outcome);
}

}  // namespace
}  // namespace sallyport
