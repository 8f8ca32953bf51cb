// How diagnostics look: UX section 3, word for word where it can be.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "language/load.hpp"

namespace sallyport {
namespace {

std::string rendered(std::string_view text) { return render(load_policy(text, "policy.yaml").diagnostics, false); }

TEST(Render, IsABlockWithCaretCauseAndRepair) {
  EXPECT_EQ(rendered("version: 1\nrules:\n  - name: r\n    action: allow\n    domain: [api.openai.com]\n"),
            "error[P003]: unknown key `domain`\n"
            " --> policy.yaml:5:5\n"
            "5 |     domain: [api.openai.com]\n"
            "  |     ^^^^^^ did you mean `domains`?\n");
}

TEST(Render, AUrlIsSplitIntoKeys) {
  EXPECT_EQ(rendered("version: 1\n\n\n\n\n\n\nrules:\n  - name: r\n    action: allow\n    domains: "
                     "[\"https://api.example.com/v1\"]\n"),
            "error[P007]: expected a domain, found a URL\n"
            "  --> policy.yaml:11:16\n"
            "11 |     domains: [\"https://api.example.com/v1\"]\n"
            "   |                ^^^^^^^^ write domains: [api.example.com], ports: [443], paths: [/v1]\n"
            "   = of TLS nobody sees the path: on port 443 leave it out\n");
}

TEST(Render, ShowsBothRulesOfAShadow) {
  EXPECT_EQ(rendered("version: 1\nrules:\n  - name: wide\n    action: allow\n    domains: [.e.test]\n  - name: narrow\n"
                     "    action: allow\n    domains: [x.e.test]\n"),
            "error[P021]: rule `narrow` can never take effect\n"
            " --> policy.yaml:6:11\n"
            "6 |   - name: narrow\n"
            "  |           ^^^^^^ all it covers is decided before it by `wide`\n"
            "3 |   - name: wide\n"
            "  |           ^^^^ first here\n"
            "  = the first rule that matches decides: put the narrower rule first, or remove this one\n");
}

TEST(Render, BlocksAreSeparatedByABlankLine) {
  const std::string text = rendered("version: 1\nx: 1\ny: 1\n");
  EXPECT_NE(text.find("\n\nerror["), std::string::npos);
  EXPECT_TRUE(text.ends_with("\n") && !text.ends_with("\n\n"));
}

TEST(Render, NothingIsEmpty) { EXPECT_EQ(render({}, true), ""); }

TEST(Render, ColorIsOnlyWhereItIsAskedFor) {
  const Diagnostics diagnostics = load_policy("x: 1\n", "p").diagnostics;
  EXPECT_EQ(render(diagnostics, false).find('\x1b'), std::string::npos);
  EXPECT_NE(render(diagnostics, true).find("\x1b[1;31merror[P003]"), std::string::npos);
}

TEST(Render, WhatATerminalWouldActOnIsShown) {
  const LoadOutcome outcome = load_policy("version: 1\n\"\\x1b[2Jx\": 1\n", "p\x1b[31m.yaml");
  const std::string text = render(outcome.diagnostics, false);
  EXPECT_EQ(text.find('\x1b'), std::string::npos) << text;
  EXPECT_NE(text.find("`\\x1b[2Jx`"), std::string::npos) << text;
}

TEST(Render, ALongLineIsCutAroundTheCaret) {
  std::string list;
  for (int i = 0; i < 2000; ++i) list += "host" + std::to_string(i) + ".example, ";
  const LoadOutcome outcome =
      load_policy("version: 1\nrules:\n  - { name: r, action: deny, domains: [" + list + "\"bad..example\"] }\n", "p");
  ASSERT_EQ(outcome.diagnostics.size(), 1u);
  const std::string text = render(outcome.diagnostics, false);
  EXPECT_LT(text.size(), 500u);
  // The caret stands below the octet it means: the second dot.
  const std::size_t line = text.find("3 | ");
  const std::size_t carets = text.find("  | ", line + 4);
  const std::size_t caret = text.find('^', carets) - carets;
  EXPECT_EQ(text.substr(line + caret - 4, 10), "bad..examp") << text;
}

TEST(Render, CaretsCountCharactersNotOctets) {
  EXPECT_EQ(rendered("version: 1\nrules:\n  - { name: r, action: deny, domains: [b\xc3\xbc"
                     "cher.example, a..b] }\n"),
            "error[P008]: `a..b`: a label is empty\n"
            " --> policy.yaml:3:59\n"
            "3 |   - { name: r, action: deny, domains: [b\xc3\xbc"
            "cher.example, a..b] }\n"
            "  |                                                          ^ remove the extra dot\n");
}

TEST(RenderLine, IsPlaceValueExpectation) {
  const LoadOutcome outcome = load_policy(
      "version: 1\nrules:\n  - name: r\n    action: allow\n    domains: [a.example, b.example, \"*.co.uk\"]\n",
      "policy.yaml");
  ASSERT_EQ(outcome.diagnostics.size(), 1u);
  EXPECT_EQ(
      render_line(outcome.diagnostics[0]),
      "policy.yaml:5:38: domains[2] \"*.co.uk\" covers every registrant below a public suffix; name the organisation "
      "(*.example.co.uk), or set allow_public_suffix: true [P014]");
}

TEST(RenderGithub, EscapesWhatTheRunnerReads) {
  Diagnostic d;
  d.code = "P003";
  d.where = {"a,b:c%.yaml", 3, 7, 1, "x", 1};
  d.message = "50% of\nit: x";
  EXPECT_EQ(render_github(std::vector<Diagnostic>{d}),
            "::error file=a%2Cb%3Ac%25.yaml,line=3,col=7,title=P003::50%25 of\\x0ait: x\n");
}

TEST(RenderJson, CarriesEveryField) {
  const LoadOutcome outcome =
      load_policy("version: 1\nversion: 1\nrules: [{ name: r, action: allow, domains: [\"*.com\"] }]\n", "p");
  const auto json = nlohmann::json::parse(render_json(outcome.diagnostics));
  ASSERT_EQ(json.size(), 2u);
  EXPECT_EQ(json[0]["code"], "P012");
  EXPECT_EQ(json[0]["reason"], "policy_invalid");
  EXPECT_EQ(json[0]["related"][0]["line"], 1);
  EXPECT_EQ(json[1]["reason"], "pattern_too_broad");
  EXPECT_EQ(json[1]["path"], "rules[0].domains[0]");
  EXPECT_EQ(json[1]["severity"], "error");
  EXPECT_EQ(json[1]["column"], 46);
}

TEST(Codes, AreExplainedInOrderAndOnce) {
  std::string_view last;
  for (const CodeText& code : codes()) {
    EXPECT_LT(last, code.code);
    last = code.code;
    EXPECT_FALSE(code.title.empty());
    EXPECT_EQ(explain_code(code.code), code.text);
  }
  EXPECT_EQ(explain_code("P999"), "");
}

// CVE-2021-42574: what turns text around in an editor must not do it in the message either.
TEST(Render, HiddenCharactersAndBrokenOctetsAreShownAsWhatTheyAre) {
  for (const auto& [text, shown] : std::vector<std::pair<std::string, std::string>>{
           {"version: 1\n# \xe2\x80\xae gnp\n", "2 | # \\u202e gnp\n  |   ^^^^^^ remove it\n"},
           {"version: 1\n# \xff\n", "2 | # \\xff\n  |   ^^^^ save the file as UTF-8\n"},
           {"version: 1\n# \xc2\x9b[2J\n", "2 | # \\u009b[2J\n  |   ^^^^^^ remove it\n"}}) {
    EXPECT_THAT(render(load_policy(text, "p").diagnostics, false), testing::HasSubstr(shown));
  }
}

}  // namespace
}  // namespace sallyport
