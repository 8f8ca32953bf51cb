// What the resolver asks, believes, keeps and shares, against upstreams that behave.
#include "support/resolver.hpp"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <fstream>
#include <set>

#include "scripted_server.hpp"

namespace sallyport::net {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using wire::name_octets;

TEST_F(ResolverTest, AsksAsAStubAndTakesTheAnswer) {  // DNS-01
  ScriptedServer& upstream = server([](const Asked& asked) { return Replies{asked.address(7, 60)}; });
  const ResolveResult result = resolve("api.example.test");
  EXPECT_EQ(result.outcome, ResolveOutcome::kAnswers);
  EXPECT_EQ(text(result), "192.0.2.7");
  EXPECT_EQ(result.ttl, 60u);
  ASSERT_EQ(upstream.asked.size(), 1u);
  const Asked& asked = upstream.asked[0];
  EXPECT_EQ(asked.name(), "api.example.test");
  EXPECT_EQ(asked.query.header.flags, 0x0100);  // RD and nothing else
  EXPECT_EQ(asked.query.question->type, wire::kTypeA);
  ASSERT_TRUE(asked.query.edns);
  EXPECT_EQ(asked.query.edns->udp_size, wire::kDnsMaxUdp);
  EXPECT_EQ(asked.octets.size(), 12u + 18 + 4 + 11);  // no option of any kind
}

TEST_F(ResolverTest, Ipv6Addresses) {
  server([](const Asked& asked) {
    return Replies{asked.reply(1)
                       .pointer(12)
                       .record(wire::kTypeAaaa, 9, {0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1})
                       .octets};
  });
  EXPECT_EQ(text(resolve("a.test", wire::kTypeAaaa)), "2001:db8::1");
}

TEST_F(ResolverTest, NoDataAndNxDomainAreTold) {  // DNS-06
  server([](const Asked& asked) {
    const unsigned flags = asked.name() == "none.test" ? 0x8183 : 0x8180;
    return Replies{asked.reply(0, 1, flags).name("test").record(wire::kTypeSoa, 100, soa_rdata()).octets};
  });
  const ResolveResult nodata = resolve("a.test", wire::kTypeAaaa);
  EXPECT_EQ(nodata.outcome, ResolveOutcome::kNoData);
  EXPECT_EQ(nodata.ttl, 40u);
  EXPECT_EQ(resolve("none.test").outcome, ResolveOutcome::kNxDomain);
}

TEST_F(ResolverTest, OtherTypesAreNotAskedFor) {
  ScriptedServer& upstream = server([](const Asked& asked) { return Replies{asked.address(1)}; });
  EXPECT_EQ(resolve("a.test", wire::kTypeTxt).outcome, ResolveOutcome::kFailed);
  EXPECT_TRUE(upstream.asked.empty());
}

TEST_F(ResolverTest, EveryQueryHasItsOwnCasePortAndId) {  // DNS-05, DNS-28
  config.cache_entries = 0;
  ScriptedServer& upstream = server([](const Asked& asked) { return Replies{asked.address(1)}; });
  constexpr int kQueries = 2000;
  for (int i = 0; i < kQueries; ++i) resolve("abcdefghijkl.example.test");
  ASSERT_EQ(upstream.asked.size(), static_cast<std::size_t>(kQueries));

  std::set<std::string> cases;
  std::array<int, 16> id_bins{}, port_bins{};
  int repeats = 0;  // of the port before
  unsigned low = 0, high = 0;
  std::FILE* range = std::fopen("/proc/sys/net/ipv4/ip_local_port_range", "r");
  ASSERT_TRUE(range);
  ASSERT_EQ(std::fscanf(range, "%u %u", &low, &high), 2);
  std::fclose(range);
  for (std::size_t i = 0; i < upstream.asked.size(); ++i) {
    const Asked& asked = upstream.asked[i];
    cases.insert(asked.query.question->name.text());
    ++id_bins[asked.query.header.id >> 12];
    ++port_bins[(asked.source_port - low) * 16 / (high - low + 1)];
    if (i > 0 && asked.source_port == upstream.asked[i - 1].source_port) ++repeats;
  }
  EXPECT_GT(cases.size(), kQueries * 95u / 100);
  const auto chi_square = [](const std::array<int, 16>& bins) {
    double sum = 0, expected = kQueries / 16.0;
    for (const int bin : bins) sum += (bin - expected) * (bin - expected) / expected;
    return sum;
  };
  // 15 degrees of freedom: over 60 happens to honest randomness once in three million runs.
  EXPECT_LT(chi_square(id_bins), 60);
  EXPECT_LT(chi_square(port_bins), 60);
  EXPECT_LE(repeats, 4);  // 2000 draws from some 28,000 ports: one now and then is chance, five are not
}

TEST_F(ResolverTest, TruncatedIsAskedAgainOverTcp) {  // DNS-04
  ScriptedServer& upstream = server(
      [](const Asked& asked) { return Replies{asked.over_tcp ? asked.address(4) : asked.reply(0, 0, 0x8380).octets}; });
  EXPECT_EQ(text(resolve("api.example.test")), "192.0.2.4");
  ASSERT_EQ(upstream.asked.size(), 2u);
  EXPECT_TRUE(upstream.asked[1].over_tcp);
}

TEST_F(ResolverTest, AHalfAnswerThatIsTruncatedIsNotUsed) {
  server([](const Asked& asked) {
    if (asked.over_tcp) return Replies{asked.address(4)};
    return Replies{asked.reply(1, 0, 0x8380).pointer(12).record(wire::kTypeA, 60, {192, 0, 2, 3}).octets};
  });
  EXPECT_EQ(text(resolve("api.example.test")), "192.0.2.4");
}

TEST_F(ResolverTest, ChainWithinOneReply) {  // DNS-13
  server([](const Asked& asked) {
    return Replies{asked.reply(2)
                       .pointer(12)
                       .record(wire::kTypeCname, 30, name_octets("x.evil.test"))
                       .name("x.evil.test")
                       .record(wire::kTypeA, 60, {192, 0, 2, 9})
                       .octets};
  });
  const ResolveResult result = resolve("api.example.test");
  EXPECT_EQ(text(result), "192.0.2.9");
  EXPECT_EQ(result.ttl, 30u);
  ASSERT_EQ(result.chain.size(), 1u);
  EXPECT_EQ(result.chain[0].text(), "x.evil.test");
}

TEST_F(ResolverTest, ChainThatLeavesTheReplyIsFollowed) {
  ScriptedServer& upstream = server([](const Asked& asked) {
    if (asked.name() == "cdn.other") return Replies{asked.address(8, 300)};
    return Replies{asked.reply(1).pointer(12).record(wire::kTypeCname, 30, name_octets("CDN.other")).octets};
  });
  const ResolveResult result = resolve("api.example.test");
  EXPECT_EQ(text(result), "192.0.2.8");
  EXPECT_EQ(result.ttl, 30u);
  ASSERT_EQ(result.chain.size(), 1u);
  EXPECT_EQ(result.chain[0].text(), "CDN.other");
  EXPECT_EQ(upstream.asked.size(), 2u);
  // What was learnt on the way belongs to the name asked for: the target itself is not known.
  resolve("cdn.other");
  EXPECT_EQ(upstream.asked.size(), 3u);
}

TEST_F(ResolverTest, ChainLoopOverRepliesFails) {  // DNS-14
  ScriptedServer& upstream = server([](const Asked& asked) {
    return Replies{asked.reply(1)
                       .pointer(12)
                       .record(wire::kTypeCname, 30, name_octets(asked.name() == "a.test" ? "b.test" : "a.test"))
                       .octets};
  });
  EXPECT_EQ(resolve("a.test").outcome, ResolveOutcome::kFailed);
  EXPECT_EQ(upstream.asked.size(), 2u);
}

TEST_F(ResolverTest, EndlessChainStopsAtTheBound) {  // DNS-14
  ScriptedServer& upstream = server([](const Asked& asked) {
    return Replies{asked.reply(1).pointer(12).record(wire::kTypeCname, 30, name_octets("x" + asked.name())).octets};
  });
  const Clock::time_point start = Clock::now();
  EXPECT_EQ(resolve("a.test").outcome, ResolveOutcome::kFailed);
  EXPECT_LT(Clock::now() - start, seconds(2));
  EXPECT_EQ(upstream.asked.size(), Resolver::kMaxQueries);
}

struct ChainLength {
  unsigned links;
  ResolveOutcome outcome;
};
class ChainsOf : public ResolverTest, public testing::WithParamInterface<ChainLength> {};
TEST_P(ChainsOf, OneReply) {  // DNS-14
  server([](const Asked& asked) {
    MessageBuilder message = asked.reply(GetParam().links + 1);
    message.pointer(12);
    for (unsigned i = 0; i < GetParam().links; ++i) {
      const std::string next = "n" + std::to_string(i) + ".test";
      message.record(wire::kTypeCname, 30, name_octets(next)).name(next);
    }
    return Replies{message.record(wire::kTypeA, 30, {192, 0, 2, 1}).octets};
  });
  EXPECT_EQ(resolve("a.test").outcome, GetParam().outcome);
}
INSTANTIATE_TEST_SUITE_P(Links, ChainsOf,
                         testing::Values(ChainLength{16, ResolveOutcome::kAnswers},
                                         ChainLength{17, ResolveOutcome::kFailed}),
                         [](const auto& row) { return std::to_string(row.param.links); });

TEST_F(ResolverTest, ExtraRecordsAreNeitherUsedNorKept) {  // DNS-29
  ScriptedServer& upstream = server([](const Asked& asked) {
    if (asked.name() == "pkg.test") return Replies{asked.address(1)};
    return Replies{asked.reply(2, 1)
                       .pointer(12)
                       .record(wire::kTypeA, 60, {192, 0, 2, 2})
                       .name("pkg.test")
                       .record(wire::kTypeA, 60, {203, 0, 113, 66})
                       .name("test")
                       .record(wire::kTypeNs, 60, name_octets("ns.evil.test"))
                       .octets};
  });
  EXPECT_EQ(text(resolve("api.example.test")), "192.0.2.2");
  EXPECT_EQ(text(resolve("pkg.test")), "192.0.2.1");
  EXPECT_EQ(upstream.asked.size(), 2u);
}

TEST_F(ResolverTest, EqualLookupsShareOne) {  // DNS-27
  ScriptedServer& upstream = server([](const Asked& asked) { return Replies{asked.address(3)}; });
  std::vector<std::shared_ptr<Pending>> pending;
  for (int i = 0; i < 100; ++i) pending.push_back(start("api.example.test"));
  run_until([&] {
    return std::all_of(pending.begin(), pending.end(), [](const auto& one) { return one->result.has_value(); });
  });
  for (const auto& one : pending) EXPECT_EQ(text(*one->result), "192.0.2.3");
  EXPECT_EQ(upstream.asked.size(), 1u);
  EXPECT_EQ(resolver().counters().merged, 99u);
}

TEST_F(ResolverTest, LookupsAtOnceAreBounded) {
  config.max_lookups = 2;
  ScriptedServer& upstream = server([](const Asked&) { return Replies{}; });
  const auto first = start("a.test"), second = start("b.test"), third = start("c.test");
  run_until([&] { return third->result.has_value(); });
  EXPECT_EQ(third->result->outcome, ResolveOutcome::kFailed);
  EXPECT_EQ(resolver().counters().overloads, 1u);
  EXPECT_FALSE(first->result);
  run_until([&] { return first->result && second->result; });
  for (const Asked& asked : upstream.asked) EXPECT_NE(asked.name(), "c.test");
}

TEST_F(ResolverTest, AnswersAreKeptForTheirTtl) {
  ScriptedServer& upstream = server([](const Asked& asked) { return Replies{asked.address(3, 60)}; });
  resolve("API.example.test");
  now += seconds(59);
  EXPECT_EQ(resolve("api.example.test").ttl, 1u);
  EXPECT_EQ(upstream.asked.size(), 1u);
  now += seconds(1);
  resolve("api.example.test");
  EXPECT_EQ(upstream.asked.size(), 2u);
  resolver().forget();
  resolve("api.example.test");
  EXPECT_EQ(upstream.asked.size(), 3u);
}

TEST_F(ResolverTest, AbsenceIsKeptForTheNegativeTtl) {
  ScriptedServer& upstream = server([](const Asked& asked) {
    return Replies{asked.reply(0, 1, 0x8183).name("test").record(wire::kTypeSoa, 100, soa_rdata()).octets};
  });
  resolve("none.test");
  now += seconds(39);
  EXPECT_EQ(resolve("none.test").outcome, ResolveOutcome::kNxDomain);
  EXPECT_EQ(upstream.asked.size(), 1u);
  now += seconds(1);
  resolve("none.test");
  EXPECT_EQ(upstream.asked.size(), 2u);
}

struct TtlRow {
  const char* why;
  std::uint32_t sent, told;
};
void PrintTo(const TtlRow& row, std::ostream* out) { *out << row.why; }
class Ttls : public ResolverTest, public testing::WithParamInterface<TtlRow> {};
TEST_P(Ttls, AreBroughtWithin) {  // DNS-30
  config.min_ttl = 30;
  config.max_ttl = 3600;
  server([](const Asked& asked) { return Replies{asked.address(3, GetParam().sent)}; });
  EXPECT_EQ(resolve("a.test").ttl, GetParam().told);
}
INSTANTIATE_TEST_SUITE_P(Bounds, Ttls,
                         testing::ValuesIn<TtlRow>({
                             {"Zero", 0, 30},
                             {"Below", 29, 30},
                             {"Within", 31, 31},
                             {"Above", 3601, 3600},
                             {"TopBit", 0x80000000, 30},
                             {"Largest", 0x7fffffff, 3600},
                         }),
                         [](const auto& row) { return row.param.why; });

TEST_F(ResolverTest, AFailingUpstreamHandsOverToTheNext) {
  ScriptedServer& failing = server([](const Asked& asked) { return Replies{asked.reply(0, 0, 0x8182).octets}; });
  ScriptedServer& good = server([](const Asked& asked) { return Replies{asked.address(5)}; });
  EXPECT_EQ(text(resolve("a.test")), "192.0.2.5");
  EXPECT_EQ(failing.asked.size(), 1u);
  EXPECT_EQ(good.asked.size(), 1u);
}

TEST_F(ResolverTest, FailureOfAllIsToldAndKeptForASecond) {  // RFC 9520
  ScriptedServer& first = server([](const Asked& asked) { return Replies{asked.reply(0, 0, 0x8182).octets}; });
  ScriptedServer& second = server([](const Asked& asked) { return Replies{asked.reply(0, 0, 0x8185).octets}; });
  EXPECT_EQ(resolve("a.test").outcome, ResolveOutcome::kFailed);
  EXPECT_EQ(resolve("a.test").outcome, ResolveOutcome::kFailed);
  EXPECT_EQ(first.asked.size(), 1u);  // it would say the same again
  EXPECT_EQ(second.asked.size(), 1u);
  now += seconds(1);
  resolve("a.test");
  EXPECT_EQ(first.asked.size(), 2u);
}

TEST_F(ResolverTest, SilenceEndsInATimeout) {  // DNS-35
  ScriptedServer& upstream = server([](const Asked&) { return Replies{}; });
  const Clock::time_point start = Clock::now();
  EXPECT_EQ(resolve("a.test").outcome, ResolveOutcome::kTimeout);
  EXPECT_LT(Clock::now() - start, seconds(2));
  EXPECT_EQ(upstream.asked.size(), 1u);
}

TEST_F(ResolverTest, SilenceOfSeveralIsAskedInRounds) {  // DNS-35
  ScriptedServer& first = server([](const Asked&) { return Replies{}; });
  ScriptedServer& second = server([](const Asked&) { return Replies{}; });
  EXPECT_EQ(resolve("a.test").outcome, ResolveOutcome::kTimeout);
  ASSERT_EQ(first.asked.size(), 2u);   // the rounds
  EXPECT_EQ(second.asked.size(), 3u);  // the last try lasts on, and asks again
  EXPECT_NE(first.asked[0].query.header.id << 16 | first.asked[0].source_port,
            first.asked[1].query.header.id << 16 | first.asked[1].source_port);
}

TEST_F(ResolverTest, WhereADatagramWasLostTheNextIsSentAgainSooner) {  // REL-07
  config.resend = milliseconds(200);
  config.eager_resend = milliseconds(20);
  config.again = milliseconds(20);
  config.lookup_timeout = seconds(3);
  int chances = 0;
  server([&](const Asked& asked) { return ++chances % 2 == 1 ? Replies{} : Replies{asked.address(1)}; });
  const auto took = [&](std::string_view name) {
    const Clock::time_point start = Clock::now();
    EXPECT_EQ(text(resolve(name)), "192.0.2.1");
    return Clock::now() - start;
  };
  EXPECT_GE(took("a.test"), milliseconds(200)) << "slow is more likely than lost";
  EXPECT_LT(took("b.test"), milliseconds(200));
  now += seconds(31);
  EXPECT_GE(took("c.test"), milliseconds(200));
}

TEST_F(ResolverTest, ALostDatagramIsSentAgainFromTheSameSocket) {  // REL-07
  config.resend = milliseconds(80);
  config.again = milliseconds(30);
  config.lookup_timeout = seconds(3);
  int dropped = 0;
  ScriptedServer& upstream =
      server([&](const Asked& asked) { return ++dropped < 4 ? Replies{} : Replies{asked.address(1)}; });
  const Clock::time_point start = Clock::now();
  EXPECT_EQ(text(resolve("a.test")), "192.0.2.1");
  EXPECT_GE(Clock::now() - start, milliseconds(80 + 30 + 30));
  ASSERT_EQ(upstream.asked.size(), 4u);
  for (const Asked& asked : upstream.asked) {  // one id and port to guess, not four
    EXPECT_EQ(asked.query.header.id, upstream.asked[0].query.header.id);
    EXPECT_EQ(asked.source_port, upstream.asked[0].source_port);
  }
}

TEST_F(ResolverTest, QueriesOfOneLookupAreBounded) {  // DNS-35
  config.resend = config.eager_resend = config.again = milliseconds(2);
  ScriptedServer& only = server([](const Asked&) { return Replies{}; });
  EXPECT_NE(resolve("a.test").outcome, ResolveOutcome::kAnswers);
  EXPECT_EQ(only.asked.size(), Resolver::kMaxQueries);
}

TEST_F(ResolverTest, NoDescriptorLeftIsNoWordAboutTheUpstream) {  // REL-04
  ScriptedServer& upstream = server([](const Asked& asked) { return Replies{asked.address(1)}; });
  EXPECT_EQ(text(resolve("first.test")), "192.0.2.1");
  std::vector<int> taken;
  rlimit before{}, low{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  low = before;
  low.rlim_cur = 256;
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &low), 0);
  for (int fd = ::dup(0); fd >= 0; fd = ::dup(0)) taken.push_back(fd);
  const ResolveResult starved = resolve("second.test");
  for (const int fd : taken) ::close(fd);
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
  EXPECT_EQ(starved.outcome, ResolveOutcome::kNoSocket);
  EXPECT_EQ(resolver().counters().no_sockets, 1u);
  EXPECT_EQ(text(resolve("second.test")), "192.0.2.1") << "not remembered, neither for the name nor for the upstream";
  EXPECT_EQ(upstream.asked.size(), 2u);
}

TEST_F(ResolverTest, PortsAndIdsOfManyQueriesAreSpreadEvenly) {  // DNS-28
  ScriptedServer& upstream = server([](const Asked& asked) { return Replies{asked.address(1)}; });
  constexpr int kSamples = 2000, kBuckets = 16;
  for (int i = 0; i < kSamples; ++i) ASSERT_EQ(text(resolve("n" + std::to_string(i) + ".test")), "192.0.2.1");
  ASSERT_EQ(upstream.asked.size(), std::size_t{kSamples});
  std::ifstream range("/proc/sys/net/ipv4/ip_local_port_range");
  unsigned least = 0, most = 0;
  ASSERT_TRUE(range >> least >> most);
  std::array<int, kBuckets> ports{}, ids{}, low_bits{};
  for (std::size_t i = 0; i < upstream.asked.size(); ++i) {
    const Asked& asked = upstream.asked[i];
    ASSERT_GE(asked.source_port, least);
    ASSERT_LE(asked.source_port, most);
    ++ports[(asked.source_port - least) * kBuckets / (most - least + 1)];
    ++ids[asked.query.header.id * kBuckets / 65536];
    ++low_bits[asked.query.header.id % kBuckets];
    if (i > 0) EXPECT_NE(asked.source_port, upstream.asked[i - 1].source_port) << "two in a row";
  }
  const auto chi_square = [](const std::array<int, kBuckets>& counts) {
    const double expected = double{kSamples} / kBuckets;
    double sum = 0;
    for (const int count : counts) sum += (count - expected) * (count - expected) / expected;
    return sum;
  };
  // 15 degrees of freedom: over 44.3 one time in 10,000.
  EXPECT_LT(chi_square(ports), 44.3);
  EXPECT_LT(chi_square(ids), 44.3);
  EXPECT_LT(chi_square(low_bits), 44.3);
}

TEST_F(ResolverTest, AnUpstreamSlowerThanTheFirstTryIsWaitedFor) {
  ScriptedServer& upstream = server([](const Asked&) { return Replies{}; });
  upstream.late = [](const Asked& asked) { return asked.address(1); };
  upstream.delay = milliseconds(300);  // more than both tries' own limits, 60 and 120 ms
  EXPECT_EQ(text(resolve("a.test")), "192.0.2.1");
  EXPECT_EQ(upstream.asked.size(), 1u);
}

TEST_F(ResolverTest, ATypeThatIsDroppedIsNotWaitedForEachTime) {
  ScriptedServer& upstream = server([](const Asked& asked) {
    return asked.query.question->type == wire::kTypeA ? Replies{asked.address(1)} : Replies{};
  });
  EXPECT_EQ(text(resolve("a.test")), "192.0.2.1");
  EXPECT_EQ(resolve("a.test", wire::kTypeAaaa).outcome, ResolveOutcome::kTimeout);
  const std::size_t asked = upstream.asked.size();
  now += seconds(29);
  EXPECT_EQ(resolve("a.test", wire::kTypeAaaa).outcome, ResolveOutcome::kTimeout);
  EXPECT_EQ(upstream.asked.size(), asked);
  EXPECT_EQ(resolve("b.test", wire::kTypeAaaa).outcome, ResolveOutcome::kTimeout);  // nothing known of that name
  now += seconds(1);
  const std::size_t before = upstream.asked.size();
  EXPECT_EQ(resolve("b.test", wire::kTypeAaaa).outcome, ResolveOutcome::kTimeout);
  EXPECT_GT(upstream.asked.size(), before);
}

TEST_F(ResolverTest, TheDefaultsEndBeforeTheClientMustBeTold) {  // DNS-35
  EXPECT_LT(ResolverConfig{}.lookup_timeout, seconds(5));
}

TEST_F(ResolverTest, ASilentUpstreamIsAskedLastForAWhile) {
  ScriptedServer& silent = server([](const Asked&) { return Replies{}; });
  ScriptedServer& good = server([](const Asked& asked) { return Replies{asked.address(5)}; });
  EXPECT_EQ(text(resolve("a.test")), "192.0.2.5");
  EXPECT_EQ(text(resolve("b.test")), "192.0.2.5");
  EXPECT_EQ(silent.asked.size(), 1u);
  EXPECT_EQ(good.asked.size(), 2u);
  now += config.down_time;
  silent.set([](const Asked& asked) { return Replies{asked.address(6)}; });
  EXPECT_EQ(text(resolve("c.test")), "192.0.2.6");
}

TEST_F(ResolverTest, NobodyThereIsToldApart) {
  server([](const Asked&) { return Replies{}; }).close();
  EXPECT_EQ(resolve("a.test").outcome, ResolveOutcome::kUnreachable);
  config.upstreams.clear();
  resolver_.reset();
  EXPECT_EQ(resolve("a.test").outcome, ResolveOutcome::kUnreachable);
}

TEST_F(ResolverTest, ACallersDeadlineIsItsOwn) {
  config.resend = milliseconds(300);
  ScriptedServer& upstream = server([](const Asked&) { return Replies{}; });
  const auto patient = start("a.test");
  const auto hasty = start("a.test", wire::kTypeA, milliseconds(10));
  run_until([&] { return hasty->result.has_value(); });
  EXPECT_EQ(hasty->result->outcome, ResolveOutcome::kTimeout);
  EXPECT_FALSE(patient->result);
  EXPECT_EQ(upstream.asked.size(), 1u);
  upstream.set([](const Asked& asked) { return Replies{asked.address(2)}; });
  run_until([&] { return patient->result.has_value(); });  // asked again
  EXPECT_EQ(text(*patient->result), "192.0.2.2");
}

TEST_F(ResolverTest, AClosedScopeEndsLookupsAndStartsNone) {
  server([](const Asked&) { return Replies{}; });
  const auto pending = start("a.test");
  run_until([&] { return !servers_[0]->asked.empty(); });
  tasks_.cancel();
  run_until([&] { return pending->result.has_value(); });
  EXPECT_EQ(pending->result->outcome, ResolveOutcome::kFailed);
  EXPECT_EQ(tasks_.size(), 0u);
  EXPECT_EQ(resolve("b.test").outcome, ResolveOutcome::kFailed);
}

TEST_F(ResolverTest, MayBeDestroyedWithLookupsAtWork) {
  server([](const Asked&) { return Replies{}; });
  const auto pending = start("a.test");
  run_until([&] { return !servers_[0]->asked.empty(); });
  resolver_.reset();
  run_until([&] { return pending->result.has_value(); });
  EXPECT_EQ(pending->result->outcome, ResolveOutcome::kTimeout);
}

}  // namespace
}  // namespace sallyport::net
