// The truth table of docs/matching.md, row by row, and the reasons.
#include <gtest/gtest.h>

#include <algorithm>
#include <optional>

#include "oracle.hpp"
#include "small_world.hpp"

namespace sallyport {
namespace {

using small_world::address;
using small_world::Compiled;
using small_world::name;
using small_world::pattern;
using small_world::prefix;

enum Sight { kKnown, kLater, kNever };

struct Seen {  // "" with kKnown is not used
  const char* name = "";
  Sight name_sight = kNever;
  const char* address = "";
  Sight address_sight = kNever;
  std::uint16_t port = 443;
  Sight port_sight = kKnown;
  std::uint64_t groups = 0;
};

// Keeps what the query points at.
class Asked {
 public:
  explicit Asked(const Seen& seen) {
    query.groups = seen.groups;
    query.port = seen.port;
    see(seen.name_sight, kKnowName);
    see(seen.address_sight, kKnowAddress);
    see(seen.port_sight, kKnowPort);
    if (seen.name_sight == kKnown) {
      name_ = name(seen.name);
      query.name = &*name_;
    }
    if (seen.address_sight == kKnown) {
      address_ = address(seen.address);
      query.address = &*address_;
    }
  }
  Asked(const Asked&) = delete;
  Asked& operator=(const Asked&) = delete;

  Query query;

 private:
  void see(Sight sight, std::uint32_t bit) {
    if (sight == kKnown) query.known |= bit;
    if (sight == kLater) query.deferred |= bit;
  }
  std::optional<DomainName> name_;
  std::optional<Address> address_;
};

RuleModel rule(Action action, std::vector<const char*> domains, std::vector<const char*> addresses = {},
               std::vector<PortRange> ports = {}, std::vector<const char*> resolves_to = {}) {
  RuleModel r;
  r.action = action;
  for (const char* d : domains) r.domains.push_back(pattern(d));
  for (const char* a : addresses) r.addresses.push_back(prefix(a));
  for (const char* a : resolves_to) r.resolves_to.push_back(prefix(a));
  r.ports = std::move(ports);
  return r;
}

constexpr PortRange kHttps = {443, 443, kProtoTcp};

PolicyModel policy_of(std::vector<RuleModel> rules, Action otherwise = Action::kDeny) {
  PolicyModel policy;
  policy.source = "test.yaml";
  policy.default_action = otherwise;
  policy.clients = {{"agents", {}, {}}, {"build", {}, {}}};
  policy.own_addresses = {address("8.8.4.4")};
  policy.rules = std::move(rules);
  return policy;
}

struct Row {
  const char* why;
  PolicyModel policy;
  Seen seen;
  Effect effect;
  Reason reason;
  std::uint32_t rule = 0;

  friend void PrintTo(const Row& row, std::ostream* out) { *out << small_world::text(row.policy); }
};

class Decide : public testing::TestWithParam<Row> {};

TEST_P(Decide, AsTheTableSays) {
  const Row& row = GetParam();
  const Compiled compiled(row.policy, 41);
  ASSERT_NE(compiled.snapshot, nullptr);
  Reader reader(compiled.snapshot);
  const Asked asked(row.seen);
  const Verdict verdict = reader.decide(asked.query);
  EXPECT_EQ(verdict.effect, row.effect);
  EXPECT_EQ(to_string(verdict.reason), to_string(row.reason));
  EXPECT_EQ(verdict.rule, row.rule);
  EXPECT_EQ(verdict.generation, 41u);
  const Verdict expected = oracle::decide(row.policy, asked.query, 41);
  EXPECT_EQ(verdict.effect, expected.effect);
  EXPECT_EQ(verdict.reason, expected.reason);
}

constexpr auto kAllow = Action::kAllow;
constexpr auto kDeny = Action::kDeny;
constexpr std::uint32_t kDefault = kNoRuleIndex;
constexpr const char* kPublic = "93.184.216.34";

INSTANTIATE_TEST_SUITE_P(
    Names, Decide,
    testing::ValuesIn(std::vector<Row>{
        {"EmptyPolicyDenies", policy_of({}), {"a.test", kKnown}, Effect::kDeny, Reason::kNoRule, kDefault},  // CFG-02
        {"AllowKnown", policy_of({rule(kAllow, {"a.test"})}), {"a.test", kKnown}, Effect::kAllow, Reason::kOk},
        {"AllowOther",
         policy_of({rule(kAllow, {"a.test"})}),
         {"b.test", kKnown},
         Effect::kDeny,
         Reason::kNoRule,
         kDefault},
        {"AllowTextSuffix",
         policy_of({rule(kAllow, {".cdn.test"})}),
         {"xcdn.test", kKnown},
         Effect::kDeny,
         Reason::kNoRule,
         kDefault},  // NAM-03
        {"AllowTextPrefix",
         policy_of({rule(kAllow, {"api.example.test"})}),
         {"api.example.test.evil.test", kKnown},
         Effect::kDeny,
         Reason::kNoRule,
         kDefault},  // NAM-03
        {"TrailingDotIsTheSame",
         policy_of({rule(kAllow, {"api.example.test"})}),
         {"api.example.test.", kKnown},
         Effect::kAllow,
         Reason::kOk},  // NAM-01
        {"BelowAtAnyDepth",
         policy_of({rule(kAllow, {"*.cdn.test"})}),
         {"a.b.cdn.test", kKnown},
         Effect::kAllow,
         Reason::kOk},  // NAM-04
        {"BelowIsNotTheApex",
         policy_of({rule(kAllow, {"*.cdn.test"})}),
         {"cdn.test", kKnown},
         Effect::kDeny,
         Reason::kNoRule,
         kDefault},  // NAM-03
        {"AllowDeferred", policy_of({rule(kAllow, {"a.test"})}), {"", kLater}, Effect::kContinue, Reason::kOk},
        {"AllowInvisible",
         policy_of({rule(kAllow, {"a.test"})}),
         {"", kNever, kPublic, kKnown},
         Effect::kDeny,
         Reason::kIpLiteralDenied,
         kDefault},
        {"DenyKnown",
         policy_of({rule(kDeny, {"a.test"})}, kAllow),
         {"a.test", kKnown},
         Effect::kDeny,
         Reason::kNameNotAllowed},
        {"DenyDeferredDoesNotStop",
         policy_of({rule(kDeny, {"a.test"})}, kAllow),
         {"", kLater},
         Effect::kContinue,
         Reason::kOk,
         kDefault},
        {"DenyInvisible",
         policy_of({rule(kDeny, {"a.test"})}, kAllow),
         {"", kNever, kPublic, kKnown},
         Effect::kDeny,
         Reason::kNameNotAllowed},
        {"MayDenyTurnsAllowIntoContinue",
         policy_of({rule(kDeny, {}, {"192.0.2.0/24"}), rule(kAllow, {"a.test"})}),
         {"a.test", kKnown, "", kLater},
         Effect::kContinue,
         Reason::kOk,
         1},
        {"FirstMatchDecides",
         policy_of({rule(kDeny, {"b.a.test"}), rule(kAllow, {".a.test"})}),
         {"b.a.test", kKnown},
         Effect::kDeny,
         Reason::kNameNotAllowed,
         0},
        {"FirstMatchDecidesTheOtherWay",
         policy_of({rule(kAllow, {".a.test"}), rule(kDeny, {"b.a.test"})}),
         {"b.a.test", kKnown},
         Effect::kAllow,
         Reason::kOk,
         0},
        {"ExactEntryBelowAWildcard",
         policy_of({rule(kAllow, {"*.a.test"}), rule(kDeny, {"b.a.test"})}),
         {"c.b.a.test", kKnown},
         Effect::kAllow,
         Reason::kOk,
         0},
    }),
    [](const auto& row) { return row.param.why; });

INSTANTIATE_TEST_SUITE_P(Addresses, Decide,
                         testing::ValuesIn(std::vector<Row>{
                             {"LiteralAllowed",
                              policy_of({rule(kAllow, {}, {"93.184.216.0/24"}, {kHttps})}),
                              {"", kNever, kPublic, kKnown},
                              Effect::kAllow,
                              Reason::kOk},  // ADR-04
                             {"LiteralOutside",
                              policy_of({rule(kAllow, {}, {"93.184.216.0/24"}, {kHttps})}),
                              {"", kNever, "93.184.217.1", kKnown},
                              Effect::kDeny,
                              Reason::kIpLiteralDenied,
                              kDefault},  // ADR-04
                             {"LiteralOtherPort",
                              policy_of({rule(kAllow, {}, {"93.184.216.0/24"}, {kHttps})}),
                              {"", kNever, kPublic, kKnown, 22},
                              Effect::kDeny,
                              Reason::kPortDenied,
                              kDefault},  // ADR-04
                             {"AddressRuleAdmitsNoKnownName",
                              policy_of({rule(kAllow, {}, {"93.184.216.0/24"})}),
                              {"a.test", kKnown, kPublic, kKnown},
                              Effect::kDeny,
                              Reason::kNoRule,
                              kDefault},
                             {"AddressRuleAdmitsNoDeferredName",
                              policy_of({rule(kAllow, {}, {"93.184.216.0/24"})}),
                              {"", kLater, kPublic, kKnown},
                              Effect::kDeny,
                              Reason::kNoRule,
                              kDefault},
                             {"AddressRuleCausesNoQuery",
                              policy_of({rule(kAllow, {}, {"0.0.0.0/0"})}),
                              {"a.test", kKnown, "", kLater},
                              Effect::kDeny,
                              Reason::kNoRule,
                              kDefault},  // design rule 5
                             {"LiteralDeferred",
                              policy_of({rule(kAllow, {}, {"93.184.216.0/24"})}),
                              {"", kNever, "", kLater},
                              Effect::kContinue,
                              Reason::kOk},
                             {"LiteralInvisible",
                              policy_of({rule(kAllow, {}, {"93.184.216.0/24"})}),
                              {"", kNever, "", kNever},
                              Effect::kDeny,
                              Reason::kNoRule,
                              kDefault},
                             {"DenyByAddressWhateverTheName",
                              policy_of({rule(kDeny, {}, {"93.184.216.0/24"}), rule(kAllow, {"a.test"})}),
                              {"a.test", kKnown, kPublic, kKnown},
                              Effect::kDeny,
                              Reason::kAddressDenied,
                              0},
                             {"DenyByAddressInvisible",
                              policy_of({rule(kDeny, {}, {"93.184.216.0/24"}), rule(kAllow, {"a.test"})}),
                              {"a.test", kKnown, "", kNever},
                              Effect::kDeny,
                              Reason::kAddressDenied,
                              0},
                             {"DenyEitherByName",
                              policy_of({rule(kDeny, {"a.test"}, {"192.0.2.0/24"})}, kAllow),
                              {"a.test", kKnown, kPublic, kKnown},
                              Effect::kDeny,
                              Reason::kNameNotAllowed,
                              0},
                             {"DenyEitherByAddress",
                              policy_of({rule(kDeny, {"a.test"}, {"93.184.216.0/24"})}, kAllow),
                              {"b.test", kKnown, kPublic, kKnown},
                              Effect::kDeny,
                              Reason::kAddressDenied,
                              0},
                             {"DenyAnywhereNamed",
                              policy_of({rule(kDeny, {})}, kAllow),
                              {"b.test", kKnown, kPublic, kKnown},
                              Effect::kDeny,
                              Reason::kNameNotAllowed,
                              0},
                             {"DenyAnywhereLiteral",
                              policy_of({rule(kDeny, {})}, kAllow),
                              {"", kNever, kPublic, kKnown},
                              Effect::kDeny,
                              Reason::kAddressDenied,
                              0},
                             {"OtherFamily",
                              policy_of({rule(kAllow, {}, {"::/0"})}),
                              {"", kNever, kPublic, kKnown},
                              Effect::kDeny,
                              Reason::kIpLiteralDenied,
                              kDefault},
                             {"WholeFamily",
                              policy_of({rule(kAllow, {}, {"0.0.0.0/0"})}),
                              {"", kNever, kPublic, kKnown},
                              Effect::kAllow,
                              Reason::kOk},
                         }),
                         [](const auto& row) { return row.param.why; });

INSTANTIATE_TEST_SUITE_P(ResolvesTo, Decide,
                         testing::ValuesIn(std::vector<Row>{
                             {"AllowInside",
                              policy_of({rule(kAllow, {"a.test"}, {}, {}, {"10.0.0.5/32"})}),
                              {"a.test", kKnown, "10.0.0.5", kKnown},
                              Effect::kAllow,
                              Reason::kOk},
                             {"AllowOutside",
                              policy_of({rule(kAllow, {"a.test"}, {}, {}, {"10.0.0.5/32"})}),
                              {"a.test", kKnown, kPublic, kKnown},
                              Effect::kDeny,
                              Reason::kNoRule,
                              kDefault},
                             {"AllowDeferred",
                              policy_of({rule(kAllow, {"a.test"}, {}, {}, {"10.0.0.5/32"})}),
                              {"a.test", kKnown, "", kLater},
                              Effect::kContinue,
                              Reason::kOk},
                             {"AllowInvisible",
                              policy_of({rule(kAllow, {"a.test"}, {}, {}, {"10.0.0.5/32"})}),
                              {"a.test", kKnown, "", kNever},
                              Effect::kDeny,
                              Reason::kNoRule,
                              kDefault},
                             {"LiteralIsNotTheName",
                              policy_of({rule(kAllow, {"a.test"}, {}, {}, {"10.0.0.5/32"})}),
                              {"", kNever, "10.0.0.5", kKnown},
                              Effect::kDeny,
                              Reason::kIpLiteralDenied,
                              kDefault},
                             {"DenyInside",
                              policy_of({rule(kDeny, {"a.test"}, {}, {}, {"93.184.216.0/24"})}, kAllow),
                              {"a.test", kKnown, kPublic, kKnown},
                              Effect::kDeny,
                              Reason::kNameNotAllowed,
                              0},
                             {"DenyOutside",
                              policy_of({rule(kDeny, {"a.test"}, {}, {}, {"192.0.2.0/24"})}, kAllow),
                              {"a.test", kKnown, kPublic, kKnown},
                              Effect::kAllow,
                              Reason::kOk,
                              kDefault},
                             {"DenyDeferred",
                              policy_of({rule(kDeny, {"a.test"}, {}, {}, {"192.0.2.0/24"})}, kAllow),
                              {"a.test", kKnown, "", kLater},
                              Effect::kContinue,
                              Reason::kOk,
                              kDefault},
                             {"DenyInvisible",
                              policy_of({rule(kDeny, {"a.test"}, {}, {}, {"192.0.2.0/24"})}, kAllow),
                              {"a.test", kKnown, "", kNever},
                              Effect::kDeny,
                              Reason::kNameNotAllowed,
                              0},
                         }),
                         [](const auto& row) { return row.param.why; });

INSTANTIATE_TEST_SUITE_P(Ports, Decide,
                         testing::ValuesIn(std::vector<Row>{
                             {"AllowOther",
                              policy_of({rule(kAllow, {"a.test"}, {}, {kHttps})}),
                              {"a.test", kKnown, "", kLater, 22},
                              Effect::kDeny,
                              Reason::kPortDenied,
                              kDefault},
                             {"AllowOtherProtocol",
                              policy_of({rule(kAllow, {"a.test"}, {}, {{443, 443, kProtoUdp}})}),
                              {"a.test", kKnown, "", kLater, 443},
                              Effect::kDeny,
                              Reason::kPortDenied,
                              kDefault},
                             {"AllowFirstOfRange",
                              policy_of({rule(kAllow, {"a.test"}, {}, {{8000, 8010, kProtoTcp}})}),
                              {"a.test", kKnown, "", kLater, 8000},
                              Effect::kAllow,
                              Reason::kOk},
                             {"AllowLastOfRange",
                              policy_of({rule(kAllow, {"a.test"}, {}, {{8000, 8010, kProtoTcp}})}),
                              {"a.test", kKnown, "", kLater, 8010},
                              Effect::kAllow,
                              Reason::kOk},
                             {"AllowBehindRange",
                              policy_of({rule(kAllow, {"a.test"}, {}, {{8000, 8010, kProtoTcp}})}),
                              {"a.test", kKnown, "", kLater, 8011},
                              Effect::kDeny,
                              Reason::kPortDenied,
                              kDefault},
                             {"AllowDeferred",
                              policy_of({rule(kAllow, {"a.test"}, {}, {kHttps})}),
                              {"a.test", kKnown, "", kLater, 0, kLater},
                              Effect::kContinue,
                              Reason::kOk},
                             {"AllowInvisible",
                              policy_of({rule(kAllow, {"a.test"}, {}, {kHttps})}),
                              {"a.test", kKnown, "", kLater, 443, kNever},
                              Effect::kDeny,
                              Reason::kPortDenied,
                              kDefault},
                             {"DenyOther",
                              policy_of({rule(kDeny, {"a.test"}, {}, {kHttps})}, kAllow),
                              {"a.test", kKnown, "", kLater, 22},
                              Effect::kAllow,
                              Reason::kOk,
                              kDefault},
                             {"DenyDeferred",
                              policy_of({rule(kDeny, {"a.test"}, {}, {kHttps})}, kAllow),
                              {"a.test", kKnown, "", kLater, 0, kLater},
                              Effect::kContinue,
                              Reason::kOk,
                              kDefault},
                             {"DenyInvisible",
                              policy_of({rule(kDeny, {"a.test"}, {}, {kHttps})}, kAllow),
                              {"a.test", kKnown, "", kLater, 22, kNever},
                              Effect::kDeny,
                              Reason::kNameNotAllowed,
                              0},
                             {"OtherNameIsNotAPortMatter",
                              policy_of({rule(kAllow, {"a.test"}, {}, {kHttps})}),
                              {"b.test", kKnown, "", kLater, 22},
                              Effect::kDeny,
                              Reason::kNoRule,
                              kDefault},
                         }),
                         [](const auto& row) { return row.param.why; });

RuleModel with_metadata(RuleModel r) {
  r.allow_metadata = true;
  return r;
}

RuleModel for_client(RuleModel r, const char* client) {
  r.clients.push_back(client);
  return r;
}

constexpr const char* kMetadataService = "169.254.169.254";

INSTANTIATE_TEST_SUITE_P(Guard, Decide,
                         testing::ValuesIn(std::vector<Row>{
                             {"NameAtPrivate",
                              policy_of({rule(kAllow, {"a.test"})}),
                              {"a.test", kKnown, "10.1.2.3", kKnown},
                              Effect::kDeny,
                              Reason::kAddrForbidden,
                              kDefault},
                             {"NameAtMapped",
                              policy_of({rule(kAllow, {"a.test"})}),
                              {"a.test", kKnown, "::ffff:93.184.216.34", kKnown},
                              Effect::kDeny,
                              Reason::kAddrForbidden,
                              kDefault},  // ADR-02
                             {"NameAtMappedMetadata",
                              policy_of({rule(kAllow, {"a.test"})}),
                              {"a.test", kKnown, "::ffff:169.254.169.254", kKnown},
                              Effect::kDeny,
                              Reason::kGuardMetadata,
                              kDefault},  // ADR-02
                             {"NameAtOwnAddress",
                              policy_of({rule(kAllow, {"a.test"})}),
                              {"a.test", kKnown, "8.8.4.4", kKnown},
                              Effect::kDeny,
                              Reason::kAddrForbidden,
                              kDefault},
                             {"OwnAddressByRule",
                              policy_of({rule(kAllow, {}, {"8.8.4.4/32"})}),
                              {"", kNever, "8.8.4.4", kKnown},
                              Effect::kAllow,
                              Reason::kOk},
                             {"PrivateByRule",
                              policy_of({rule(kAllow, {}, {"10.0.0.0/8"})}),
                              {"", kNever, "10.1.2.3", kKnown},
                              Effect::kAllow,
                              Reason::kOk},
                             {"MetadataNeedsMore",
                              policy_of({rule(kAllow, {}, {"169.254.169.254/32"})}),
                              {"", kNever, kMetadataService, kKnown},
                              Effect::kDeny,
                              Reason::kGuardMetadata,
                              kDefault},
                             {"MetadataWithMore",
                              policy_of({with_metadata(rule(kAllow, {}, {"169.254.169.254/32"}))}),
                              {"", kNever, kMetadataService, kKnown},
                              Effect::kAllow,
                              Reason::kOk},
                             {"MetadataKeyAloneLiftsNothing",
                              policy_of({with_metadata(rule(kAllow, {"a.test"}))}),
                              {"a.test", kKnown, kMetadataService, kKnown},
                              Effect::kDeny,
                              Reason::kGuardMetadata,
                              kDefault},
                             {"MetadataByName",
                              policy_of({with_metadata(rule(kAllow, {"a.test"}, {}, {}, {"169.254.169.254/32"}))}),
                              {"a.test", kKnown, kMetadataService, kKnown},
                              Effect::kAllow,
                              Reason::kOk},
                             {"DefaultAllowLiftsNothing",
                              policy_of({}, kAllow),
                              {"a.test", kKnown, "127.0.0.1", kKnown},
                              Effect::kDeny,
                              Reason::kAddrForbidden,
                              kDefault},
                             {"DefaultAllowLiftsNoMetadata",
                              policy_of({}, kAllow),
                              {"", kNever, kMetadataService, kKnown},
                              Effect::kDeny,
                              Reason::kGuardMetadata,
                              kDefault},
                             {"AnyDestinationLiftsNothing",
                              policy_of({rule(kAllow, {})}),
                              {"a.test", kKnown, "fd00::1", kKnown},
                              Effect::kDeny,
                              Reason::kAddrForbidden,
                              kDefault},
                             {"LaterRuleLifts",
                              policy_of({rule(kAllow, {".test"}), rule(kAllow, {"a.test"}, {}, {}, {"10.0.0.0/8"})}),
                              {"a.test", kKnown, "10.1.2.3", kKnown},
                              Effect::kAllow,
                              Reason::kOk,
                              1},
                             {"GuardOutranksADenyBehindIt",
                              policy_of({rule(kAllow, {"a.test"}), rule(kDeny, {})}),
                              {"a.test", kKnown, "10.1.2.3", kKnown},
                              Effect::kDeny,
                              Reason::kAddrForbidden,
                              1},
                             {"DenyBeforeTheGuard",
                              policy_of({rule(kDeny, {}), rule(kAllow, {"a.test"})}),
                              {"a.test", kKnown, "10.1.2.3", kKnown},
                              Effect::kDeny,
                              Reason::kNameNotAllowed,
                              0},
                             {"NothingWouldHaveAllowed",
                              policy_of({rule(kAllow, {"a.test"})}),
                              {"b.test", kKnown, "10.1.2.3", kKnown},
                              Effect::kDeny,
                              Reason::kNoRule,
                              kDefault},
                             {"AddressNotKnownYet",
                              policy_of({rule(kAllow, {"a.test"})}),
                              {"a.test", kKnown, "", kLater},
                              Effect::kAllow,
                              Reason::kOk},
                         }),
                         [](const auto& row) { return row.param.why; });

INSTANTIATE_TEST_SUITE_P(Clients, Decide,
                         testing::ValuesIn(std::vector<Row>{
                             {"Mine",
                              policy_of({for_client(rule(kAllow, {"a.test"}), "build")}),
                              {"a.test", kKnown, "", kLater, 443, kKnown, 2},
                              Effect::kAllow,
                              Reason::kOk},
                             {"AnotherOnes",
                              policy_of({for_client(rule(kAllow, {"a.test"}), "build")}),
                              {"a.test", kKnown, "", kLater, 443, kKnown, 1},
                              Effect::kDeny,
                              Reason::kNoRule,
                              kDefault},
                             {"Nobody",
                              policy_of({for_client(rule(kAllow, {"a.test"}), "build")}),
                              {"a.test", kKnown, "", kLater, 443, kKnown, 0},
                              Effect::kDeny,
                              Reason::kNoRule,
                              kDefault},
                             {"UnknownGroupBits",
                              policy_of({for_client(rule(kAllow, {"a.test"}), "build")}),
                              {"a.test", kKnown, "", kLater, 443, kKnown, ~std::uint64_t{2}},
                              Effect::kDeny,
                              Reason::kNoRule,
                              kDefault},
                             {"PortOfAnotherClientsRule",
                              policy_of({for_client(rule(kAllow, {"a.test"}, {}, {kHttps}), "build")}),
                              {"a.test", kKnown, "", kLater, 22, kKnown, 1},
                              Effect::kDeny,
                              Reason::kNoRule,
                              kDefault},
                             {"EverybodysRule",
                              policy_of({rule(kAllow, {"a.test"})}),
                              {"a.test", kKnown, "", kLater, 443, kKnown, 0},
                              Effect::kAllow,
                              Reason::kOk},
                         }),
                         [](const auto& row) { return row.param.why; });

// The examples of docs/matching.md.
PolicyModel documented() {
  return policy_of({rule(kAllow, {"api.example.com"}, {}, {kHttps}), rule(kAllow, {}, {"93.184.216.0/24"}, {kHttps}),
                    rule(kDeny, {"files.example.org"}), rule(kAllow, {".example.org"}, {}, {kHttps}),
                    rule(kAllow, {"db.internal"}, {}, {{5432, 5432, kProtoTcp}}, {"10.0.0.5/32"})});
}

INSTANTIATE_TEST_SUITE_P(
    Documented, Decide,
    testing::ValuesIn(std::vector<Row>{
        {"ApiName",
         documented(),
         {"api.example.com", kKnown, "", kLater, 0, kLater},
         Effect::kContinue,
         Reason::kOk,
         0},
        {"ApiPort", documented(), {"api.example.com", kKnown, "", kLater, 443}, Effect::kAllow, Reason::kOk, 0},
        {"ApiOtherPort",
         documented(),
         {"api.example.com", kKnown, "", kLater, 22},
         Effect::kDeny,
         Reason::kPortDenied,
         kDefault},
        {"ApiAtPrivate",
         documented(),
         {"api.example.com", kKnown, "10.1.2.3", kKnown},
         Effect::kDeny,
         Reason::kAddrForbidden,
         kDefault},
        {"Files",
         documented(),
         {"files.example.org", kKnown, "", kLater, 0, kLater},
         Effect::kDeny,
         Reason::kNameNotAllowed,
         2},
        {"Docs", documented(), {"a.b.example.org", kKnown, "", kLater, 443}, Effect::kAllow, Reason::kOk, 3},
        {"DatabaseName", documented(), {"db.internal", kKnown, "", kLater, 5432}, Effect::kContinue, Reason::kOk, 4},
        {"Database", documented(), {"db.internal", kKnown, "10.0.0.5", kKnown, 5432}, Effect::kAllow, Reason::kOk, 4},
        {"DatabaseElsewhere",
         documented(),
         {"db.internal", kKnown, "10.0.0.6", kKnown, 5432},
         Effect::kDeny,
         Reason::kNoRule,
         kDefault},
        {"Literal", documented(), {"", kNever, kPublic, kKnown, 443}, Effect::kAllow, Reason::kOk, 1},
        {"LiteralNameLater", documented(), {"", kLater, kPublic, kKnown, 443}, Effect::kContinue, Reason::kOk, 0},
        {"LiteralOtherPort",
         documented(),
         {"", kNever, kPublic, kKnown, 22},
         Effect::kDeny,
         Reason::kNameNotAllowed,
         2},
        {"OtherNameAtTheAddress",
         documented(),
         {"other.example.net", kKnown, kPublic, kKnown, 443},
         Effect::kDeny,
         Reason::kNoRule,
         kDefault},
    }),
    [](const auto& row) { return row.param.why; });

TEST(DecideQuery, NothingFilledInIsDenied) {  // zero means deny, in every field
  const Compiled compiled(policy_of({rule(kAllow, {"a.test"}), rule(kAllow, {}, {"93.184.216.0/24"})}));
  Reader reader(compiled.snapshot);
  EXPECT_EQ(reader.decide(Query{}).effect, Effect::kDeny);
}

TEST(DecideQuery, ClaimedButMissingValuesAreInvisible) {
  const Compiled compiled(policy_of({rule(kAllow, {"a.test"}), rule(kAllow, {}, {"93.184.216.0/24"})}));
  Reader reader(compiled.snapshot);
  Query query;
  query.known = query.deferred = kKnowName | kKnowAddress | kKnowPort;
  EXPECT_EQ(reader.decide(query).effect, Effect::kDeny);
}

TEST(DecideQuery, NoSnapshotIsDenied) {
  Reader reader(nullptr);
  const Asked asked({"a.test", kKnown});
  EXPECT_EQ(reader.decide(asked.query).effect, Effect::kDeny);
  std::vector<RuleTrace> trace(3);
  EXPECT_EQ(reader.explain(asked.query, trace).effect, Effect::kDeny);
  EXPECT_TRUE(trace.empty());
}

TEST(DecideFlags, TunnelAnyComesFromTheDecidingRule) {
  RuleModel tunnel = rule(kAllow, {"a.test"});
  tunnel.tunnel_any = true;
  const Compiled compiled(policy_of({tunnel, rule(kAllow, {"b.test"})}));
  Reader reader(compiled.snapshot);
  EXPECT_EQ(reader.decide(Asked({"a.test", kKnown}).query).flags, std::uint32_t{kFlagTunnelAny});
  EXPECT_EQ(reader.decide(Asked({"b.test", kKnown}).query).flags, 0u);
  EXPECT_EQ(reader.decide(Asked({"c.test", kKnown}).query).flags, 0u);
  EXPECT_EQ(reader.decide(Asked({"", kLater}).query).flags, std::uint32_t{kFlagTunnelAny});  // may match it
}

struct TraceRow {
  const char* why;
  RuleModel rule;
  Seen seen;
  Outcome outcome;
  Mismatch mismatch;
};

class Explain : public testing::TestWithParam<TraceRow> {};

TEST_P(Explain, NamesTheFirstMismatch) {
  const TraceRow& row = GetParam();
  const Compiled compiled(policy_of({row.rule}));
  Reader reader(compiled.snapshot);
  std::vector<RuleTrace> trace;
  reader.explain(Asked(row.seen).query, trace);
  ASSERT_EQ(trace.size(), 1u);
  EXPECT_EQ(trace[0].outcome, row.outcome);
  EXPECT_EQ(trace[0].mismatch, row.mismatch);
}

INSTANTIATE_TEST_SUITE_P(
    Rules, Explain,
    testing::ValuesIn(std::vector<TraceRow>{
        {"Client", for_client(rule(kAllow, {"b.test"}), "build"), {"a.test", kKnown}, Outcome::kNo, Mismatch::kClient},
        {"Name",
         rule(kAllow, {"b.test"}, {}, {{22, 22, kProtoTcp}}),
         {"a.test", kKnown},
         Outcome::kNo,
         Mismatch::kName},
        {"Port",
         rule(kAllow, {"a.test"}, {}, {{22, 22, kProtoTcp}}),
         {"a.test", kKnown},
         Outcome::kNo,
         Mismatch::kPort},
        {"Address",
         rule(kAllow, {}, {"192.0.2.0/24"}),
         {"", kNever, kPublic, kKnown},
         Outcome::kNo,
         Mismatch::kAddress},
        {"AddressesOnly", rule(kAllow, {}, {"192.0.2.0/24"}), {"a.test", kKnown}, Outcome::kNo, Mismatch::kAddress},
        {"EitherWithName",
         rule(kAllow, {"b.test"}, {"192.0.2.0/24"}),
         {"a.test", kKnown, kPublic, kKnown},
         Outcome::kNo,
         Mismatch::kName},
        {"EitherWithoutName",
         rule(kAllow, {"b.test"}, {"192.0.2.0/24"}),
         {"", kNever, kPublic, kKnown},
         Outcome::kNo,
         Mismatch::kAddress},
        {"ResolvesTo",
         rule(kAllow, {"a.test"}, {}, {}, {"10.0.0.0/8"}),
         {"a.test", kKnown, kPublic, kKnown},
         Outcome::kNo,
         Mismatch::kResolvesTo},
        {"Guard", rule(kAllow, {"a.test"}), {"a.test", kKnown, "10.0.0.1", kKnown}, Outcome::kNo, Mismatch::kGuard},
        {"Invisible", rule(kAllow, {"a.test"}), {"", kNever, kPublic, kKnown}, Outcome::kNo, Mismatch::kInvisible},
        {"NameLater",
         rule(kAllow, {"a.test"}, {}, {kHttps}),
         {"", kLater, "", kLater, 0, kLater},
         Outcome::kMay,
         Mismatch::kName},
        {"PortLater",
         rule(kAllow, {"a.test"}, {}, {kHttps}),
         {"a.test", kKnown, "", kLater, 0, kLater},
         Outcome::kMay,
         Mismatch::kPort},
        {"PortMissesBeforeNameIsKnown",
         rule(kAllow, {"a.test"}, {}, {kHttps}),
         {"", kLater, "", kLater, 22},
         Outcome::kNo,
         Mismatch::kPort},
        {"Matches", rule(kAllow, {"a.test"}, {}, {kHttps}), {"a.test", kKnown}, Outcome::kMatch, Mismatch::kNothing},
    }),
    [](const auto& row) { return row.param.why; });

TEST(ReasonWords, AreDistinctAndStable) {
  std::vector<std::string_view> words;
  for (unsigned i = 0; i <= static_cast<unsigned>(Reason::kLast); ++i)
    words.push_back(to_string(static_cast<Reason>(i)));
  EXPECT_EQ(words.front(), "no_rule");
  EXPECT_EQ(to_string(Reason::kGuardMetadata), "guard_metadata");
  EXPECT_EQ(to_string(Reason::kQtypeDenied), "qtype_denied");
  EXPECT_EQ(to_string(Reason::kSniNotAllowed), "sni_not_allowed");
  EXPECT_EQ(to_string(Reason::kDstNotBound), "dst_not_bound");
  EXPECT_EQ(to_string(Reason::kHelloTimeout), "hello_timeout");
  EXPECT_EQ(to_string(Reason::kAuditDropped), "audit_dropped");
  EXPECT_EQ(words.back(), "timed_out");
  std::sort(words.begin(), words.end());
  EXPECT_EQ(std::adjacent_find(words.begin(), words.end()), words.end());
  EXPECT_EQ(to_string(static_cast<Reason>(9999)), "unknown");
}

}  // namespace
}  // namespace sallyport
