// WireCache: what is found, for whom, for how long, and that a hit differs from a fresh answer in nothing that counts.
#include "dns/wire_cache.hpp"

#include <gtest/gtest.h>

#include <array>
#include <map>
#include <random>
#include <vector>

#include "support/fake_host.hpp"
#include "wire-dns/message_builder.hpp"
#include "wire/dns_response.hpp"
#include "wire/dns_writer.hpp"

namespace sallyport::dns {
namespace {

using net::Clock;
using std::chrono::milliseconds;
using std::chrono::seconds;
using testing_kit::FakeHost;
using wire::MessageBuilder;
using wire::Octets;

policy_name name_of(std::string_view text) {
  policy_name out{};
  policy_error error{};
  EXPECT_EQ(FakeHost::edge()->name(policy_str{text.data(), text.size()}, POLICY_FORM_HOST, &out, &error), POLICY_OK)
      << text;
  return out;
}

wire::DnsQuery query_of(std::string_view text, std::uint16_t id = 7, unsigned flags = 0x0100, bool edns = true) {
  MessageBuilder message;
  message.header(id, flags, 1, 0, 0, edns ? 1 : 0).question(text);
  if (edns) message.opt();
  return wire::read_query(message.octets);
}

// With an alias and two addresses, so with three TTLs.
Octets reply_to(const wire::DnsQuery& query, std::uint32_t ttl, std::uint8_t last = 1) {
  std::array<std::uint8_t, 1232> buffer;
  wire::DnsReplyWriter writer(buffer, query, buffer.size(), wire::Rcode::kNoError);
  writer.add_cname(ttl, *wire::WireName::from_text("cdn.example.net"));
  writer.add_a(ttl, std::array<std::uint8_t, 4>{192, 0, 2, last});
  writer.add_a(ttl, std::array<std::uint8_t, 4>{192, 0, 2, 200});
  const auto reply = writer.finish();
  return {reply.begin(), reply.end()};
}

class WireCacheTest : public testing::Test {
 protected:
  WireCache::Key key(std::uint64_t client = 1, std::uint64_t generation = 1) const {
    return {.name = &name, .client_id = client, .generation = generation, .type = wire::kTypeA, .has_edns = true};
  }
  void store(const WireCache::Key& at, std::uint32_t ttl = 60) {
    cache.store(at, reply_to(query_of("api.example.test"), ttl), {}, now, now + seconds(ttl));
  }

  WireCache cache{64};
  policy_name name = name_of("api.example.test");
  Clock::time_point now{std::chrono::hours(5)};
};

TEST_F(WireCacheTest, AHitIsTheAnswerThatWouldHaveBeenWritten) {  // DNS-05
  store(key());
  now += milliseconds(9500);
  const WireCache::Hit hit = cache.find(key(), now);
  ASSERT_TRUE(hit.found());
  EXPECT_EQ(hit.ttl, 50u) << "never longer than what it stands on";
  std::array<std::uint8_t, 1232> buffer;
  for (const unsigned flags : {0x0100u, 0x0000u, 0x0110u}) {  // RD, none, RD and CD
    const wire::DnsQuery query = query_of("aPi.eXample.TEST", 0xbeef, flags);
    const auto out = WireCache::write(hit, query, buffer);
    EXPECT_EQ(Octets(out.begin(), out.end()), reply_to(query, 50)) << flags;
  }
}

TEST_F(WireCacheTest, EndsWithItsTtl) {
  store(key(), 2);
  EXPECT_TRUE(cache.find(key(), now + milliseconds(1000)).found());
  EXPECT_FALSE(cache.find(key(), now + milliseconds(1001)).found()) << "less than a second is no TTL to give";
  store(key(), 0);
  EXPECT_FALSE(cache.find(key(), now + milliseconds(1001)).found());
}

TEST_F(WireCacheTest, BelongsToOneGeneration) {  // DNS-36
  store(key(1, 1));
  EXPECT_FALSE(cache.find(key(1, 2), now).found());
  EXPECT_TRUE(cache.find(key(1, 1), now).found());
  store(key(1, 2));
  EXPECT_TRUE(cache.find(key(1, 2), now).found());
  EXPECT_FALSE(cache.find(key(1, 1), now).found()) << "one answer a query: the newer";
}

TEST_F(WireCacheTest, BelongsToOneClientAndQuestion) {
  store(key());
  EXPECT_FALSE(cache.find(key(2), now).found());
  WireCache::Key other = key();
  other.type = wire::kTypeAaaa;
  EXPECT_FALSE(cache.find(other, now).found());
  other = key();
  other.has_edns = false;
  EXPECT_FALSE(cache.find(other, now).found());
  other = key();
  other.dnssec_ok = true;
  EXPECT_FALSE(cache.find(other, now).found());
  const policy_name longer = name_of("xapi.example.test");
  other = key();
  other.name = &longer;
  EXPECT_FALSE(cache.find(other, now).found());
}

TEST_F(WireCacheTest, AClientIsItsAddressNotItsIdAlone) {  // ids of IPv6 clients are hashes
  const policy_addr one = FakeHost::address("fd00::1"), two = FakeHost::address("fd00::2");
  WireCache::Key at = key();
  at.client = &one;
  store(at);
  EXPECT_TRUE(cache.find(at, now).found());
  at.client = &two;
  EXPECT_FALSE(cache.find(at, now).found());
  at.client = nullptr;
  EXPECT_FALSE(cache.find(at, now).found());
}

TEST_F(WireCacheTest, ATruncatedOrForeignReplyIsNotKept) {
  const wire::DnsQuery query = query_of("api.example.test");
  Octets reply = reply_to(query, 60);
  reply[2] |= 0x02;  // TC
  cache.store(key(), reply, {}, now, now + seconds(60));
  EXPECT_FALSE(cache.find(key(), now).found());
  cache.store(key(), reply_to(query_of("a.b.example.test.and.more"), 60), {}, now, now + seconds(60));
  EXPECT_FALSE(cache.find(key(), now).found());
  cache.store(key(), Octets{1, 2, 3}, {}, now, now + seconds(60));
  EXPECT_FALSE(cache.find(key(), now).found());
}

TEST_F(WireCacheTest, KeepsTheAddressesThatTheAnswerStandsOn) {
  const std::vector<policy_addr> bindings{FakeHost::address("192.0.2.1"), FakeHost::address("192.0.2.200")};
  cache.store(key(), reply_to(query_of("api.example.test"), 60), bindings, now, now + seconds(60));
  const WireCache::Hit hit = cache.find(key(), now);
  ASSERT_EQ(hit.bindings.size(), 2u);
  EXPECT_EQ(FakeHost::text(hit.bindings[1]), "192.0.2.200");
}

TEST(WireCache, WithoutEntriesNothingIsKept) {
  WireCache none(0);
  const policy_name name = name_of("a.test");
  const WireCache::Key key{.name = &name, .type = wire::kTypeA, .has_edns = true};
  const Clock::time_point now{std::chrono::hours(1)};
  none.store(key, reply_to(query_of("a.test"), 60), {}, now, now + seconds(60));
  EXPECT_FALSE(none.find(key, now).found());
}

// Whatever was stored when, what is found is the last answer stored under that very key, and not after its end.
class WireCacheAgainstOracle : public testing::TestWithParam<unsigned> {};

TEST_P(WireCacheAgainstOracle, NeverAnswersWithAnothersAnswer) {
  std::mt19937 random(GetParam());
  WireCache cache(32);
  std::vector<policy_name> names;
  for (int i = 0; i < 40; ++i) names.push_back(name_of("n" + std::to_string(i) + ".example.test"));
  struct Stored {
    Octets reply;
    Clock::time_point expires;
  };
  std::map<std::array<std::uint64_t, 3>, Stored> oracle;  // name, client, generation
  Clock::time_point now{std::chrono::hours(1)};
  std::size_t hits = 0;
  for (int step = 0; step < 5000; ++step) {
    now += milliseconds(random() % 400);
    const std::array<std::uint64_t, 3> at{random() % names.size(), 1 + random() % 2, step < 2500 ? 1u : 2u};
    const policy_name& name = names[at[0]];
    const WireCache::Key key{
        .name = &name, .client_id = at[1], .generation = at[2], .type = wire::kTypeA, .has_edns = true};
    const wire::DnsQuery query = query_of(std::string_view(name.text, name.len));
    if (random() % 3 == 0) {
      const std::uint32_t ttl = random() % 20;
      const Octets reply = reply_to(query, ttl, static_cast<std::uint8_t>(random()));
      cache.store(key, reply, {}, now, now + seconds(ttl));
      if (ttl > 0) oracle[at] = {reply, now + seconds(ttl)};
      continue;
    }
    const WireCache::Hit hit = cache.find(key, now);
    if (!hit.found()) continue;
    ++hits;
    const auto known = oracle.find(at);
    ASSERT_NE(known, oracle.end()) << "seed " << GetParam() << " step " << step;
    EXPECT_EQ(Octets(hit.reply.begin(), hit.reply.end()), known->second.reply) << "seed " << GetParam();
    EXPECT_LE(now + seconds(hit.ttl), known->second.expires) << "seed " << GetParam();
  }
  EXPECT_GT(hits, 100u) << "seed " << GetParam();
}

INSTANTIATE_TEST_SUITE_P(Seeds, WireCacheAgainstOracle, testing::Range(0u, 20u));

}  // namespace
}  // namespace sallyport::dns
