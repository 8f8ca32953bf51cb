// The language as a whole: what is accepted, what it becomes, and that everything else is refused with its place.
#include "language/load.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "found.hpp"

namespace sallyport {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

constexpr std::string_view kWhole = R"(version: 1
default: deny
clients:
  agents: { addresses: [172.20.0.0/16, "2001:db8:1::/48"], cells: ["agent-*"] }
  build: { cells: [build] }
  ci: { addresses: [172.21.0.0/16], credentials: [ci-bot, "o'neil @ work"] }
rules:
  - name: ai-providers
    action: allow
    clients: [agents]
    domains: [API.anthropic.com., .pypi.org, "*.crates.io", "**.example.net", bücher.example]
    ports: [443, 8000-8010, 123/udp]
    tunnel: any
  - name: supervisor
    action: allow
    domains: [supervisor]
    resolves_to: [172.20.0.5]
    ports: ["8080"]
  - name: names-alone
    action: allow
    clients: [build, ci]
    domains: [github.com]
  - name: by-address
    action: allow
    addresses: [203.0.113.0/24, 169.254.169.254]
    allow_metadata: true
    ports: [5432/tcp]
  - name: last
    action: deny
    domains: [evil.example]
)";

TEST(Load, EveryKeyOfTheLanguageReachesTheModel) {
  const LoadOutcome outcome = load_policy(kWhole, "policy.yaml");
  ASSERT_TRUE(outcome.ok()) << render(outcome.diagnostics, false);
  EXPECT_THAT(outcome.diagnostics, IsEmpty()) << render(outcome.diagnostics, false);
  const PolicyModel& model = *outcome.model;
  EXPECT_EQ(model.source, "policy.yaml");
  EXPECT_EQ(model.default_action, Action::kDeny);
  EXPECT_EQ(model.default_where.line, 2u);
  ASSERT_THAT(model.clients, SizeIs(3));
  EXPECT_EQ(model.clients[0].name, "agents");  // the order of the file
  EXPECT_EQ(model.clients[0].addresses[1].text(), "2001:db8:1::/48");
  EXPECT_THAT(model.clients[1].cells, ElementsAre("build"));
  EXPECT_THAT(model.clients[2].credentials, ElementsAre("ci-bot", "o'neil @ work"));

  ASSERT_THAT(model.rules, SizeIs(5));
  const RuleModel& first = model.rules[0];
  EXPECT_EQ(first.action, Action::kAllow);
  EXPECT_EQ(first.where.line, 8u);
  EXPECT_EQ(first.where.column, 5u);
  EXPECT_THAT(first.clients, ElementsAre("agents"));
  std::vector<std::string> patterns;
  for (const Pattern& pattern : first.domains) patterns.push_back(pattern.text());
  EXPECT_THAT(patterns,
              ElementsAre("api.anthropic.com", ".pypi.org", "*.crates.io", "*.example.net", "xn--bcher-kva.example"));
  ASSERT_THAT(first.ports, SizeIs(3));
  EXPECT_EQ(first.ports[1].first, 8000);
  EXPECT_EQ(first.ports[1].last, 8010);
  EXPECT_EQ(first.ports[2].proto, kProtoUdp);
  EXPECT_TRUE(first.tunnel_any);
  EXPECT_EQ(model.rules[1].resolves_to[0].text(), "172.20.0.5/32");
  EXPECT_FALSE(model.rules[1].tunnel_any);

  const std::vector<PortRange>& web = model.rules[2].ports;  // names without ports: 80 and 443
  ASSERT_THAT(web, SizeIs(2));
  EXPECT_EQ(web[0].first, 80);
  EXPECT_EQ(web[1].last, 443);
  EXPECT_TRUE(model.rules[3].allow_metadata);
  EXPECT_THAT(model.rules[4].ports, IsEmpty());  // deny without ports: all
  EXPECT_EQ(model.rules[4].action, Action::kDeny);
}

TEST(Load, OwnAddressesAreHandedOn) {
  LoadOptions options;
  options.own_addresses = {*Address::parse("172.20.0.2")};
  const LoadOutcome outcome = load_policy("version: 1\n", "p", options);
  ASSERT_TRUE(outcome.ok());
  EXPECT_THAT(outcome.model->own_addresses, SizeIs(1));
}

struct EmptyCase {
  const char* why;
  const char* text;
  bool valid;
};
class EmptyPolicy : public testing::TestWithParam<EmptyCase> {};

// CFG-02: an empty allowlist denies all; what was never written is not one.
TEST_P(EmptyPolicy, DeniesEverythingOrIsRefused) {
  const LoadOutcome outcome = load_policy(GetParam().text, "p");
  EXPECT_EQ(outcome.ok(), GetParam().valid) << render(outcome.diagnostics, false);
  if (!outcome.ok()) {
    EXPECT_EQ(outcome.diagnostics[0].code, "P006");
    EXPECT_THAT(outcome.diagnostics[0].repair, HasSubstr("version: 1"));
    return;
  }
  EXPECT_EQ(outcome.model->default_action, Action::kDeny);
  EXPECT_THAT(outcome.model->rules, IsEmpty());
}
INSTANTIATE_TEST_SUITE_P(Texts, EmptyPolicy,
                         testing::ValuesIn<EmptyCase>({
                             {"VersionAlone", "version: 1\n", true},
                             {"NoRules", "version: 1\nrules: []\n", true},
                             {"RulesAllCommentedOut", "version: 1\nrules:\n  # - name: x\n", true},
                             {"ClientsAllCommentedOut", "version: 1\nclients:\nrules: []\n", true},
                             {"EmptyFile", "", false},
                             {"BlankLines", "\n\n", false},
                             {"CommentsAlone", "# nothing\n", false},
                             {"DocumentMarkAlone", "---\n", false},
                             {"NoVersion", "rules: []\n", false},
                             {"EmptyMapping", "{}\n", false},
                         }),
                         [](const auto& row) { return row.param.why; });

// One row a mistake: the policy, and everything that is said of it.
struct Mistake {
  const char* why;
  std::string text;
  std::vector<std::string> said;
};
class Mistakes : public testing::TestWithParam<Mistake> {};

TEST_P(Mistakes, AreAllReportedWithTheirPlace) {
  const LoadOutcome outcome = load_policy(GetParam().text, "p");
  EXPECT_EQ(found(outcome.diagnostics), GetParam().said) << render(outcome.diagnostics, false);
  EXPECT_EQ(outcome.ok(), !has_errors(outcome.diagnostics));
}

std::string rule(std::string_view keys) {
  return "version: 1\nrules:\n  - { name: r, action: allow, " + std::string(keys) + " }\n";
}

INSTANTIATE_TEST_SUITE_P(
    Policies, Mistakes,
    testing::ValuesIn<Mistake>({
        {"UnknownKey", "version: 1\nrulez: []\n", {"P003 2:1 unknown key `rulez`"}},
        {"UnknownKeysDoNotCascade",
         "version: 1\nrules:\n  - name: r\n    action: allow\n    domain: [a.example]\n",
         {"P003 5:5 unknown key `domain`"}},
        {"KeyOfALaterVersion",
         rule("domains: [a.example], headers: [x]"),
         {"P004 3:53 key `headers` is not supported by this version yet"}},
        {"LaterKeysAtTheTop",
         "version: 1\ninternal: {}\n",
         {"P004 2:1 key `internal` is not supported by this version yet"}},
        {"LaterKeysOfAClient",
         "version: 1\nclients:\n  ci: { limits: x }\n",
         {"P004 3:9 key `limits` is not supported by this version yet"}},
        // Trials.
        {"TrialWithoutEnd",
         "version: 1\nclients:\n  ci: { cells: [ci], mode: observe }\n",
         {"P045 3:28 a trial of client `ci` without an end"}},
        {"TrialOfThePolicyWithoutEnd",
         "version: 1\nmode: observe\n",
         {"P045 2:7 a trial of the whole policy without an end"}},
        {"EndWithoutTrial", "version: 1\nuntil: 2027-01-01\n", {"P045 2:1 `until` without `mode: observe`"}},
        {"EndOfNothing",
         "version: 1\nmode: enforce\nuntil: 2027-01-01\n",
         {"P045 3:1 `until` without `mode: observe`"}},
        {"EndThatIsNoDate",
         "version: 1\nmode: observe\nuntil: 2027-02-30\n",
         {"P045 3:8 `2027-02-30` is no date and no time"}},
        {"ModeUnknown", "version: 1\nmode: observed\n", {"P017 2:7 unknown mode `observed`"}},
        {"RuleHasNoEnd",
         rule("domains: [a.example], mode: observe, until: 2027-01-01"),
         {"P004 3:68 key `until` is not supported by this version yet"}},
        // Requests.
        {"MethodInLowerCase",
         rule("domains: [a.example], ports: [80], methods: [get]"),
         {"P047 3:76 `get` is no HTTP method"}},
        {"MethodMisspelt",
         rule("domains: [a.example], ports: [80], methods: [DELTE]"),
         {"P047 3:76 `DELTE` is no HTTP method"}},
        {"MethodsEmptyList", rule("domains: [a.example], ports: [80], methods: []"), {"P019 3:75 an empty list"}},
        {"PathsEmptyList", rule("domains: [a.example], ports: [80], paths: []"), {"P019 3:73 an empty list"}},
        {"PathWithoutSlash",
         rule("domains: [a.example], ports: [80], paths: [v1]"),
         {"P048 3:74 `v1` is no path: a path that does not start with `/`"}},
        {"PathWithQuery",
         rule("domains: [a.example], ports: [80], paths: [\"/v1?x=1\"]"),
         {"P048 3:78 a path is compared without its query"}},
        {"PathWithDots",
         rule("domains: [a.example], ports: [80], paths: [/a/../b]"),
         {"P048 3:79 `/a/../b` is no path: a dot segment"}},
        {"PathIsAUrl",
         rule("domains: [a.example], ports: [80], paths: [\"http://a.example/b\"]"),
         {"P048 3:75 expected a path, found a URL"}},
        {"PathsInsideTls",
         rule("domains: [a.example], ports: [443], paths: [/v1]"),
         {"P021 3:67 this rule can never take effect"}},
        {"PathsPartlyInsideTls",
         rule("domains: [a.example], paths: [/v1]"),
         {"P049 3:53 `r` allows nothing on 443, where nobody sees its paths"}},
        {"PathsOfADenyRule",
         "version: 1\nrules:\n  - { name: r, action: deny, domains: [a.example], paths: [/x] }\n",
         {"P049 3:52 `r` denies every connection that is no clear HTTP, since nobody sees its paths"}},
        {"PathsInAnyTunnel",
         rule("domains: [a.example], ports: [80], paths: [/x], tunnel: any"),
         {"P020 3:79 `tunnel: any` lets bytes pass that nobody reads, and the rule asks for requests"}},
        {"Inspection", rule("domains: [a.example], inspect: true"), {"P030 3:53 no plugin offers inspection of TLS"}},
        {"NoInspection", rule("domains: [a.example], inspect: false"), {}},
        {"MethodsOfAddresses",
         rule("addresses: [192.88.100.1], ports: [80], methods: [GET]"),
         {"P020 3:71 requests are read of destinations with a name, and this rule allows addresses"}},
        // Presets.
        {"PresetUnknown", rule("preset: [pypy]"), {"P029 3:40 unknown preset `pypy`"}},
        {"PresetEmptyList", rule("preset: []"), {"P019 3:39 an empty list"}},
        {"PresetAlone", rule("preset: [pypi]"), {}},
        {"PresetShadowed",
         "version: 1\nrules:\n  - { name: a, action: allow, preset: [pypi, npm] }\n  - { name: b, action: allow, "
         "preset: "
         "[npm] }\n",
         {"P021 4:13 rule `b` can never take effect"}},
        // Rules on trial decide nothing, so they stand in nobody's way.
        {"NothingBehindATrialIsDead",
         "version: 1\nrules:\n  - { name: a, action: deny, domains: [.a.example], mode: observe }\n  - { name: b, "
         "action: "
         "allow, domains: [x.a.example] }\n",
         {}},
        {"NothingBehindARuleOfPathsIsDead",
         "version: 1\nrules:\n  - { name: a, action: allow, domains: [.a.example], ports: [80], paths: [/x] }\n  - { "
         "name: "
         "b, action: allow, domains: [x.a.example], ports: [80] }\n",
         {}},
        // Tests.
        {"TestFails",
         "version: 1\ntests:\n  - { allow: \"https://a.example/\" }\n",
         {"P028 3:15 this test fails: `https://a.example/` must be allowed"}},
        {"TestPasses", "version: 1\ntests:\n  - { deny: \"https://a.example/\" }\n", {}},
        {"TestOfNothing", "version: 1\ntests:\n  - { client: x }\n", {"P050 3:5 a test without `allow` or `deny`"}},
        {"TestOfBoth",
         "version: 1\ntests:\n  - { allow: a.example, deny: a.example }\n",
         {"P050 3:25 a test of both `allow` and `deny`"}},
        {"TestOfAPattern",
         "version: 1\ntests:\n  - { deny: \"*.a.example\" }\n",
         {"P050 3:14 `*.a.example` is no destination"}},
        {"TestOfAnUnknownClient",
         "version: 1\ntests:\n  - { deny: a.example, client: x }\n",
         {"P016 3:32 unknown client `x`"}},
        {"TestMethod",
         "version: 1\ntests:\n  - { deny: a.example, method: get }\n",
         {"P047 3:32 `get` is no HTTP method"}},
        {"TestResolved", "version: 1\ntests:\n  - { deny: a.example, resolved: x }\n", {"P010 3:34 `x` is no address"}},
        {"IncludeWithoutAFile",
         "version: 1\ninclude: [a.yaml]\n",
         {"P027 2:11 a policy that is no file cannot include `a.yaml`"}},
        {"LimitsOfADenyRule",
         "version: 1\nrules:\n  - { name: r, action: deny, domains: [a.example], limits: { requests: 600/m } }\n",
         {"P020 3:52 `limits` means nothing on a deny rule"}},
        {"LimitsWithoutOne", rule("domains: [a.example], limits: {}"), {"P019 3:53 `limits` without a limit"}},
        {"LimitsOfAnotherKind",
         rule("domains: [a.example], limits: 600/m"),
         {"P005 3:61 expected a mapping with keys such as requests, connections, bandwidth, found `600/m`"}},
        {"ALimitWithAnotherName",
         rule("domains: [a.example], limits: { rps: 600/m }"),
         {"P003 3:63 unknown key `rps`"}},
        {"ALimitOfAnotherType",
         rule("domains: [a.example], limits: { requests: [600/m], connections: many }"),
         {"P005 3:73 expected a single value, found a list", "P005 3:95 expected a number, found `many`"}},
        {"LimitsOfNothing",
         rule("domains: [a.example], limits: { requests: 0/m, connections: 0, bandwidth: 0B/s, upload: \"\" }"),
         {"P057 3:73 `0/m` allows nothing", "P057 3:91 `0` allows nothing", "P057 3:105 `0B/s` allows nothing",
          "P056 3:119 `` is no limit"}},
        {"LimitsBeyondCounting",
         rule("domains: [a.example], limits: { requests: 99999999999999999999/s, connections: 50001, bandwidth: 2TB/s, "
              "download: 5TB/day }"),
         {"P057 3:73 `99999999999999999999/s` is more than can be counted",
          "P057 3:110 50001 connections are more than can be counted", "P057 3:128 `2TB/s` is more than can be counted",
          "P057 3:145 `5TB/day` is more than can be counted"}},
        {"LimitsOfUdp",
         rule("domains: [a.example], ports: [443, 443/udp], limits: { requests: 600/m }"),
         {"P058 3:76 limits cannot be kept for UDP: the kernel forwards it, and counts for nobody"}},
        // Limits behind requests.
        {"LimitsBehindRequestsOfSameName",
         "version: 1\nrules:\n  - { name: e, action: allow, domains: [a.example], ports: [80], paths: [/free] }\n  - { "
         "name: l, action: allow, domains: [a.example], ports: [80], paths: [/scarce], limits: { requests: 2/h } }\n",
         {"P063 4:84 requests by this rule may come on a connection that `e` is charged for"}},
        {"LimitsBehindRequestsOfOneNameBelow",
         "version: 1\nrules:\n  - { name: e, action: allow, domains: [.a.example], ports: [80], paths: [/free] }\n  - "
         "{ name: l, action: allow, domains: [x.a.example], ports: [80], paths: [/scarce], limits: { requests: 2/h } "
         "}\n",
         {"P063 4:86 requests by this rule may come on a connection that `e` is charged for"}},
        {"LimitsBehindRequestsOfOnePort",
         "version: 1\nrules:\n  - { name: e, action: allow, domains: [a.example], ports: [79-81], paths: [/free] }\n  "
         "- { name: l, action: allow, domains: [a.example], ports: [80], paths: [/scarce], limits: { requests: 2/h } "
         "}\n",
         {"P063 4:84 requests by this rule may come on a connection that `e` is charged for"}},
        {"LimitsBehindRequestsOfOtherName",
         "version: 1\nrules:\n  - { name: e, action: allow, domains: [b.example], ports: [80], paths: [/free] }\n  - { "
         "name: l, action: allow, domains: [a.example], ports: [80], paths: [/scarce], limits: { requests: 2/h } }\n",
         {}},
        {"LimitsBehindRequestsOfOtherPort",
         "version: 1\nrules:\n  - { name: e, action: allow, domains: [a.example], ports: [81], paths: [/free] }\n  - { "
         "name: l, action: allow, domains: [a.example], ports: [80], paths: [/scarce], limits: { requests: 2/h } }\n",
         {}},
        {"LimitsBeforeRequests",
         "version: 1\nrules:\n  - { name: l, action: allow, domains: [a.example], ports: [80], paths: [/scarce], "
         "limits: { requests: 2/h } }\n  - { name: e, action: allow, domains: [a.example], ports: [80], paths: [/free] "
         "}\n",
         {}},
        {"WrongLevel", "version: 1\ndomains: [a.example]\n", {"P003 2:1 unknown key `domains`"}},
        {"DuplicateKey", "version: 1\nversion: 1\n", {"P012 2:1 duplicate key `version`"}},
        {"DuplicateKeyOfARule",
         rule("domains: [a.example], domains: [b.example]"),
         {"P012 3:53 duplicate key `domains`"}},
        {"DuplicateClient",
         "version: 1\nclients:\n  a: { cells: [a] }\n  a: { cells: [b] }\nrules:\n  - { name: r, action: deny, "
         "clients: [a] }\n",
         {"P012 4:3 duplicate key `a`"}},
        {"VersionMissing", "default: deny\n", {"P006 1:1 `version` is missing"}},
        {"VersionOther", "version: 2\n", {"P023 1:10 version 2 is not known"}},
        {"VersionInWords", "version: one\n", {"P005 1:10 expected a number, found `one`"}},
        {"VersionQuoted", "version: \"1\"\n", {"P005 1:11 expected a number, found `1`"}},
        {"VersionNegative", "version: -1\n", {"P005 1:10 expected a number, found `-1`"}},
        {"DefaultMisspelt", "version: 1\ndefault: alow\n", {"P017 2:10 unknown default `alow`"}},
        {"DefaultInCapitals", "version: 1\ndefault: DENY\n", {"P017 2:10 unknown default `DENY`"}},
        {"DefaultUnspecified", "version: 1\ndefault: unspecified\n", {"P017 2:10 unknown default `unspecified`"}},
        {"DefaultNothing", "version: 1\ndefault:\n", {"P005 2:1 `default` has no value"}},
        {"NotAMapping",
         "- version\n",
         {"P005 1:1 expected a mapping with keys such as version, default, clients, found a list"}},
        {"AScalar",
         "deny\n",
         {"P005 1:1 expected a mapping with keys such as version, default, clients, found `deny`"}},
        {"RulesAMapping", "version: 1\nrules: { name: r }\n", {"P005 2:8 expected a list, found a mapping"}},
        {"RuleAWord",
         "version: 1\nrules: [r]\n",
         {"P005 2:9 expected a mapping with keys such as name, action, clients, found `r`"}},
        {"RuleEmpty", "version: 1\nrules: [{}]\n", {"P006 2:9 an empty rule"}},
        {"RuleNothing", "version: 1\nrules:\n  -\n", {"P005 4:1 an empty entry"}},
        {"DomainsAWord", rule("domains: a.example"), {"P005 3:40 expected a list, found `a.example`"}},
        {"DomainsNested", rule("domains: [[a.example]]"), {"P005 3:41 expected a single value, found a list"}},
        {"BooleanYes",
         rule("domains: [a.example], allow_metadata: yes"),
         {"P005 3:69 expected true or false, found `yes`"}},
        {"NameMissing",
         "version: 1\nrules:\n  - { action: deny, domains: [a.example] }\n",
         {"P006 3:5 a rule without `name`"}},
        {"ActionMissing",
         "version: 1\nrules:\n  - { name: r, domains: [a.example] }\n",
         {"P006 3:13 a rule without `action`"}},
        {"NameTwice",
         "version: 1\nrules:\n  - { name: r, action: deny, domains: [a.example] }\n  - { name: r, action: deny, "
         "domains: [b.example] }\n",
         {"P013 4:13 two rules are named `r`"}},
        {"NameWithBlank",
         "version: 1\nrules:\n  - { name: my rule, action: deny, domains: [a.example] }\n",
         {"P025 3:13 `my rule` is no name for a rule"}},
        {"ClientUnknown", rule("clients: [agent], domains: [a.example]"), {"P016 3:41 unknown client `agent`"}},
        {"ClientOfNobody",
         "version: 1\nclients:\n  a: {}\nrules:\n  - { name: r, action: deny, clients: [a] }\n",
         {"P019 3:3 client `a` can never be anyone"}},
        {"CredentialsEmptyList",
         "version: 1\nclients:\n  a: { credentials: [] }\nrules:\n  - { name: r, action: deny, clients: [a] }\n",
         {"P019 3:21 an empty list"}},
        {"UserWithColon",
         "version: 1\nclients:\n  a: { credentials: [\"a:b\"] }\nrules:\n  - { name: r, action: deny, clients: [a] }\n",
         {"P025 3:23 `a:b` is no name of a user"}},
        {"UserEmpty",
         "version: 1\nclients:\n  a: { credentials: [\"\"] }\nrules:\n  - { name: r, action: deny, clients: [a] }\n",
         {"P025 3:22 `` is no name of a user"}},
        {"UserWithControlCharacter",
         "version: 1\nclients:\n  a: { credentials: [\"a\\tb\"] }\nrules:\n  - { name: r, action: deny, clients: [a] "
         "}\n",
         {"P025 3:22 `a\\x09b` is no name of a user"}},
        {"UserTooLong",
         "version: 1\nclients:\n  a: { credentials: [" + std::string(64, 'u') +
             "] }\nrules:\n  - { name: r, action: deny, clients: [a] }\n",
         {"P025 3:22 `" + std::string(64, 'u') + "` is no name of a user"}},
        {"ClientUnused", "version: 1\nclients:\n  a: { cells: [a] }\n", {"P040 3:3 no rule names the client `a`"}},
        {"CellName",
         "version: 1\nclients:\n  a: { cells: [\"a b\"] }\nrules:\n  - { name: r, action: deny, clients: [a] }\n",
         {"P025 3:17 `a b` is no name of a cell"}},
        // An empty list must not mean what leaving the key out means.
        {"ClientsEmptyList", rule("clients: [], domains: [a.example]"), {"P019 3:40 an empty list"}},
        {"DomainsEmptyList", rule("domains: [ ]"), {"P019 3:40 an empty list"}},
        {"PortsEmptyList", rule("domains: [a.example], ports: []"), {"P019 3:60 an empty list"}},
        {"ResolvesToEmptyList", rule("domains: [a.example], resolves_to: []"), {"P019 3:66 an empty list"}},
        {"AllowAnything", rule("ports: [443]"), {"P019 3:13 an allow rule without `domains`, `lists` or `addresses`"}},
        {"AddressesWithoutPorts",
         rule("addresses: [192.88.100.1]"),
         {"P019 3:31 an allow rule with addresses needs `ports`"}},
        {"ResolvesToWithoutDomains",
         rule("resolves_to: [10.0.0.1], ports: [1]"),
         {"P020 3:31 `resolves_to` without `domains`"}},
        {"TunnelOnDeny",
         "version: 1\nrules:\n  - { name: r, action: deny, domains: [a.example], tunnel: any }\n",
         {"P020 3:52 `tunnel` means nothing on a deny rule"}},
        {"TunnelUnknown", rule("domains: [a.example], tunnel: all"), {"P017 3:61 unknown tunnel `all`"}},
        {"SingleLabel",
         rule("domains: [supervisor]"),
         {"P018 3:41 the single label `supervisor` is never asked for outside"}},
        {"SingleLabelWithANetwork",
         rule("domains: [supervisor], resolves_to: [10.0.0.0/8]"),
         {"P018 3:41 the single label `supervisor` is never asked for outside"}},
        {"MetadataWithoutTheKey",
         rule("addresses: [169.254.169.254], ports: [80]"),
         {"P021 3:43 `169.254.169.254` can never be reached by this rule"}},
        {"MetadataResolvesTo",
         rule("domains: [m.example], resolves_to: [169.254.169.254]"),
         {"P021 3:67 `169.254.169.254` can never be reached by this rule"}},
        {"MetadataKeyWithoutMetadata",
         rule("domains: [a.example], allow_metadata: true"),
         {"P021 3:53 this key can never take effect"}},
        {"MetadataKeyAndAnotherAddress",
         rule("addresses: [192.88.100.1], ports: [80], allow_metadata: true"),
         {"P021 3:71 this key can never take effect"}},
        {"DomainTwice", rule("domains: [a.example, A.example.]"), {"P012 3:52 `A.example.` is listed twice"}},
        {"WideBlock",
         rule("addresses: [0.0.0.0/0], ports: [443]"),
         {"P041 3:43 `0.0.0.0/0` lifts the address guard for all it covers, private networks included"}},
        {"UdpInACell",
         "version: 1\nclients:\n  a: { cells: [\"a-*\"] }\nrules:\n  - { name: r, action: allow, clients: [a], "
         "domains: [a.example], ports: [53/udp] }\n",
         {"P022 5:75 UDP cannot leave a cell, and `a` is reached in cells alone"}},
        {"UdpAtAGate",
         "version: 1\nclients:\n  a: { cells: [\"a-*\"], addresses: [10.0.0.0/8] }\nrules:\n  - { name: r, action: "
         "allow, clients: [a], domains: [a.example], ports: [53/udp] }\n",
         {}},
        {"AllAtOnce",
         "version: 1\ndefault: maybe\nclients: { a: { addresses: [10.0.0.1/8] } }\nrules:\n  - { name: r, action: "
         "allow, domains: [\"*.co.uk\"], ports: [0] }\n",
         {"P017 2:10 unknown default `maybe`", "P009 3:29 `10.0.0.1/8` has host bits set",
          "P014 5:42 `*.co.uk` covers every registrant below a public suffix", "P011 5:61 `0` is out of range"}},
    }),
    [](const auto& row) { return row.param.why; });

TEST(Load, TooManyClientsAreNamedWithTheirNumber) {
  std::string text = "version: 1\nclients:\n";
  std::string rules = "rules:\n";
  for (int i = 0; i < 65; ++i) {
    const std::string name = "c" + std::to_string(i);
    text += "  " + name + ": { cells: [" + name + "] }\n";
    rules += "  - { name: r" + std::to_string(i) + ", action: deny, clients: [" + name + "] }\n";
  }
  const LoadOutcome outcome = load_policy(text + rules, "p");
  EXPECT_THAT(found(outcome.diagnostics), ElementsAre("P024 67:3 65 clients; at most 64 are possible"));
}

TEST(Load, OnlyTheFirstThousandErrorsAreListedAndTheRestCounted) {
  std::string text = "version: 1\n";
  for (int i = 0; i < 1200; ++i) text += "unknown" + std::to_string(i) + ": 1\n";
  const LoadOutcome outcome = load_policy(text, "p");
  ASSERT_THAT(outcome.diagnostics, SizeIs(1001));
  EXPECT_EQ(outcome.diagnostics.back().message, "200 more are not shown");
  EXPECT_EQ(count_of(outcome.diagnostics, Severity::kError), 1200u);
  EXPECT_FALSE(outcome.ok());
}

TEST(Load, WarningsHoweverManyLeaveAPolicyValid) {
  std::string text = "version: 1\nrules:\n  - name: r\n    action: allow\n    domains:\n";
  for (int i = 0; i < 1201; ++i) text += "      - a.example\n";
  const LoadOutcome outcome = load_policy(text, "p");
  EXPECT_TRUE(outcome.ok());
  EXPECT_FALSE(has_errors(outcome.diagnostics));
  EXPECT_EQ(count_of(outcome.diagnostics, Severity::kWarning), 1200u);
}

struct Repair {
  const char* why;
  const char* text;
  const char* repair;
};
class Repairs : public testing::TestWithParam<Repair> {};

TEST_P(Repairs, SayWhatToWrite) {
  const LoadOutcome outcome = load_policy(GetParam().text, "p");
  ASSERT_FALSE(outcome.diagnostics.empty());
  EXPECT_EQ(outcome.diagnostics[0].repair, GetParam().repair) << render(outcome.diagnostics, false);
}
INSTANTIATE_TEST_SUITE_P(
    Values, Repairs,
    testing::ValuesIn<Repair>({
        {"VersionWithADot", "version: 1.0\n", "write 1"},
        {"VersionWithAV", "version: v1\n", "write 1"},
        {"VersionInWords", "version: one\n", "write a whole number, such as 1"},
        {"VersionQuoted", "version: \"1\"\n", "remove the quotes"},
        {"VersionNothing", "version:\n", "write a number, such as 1"},
        {"Yes", "version: 1\nrules: [{ name: r, action: deny, allow_metadata: yes }]\n", "write true"},
        {"Off", "version: 1\nrules: [{ name: r, action: deny, allow_metadata: Off }]\n", "write false"},
        {"TrueQuoted", "version: 1\nrules: [{ name: r, action: deny, allow_metadata: \"true\" }]\n",
         "remove the quotes"},
        {"YesQuoted", "version: 1\nrules: [{ name: r, action: deny, allow_metadata: \"yes\" }]\n", "write true"},
        {"NoBooleanAtAll", "version: 1\nrules: [{ name: r, action: deny, allow_metadata: maybe }]\n",
         "write true or false"},
        {"ActionNothing", "version: 1\nrules:\n  - name: r\n    action:\n", "write deny or allow"},
        {"NameNothing", "version: 1\nrules:\n  - name:\n    action: deny\n", "write one"},
        {"DefaultNothing", "version: 1\ndefault:\n", "write deny or allow, or remove the key"},
    }),
    [](const auto& row) { return row.param.why; });

TEST(Load, LargerThanTheLimitIsRefusedUnread) {
  const std::string text(kMaxPolicyOctets + 1, '#');
  EXPECT_THAT(codes_of(load_policy(text, "p").diagnostics), ElementsAre("P001"));
}

TEST(Load, TenThousandNamesWithOneBadEntryAreRefusedWhole) {  // CTL-04
  std::string text = "version: 1\nrules:\n  - name: r\n    action: allow\n    domains:\n";
  for (int i = 0; i < 10000; ++i) {
    text += i == 7777 ? std::string("      - bad..example\n") : "      - host" + std::to_string(i) + ".example\n";
  }
  const LoadOutcome outcome = load_policy(text, "p");
  EXPECT_FALSE(outcome.ok());
  EXPECT_THAT(found(outcome.diagnostics), ElementsAre("P008 7783:13 `bad..example`: a label is empty"));
}

}  // namespace
}  // namespace sallyport
