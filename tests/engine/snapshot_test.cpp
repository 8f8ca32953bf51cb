// Snapshots as bytes and files: what is stored comes back, and what is damaged is refused before use.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <random>

#include "engine/format.hpp"
#include "small_world.hpp"

namespace sallyport {
namespace {

using small_world::address;
using small_world::Compiled;
using small_world::name;
using small_world::pattern;
using small_world::prefix;

PolicyModel sample() {
  PolicyModel policy;
  policy.source = "policy.yaml";
  policy.default_where = {2, 10};
  policy.clients = {{"agents", {prefix("172.20.0.0/16"), prefix("fd00:20::/64")}, {}},
                    {"build", {}, {"build-*", "ci"}},
                    {"both", {prefix("172.20.5.0/24")}, {"*-x-*"}}};
  RuleModel providers;
  providers.name = "ai-providers";
  providers.action = Action::kAllow;
  providers.domains = {pattern("api.openai.com"), pattern(".pypi.org")};
  providers.ports = {{443, 443, kProtoTcp}};
  providers.where = {9, 5};
  RuleModel supervisor;
  supervisor.name = "supervisor";
  supervisor.action = Action::kAllow;
  supervisor.domains = {pattern("supervisor"), pattern("supervisor.internal")};
  supervisor.resolves_to = {prefix("172.20.0.5/32"), prefix("fd00:20::5/128")};
  supervisor.where = {16, 5};
  supervisor.limits.requests = RateModel{600, 60};
  supervisor.limits.connections = 32;
  supervisor.limits.bandwidth = RateModel{10'000'000, 1};
  supervisor.limits.download = RateModel{5'000'000'000, 86'400};
  RuleModel blocked;
  blocked.name = "blocked";
  blocked.clients = {"build"};
  blocked.domains = {pattern("*.tracker.test")};
  policy.rules = {providers, supervisor, blocked};
  policy.own_addresses = {address("172.20.0.1")};
  return policy;
}

TEST(Snapshot, TellsWhatWasCompiled) {
  const Compiled compiled(sample(), 41);
  ASSERT_NE(compiled.snapshot, nullptr);
  const Snapshot& s = *compiled.snapshot;
  EXPECT_EQ(s.generation(), 41u);
  EXPECT_EQ(s.source(), "policy.yaml");
  ASSERT_EQ(s.rules(), 3u);
  EXPECT_EQ(s.rule_name(0), "ai-providers");
  EXPECT_EQ(s.rule_name(2), "blocked");
  EXPECT_EQ(s.rule_where(1).line, 16u);
  EXPECT_EQ(s.rule_where(1).column, 5u);
  EXPECT_EQ(s.rule_action(1), Action::kAllow);
  EXPECT_EQ(s.rule_action(2), Action::kDeny);
  EXPECT_EQ(s.rule_name(kNoRuleIndex), "");
  EXPECT_EQ(s.rule_where(kNoRuleIndex).line, 2u);
  EXPECT_EQ(s.rule_action(kNoRuleIndex), Action::kDeny);
  EXPECT_EQ(s.default_action(), Action::kDeny);
  EXPECT_EQ(s.group_name(0), "agents");
  EXPECT_EQ(s.group_name(2), "both");
  EXPECT_EQ(s.group_name(3), "");
}

TEST(Snapshot, TellsTheLimitsOfItsRules) {
  const Compiled compiled(sample(), 41);
  const Snapshot& s = *compiled.snapshot;
  EXPECT_TRUE(s.has_limits());
  EXPECT_FALSE(s.rule_limits(0).any());
  EXPECT_FALSE(s.rule_limits(2).any());
  EXPECT_FALSE(s.rule_limits(kNoRuleIndex).any());
  const LimitsModel limits = s.rule_limits(1);
  ASSERT_TRUE(limits.requests && limits.bandwidth && limits.download);
  EXPECT_EQ(limits.requests->amount, 600u);
  EXPECT_EQ(limits.requests->seconds, 60u);
  EXPECT_EQ(limits.connections, 32u);
  EXPECT_EQ(limits.bandwidth->amount, 10'000'000u);
  EXPECT_EQ(limits.download->seconds, 86'400u);
  EXPECT_FALSE(limits.upload);
  EXPECT_FALSE(Compiled(PolicyModel{}).snapshot->has_limits());
}

TEST(Snapshot, RefusesLimitsOfADenyRule) {
  PolicyModel policy = sample();
  policy.rules[2].limits.connections = 1;
  EXPECT_EQ(compile(policy, 1).error().code, ErrorCode::kMalformed);
}

TEST(Snapshot, SamePolicySameBytes) {
  const auto first = compile(sample(), 5), second = compile(sample(), 5), later = compile(sample(), 6);
  ASSERT_TRUE(first.ok() && second.ok() && later.ok());
  EXPECT_EQ(*first, *second);
  EXPECT_NE(*first, *later);
}

TEST(Snapshot, Groups) {
  const Compiled compiled(sample());
  const Snapshot& s = *compiled.snapshot;
  EXPECT_EQ(s.groups_of_address(address("172.20.1.1")), 1u);
  EXPECT_EQ(s.groups_of_address(address("172.20.5.1")), 5u);
  EXPECT_EQ(s.groups_of_address(address("fd00:20::9")), 1u);
  EXPECT_EQ(s.groups_of_address(address("172.21.0.1")), 0u);
  EXPECT_EQ(s.groups_of_address(address("::ffff:172.20.1.1")), 0u);
}

struct GlobRow {
  const char* why;
  const char* glob;
  const char* cell;
  bool matches;
};

class Glob : public testing::TestWithParam<GlobRow> {};

TEST_P(Glob, OfACell) {
  PolicyModel policy;
  policy.clients = {{"one", {}, {GetParam().glob}}};
  const Compiled compiled(policy);
  EXPECT_EQ(compiled.snapshot->groups_of_cell(GetParam().cell), GetParam().matches ? 1u : 0u);
}

INSTANTIATE_TEST_SUITE_P(Cells, Glob,
                         testing::ValuesIn(std::vector<GlobRow>{
                             {"Exact", "ci", "ci", true},
                             {"Longer", "ci", "cis", false},
                             {"Shorter", "cis", "ci", false},
                             {"Case", "ci", "CI", false},
                             {"Tail", "build-*", "build-7", true},
                             {"TailEmpty", "build-*", "build-", true},
                             {"TailMissing", "build-*", "build", false},
                             {"Head", "*-build", "my-build", true},
                             {"Middle", "a*b*c", "axxbyyc", true},
                             {"MiddleBacktracks", "a*bc", "abbbc", true},
                             {"TailOverlaps", "*aab", "aaab", true},
                             {"MiddleMissing", "a*b*c", "axxc", false},
                             {"Everything", "*", "anything", true},
                             {"EverythingEmpty", "*", "", true},
                             {"Stars", "**a**", "bab", true},
                             {"EmptyGlob", "", "x", false},
                             {"NoOtherWildcard", "c?", "ci", false},
                         }),
                         [](const auto& row) { return row.param.why; });

TEST(HostAddresses, OfANameThatARuleFixes) {
  const Compiled compiled(sample());
  std::array<Address, 4> out;
  ASSERT_EQ(compiled.snapshot->host_addresses(name("supervisor"), 0, out), 2u);
  EXPECT_EQ(out[0].text(), "172.20.0.5");
  EXPECT_EQ(out[1].text(), "fd00:20::5");
  EXPECT_EQ(compiled.snapshot->host_addresses(name("api.openai.com"), 0, out), 0u);
  EXPECT_EQ(compiled.snapshot->host_addresses(name("x.supervisor"), 0, out), 0u);
  std::array<Address, 1> small;
  EXPECT_EQ(compiled.snapshot->host_addresses(name("supervisor"), 0, small), 2u);  // how many there are
  EXPECT_EQ(small[0].text(), "172.20.0.5");
  EXPECT_EQ(compiled.snapshot->host_addresses(name("supervisor"), 0, {}), 2u);
}

RuleModel fixed(std::vector<const char*> to, Action action = Action::kAllow) {
  RuleModel rule;
  rule.action = action;
  rule.domains = {pattern("db")};
  for (const char* text : to) rule.resolves_to.push_back(prefix(text));
  return rule;
}

TEST(HostAddresses, SeveralRulesOnceEach) {
  PolicyModel policy;
  policy.rules = {fixed({"10.0.0.5/32"}), fixed({"10.0.0.6/32", "10.0.0.5/32"})};
  std::array<Address, 4> out;
  ASSERT_EQ(Compiled(policy).snapshot->host_addresses(name("db"), 0, out), 2u);
  EXPECT_EQ(out[0].text(), "10.0.0.5");
  EXPECT_EQ(out[1].text(), "10.0.0.6");
}

TEST(HostAddresses, ANetworkIsNoHost) {
  PolicyModel policy;
  policy.rules = {fixed({"10.0.0.0/24", "192.168.0.1/32"})};
  std::array<Address, 4> out;
  EXPECT_EQ(Compiled(policy).snapshot->host_addresses(name("db"), 0, out), 0u);
}

TEST(HostAddresses, NothingBehindADenial) {
  PolicyModel policy;
  policy.rules = {fixed({}, Action::kDeny), fixed({"10.0.0.5/32"})};
  std::array<Address, 4> out;
  EXPECT_EQ(Compiled(policy).snapshot->host_addresses(name("db"), 0, out), 0u);
}

TEST(HostAddresses, OnlyForTheRulesClients) {
  PolicyModel policy;
  policy.clients = {{"one", {}, {"one"}}, {"two", {}, {"two"}}};
  policy.rules = {fixed({}, Action::kDeny), fixed({"10.0.0.5/32"})};
  policy.rules[0].clients = {"two"};
  policy.rules[1].clients = {"one"};
  std::array<Address, 4> out;
  const Compiled compiled(policy);
  EXPECT_EQ(compiled.snapshot->host_addresses(name("db"), 1, out), 1u);
  EXPECT_EQ(compiled.snapshot->host_addresses(name("db"), 2, out), 0u);
  EXPECT_EQ(compiled.snapshot->host_addresses(name("db"), 0, out), 0u);
}

struct ModelRow {
  const char* why;
  void (*spoil)(PolicyModel&);
  ErrorCode code;
};

class CompileRefuses : public testing::TestWithParam<ModelRow> {};

TEST_P(CompileRefuses, Model) {
  PolicyModel policy = sample();
  ASSERT_TRUE(compile(policy, 1).ok());
  GetParam().spoil(policy);
  const auto result = compile(policy, 1);
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(result.error().code, GetParam().code);
}

INSTANTIATE_TEST_SUITE_P(
    Models, CompileRefuses,
    testing::ValuesIn(std::vector<ModelRow>{
        {"UnknownClient", [](PolicyModel& p) { p.rules[0].clients = {"nobody"}; }, ErrorCode::kMalformed},
        {"ClientTwice", [](PolicyModel& p) { p.clients[1].name = "agents"; }, ErrorCode::kMalformed},
        {"ResolvesToWithoutDomains", [](PolicyModel& p) { p.rules[1].domains.clear(); }, ErrorCode::kMalformed},
        {"PortsBackwards", [](PolicyModel& p) { p.rules[0].ports = {{10, 9, kProtoTcp}}; }, ErrorCode::kMalformed},
        {"TooManyClients",
         [](PolicyModel& p) {
           for (int i = 0; i < 64; ++i) p.clients.push_back({"c" + std::to_string(i), {}, {}});
         },
         ErrorCode::kExhausted},
    }),
    [](const auto& row) { return row.param.why; });

TEST(Compile, SixtyFourClients) {
  PolicyModel policy = sample();
  while (policy.clients.size() < 64) policy.clients.push_back({"c" + std::to_string(policy.clients.size()), {}, {}});
  policy.clients[63].cells = {"last"};
  policy.rules[0].clients = {policy.clients[63].name};
  const Compiled compiled(policy);
  ASSERT_NE(compiled.snapshot, nullptr);
  EXPECT_EQ(compiled.snapshot->groups_of_cell("last"), std::uint64_t{1} << 63);
}

// -- damage

TEST(Damage, EveryBitOfASmallSnapshot) {
  const auto bytes = compile(sample(), 3);
  ASSERT_TRUE(bytes.ok());
  auto damaged = *bytes;
  for (std::size_t i = 0; i < damaged.size(); ++i) {
    for (unsigned bit = 0; bit < 8; ++bit) {
      damaged[i] ^= std::byte{1} << bit;
      const auto opened = Snapshot::open(damaged);
      ASSERT_FALSE(opened.ok()) << "octet " << i << " bit " << bit;
      EXPECT_EQ(opened.error().code, ErrorCode::kCorrupt);
      damaged[i] ^= std::byte{1} << bit;
    }
  }
  EXPECT_TRUE(Snapshot::open(damaged).ok());
}

TEST(Damage, EveryLength) {
  const auto bytes = compile(sample(), 3);
  ASSERT_TRUE(bytes.ok());
  for (std::size_t size = 0; size < bytes->size(); ++size) {
    const std::vector<std::byte> cut(bytes->begin(), bytes->begin() + static_cast<std::ptrdiff_t>(size));
    EXPECT_FALSE(Snapshot::open(cut).ok()) << size;
  }
  auto longer = *bytes;
  longer.resize(longer.size() + 64);
  EXPECT_FALSE(Snapshot::open(longer).ok());
}

TEST(Damage, MisalignedBytesAreCopied) {
  const auto bytes = compile(sample(), 3);
  std::vector<std::byte> shifted(bytes->size() + 1);
  std::memcpy(shifted.data() + 1, bytes->data(), bytes->size());
  const auto opened = Snapshot::open(std::span(shifted).subspan(1));
  ASSERT_TRUE(opened.ok());
  EXPECT_EQ((*opened)->rule_name(0), "ai-providers");
}

// Bytes that pass the checksum and lie: each field that decide() follows blindly.
struct LieRow {
  const char* why;
  const char* refusal;
  void (*lie)(format::Header&, std::byte* bytes);
};

template <typename T>
T* elements(format::Header& header, std::byte* bytes, format::SectionId id) {
  return reinterpret_cast<T*>(bytes + header.sections[id].offset);
}

class Lie : public testing::TestWithParam<LieRow> {};

TEST_P(Lie, IsRefused) {
  const auto made = compile(sample(), 3);
  ASSERT_TRUE(made.ok());
  std::vector<std::byte> bytes = *made;
  format::seal(bytes);
  ASSERT_TRUE(Snapshot::open(bytes).ok());
  GetParam().lie(*reinterpret_cast<format::Header*>(bytes.data()), bytes.data());
  format::seal(bytes);
  const auto opened = Snapshot::open(bytes);
  ASSERT_FALSE(opened.ok());
  EXPECT_EQ(opened.error().code, ErrorCode::kCorrupt);
  EXPECT_STREQ(opened.error().message, GetParam().refusal);
}

using format::Header;

format::Bucket* used_bucket(Header& h, std::byte* b) {
  auto* bucket = elements<format::Bucket>(h, b, format::kBuckets);
  while (bucket->name[0] == 0) ++bucket;
  return bucket;
}

INSTANTIATE_TEST_SUITE_P(
    Fields, Lie,
    testing::ValuesIn(std::vector<LieRow>{
        {"Magic", "not a policy snapshot", [](Header& h, std::byte*) { h.magic ^= 1; }},
        {"Version", "a snapshot of another version", [](Header& h, std::byte*) { ++h.version; }},
        {"HeaderSize", "a snapshot header of another size", [](Header& h, std::byte*) { h.header_size -= 8; }},
        {"Size", "a snapshot of another length", [](Header& h, std::byte*) { h.size += 64; }},
        {"OtherBuild", "a snapshot of another build", [](Header& h, std::byte*) { ++h.name_hash_probe; }},
        {"DefaultAction", "an unknown default action", [](Header& h, std::byte*) { h.default_action = 2; }},
        {"SectionOffset", "a section out of place", [](Header& h, std::byte*) { h.sections[format::kPorts].offset += 64; }},
        {"SectionCount", "a section longer than the snapshot", [](Header& h, std::byte*) { h.sections[format::kStrings].count += 4096; }},
        {"SectionCountHuge", "a section longer than the snapshot", [](Header& h, std::byte*) { h.sections[format::kRules].count = ~std::uint64_t{0} / 32; }},
        {"SectionCountSmaller", "a section out of place", [](Header& h, std::byte*) { h.sections[format::kRules].count -= 1; }},
        {"PrimaryBuckets", "more buckets than there are", [](Header& h, std::byte*) { h.primary_buckets += 1000; }},
        {"NoPrimaryBuckets", "more buckets than there are", [](Header& h, std::byte*) { h.primary_buckets = 0; }},
        {"Source", "a source name out of bounds", [](Header& h, std::byte*) { h.source.count = 1u << 30; }},
        {"SourceWraps", "a source name out of bounds", [](Header& h, std::byte*) { h.source = {~0u, ~0u}; }},
        {"OwnAddresses", "own addresses out of bounds or out of order", [](Header& h, std::byte*) { h.own_addresses.first = 1000; }},
        {"NamedGeneral", "a rule list out of bounds or out of order", [](Header& h, std::byte*) { h.named_general = {0, 1000}; }},
        {"RuleFlag", "an unknown rule flag", [](Header& h, std::byte* b) { elements<format::Rule>(h, b, format::kRules)->flags |= 1u << 20; }},
        {"RuleGroups", "a rule for unknown clients", [](Header& h, std::byte* b) { elements<format::Rule>(h, b, format::kRules)->groups = 1u << 3; }},
        {"RuleGroupsWithoutFlag", "a rule for unknown clients",
         [](Header& h, std::byte* b) { elements<format::Rule>(h, b, format::kRules)->groups = 1; }},
        {"RuleForgetsItsPorts", "a rule's ports out of bounds",
         [](Header& h, std::byte* b) {
           elements<format::Rule>(h, b, format::kRules)->flags &= ~std::uint32_t{format::kRulePorts};
         }},
        {"RuleForgetsItsResolvesTo", "a rule's resolves_to out of bounds or out of order",
         [](Header& h, std::byte* b) {
           elements<format::Rule>(h, b, format::kRules)[1].flags &= ~std::uint32_t{format::kRuleResolvesTo};
         }},
        {"RuleForgetsItsDomains", "resolves_to without domains",
         [](Header& h, std::byte* b) {
           elements<format::Rule>(h, b, format::kRules)[1].flags &= ~std::uint32_t{format::kRuleDomains};
         }},
        {"RulePorts", "a rule's ports out of bounds", [](Header& h, std::byte* b) { elements<format::Rule>(h, b, format::kRules)->ports.first = 99; }},
        {"RuleResolvesTo", "a rule's resolves_to out of bounds or out of order",
         [](Header& h, std::byte* b) { elements<format::Rule>(h, b, format::kRules)[1].resolves_to.count = 99; }},
        {"RuleName", "a rule's name out of bounds",
         [](Header& h, std::byte* b) { elements<format::Rule>(h, b, format::kRules)->name.first = 1u << 31; }},
        {"RuleLimitsOutOfBounds", "a rule's limits out of order", [](Header& h, std::byte* b) { elements<format::Rule>(h, b, format::kRules)[1].limits = 2; }},
        {"RuleForgetsItsLimits", "limits of no rule", [](Header& h, std::byte* b) { elements<format::Rule>(h, b, format::kRules)[1].limits = 0; }},
        {"TwoRulesWithOneOfTheLimits", "a rule's limits out of order",
         [](Header& h, std::byte* b) { elements<format::Rule>(h, b, format::kRules)[0].limits = 1; }},
        {"LimitsOfADenyRule", "limits of a deny rule", [](Header& h, std::byte* b) { elements<format::Rule>(h, b, format::kRules)[2].limits = 1; }},
        {"LimitsOfNoPeriod", "limits out of range", [](Header& h, std::byte* b) { elements<format::Limits>(h, b, format::kLimits)->requests.seconds = 0; }},
        {"LimitsOfAnotherPeriod", "limits out of range", [](Header& h, std::byte* b) { elements<format::Limits>(h, b, format::kLimits)->download.seconds = 86'401; }},
        {"LimitsOfNothing", "limits out of range", [](Header& h, std::byte* b) { *elements<format::Limits>(h, b, format::kLimits) = {}; }},
        {"LimitsBeyondCounting", "limits out of range", [](Header& h, std::byte* b) { elements<format::Limits>(h, b, format::kLimits)->bandwidth.amount = ~std::uint64_t{0}; }},
        {"PortsBackwards", "a port range out of order", [](Header& h, std::byte* b) { elements<format::Port>(h, b, format::kPorts)->last = 1; }},
        {"PrefixBits", "a client's addresses out of bounds or out of order",
         [](Header& h, std::byte* b) { elements<format::PrefixKey>(h, b, format::kPrefixes)->bits = 200; }},
        {"PrefixFamily", "a client's addresses out of bounds or out of order",
         [](Header& h, std::byte* b) { elements<format::PrefixKey>(h, b, format::kPrefixes)->family = 0; }},
        {"ClientName", "a client's name out of bounds",
         [](Header& h, std::byte* b) { elements<format::Client>(h, b, format::kClients)->name.count = 1u << 20; }},
        {"ClientCells", "a client's cells out of bounds",
         [](Header& h, std::byte* b) { elements<format::Client>(h, b, format::kClients)[1].cells.count = 77; }},
        {"ClientUsers", "a client's users out of bounds",
         [](Header& h, std::byte* b) { elements<format::Client>(h, b, format::kClients)[1].users.first = 1u << 20; }},
        {"Cell", "the name of a cell or user out of bounds", [](Header& h, std::byte* b) { elements<format::Range>(h, b, format::kCells)->first = 1u << 20; }},
        {"NameOfARuleWithoutDomains", "a name listed for a rule without domains",
         [](Header& h, std::byte* b) {
           auto* rule = elements<format::Rule>(h, b, format::kRules);
           rule->flags = format::kRuleAllow | format::kRuleAddresses | format::kRulePorts;
           rule->addresses = {h.own_addresses.first, 1};
         }},
        {"ListIndex", "a rule list out of bounds or out of order", [](Header& h, std::byte* b) { *elements<std::uint32_t>(h, b, format::kLists) = 3; }},
        {"NamedGeneralLeavesARuleOut", "a rule list that is not complete",
         [](Header& h, std::byte* b) {
           elements<format::Rule>(h, b, format::kRules)[2].flags &= ~std::uint32_t{format::kRuleDomains};
         }},
        {"NamedGeneralHoldsARuleTooMany", "a rule list that is not complete", [](Header& h, std::byte*) { h.named_general = {0, 1}; }},
        {"NameSet", "a rule list out of bounds or out of order",
         [](Header& h, std::byte* b) { elements<format::NameSet>(h, b, format::kNameSets)->self.count = 50; }},
        {"NameSetBelow", "a rule list out of bounds or out of order",
         [](Header& h, std::byte* b) { elements<format::NameSet>(h, b, format::kNameSets)->below.first = 50; }},
        {"BucketSet", "a bucket's set out of bounds", [](Header& h, std::byte* b) { used_bucket(h, b)->set[0] = 1000; }},
        {"BucketName", "a bucket's name out of bounds", [](Header& h, std::byte* b) { used_bucket(h, b)->name[0] = 1u << 30; }},
        {"BucketNameInFront", "a bucket's name out of bounds",
         [](Header& h, std::byte* b) { used_bucket(h, b)->name[0] = format::kNamesFront - 1; }},
        {"BucketNameAtTheEnd", "an indexed name out of bounds",
         [](Header& h,
            std::byte*
                b) { used_bucket(h, b)->name[0] = static_cast<std::uint32_t>(h.sections[format::kNames].count - 1); }},
        {"LastNameLongerThanItsSection", "an indexed name out of bounds",
         [](Header& h, std::byte* b) {
           auto* names = elements<unsigned char>(h, b, format::kNames);
           std::size_t last = format::kNamesFront;
           while (last + 1 + names[last] < h.sections[format::kNames].count) last += 1u + names[last];
           ++names[last];
         }},
        {"PrimaryBucketLeadsToAPrimaryOne", "a bucket chain that leads back or out",
         [](Header& h, std::byte* b) { elements<format::Bucket>(h, b, format::kBuckets)[0].next = 1; }},
        {"BucketNext", "a bucket chain that leads back or out", [](Header& h, std::byte* b) { used_bucket(h, b)->next = 1u << 20; }},
        {"BucketNextLeadsBack", "a bucket chain that leads back or out",
         [](Header& h, std::byte* b) { elements<format::Bucket>(h, b, format::kBuckets)[1].next = 1; }},
    }),
    [](const auto& row) { return row.param.why; });

TEST(Lies, NamesWithoutAFilter) {
  auto bytes = *compile(sample(), 3);
  Header header;
  std::memcpy(&header, bytes.data(), sizeof(header));
  format::Section& filter = header.sections[format::kFilter];
  const std::uint64_t gone = header.sections[format::kFilter + 1].offset - filter.offset;
  ASSERT_GT(gone, 0u);
  const auto from = bytes.begin() + static_cast<std::ptrdiff_t>(filter.offset);
  bytes.erase(from, from + static_cast<std::ptrdiff_t>(gone));
  filter.count = 0;
  for (unsigned id = format::kFilter + 1; id < format::kSections; ++id) header.sections[id].offset -= gone;
  header.size -= gone;
  std::memcpy(bytes.data(), &header, sizeof(header));
  format::seal(bytes);
  const auto opened = Snapshot::open(bytes);
  ASSERT_FALSE(opened.ok());
  EXPECT_STREQ(opened.error().message, "names without a filter, or a filter without names");
}

// Chains of overflow buckets, which only a policy of many names has.
class Chains : public testing::Test {
 protected:
  Chains() {
    PolicyModel policy;
    policy.rules.resize(1);
    for (int i = 0; i < 2000; ++i) policy.rules[0].domains.push_back(pattern("n" + std::to_string(i) + ".test"));
    bytes_ = *compile(policy, 1);
    header_ = reinterpret_cast<Header*>(bytes_.data());
    buckets_ = elements<format::Bucket>(*header_, bytes_.data(), format::kBuckets);
    first_overflow_ = static_cast<std::uint32_t>(header_->primary_buckets);
  }

  const char* refusal() {
    format::seal(bytes_);
    const auto opened = Snapshot::open(bytes_);
    return opened.ok() ? "none" : opened.error().message;
  }

  std::vector<std::byte> bytes_;
  Header* header_;
  format::Bucket* buckets_;
  std::uint32_t first_overflow_;
};

TEST_F(Chains, AsCompiled) {
  ASSERT_GT(header_->sections[format::kBuckets].count, header_->primary_buckets + 5);
  EXPECT_STREQ(refusal(), "none");
}

TEST_F(Chains, SpilledIntoNoBucket) {
  std::uint32_t i = 0;
  while (buckets_[i].spilled == 0) ++i;
  buckets_[i].next = 0;
  EXPECT_STREQ(refusal(), "a bucket that spilled into none");
}

TEST_F(Chains, ThatCircle) {
  buckets_[first_overflow_ + 1].next = first_overflow_ + 1;
  EXPECT_STREQ(refusal(), "a bucket chain that leads back or out");
}

TEST_F(Chains, UpToFourOverflowBuckets) {
  for (std::uint32_t i = 0; i < header_->sections[format::kBuckets].count; ++i) {
    buckets_[i].next = 0;
    buckets_[i].spilled = 0;
  }
  buckets_[0].next = first_overflow_;
  for (std::uint32_t i = 0; i < 3; ++i) buckets_[first_overflow_ + i].next = first_overflow_ + i + 1;
  EXPECT_STREQ(refusal(), "none");
  buckets_[first_overflow_ + 3].next = first_overflow_ + 4;
  EXPECT_STREQ(refusal(), "a bucket chain too long");
}

// -- files

class File {
 public:
  explicit File(int fd) : fd_(fd) {}
  ~File() { ::close(fd_); }
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  int fd() const { return fd_; }
  bool write(std::span<const std::byte> bytes) {
    return ::pwrite(fd_, bytes.data(), bytes.size(), 0) == static_cast<ssize_t>(bytes.size());
  }

 private:
  int fd_;
};

TEST(Map, SealedMemfdOutlivesItsDescriptor) {
  const auto bytes = compile(sample(), 12);
  std::shared_ptr<const Snapshot> snapshot;
  {
    File file(::memfd_create("policy", MFD_ALLOW_SEALING | MFD_CLOEXEC));
    ASSERT_TRUE(file.write(*bytes));
    ASSERT_EQ(::fcntl(file.fd(), F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE), 0);
    const auto mapped = Snapshot::map(file.fd());
    ASSERT_TRUE(mapped.ok()) << mapped.error().message;
    snapshot = *mapped;
  }
  EXPECT_EQ(snapshot->generation(), 12u);
  Reader reader(snapshot);
  const DomainName asked = name("pypi.org");
  Query query;
  query.name = &asked;
  query.known = kKnowName | kKnowPort;
  query.port = 443;
  EXPECT_TRUE(reader.decide(query).allowed());
}

TEST(Map, AFileThatChangesLaterChangesNothing) {
  const auto bytes = compile(sample(), 12);
  File file(::memfd_create("policy", MFD_CLOEXEC));  // not sealed
  ASSERT_TRUE(file.write(*bytes));
  const auto mapped = Snapshot::map(file.fd());
  ASSERT_TRUE(mapped.ok());
  ASSERT_TRUE(file.write(std::vector<std::byte>(bytes->size(), std::byte{0xff})));
  EXPECT_EQ((*mapped)->rule_name(0), "ai-providers");
  ASSERT_EQ(::ftruncate(file.fd(), 0), 0);
  EXPECT_EQ((*mapped)->rule_name(1), "supervisor");
}

TEST(Map, RefusesWhatIsNoSnapshot) {  // CFG-03
  EXPECT_FALSE(Snapshot::map(-1).ok());
  File empty(::memfd_create("policy", MFD_CLOEXEC));
  EXPECT_FALSE(Snapshot::map(empty.fd()).ok());
  const auto bytes = compile(sample(), 12);
  File cut(::memfd_create("policy", MFD_CLOEXEC));
  ASSERT_TRUE(cut.write(std::span(*bytes).first(bytes->size() / 2)));
  EXPECT_FALSE(Snapshot::map(cut.fd()).ok());
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  File reading(ends[0]), writing(ends[1]);
  EXPECT_FALSE(Snapshot::map(reading.fd()).ok());
}

}  // namespace
}  // namespace sallyport
