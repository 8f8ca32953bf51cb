// Rules without effect, by example: which are found, and which only look like it.
#include "language/effect.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "found.hpp"
#include "language/load.hpp"

namespace sallyport {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

struct Row {
  const char* why;
  const char* rules;  // each a flow mapping without its name: r1, r2, ... are added
  std::vector<std::string> said;
  const char* top = "";
};
class Effect : public testing::TestWithParam<Row> {};

TEST_P(Effect, IsJudged) {
  std::string text =
      "version: 1\nclients: { a: { cells: [a] }, b: { cells: [b] } }\n" + std::string(GetParam().top) + "rules:\n";
  int number = 0;
  std::string_view rest = GetParam().rules;
  while (!rest.empty()) {
    const std::size_t end = std::min(rest.find(';'), rest.size());
    text += "  - { name: r" + std::to_string(++number) + ", " + std::string(rest.substr(0, end)) + " }\n";
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  const LoadOutcome outcome = load_policy(text, "p");
  std::vector<std::string> said;
  for (const Diagnostic& d : outcome.diagnostics) {
    if (d.code == "P021" || d.code == "P042")
      said.push_back(d.message + "; " + d.repair);
    else
      EXPECT_EQ(d.code, "P040") << d.message;
  }
  EXPECT_EQ(said, GetParam().said) << render(outcome.diagnostics, false);
}

const std::vector<std::string> kSecondByFirst = {
    "rule `r2` can never take effect; all it covers is decided before it by `r1`"};

INSTANTIATE_TEST_SUITE_P(
    Policies, Effect,
    testing::ValuesIn<Row>({
        {"DenyBehindAllow",
         "action: allow, domains: [.e.test], ports: [443];action: deny, domains: [x.e.test], ports: [443]",
         kSecondByFirst},
        {"AllowBehindDeny", "action: deny, domains: [\"*.e.test\"];action: allow, domains: [x.e.test]", kSecondByFirst},
        {"SameActionToo", "action: allow, domains: [.e.test];action: allow, domains: [e.test]", kSecondByFirst},
        {"DenyOfEverything", "action: deny;action: allow, domains: [x.e.test]", kSecondByFirst},
        {"DenyOfEverythingForOthers",
         "action: deny, clients: [a];action: allow, clients: [b], domains: [x.e.test]",
         {}},
        {"ApexIsNotBelow", "action: deny, domains: [\"*.e.test\"];action: allow, domains: [e.test]", {}},
        {"BelowIsNotApex", "action: deny, domains: [e.test];action: allow, domains: [\"*.e.test\"]", {}},
        {"ApexAndBelowByTwoRules",
         "action: deny, domains: [e.test];action: deny, domains: [\"*.e.test\"];action: allow, domains: [.e.test]",
         {"rule `r3` can never take effect; all it covers is decided before it by `r1`, `r2`"}},
        {"TextSuffixIsNotWithin", "action: deny, domains: [.e.test];action: allow, domains: [xe.test]", {}},
        {"OtherPort",
         "action: allow, domains: [e.test], ports: [443];action: deny, domains: [e.test], ports: [80]",
         {}},
        {"OtherProtocol",
         "action: allow, domains: [e.test], ports: [443/udp];action: deny, domains: [e.test], ports: [443]",
         {}},
        {"DenyOfAllPortsIsWider",
         "action: allow, domains: [e.test], ports: [443];action: deny, domains: [e.test]",
         {"`e.test` is denied only in part: `r1` (p:4) lets it pass on 443; move rule `r2` above `r1`"}},
        {"RangeInside",
         "action: allow, domains: [e.test], ports: [8000-8010];action: deny, domains: [e.test], ports: [8005]",
         kSecondByFirst},
        {"RangesTogether",
         "action: allow, domains: [e.test], ports: [8006-8010, 8000-8005];action: deny, domains: [e.test], ports: "
         "[8004-8007]",
         kSecondByFirst},
        {"RangesWithAGap",
         "action: allow, domains: [e.test], ports: [8007-8010, 8000-8005];action: deny, domains: [e.test], ports: "
         "[8004-8007]",
         {"`e.test` is denied only in part: `r1` (p:4) lets it pass on 8004-8005 and 8007; move rule `r2` above `r1`"}},
        {"ClientsWithin",
         "action: deny, clients: [a, b], domains: [e.test];action: allow, clients: [b], domains: [e.test]",
         kSecondByFirst},
        {"ClientsOfAllBehindSome",
         "action: deny, clients: [a, b], domains: [e.test];action: allow, domains: [e.test]",
         {}},
        {"SomeBehindAll", "action: deny, domains: [e.test];action: allow, clients: [a], domains: [e.test]",
         kSecondByFirst},
        // The guard: an allow rule without resolves_to stands back where the address is not public.
        {"ResolvesToBehindPlainAllow",
         "action: allow, domains: [e.test];action: allow, domains: [e.test], resolves_to: [10.0.0.1]",
         {}},
        {"PublicResolvesToBehindPlainAllow",
         "action: allow, domains: [e.test];action: allow, domains: [e.test], resolves_to: [192.0.0.0/8, 8.8.8.8]",
         {}},
        {"PublicHostBehindPlainAllow",
         "action: allow, domains: [e.test];action: allow, domains: [e.test], resolves_to: [8.8.8.8]", kSecondByFirst},
        {"PlainBehindResolvesTo",
         "action: allow, domains: [e.test], resolves_to: [10.0.0.1];action: deny, domains: [e.test], ports: [80, 443]",
         {}},
        {"ResolvesToWithin",
         "action: allow, domains: [e.test], resolves_to: [10.0.0.0/8];action: deny, domains: [e.test], resolves_to: "
         "[10.0.0.1], ports: [80]",
         kSecondByFirst},
        {"DenyKeepsALaterLift",
         "action: allow, domains: [e.test];action: deny, domains: [e.test], ports: [443];action: allow, domains: "
         "[.test], resolves_to: [10.0.0.0/8], allow_public_suffix: true",
         {"`e.test` is denied only in part: `r1` (p:4) lets it pass on 443; move rule `r2` above `r1`"}},
        // Addresses.
        {"BlockWithin",
         "action: deny, addresses: [192.88.0.0/16];action: allow, addresses: [192.88.100.0/24], ports: [443]",
         kSecondByFirst},
        {"BlockAround",
         "action: deny, addresses: [192.88.100.0/24];action: allow, addresses: [192.88.0.0/16], ports: [443]",
         {}},
        {"OtherFamily",
         "action: deny, addresses: [0.0.0.0/0];action: allow, addresses: [\"2600::/16\"], ports: [443]",
         {}},
        {"NamesAreNotAddresses",
         "action: allow, addresses: [192.88.100.0/24], ports: [443];action: allow, domains: [e.test], ports: [443]",
         {}},
        {"AllowedAddressesBehindDeniedNames",
         "action: deny, domains: [e.test];action: allow, addresses: [192.88.100.0/24], ports: [443]", kSecondByFirst},
        {"DenyNamesOnAnotherPort",
         "action: deny, domains: [e.test], ports: [22];action: allow, addresses: [192.88.100.0/24], ports: [443]",
         {}},
        {"MetadataBehindItsNetwork",
         "action: allow, addresses: [169.254.0.0/16], ports: [80];action: allow, addresses: [169.254.169.254], ports: "
         "[80], allow_metadata: true",
         {}},
        {"DeniedNamesBehindAllowWithLaterAddresses",
         "action: allow, domains: [e.test], ports: [443];action: deny, domains: [e.test], ports: [443];action: allow, "
         "addresses: [192.88.100.0/24], ports: [443]",
         {"`e.test` is already allowed by `r1`; here it never takes effect: put the narrower rule first, or remove the "
          "entry",
          "rule `r3` can never take effect; all it covers is decided before it by `r2`"}},
        // What a deny rule does not stop, because it stands too low.
        {"NarrowDenyOnEveryPort",
         "action: allow, domains: [.e.test];action: deny, domains: [x.e.test]",
         {"`x.e.test` is denied only in part: `r1` (p:4) lets it pass on 80 and 443; move rule `r2` above `r1`"}},
        {"DenyFirst", "action: deny, domains: [x.e.test];action: allow, domains: [.e.test]", {}},
        {"DenyOfMoreThanTheAllow", "action: allow, domains: [x.e.test];action: deny, domains: [.e.test]", {}},
        {"DenyOfTheApexToo", "action: allow, domains: [\"*.e.test\"];action: deny, domains: [.e.test]", {}},
        {"DenyOnOtherPorts",
         "action: allow, domains: [.e.test], ports: [443];action: deny, domains: [x.e.test], ports: [22]",
         {}},
        {"AnExceptionForOneClient",
         "action: allow, clients: [a], domains: [.e.test];action: deny, domains: [x.e.test]",
         {}},
        {"AllowedForEveryClientOfTheDeny",
         "action: allow, clients: [a, b], domains: [.e.test];action: deny, clients: [b], domains: [x.e.test]",
         {"`x.e.test` is denied only in part: `r1` (p:4) lets it pass on 80 and 443; move rule `r2` above `r1`"}},
        {"AnExceptionForOneAddress",
         "action: allow, domains: [.e.test], resolves_to: [10.0.0.1];action: deny, domains: [x.e.test]",
         {}},
        {"DenyOfGuardedAddresses",
         "action: allow, domains: [.e.test];action: deny, domains: [x.e.test], resolves_to: [10.0.0.1]",
         {}},
        {"AnEarlierDenyTookOnePort",
         "action: deny, domains: [.e.test], ports: [443];action: allow, domains: [.e.test];action: deny, domains: "
         "[x.e.test]",
         {"`x.e.test` is denied only in part: `r2` (p:5) lets it pass on 80; move rule `r3` above `r2`"}},
        {"TwoAllowsInFront",
         "action: allow, domains: [.e.test], ports: [1-65535];action: allow, domains: [x.e.test], ports: "
         "[53/udp];action: deny, domains: [x.e.test]",
         {"`x.e.test` is denied only in part: `r1` (p:4) lets it pass on every TCP port, `r2` (p:5) lets it pass on "
          "53/udp; move rule `r3` above `r1` and `r2`"}},
        {"ManyNamesAreOneWarning",
         "action: allow, domains: [.e.test], ports: [443];action: deny, domains: [f.test, x.e.test, y.e.test, "
         "z.e.test]",
         {"`x.e.test` and 2 more are denied only in part: `r1` (p:4) lets it pass on 443; move rule `r2` above `r1`"}},
        {"BlockInAnAllowedBlock",
         "action: allow, addresses: [192.88.0.0/16], ports: [443];action: deny, addresses: [192.88.100.0/24]",
         {"`192.88.100.0/24` is denied only in part: `r1` (p:4) lets it pass on 443; move rule `r2` above `r1`"}},
        {"MetadataInAnAllowedBlock",  // which the allow rule does not mean
         "action: allow, addresses: [169.254.0.0/16], ports: [80];action: deny, addresses: [169.254.169.254]",
         {}},
        // A part of a rule.
        {"OneEntryContradicted",
         "action: deny, domains: [x.e.test];action: allow, domains: [x.e.test, y.e.test]",
         {"`x.e.test` is already denied by `r1`; here it never takes effect: put the narrower rule first, or remove "
          "the entry"}},
        {"OneEntrySaidAgain", "action: allow, domains: [x.e.test];action: allow, domains: [x.e.test, y.e.test]", {}},
        {"OneAddressContradicted",
         "action: deny, addresses: [192.88.100.1];action: allow, addresses: [192.88.100.1, 192.88.100.2], ports: [1]",
         {"`192.88.100.1/32` is already denied by `r1`; here it never takes effect: put the narrower rule first, or "
          "remove the entry"}},
        {"DefaultAllow", "action: deny, domains: [.e.test];action: deny, domains: [x.e.test]", kSecondByFirst,
         "default: allow\n"},
        {"DefaultAllowStopsLiterals",
         "action: allow, domains: [e.test], ports: [443];action: deny, domains: [e.test], ports: [443]",
         {"`e.test` is already allowed by `r1`; here it never takes effect: put the narrower rule first, or remove the "
          "entry"},
         "default: allow\n"},
    }),
    [](const auto& row) { return row.param.why; });

TEST(Effect, PointsAtBothRules) {
  const LoadOutcome outcome = load_policy(
      "version: 1\nrules:\n  - { name: wide, action: allow, domains: [.e.test] }\n  - { name: narrow, action: deny, "
      "domains: [x.e.test], ports: [80] }\n",
      "p");
  ASSERT_EQ(outcome.diagnostics.size(), 1u);
  const Diagnostic& d = outcome.diagnostics[0];
  EXPECT_EQ(d.where.line, 4u);
  ASSERT_EQ(d.related.size(), 1u);
  EXPECT_EQ(d.related[0].line, 3u);
  EXPECT_THAT(d.note, testing::HasSubstr("put the narrower rule first"));
}

TEST(Effect, ADenyRuleTooLowPointsAtBothLinesAndStaysValid) {
  const LoadOutcome outcome = load_policy(
      "version: 1\nrules:\n  - { name: site, action: allow, domains: [.e.test] }\n  - { name: www, action: deny, "
      "domains: [www.e.test] }\n",
      "policy.yaml");
  EXPECT_TRUE(outcome.ok());
  EXPECT_EQ(render(outcome.diagnostics, false),
            "warning[P042]: `www.e.test` is denied only in part: `site` (policy.yaml:3) lets it pass on 80 and 443\n"
            " --> policy.yaml:4:42\n"
            "4 |   - { name: www, action: deny, domains: [www.e.test] }\n"
            "  |                                          ^^^^^^^^^^ move rule `www` above `site`\n"
            "3 |   - { name: site, action: allow, domains: [.e.test] }\n"
            "  |             ^^^^ first here\n"
            "  = the first rule that matches decides\n");
}

TEST(Effect, PrefixesAreJudgedCarefully) {
  EXPECT_TRUE(is_surely_public(*Prefix::parse("8.8.8.0/24")));
  EXPECT_FALSE(is_surely_public(*Prefix::parse("10.0.0.1")));
  EXPECT_FALSE(is_surely_public(*Prefix::parse("8.0.0.0/8")));  // too many to look at
  EXPECT_TRUE(may_hold_metadata(*Prefix::parse("169.254.160.0/20")));
  EXPECT_FALSE(may_hold_metadata(*Prefix::parse("169.254.160.0/24")));
  EXPECT_TRUE(may_hold_metadata(*Prefix::parse("0.0.0.0/0")));
  EXPECT_TRUE(may_hold_metadata(*Prefix::parse("fd00:ec2::254")));
  EXPECT_FALSE(may_hold_metadata(*Prefix::parse("fd00:ec3::/120")));
}

}  // namespace
}  // namespace sallyport
