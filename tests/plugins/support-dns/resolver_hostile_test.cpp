// Upstreams, and those who pretend to be one, that want the resolver to believe, crash or hang.
#include <gtest/gtest.h>

#include <random>

#include "scripted_server.hpp"
#include "support/resolver.hpp"

namespace sallyport::net {
namespace {

using wire::name_octets;

struct Forgery {
  const char* why;
  std::function<Octets(const Asked&)> message;
  bool is_suspect;  // our id and question but for their form: a true reply is waited for only a little longer
};
void PrintTo(const Forgery& row, std::ostream* out) { *out << row.why; }

Octets with(Octets octets, std::size_t at, std::uint8_t flip) {
  octets[at] ^= flip;
  return octets;
}

const std::vector<Forgery> kForgeries = {
    {"WrongId", [](const Asked& asked) { return with(asked.address(66), 0, 0x01); }, false},
    {"WrongName", [](const Asked& asked) { return with(asked.address(66), 13, 0x01); }, false},
    {"WrongType", [](const Asked& asked) { return with(asked.address(66), 12 + asked.question().size() - 3, 0x02); },
     false},
    {"WrongClass", [](const Asked& asked) { return with(asked.address(66), 12 + asked.question().size() - 1, 0x02); },
     false},
    {"WrongCase", [](const Asked& asked) { return with(asked.address(66), 13, 0x20); }, true},
    {"NoQuestion", [](const Asked& asked) { return MessageBuilder().header(asked.query.header.id, 0x8180, 0).octets; },
     true},
    {"TheQueryItself", [](const Asked& asked) { return asked.octets; }, false},
    {"Empty", [](const Asked&) { return Octets{}; }, false},
    {"HeaderCutShort", [](const Asked& asked) { return Octets(asked.octets.begin(), asked.octets.begin() + 11); },
     false},
};

class Forgeries : public ResolverTest, public testing::WithParamInterface<Forgery> {};

TEST_P(Forgeries, AreWaitedPast) {  // DNS-26
  server([](const Asked& asked) { return Replies{GetParam().message(asked), asked.address(1)}; });
  EXPECT_EQ(text(resolve("api.example.test")), "192.0.2.1");
  EXPECT_EQ(resolver().counters().spoof_suspects + resolver().counters().malformed, 1u);
  EXPECT_EQ(servers_[0]->asked.size(), 1u);
}

TEST_P(Forgeries, AloneAreNoAnswer) {  // DNS-26
  ScriptedServer& upstream =
      server([](const Asked& asked) { return asked.over_tcp ? Replies{} : Replies{GetParam().message(asked)}; });
  EXPECT_NE(resolve("api.example.test").outcome, ResolveOutcome::kAnswers);
  const bool asked_by_tcp =
      std::any_of(upstream.asked.begin(), upstream.asked.end(), [](const Asked& asked) { return asked.over_tcp; });
  EXPECT_EQ(asked_by_tcp, GetParam().is_suspect);
}

INSTANTIATE_TEST_SUITE_P(Replies, Forgeries, testing::ValuesIn(kForgeries),
                         [](const auto& row) { return row.param.why; });

TEST_F(ResolverTest, ReplyFromAnotherAddressIsNeverSeen) {  // DNS-26
  ScriptedServer& upstream = server([](const Asked& asked) { return Replies{asked.address(1)}; });
  upstream.from_elsewhere = [](const Asked& asked) { return asked.address(66); };
  EXPECT_EQ(text(resolve("api.example.test")), "192.0.2.1");
  upstream.set([](const Asked&) { return Replies{}; });
  EXPECT_EQ(resolve("pkg.test").outcome, ResolveOutcome::kTimeout);
}

TEST_F(ResolverTest, AFloodOfForgeriesDoesNotHideTheReply) {
  server([](const Asked& asked) {
    Replies messages(50, with(asked.address(66), 1, 0x01));
    messages.push_back(asked.address(1));
    return messages;
  });
  EXPECT_EQ(text(resolve("api.example.test")), "192.0.2.1");
  EXPECT_EQ(resolver().counters().spoof_suspects, 50u);
}

TEST_F(ResolverTest, AnUpstreamThatChangesLettersIsAskedOverTcp) {
  ScriptedServer& upstream = server([](const Asked& asked) {
    Octets message = asked.address(1);
    for (std::size_t i = 12; i < 12 + asked.question().size() - 5; ++i)
      if (message[i] >= 'A' && message[i] <= 'Z') message[i] |= 0x20;
    return Replies{message};
  });
  EXPECT_EQ(text(resolve("abcdefghijklmnopqrstuvwxyz.test")), "192.0.2.1");
  ASSERT_EQ(upstream.asked.size(), 2u);
  EXPECT_TRUE(upstream.asked[1].over_tcp);
  EXPECT_EQ(text(resolve("bcdefghijklmnopqrstuvwxyza.test")), "192.0.2.1");  // at once by TCP
  EXPECT_EQ(upstream.asked.size(), 3u);
  now += config.folded_time;
  EXPECT_EQ(text(resolve("cdefghijklmnopqrstuvwxyzab.test")), "192.0.2.1");
  EXPECT_FALSE(upstream.asked[3].over_tcp);
}

struct BadReply {
  const char* why;
  std::function<Octets(const Asked&)> message;
};
void PrintTo(const BadReply& row, std::ostream* out) { *out << row.why; }
class BadReplies : public ResolverTest, public testing::WithParamInterface<BadReply> {};

TEST_P(BadReplies, FailAndTheNextUpstreamIsAsked) {  // DNS-15
  server([](const Asked& asked) { return Replies{GetParam().message(asked)}; });
  EXPECT_EQ(resolve("a.test").outcome, ResolveOutcome::kFailed);
  server([](const Asked& asked) { return Replies{asked.address(1)}; });
  resolver_.reset();
  EXPECT_EQ(text(resolve("a.test")), "192.0.2.1");
}

INSTANTIATE_TEST_SUITE_P(
    Messages, BadReplies,
    testing::ValuesIn<BadReply>({
        {"OwnerLoop",
         [](const Asked& asked) {
           return asked.reply(1)
               .pointer(static_cast<unsigned>(12 + asked.question().size()))
               .record(wire::kTypeA, 60, {192, 0, 2, 66})
               .octets;
         }},
        {"OwnerPastTheEnd",
         [](const Asked& asked) {
           return asked.reply(1).pointer(0x3fff).record(wire::kTypeA, 60, {192, 0, 2, 66}).octets;
         }},
        {"TargetLoop",
         [](const Asked& asked) {
           const unsigned rdata = static_cast<unsigned>(12 + asked.question().size() + 12);
           return asked.reply(1)
               .pointer(12)
               .record(wire::kTypeCname, 60,
                       {static_cast<std::uint8_t>(0xc0 | rdata >> 8), static_cast<std::uint8_t>(rdata)})
               .octets;
         }},
        {"CountedNotThere",
         [](const Asked& asked) {
           return asked.reply(9).pointer(12).record(wire::kTypeA, 60, {192, 0, 2, 66}).octets;
         }},
        {"AddressOf5",
         [](const Asked& asked) {
           return asked.reply(1).pointer(12).record(wire::kTypeA, 60, {192, 0, 2, 66, 0}).octets;
         }},
        {"TrailingOctets",
         [](const Asked& asked) {
           return asked.reply(1).pointer(12).record(wire::kTypeA, 60, {192, 0, 2, 66}).u32(0).octets;
         }},
        {"AliasOfItself",
         [](const Asked& asked) {
           return asked.reply(1).pointer(12).record(wire::kTypeCname, 60, name_octets("A.TEST")).octets;
         }},
        {"Referral",
         [](const Asked& asked) {
           return asked.reply(0, 1).name("test").record(wire::kTypeNs, 60, name_octets("ns.evil.test")).octets;
         }},
    }),
    [](const auto& row) { return row.param.why; });

struct BadStream {
  const char* why;
  std::function<Octets(const Asked&)> octets;
  bool stays_open;
};
void PrintTo(const BadStream& row, std::ostream* out) { *out << row.why; }
class BadStreams : public ResolverTest, public testing::WithParamInterface<BadStream> {};

TEST_P(BadStreams, EndInTime) {  // DNS-04
  ScriptedServer& upstream = server([](const Asked& asked) { return Replies{asked.reply(0, 0, 0x8380).octets}; });
  upstream.raw_tcp = GetParam().octets;
  upstream.keep_tcp_open = GetParam().stays_open;
  const Clock::time_point start = Clock::now();
  const ResolveResult result = resolve("a.test");
  EXPECT_NE(result.outcome, ResolveOutcome::kAnswers);
  EXPECT_LT(Clock::now() - start, std::chrono::seconds(2));
}

INSTANTIATE_TEST_SUITE_P(
    Tcp, BadStreams,
    testing::ValuesIn<BadStream>({
        {"ClosedAtOnce", [](const Asked&) { return Octets{}; }, false},
        {"SilentAndOpen", [](const Asked&) { return Octets{}; }, true},
        {"HalfALength", [](const Asked&) { return Octets{0}; }, true},
        {"LengthZero", [](const Asked&) { return Octets{0, 0}; }, true},
        {"MoreAnnouncedThanSent",
         [](const Asked& asked) { return MessageBuilder().u16(65535).raw(asked.address(66)).octets; }, true},
        {"WrongId",
         [](const Asked& asked) {
           return MessageBuilder()
               .u16(static_cast<unsigned>(asked.address(66).size()))
               .raw(with(asked.address(66), 0, 1))
               .octets;
         },
         true},
        {"WrongName",
         [](const Asked& asked) {
           return MessageBuilder()
               .u16(static_cast<unsigned>(asked.address(66).size()))
               .raw(with(asked.address(66), 13, 1))
               .octets;
         },
         true},
    }),
    [](const auto& row) { return row.param.why; });

TEST_F(ResolverTest, NoTcpBehindATruncatedReplyIsNoAnswer) {
  ScriptedServer& upstream = server([](const Asked& asked) {
    return Replies{asked.reply(1, 0, 0x8380).pointer(12).record(wire::kTypeA, 60, {192, 0, 2, 66}).octets};
  });
  upstream.close_tcp();
  EXPECT_EQ(resolve("a.test").outcome, ResolveOutcome::kUnreachable);
}

class MutatedReplies : public ResolverTest, public testing::WithParamInterface<unsigned> {};  // the seed

TEST_P(MutatedReplies, AreSurvived) {
  config.try_timeout = std::chrono::milliseconds(5);
  config.case_grace = std::chrono::milliseconds(1);
  config.failure_ttl = 0;
  std::mt19937 random(GetParam());
  server([&random](const Asked& asked) {
    Octets message = asked.reply(3, 1)
                         .pointer(12)
                         .record(wire::kTypeCname, 30, MessageBuilder().label("cdn").pointer(14).octets)
                         .label("cdn")
                         .pointer(14)
                         .record(wire::kTypeA, 60, {192, 0, 2, 9})
                         .name("pkg.test")
                         .record(wire::kTypeA, 60, {203, 0, 113, 66})
                         .name("test")
                         .record(wire::kTypeSoa, 100, soa_rdata())
                         .octets;
    for (unsigned i = 1 + random() % 4; i > 0; --i)
      message[2 + random() % (message.size() - 2)] = static_cast<std::uint8_t>(random());
    if (random() % 4 == 0) message.resize(random() % message.size());
    return Replies{message};
  });
  for (int i = 0; i < 100; ++i) {
    const ResolveResult result = resolve("n" + std::to_string(i) + ".test");
    EXPECT_EQ(result.outcome == ResolveOutcome::kAnswers, !result.addresses.empty())
        << "seed " << GetParam() << " lookup " << i;
    EXPECT_LE(result.ttl, config.max_ttl);
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, MutatedReplies, testing::Range(0u, 8u));

}  // namespace
}  // namespace sallyport::net
