// What other tools' configurations become, word for word, and that no format loses a name on the way.
#include "language/import/import.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <random>
#include <set>

#include "language/format/format_policy.hpp"
#include "language/lists/list_parser.hpp"
#include "language/load.hpp"
#include "names/pattern_set.hpp"

namespace sallyport {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

// The stack that docs/migrate.md is about: Squid with a whitelist, dnsmasq with the same names, more or less.
constexpr std::string_view kWhitelist =
    "# AI providers\n"
    "api.anthropic.com\n"
    "\n"
    "api.openai.com   # only for the old bot\n"
    ".pypi.org\n"
    "files.pythonhosted.org\n"
    ".crates.io\n"
    ".npmjs.org\n";
constexpr std::string_view kDnsmasq =
    "no-resolv\n"
    "# everything else\n"
    "address=/#/0.0.0.0\n"
    "\n"
    "# the assistant\n"
    "server=/api.anthropic.com/9.9.9.9\n"
    "server=/pypi.org/files.pythonhosted.org/9.9.9.9\n"
    "server=/crates.io/npmjs.org/9.9.9.9\n"
    "log-queries\n";
constexpr std::string_view kSquid =
    "http_port 3128\n"
    "acl localnet src 172.20.0.0/255.255.0.0  # the agents\n"
    "acl SSL_ports port 443\n"
    "acl Safe_ports port 80\n"
    "acl Safe_ports port 443 1025-65535\n"
    "acl allowed dstdomain \"/etc/squid/whitelist.txt\"\n"
    "acl bad dstdom_regex -i tracker\n"
    "http_access deny bad\n"
    "http_access deny !Safe_ports\n"
    "http_access deny CONNECT !SSL_ports\n"
    "http_access allow localhost manager\n"
    "http_access allow localnet allowed\n"
    "http_access deny all\n"
    "access_log stdio:/dev/stdout\n";

class Import : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = fs::canonical(fs::temp_directory_path()).string() + "/import_test.XXXXXX";
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    directory_ = pattern;
  }
  void TearDown() override { fs::remove_all(directory_); }

  std::string write(const std::string& name, std::string_view content) {
    const std::string path = directory_ + "/" + name;
    std::ofstream(path, std::ios::binary) << content;
    fs::permissions(path, fs::perms::owner_read | fs::perms::owner_write);
    return path;
  }

  Imported import(std::vector<ImportSource> sources) { return import_policy(sources, directory_ + "/policy.yaml"); }

  // As printed, with the directory taken off.
  std::string report(const Imported& imported) const {
    std::string text = import_report(imported, directory_ + "/policy.yaml");
    for (std::size_t at = text.find(directory_ + "/"); at != std::string::npos; at = text.find(directory_ + "/"))
      text.erase(at, directory_.size() + 1);
    return text;
  }

  // Checked as the file it will be.
  PolicyModel model(const Imported& imported) {
    EXPECT_EQ(imported.failure, "");
    EXPECT_FALSE(has_errors(imported.diagnostics)) << render(imported.diagnostics, false) << imported.policy;
    const LoadOutcome outcome = load_policy_file(write("policy.yaml", imported.policy));
    EXPECT_TRUE(outcome.ok()) << render(outcome.diagnostics, false) << imported.policy;
    EXPECT_EQ(format_policy(imported.policy, "policy.yaml").text, imported.policy);  // nothing for fmt to do
    return outcome.ok() ? *outcome.model : PolicyModel{};
  }

  std::string directory_;
};

std::vector<std::string> texts(const std::vector<Pattern>& patterns) {
  std::vector<std::string> all;
  for (const Pattern& pattern : patterns) all.push_back(pattern.text());
  return all;
}

// UX section 2, word for word.
TEST_F(Import, TheOldStackInOneCommand) {
  const Imported imported = import({{ImportKind::kSquid, write("whitelist.txt", kWhitelist)},
                                    {ImportKind::kDnsmasq, write("dnsmasq.conf", kDnsmasq)}});
  EXPECT_EQ(report(imported),
            "policy.yaml: 6 names. The two lists differ: api.openai.com is only in whitelist.txt:4 (kept)\n"
            "not carried over: dnsmasq.conf:9 `log-queries` (audit does this)\n");
  EXPECT_EQ(imported.policy,
            "version: 1\n"
            "default: deny\n"
            "rules:\n"
            "  - name: allowed\n"
            "    action: allow\n"
            "    domains:\n"
            "      # AI providers\n"
            "      # the assistant\n"
            "      - api.anthropic.com\n"
            "      - api.openai.com  # only for the old bot\n"
            "      - .pypi.org\n"
            "      - files.pythonhosted.org\n"
            "      - .crates.io\n"
            "      - .npmjs.org\n");
  EXPECT_EQ(model(imported).rules.size(), 1u);
}

TEST_F(Import, AWholeSquidConf) {
  write("whitelist.txt", kWhitelist);
  const Imported imported = import({{ImportKind::kSquid, write("squid.conf", kSquid)}});
  const PolicyModel policy = model(imported);
  ASSERT_EQ(policy.rules.size(), 1u);
  EXPECT_EQ(policy.default_action, Action::kDeny);
  EXPECT_EQ(policy.rules[0].name, "allowed");
  EXPECT_THAT(policy.rules[0].clients, ElementsAre("localnet"));
  ASSERT_EQ(policy.clients.size(), 1u);
  EXPECT_EQ(policy.clients[0].addresses[0].text(), "172.20.0.0/16");
  EXPECT_THAT(texts(policy.rules[0].domains), ElementsAre("api.anthropic.com", "api.openai.com", ".pypi.org",
                                                          "files.pythonhosted.org", ".crates.io", ".npmjs.org"));
  EXPECT_EQ(
      report(imported),
      "policy.yaml: 6 names\n"
      "not carried over: squid.conf:1 `http_port 3128` (listeners of gateway.yaml)\n"
      "not carried over: squid.conf:7 `acl bad dstdom_regex -i tracker` (a regular expression, which a list of names "
      "cannot hold)\n"
      "not carried over: squid.conf:8 `http_access deny bad` (acl `bad` (dstdom_regex) has no counterpart; what it "
      "denied may pass by a later rule)\n"
      "not carried over: squid.conf:11 `http_access allow localhost manager` (programs of the gateway's host do not "
      "go through it)\n"
      "not carried over: squid.conf:4 `port 1025-65535` (clear HTTP on them; write them into `ports` of the rule that "
      "needs one)\n"
      "not carried over: squid.conf:14 `access_log stdio:/dev/stdout` (audit does this)\n");
}

TEST_F(Import, SquidsOrderIsKept) {
  const PolicyModel policy = model(import({{ImportKind::kSquid, write("squid.conf",
                                                                      "acl ads dstdomain .ads.example.org\n"
                                                                      "acl site dstdomain .example.org\n"
                                                                      "acl lab dst 192.0.2.0/24\n"
                                                                      "http_access deny ads\n"
                                                                      "http_access allow site\n"
                                                                      "http_access allow lab\n"
                                                                      "http_access deny all\n")}}));
  ASSERT_EQ(policy.rules.size(), 3u);
  // A deny rule of names would stop the addresses here, which carry no name.
  EXPECT_EQ(policy.rules[0].addresses[0].text(), "192.0.2.0/24");
  EXPECT_EQ(policy.rules[1].action, Action::kDeny);
  EXPECT_THAT(texts(policy.rules[1].domains), ElementsAre(".ads.example.org"));
  EXPECT_THAT(texts(policy.rules[2].domains), ElementsAre(".example.org"));
}

TEST_F(Import, DenyNotNamesNarrowsWhatFollows) {
  const PolicyModel policy =
      model(import({{ImportKind::kSquid, write("squid.conf",
                                               "acl good dstdomain a.example.org .b.example.org\n"
                                               "acl net src 10.0.0.0/8\n"
                                               "http_access deny !good\n"
                                               "http_access allow net\n"
                                               "http_access deny all\n")}}));
  ASSERT_EQ(policy.rules.size(), 1u);
  EXPECT_THAT(policy.rules[0].clients, ElementsAre("net"));
  EXPECT_THAT(texts(policy.rules[0].domains), ElementsAre("a.example.org", ".b.example.org"));
}

TEST_F(Import, AConditionWithoutCounterpartLeavesTheLineOut) {
  const Imported imported = import({{ImportKind::kSquid, write("squid.conf",
                                                               "acl good dstdomain a.example.org\n"
                                                               "acl night time 00:00-06:00\n"
                                                               "acl users proxy_auth REQUIRED\n"
                                                               "http_access allow good night\n"
                                                               "http_access allow good !night\n"
                                                               "http_access allow users\n"
                                                               "http_access allow good\n")}});
  EXPECT_EQ(model(imported).rules.size(), 1u);
  EXPECT_THAT(report(imported), HasSubstr("squid.conf:4 `http_access allow good night` (acl `night` (time)"));
  EXPECT_THAT(report(imported), HasSubstr("squid.conf:5 `http_access allow good !night`"));
  EXPECT_THAT(report(imported), HasSubstr("squid.conf:6 `http_access allow users`"));
}

TEST_F(Import, EverythingIsAllowedOnlyIfTheSourceSaysSo) {
  EXPECT_EQ(model(import({{ImportKind::kSquid, write("squid.conf", "http_access allow all\n")}})).default_action,
            Action::kAllow);
  const Imported open = import({{ImportKind::kDnsmasq, write("d", "server=9.9.9.9\naddress=/ads.example.org/#\n")}});
  EXPECT_EQ(model(open).default_action, Action::kAllow);
  EXPECT_THAT(report(open), HasSubstr("default: allow, as d:1 `server=9.9.9.9` lets every name pass"));
  // With a list of what passes beside it that one decides.
  EXPECT_EQ(
      model(import({{ImportKind::kSquid, write("w", "a.example.org\n")}, {ImportKind::kDnsmasq, directory_ + "/d"}}))
          .default_action,
      Action::kDeny);
  const Imported blocked = import({{ImportKind::kHosts, write("h", "0.0.0.0 ads.example.org\n")}});
  EXPECT_EQ(model(blocked).default_action, Action::kDeny);
  EXPECT_THAT(report(blocked), HasSubstr("default: deny, since a block list does not say what may pass"));
}

TEST_F(Import, TheMostSpecificNameOfDnsmasqDecides) {
  const PolicyModel policy = model(import({{ImportKind::kDnsmasq, write("d",
                                                                        "address=/#/\n"
                                                                        "server=/example.org/9.9.9.9\n"
                                                                        "address=/ads.example.org/0.0.0.0\n"
                                                                        "server=/ok.ads.example.org/9.9.9.9\n")}}));
  ASSERT_EQ(policy.rules.size(), 3u);
  EXPECT_THAT(texts(policy.rules[0].domains), ElementsAre(".ok.ads.example.org"));
  EXPECT_THAT(texts(policy.rules[1].domains), ElementsAre(".ads.example.org"));
  EXPECT_EQ(policy.rules[1].action, Action::kDeny);
  EXPECT_THAT(texts(policy.rules[2].domains), ElementsAre(".example.org"));
}

TEST_F(Import, NamesWithAddressesKeepThem) {
  const PolicyModel policy =
      model(import({{ImportKind::kDnsmasq, write("d",
                                                 "address=/supervisor/172.20.0.5\n"
                                                 "host-record=db.example.org,172.20.0.6\n")},
                    {ImportKind::kHosts, write("h", "127.0.0.1 localhost\n172.20.0.7 cache\n")}}));
  ASSERT_EQ(policy.rules.size(), 3u);
  EXPECT_THAT(texts(policy.rules[0].domains), ElementsAre("supervisor"));
  EXPECT_EQ(policy.rules[0].resolves_to[0].text(), "172.20.0.5/32");
  EXPECT_THAT(texts(policy.rules[1].domains), ElementsAre("db.example.org"));
  EXPECT_THAT(texts(policy.rules[2].domains), ElementsAre("cache"));
}

TEST_F(Import, WhatIsTooBroadToBeAllowedIsLeftOut) {
  const Imported imported = import({{ImportKind::kSquid, write("w", "a.example.org\n.com\n.github.io\nhost\n")}});
  EXPECT_THAT(texts(model(imported).rules[0].domains), ElementsAre("a.example.org"));
  EXPECT_THAT(report(imported), HasSubstr("not carried over: w:2 `.com` (anyone can register a name there"));
  EXPECT_THAT(report(imported), HasSubstr("not carried over: w:3 `.github.io` (shared by many tenants"));
  // To deny it is no mistake.
  EXPECT_THAT(texts(model(import({{ImportKind::kAdblock, write("b", "||zip^\n")}})).rules[0].domains),
              ElementsAre(".zip"));
}

TEST_F(Import, ARuleThatAnotherSourceMakesIdleGoes) {
  const Imported imported = import({{ImportKind::kSquid, write("w", "www.ads.example.org\n")},
                                    {ImportKind::kAdblock, write("b", "||ads.example.org^\n")}});
  EXPECT_EQ(model(imported).rules.size(), 1u);
  EXPECT_THAT(report(imported), HasSubstr("(all it covers is decided before it by `b`)"));
}

TEST_F(Import, ALargeListStaysInItsFile) {
  std::string list;
  for (int i = 0; i < 1001; ++i) list += "0.0.0.0 ad" + std::to_string(i) + ".example.org\n";
  const Imported imported = import({{ImportKind::kHosts, write("ads.hosts", list + "0.0.0.0 b..example.org\n")}});
  EXPECT_THAT(imported.policy, HasSubstr("lists:\n  ads: { file: ads.hosts, format: hosts, max_invalid: 1 }\n"));
  EXPECT_EQ(imported.names, 1001u);
  EXPECT_EQ(model(imported).rules[0].lists[0]->size(), 1001u);
  EXPECT_THAT(report(imported), HasSubstr("not carried over: ads.hosts:1002"));
}

TEST_F(Import, CommentsThatAPolicyRefusesAreCleaned) {
  const Imported imported = import({{ImportKind::kSquid, write("w",
                                                               "# a\x01"
                                                               "b \xff \xe2\x80\xae"
                                                               "c gr\xc3\xbc\xc3\x9f\n"
                                                               "a.example.org # \t!\n")}});
  EXPECT_THAT(imported.policy, HasSubstr("# a?b ? ?c gr\xc3\xbc\xc3\x9f\n"));
  EXPECT_EQ(model(imported).rules.size(), 1u);
}

TEST_F(Import, ThreeListsAreComparedByName) {
  EXPECT_THAT(report(import({{ImportKind::kSquid, write("w", "a.example.org\nb.example.org\n")},
                             {ImportKind::kDnsmasq, write("d", "address=/#/\nserver=/a.example.org/9.9.9.9\n")},
                             {ImportKind::kDomains, write("l", "a.example.org\nb.example.org\n")}})),
              StartsWith("policy.yaml: 2 names. The lists differ: b.example.org is in w:2, not in d (kept); "
                         "b.example.org is in l:2, not in d (kept)\n"));
  EXPECT_THAT(report(import({{ImportKind::kSquid, write("w", "a.example.org\n")},
                             {ImportKind::kDomains, write("l", "a.example.org\n")}})),
              StartsWith("policy.yaml: 1 name. The two lists agree\n"));
}

TEST_F(Import, AFileThatIsNotThereIsAFailure) {
  EXPECT_THAT(import({{ImportKind::kHosts, directory_ + "/none"}}).failure, HasSubstr("No such file"));
}

// Whatever the bytes, what is made is a policy.
TEST_F(Import, DamagedSourcesMakeAPolicyAllTheSame) {
  const std::string whole(kSquid);
  write("whitelist.txt", kWhitelist);
  std::mt19937 random(1);
  for (int i = 0; i < 200; ++i) {
    std::string squid(kSquid), dnsmasq(kDnsmasq);
    for (std::string* text : {&squid, &dnsmasq}) {
      for (int k = 0; k < 3; ++k) (*text)[random() % text->size()] = static_cast<char>(random());
    }
    const Imported imported = import(
        {{ImportKind::kSquid, write("squid.conf", squid)}, {ImportKind::kDnsmasq, write("dnsmasq.conf", dnsmasq)}});
    EXPECT_FALSE(has_errors(imported.diagnostics))
        << render(imported.diagnostics, false) << imported.policy << "case " << i;
  }
}

// Names, written in a format, and read again: all of them, as what the format can say.
std::string line_of(ListFormat format, const Pattern& pattern) {
  const std::string name(pattern.name.text());
  switch (format) {
    case ListFormat::kDomains:
      return pattern.text();
    case ListFormat::kHosts:
      return "0.0.0.0 " + name;
    case ListFormat::kAdblock:
      return pattern.kind == PatternKind::kBelow ? "||*." + name + "^" : "||" + name + "^";
    case ListFormat::kDnsmasq:
      return pattern.kind == PatternKind::kBelow ? "address=/*." + name + "/#" : "address=/" + name + "/#";
    case ListFormat::kSquid:
      return pattern.kind == PatternKind::kExact ? name : "." + name;
    case ListFormat::kRpz:
      return (pattern.kind == PatternKind::kBelow ? "*." : "") + name + " CNAME .";
  }
  return "";
}

PatternKind kind_of(ListFormat format, PatternKind kind) {
  switch (format) {
    case ListFormat::kHosts:
      return PatternKind::kExact;
    case ListFormat::kAdblock:
    case ListFormat::kDnsmasq:
      return kind == PatternKind::kExact ? PatternKind::kExactAndBelow : kind;
    case ListFormat::kSquid:
      return kind == PatternKind::kBelow ? PatternKind::kExactAndBelow : kind;
    case ListFormat::kRpz:
      return kind == PatternKind::kExactAndBelow ? PatternKind::kExact : kind;
    case ListFormat::kDomains:
      break;
  }
  return kind;
}

constexpr std::pair<ListFormat, ImportKind> kKinds[] = {
    {ListFormat::kDomains, ImportKind::kDomains}, {ListFormat::kHosts, ImportKind::kHosts},
    {ListFormat::kAdblock, ImportKind::kAdblock}, {ListFormat::kDnsmasq, ImportKind::kDnsmasq},
    {ListFormat::kSquid, ImportKind::kSquid},     {ListFormat::kRpz, ImportKind::kRpz}};

class RoundTrip : public Import, public testing::WithParamInterface<unsigned> {};

TEST_P(RoundTrip, NoFormatLosesAName) {  // GetParam(): seed
  for (const auto& [format, kind] : kKinds) {
    std::mt19937 random(GetParam());
    const std::size_t size = GetParam() % 10 == 9 ? 1500 : 1 + random() % 40;
    std::set<std::string> expected;
    std::string text = format == ListFormat::kRpz ? "$TTL 60\n@ SOA a. b. 1 2 3 4 5\n" : "";
    for (std::size_t i = 0; i < size; ++i) {
      std::string name = "n" + std::to_string(random() % 100000) + ".";
      for (unsigned labels = random() % 3; labels > 0; --labels) name += std::string(1 + random() % 20, 'a') + ".";
      const Pattern pattern{*DomainName::parse(name + "example.org"), static_cast<PatternKind>(random() % 3)};
      expected.insert(Pattern{pattern.name, kind_of(format, pattern.kind)}.text());
      text += line_of(format, pattern) + (random() % 4 == 0 ? "\r\n" : "\n");
    }
    const Imported imported = import({{kind, write("source", text)}});
    const PolicyModel policy = model(imported);
    std::set<std::string> found;
    for (const RuleModel& rule : policy.rules) {
      EXPECT_EQ(rule.action,
                kind == ImportKind::kDomains || kind == ImportKind::kSquid ? Action::kAllow : Action::kDeny);
      for (const Pattern& pattern : rule.domains) found.insert(pattern.text());
      for (const auto& list : rule.lists) {
        for (std::size_t i = 0; i < list->size(); ++i) found.insert(list->pattern(i).text());
      }
    }
    EXPECT_EQ(found, expected) << to_string(format) << " seed " << GetParam() << "\n" << imported.policy;
    EXPECT_THAT(report(imported), Not(HasSubstr("not carried over")));
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, RoundTrip, testing::Range(0u, 40u));

}  // namespace
}  // namespace sallyport
