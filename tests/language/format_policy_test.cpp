// The canonical form: what it looks like, and that for files of any style it is stable, complete and says the same.
#include "language/format/format_policy.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <random>

#include "engine/decide.hpp"
#include "language/load.hpp"

namespace sallyport {
namespace {

using testing::HasSubstr;

std::string formatted(std::string_view text) {
  const FormatOutcome outcome = format_policy(text, "policy.yaml");
  EXPECT_TRUE(outcome.text) << render(outcome.diagnostics, false);
  return outcome.text.value_or("");
}

struct Case {
  std::string why, text, canonical;
};

class Canonical : public testing::TestWithParam<Case> {};

TEST_P(Canonical, Form) {
  EXPECT_EQ(formatted(GetParam().text), GetParam().canonical);
  EXPECT_EQ(formatted(GetParam().canonical), GetParam().canonical);
}

INSTANTIATE_TEST_SUITE_P(
    Policies, Canonical,
    testing::ValuesIn<Case>({
        {"KeysInOrder", "rules:\n- action: allow\n  ports: [443]\n  domains: [a.example]\n  name: r\nversion: 1\n",
         "version: 1\nrules:\n  - name: r\n    action: allow\n    domains: [a.example]\n    ports: [443]\n"},
        {"QuotesWhereNeeded",
         "version: 1\nclients:\n  'a': { cells: ['b', \"c-*\", '*', 'true', \"1\", 'x.1'], credentials: ['a b', "
         "'it''s', '#x', "
         "\"\\u00e9\"] }\n",
         "version: 1\nclients:\n  a: { cells: [b, \"c-*\", \"*\", \"true\", \"1\", x.1], credentials: [a b, it's, "
         "\"#x\", "
         "é] }\n"},
        {"PortsAreNumbers",
         "version: 1\nrules:\n  - { name: r, action: allow, domains: [\"*.a.example\"], ports: [\"443\", '22/tcp', "
         "8000-8010] }\n",
         "version: 1\nrules:\n  - name: r\n    action: allow\n    domains: [\"*.a.example\"]\n    ports: [443, 22/tcp, "
         "8000-8010]\n"},
        {"BlockListsThatFitAreOneLine", "version: 1\nclients:\n  a:\n    cells:\n    - x\n    - z\n",
         "version: 1\nclients:\n  a: { cells: [x, z] }\n"},
        {"CarriageReturnsAndMarkGo", "\xef\xbb\xbf---\r\nversion: 1 # one\r\n\r\n\r\nrules: []\r\n",
         "version: 1  # one\n\nrules: []\n"},
        {"CommentsStay",
         "# file\n\nversion: 1   # v\n# of rules\nrules:   # beside\n\n    # of a\n\n    # of a too\n    - name: a   # "
         "name\n"
         "      action: deny\n      # at its foot\n    # - name: old\n    - name: b\n      action: allow\n      "
         "domains: [ # list\n        b.example, # first\n        # second\n        c.example ]\n      # ports: [1]\n# "
         "end\n",
         "# file\n\nversion: 1  # v\n# of rules\nrules:  # beside\n  # of a\n\n  # of a too\n  - name: a  # name\n"
         "    action: deny\n    # at its foot\n  # - name: old\n  - name: b\n    action: allow\n    domains:  # list\n"
         "      - b.example  # first\n      # second\n      - c.example\n    # ports: [1]\n# end\n"},
        {"AllOfTheLanguage",
         "version: 1\ntests:\n- {client: a, allow: 'https://a.example/'}\nrules:\n- ports: [80]\n  limits:\n    "
         "bandwidth: 10MB/s\n"
         "    requests: '600/m'\n  name: r\n  paths: ['/v1/*', /x]\n  methods:\n  - GET\n  action: allow\n  lists: "
         "[ads]\n"
         "  preset: [pypi]\n  mode: observe\nlists:\n  ads:\n    max_invalid: 3\n    format: hosts\n    file: "
         "lists/ads.txt\n"
         "until: 2027-01-01\nmode: observe\ninclude: [a.yaml]\n",
         "version: 1\ninclude: [a.yaml]\nmode: observe\nuntil: 2027-01-01\nlists:\n  ads: { file: lists/ads.txt, "
         "format: hosts, "
         "max_invalid: 3 }\nrules:\n  - name: r\n    mode: observe\n    action: allow\n    lists: [ads]\n    preset: "
         "[pypi]\n"
         "    ports: [80]\n    methods: [GET]\n    paths: [\"/v1/*\", /x]\n    limits: { requests: 600/m, bandwidth: "
         "10MB/s }\n"
         "tests:\n  - { allow: \"https://a.example/\", client: a }\n"},
        {"HeaderStaysOnTop", "# about\ndefault: deny\nversion: 1\n", "# about\nversion: 1\ndefault: deny\n"},
        {"AllRulesCommentedOut", "version: 1\nrules:\n  # - name: a\n  #   action: deny\n",
         "version: 1\nrules:\n  # - name: a\n  #   action: deny\n"},
        {"GroupsOfAList",
         "version: 1\nrules:\n  - name: a\n    action: deny\n    domains:\n      - a.example\n\n\n      - b.example\n",
         "version: 1\nrules:\n  - name: a\n    action: deny\n    domains:\n      - a.example\n\n      - b.example\n"},
        {"FlowRoot", "{version: 1, rules: [{name: a, action: deny}]}\n",
         "version: 1\nrules:\n  - name: a\n    action: deny\n"},
        {"FoldedText", "version: 1\nclients:\n  a: { credentials: [one\n    two] }\n",
         "version: 1\nclients:\n  a: { credentials: [one two] }\n"},
        {"HashInText", "version: 1\nclients:\n  a: { credentials: [a#b, 'c #d'] } # x#y\n",
         "version: 1\nclients:\n  a: { credentials: [a#b, \"c #d\"] }  # x#y\n"},
    }),
    [](const auto& row) { return row.param.why; });

TEST(Format, EveryKeyHasItsPlace) { EXPECT_THAT(keys_without_order(), testing::IsEmpty()); }

TEST(Format, LongListsAreBlocks) {
  std::string text = "version: 1\nrules:\n  - name: r\n    action: deny\n    domains: [a0.example";
  for (int i = 1; i < 20; ++i) text += ", a" + std::to_string(i) + ".example";
  const std::string out = formatted(text + "] # many\n");
  EXPECT_THAT(out, HasSubstr("    domains:  # many\n      - a0.example\n      - a1.example\n"));
  EXPECT_EQ(formatted(out), out);
}

struct Refused {
  std::string why, text, code;
};

class NotFormatted : public testing::TestWithParam<Refused> {};

TEST_P(NotFormatted, IsSaidWithItsPlace) {
  const FormatOutcome outcome = format_policy(GetParam().text, "policy.yaml");
  EXPECT_FALSE(outcome.text);
  ASSERT_FALSE(outcome.diagnostics.empty());
  EXPECT_EQ(outcome.diagnostics[0].code, GetParam().code) << outcome.diagnostics[0].message;
}

INSTANTIATE_TEST_SUITE_P(Policies, NotFormatted,
                         testing::ValuesIn<Refused>({
                             {"Syntax", "version: [1\n", "P002"},
                             {"Empty", "", "P006"},
                             {"UnknownKey", "version: 1\nrulse: []\n", "P003"},
                             {"Anchor", "version: 1\nclients: { a: &x { cells: [a] }, b: *x }\n", "P060"},
                             {"BlockScalar", "version: 1\nclients:\n  a:\n    cells:\n      - |\n        x\n", "P060"},
                             {"Directive", "%YAML 1.2\n---\nversion: 1\n", "P060"},
                             {"ComplexKey", "? version\n: 1\n", "P060"},
                         }),
                         [](const auto& row) { return row.param.why; });

// A policy in any style that YAML has: brackets or lines, any order of keys, comments and blank lines anywhere.
class RandomStyle {
 public:
  explicit RandomStyle(unsigned seed) : random_(seed) {}

  std::string run() {
    std::vector<std::string> keys = {"version: 1" + beside() + "\n"};
    if (chance(3)) keys.push_back("default: deny" + beside() + "\n");
    if (chance(2)) keys.push_back(clients());
    if (!chance(4)) keys.push_back(rules());
    std::shuffle(keys.begin(), keys.end(), random_);
    std::string out;
    for (const std::string& key : keys) out += around(0) + key;
    return out + around(0);
  }

 private:
  bool chance(unsigned one_in) { return random_() % one_in == 0; }
  std::string comment() { return "# c" + std::to_string(++comments_) + (chance(4) ? " - name: x # y" : ""); }
  std::string beside() { return chance(5) ? std::string(1 + random_() % 3, ' ') + comment() : ""; }
  std::string around(std::size_t columns) {
    std::string out;
    while (chance(4)) {
      if (chance(2)) {
        out += "\n";
      } else {
        out += std::string(chance(5) ? columns + 2 : columns, ' ') + comment() + "\n";
      }
    }
    return out;
  }

  std::string word(const std::string& stem) {
    const std::string text = stem + std::to_string(++words_);
    return chance(3) ? "\"" + text + "\"" : chance(3) ? "'" + text + "'" : text;
  }
  std::string name() { return word("n"); }
  std::string domain() {
    const std::string text = "d" + std::to_string(++words_) + ".example";
    return chance(4) ? "\"*." + text + "\"" : chance(4) ? "." + text : text;
  }

  std::string list(const std::vector<std::string>& texts, std::size_t columns) {
    std::string out;
    if (chance(3)) {
      out = beside() + "\n";
      for (const std::string& text : texts)
        out += around(columns + 2) + std::string(columns + 2, ' ') + "- " + text + beside() + "\n";
      return out + around(columns + 2);
    }
    out = " [";
    const bool lines = chance(3);
    for (std::size_t i = 0; i < texts.size(); ++i) {
      if (lines) out += beside() + "\n" + around(columns + 4) + std::string(columns + 4, ' ');
      out += texts[i] + (i + 1 < texts.size() ? ", " : "");
    }
    if (lines) out += beside() + "\n" + around(columns + 4) + std::string(columns + 2, ' ');
    return out + "]" + beside() + "\n";
  }

  std::string clients() {
    std::string out = "clients:" + beside() + "\n";
    for (unsigned i = 1 + random_() % 3; i > 0; --i) {
      out += around(2) + "  " + word("g");
      if (chance(2)) {
        out += ": { cells: [" + word("c") + ", " + word("c") + "]" + (chance(2) ? ", credentials: [u]" : "") + " }" +
               beside() + "\n";
      } else {
        out += ":" + beside() + "\n" + around(4) + "    cells:" + list({word("c"), word("c")}, 4);
      }
    }
    return out;
  }

  std::string rules() {
    std::string out = "rules:" + beside() + "\n";
    const std::size_t columns = chance(2) ? 0 : 2 * (1 + random_() % 2);
    for (unsigned i = 1 + random_() % 4; i > 0; --i) {
      std::vector<std::string> keys = {"name: " + name() + beside() + "\n", "action: allow" + beside() + "\n"};
      std::vector<std::string> domains;
      for (unsigned n = 1 + random_() % 12; n > 0; --n) domains.push_back(domain());
      keys.push_back("domains:" + list(domains, columns + 2));
      if (chance(2)) keys.push_back("ports:" + list({"443", "\"80\"", "8000-8010/tcp"}, columns + 2));
      if (chance(4)) keys.push_back("multi_tenant: true" + beside() + "\n");
      std::shuffle(keys.begin(), keys.end(), random_);
      out += around(columns) + std::string(columns, ' ') + "- " + keys[0];
      for (std::size_t k = 1; k < keys.size(); ++k)
        out += around(columns + 2) + std::string(columns + 2, ' ') + keys[k];
    }
    return out;
  }

  std::mt19937 random_;
  unsigned comments_ = 0, words_ = 0;
};

// Everything of a policy but where it was written.
std::vector<std::byte> meaning(std::string_view text) {
  LoadOutcome outcome = load_policy(text, "policy.yaml");
  EXPECT_TRUE(outcome.ok()) << render(outcome.diagnostics, false) << text;
  if (!outcome.ok()) return {};
  outcome.model->default_where = {};
  for (RuleModel& rule : outcome.model->rules) rule.where = {};
  return *compile(*outcome.model, 1);
}

class AnyStyle : public testing::TestWithParam<unsigned> {};

TEST_P(AnyStyle, IsFormattedOnceAndSaysTheSame) {  // GetParam(): seed
  const std::string text = RandomStyle(GetParam()).run();
  SCOPED_TRACE("seed " + std::to_string(GetParam()) + "\n" + text);
  const std::string once = formatted(text);
  if (once.empty()) return;
  EXPECT_EQ(formatted(once), once);
  EXPECT_EQ(meaning(once), meaning(text));
  EXPECT_EQ(std::count(once.begin(), once.end(), '#'), std::count(text.begin(), text.end(), '#'));
  EXPECT_THAT(once, testing::Not(HasSubstr("\n\n\n")));
  EXPECT_THAT(once, testing::Not(HasSubstr(" \n")));
  const std::size_t version = once.find("version: 1"), rules = once.find("\nrules:");
  EXPECT_LT(version, rules);
}

INSTANTIATE_TEST_SUITE_P(Seeds, AnyStyle, testing::Range(0u, 1000u));

TEST(Format, AHundredThousandLinesTakeMoments) {
  std::string text = "version: 1\nrules:\n  - action: deny\n    name: r\n    domains:\n";
  for (int i = 0; i < 100'000; ++i) text += "    - 'n" + std::to_string(i) + ".example' # " + std::to_string(i) + "\n";
  const std::string out = formatted(text);
  EXPECT_THAT(out, HasSubstr("\n      - n99999.example  # 99999\n"));
}

}  // namespace
}  // namespace sallyport
