// policy.ledger/1 as plugins call it, and who is woken when (NFT-05 and its siblings: an answer waits for the rules).
#include "host/worker/ledger_service.hpp"

#include <gmock/gmock.h>
#include <sys/eventfd.h>

#include <thread>

#include "gate_fixture.hpp"

namespace sallyport {
namespace {

class Ledger : public GateFixture {
 protected:
  explicit Ledger(unsigned enforcers = 1) {
    recorded_ = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    applied_ = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    table_.emplace(*BindingTable::create({.capacity = 8, .per_client = 4, .seed = 3}));
    shared_.ledger.emplace(*BindingTable::map(table_->fd()),
                           LedgerService::Descriptors{recorded_, applied_, {applied_}}, enforcers);
    publish(allow("api.test"));
  }
  ~Ledger() override {
    ::close(recorded_);
    ::close(applied_);
  }

  policy_binding binding(std::string_view domain, std::string_view to, std::uint32_t ttl_ms = 60'000) {
    policy_binding out{};
    out.struct_size = sizeof out;
    out.ttl_ms = ttl_ms;
    out.client = addr("10.0.0.1");
    out.client_id = client_id_of(*Address::parse("10.0.0.1"), {});
    out.addr = addr(to);
    out.name = name(domain);
    return out;
  }
  std::uint64_t record(const policy_binding& one) {
    std::uint64_t seq = 0;
    EXPECT_EQ(ledger().record(reader().raw(), &one, sizeof one, 1, &seq), POLICY_OK);
    return seq;
  }
  policy_code wait(std::uint64_t seq, std::uint64_t deadline_ns = UINT64_MAX) {
    return ledger().when_applied(
        reader().raw(), seq, deadline_ns,
        [](void* self, policy_code code) { static_cast<Ledger*>(self)->told_.push_back(code); }, this);
  }
  static std::uint64_t rings(int fd) {
    std::uint64_t count = 0;
    return ::read(fd, &count, sizeof count) == sizeof count ? count : 0;
  }
  const policy_ledger_v1& ledger() { return ledger_extension(); }
  LedgerService& service() { return *shared_.ledger; }

  int recorded_, applied_;
  std::optional<BindingTable> table_;
  std::vector<policy_code> told_;
};

TEST_F(Ledger, WhatIsRecordedIsFoundAndFollowed) {
  const policy_binding both[] = {binding("api.test", "203.0.113.1"), binding("www.test", "203.0.113.1", 0)};
  std::uint64_t seq = 0;
  ASSERT_EQ(ledger().record(reader().raw(), both, sizeof both[0], 2, &seq), POLICY_OK);
  EXPECT_EQ(seq, 2u);
  EXPECT_EQ(rings(recorded_), 1u) << "once for all";
  policy_binding found[4];
  std::size_t n = 4;
  ASSERT_EQ(ledger().find(reader().raw(), both[0].client_id, &both[0].addr, found, sizeof found[0], &n), POLICY_OK);
  ASSERT_EQ(n, 2u);
  std::uint64_t cursor = 0;
  n = 4;
  ASSERT_EQ(ledger().next(reader().raw(), &cursor, found, sizeof found[0], &n), POLICY_OK);
  ASSERT_EQ(n, 2u);
  for (std::size_t i = 0; i < n; ++i) {
    EXPECT_NE(name_in(&found[i].name), nullptr) << "sealed: decide() takes it";
    EXPECT_EQ(*address_in(&found[i].client), *Address::parse("10.0.0.1"));
    const bool api = policy::view(found[i].name) == "api.test";
    EXPECT_NEAR(found[i].ttl_ms, api ? 60'000 : BindingTable::kMinTtlMs, 1000);
  }
  n = 4;
  ASSERT_EQ(ledger().next(reader().raw(), &cursor, found, sizeof found[0], &n), POLICY_OK);
  EXPECT_EQ(n, 0u);
  EXPECT_EQ(cursor, seq);
  const policy_addr other = addr("203.0.113.9");
  n = 4;
  EXPECT_EQ(ledger().find(reader().raw(), both[0].client_id, &other, found, sizeof found[0], &n), POLICY_NOT_FOUND);
  n = 0;
  EXPECT_EQ(ledger().find(reader().raw(), both[0].client_id, &both[0].addr, nullptr, 0, &n), POLICY_OK)
      << "only whether there is one";
}

TEST_F(Ledger, WhoIsForgottenHasNothingAndGetsNothingForWhatHeAsked) {
  const policy_binding one = binding("api.test", "203.0.113.1");
  const policy_addr client = addr("10.0.0.1");
  policy_binding found{};
  std::uint64_t seq = 0;
  std::size_t n = 1;
  record(one);
  ASSERT_EQ(ledger().forget(reader().raw(), &client), POLICY_OK);
  EXPECT_EQ(ledger().find(reader().raw(), one.client_id, &one.addr, &found, sizeof found, &n), POLICY_NOT_FOUND);
  // Asked a second ago, and so before.
  EXPECT_EQ(ledger().record_asked(reader().raw(), &one, sizeof one, 1, 1000, &seq), POLICY_NOT_FOUND);
  n = 1;
  EXPECT_EQ(ledger().find(reader().raw(), one.client_id, &one.addr, &found, sizeof found, &n), POLICY_NOT_FOUND);
  std::this_thread::sleep_for(std::chrono::milliseconds(5));
  EXPECT_EQ(ledger().record_asked(reader().raw(), &one, sizeof one, 1, 0, &seq), POLICY_OK);
  n = 1;
  EXPECT_EQ(ledger().find(reader().raw(), one.client_id, &one.addr, &found, sizeof found, &n), POLICY_OK);
  policy_addr forged = client;
  forged.ip[0] ^= 1;
  EXPECT_EQ(ledger().forget(reader().raw(), &forged), POLICY_INVALID);
  EXPECT_EQ(ledger().forget(reader().raw(), nullptr), POLICY_INVALID);
}

TEST_F(Ledger, NothingHandMadeIsRecorded) {
  const auto code = [&](const policy_binding& one) {
    std::uint64_t seq = 0;
    return ledger().record(reader().raw(), &one, sizeof one, 1, &seq);
  };
  policy_binding one = binding("api.test", "203.0.113.1");
  one.name.text[0] = 'b';
  one.name.suffix_hash[1] ^= 1;
  EXPECT_EQ(code(one), POLICY_INVALID);
  one = binding("api.test", "203.0.113.1");
  one.addr.ip[0] ^= 1;
  EXPECT_EQ(code(one), POLICY_INVALID);
  one = binding("api.test", "203.0.113.1");
  one.client.ip[0] ^= 1;
  EXPECT_EQ(code(one), POLICY_INVALID);
  one = binding("api.test", "203.0.113.1");
  one.client_id = 0;
  EXPECT_EQ(code(one), POLICY_INVALID);
  EXPECT_EQ(table_->last(), 0u);
}

TEST_F(Ledger, AFullTableSaysSo) {
  policy_code code = POLICY_OK;
  for (int i = 0; i < 20 && code == POLICY_OK; ++i) {
    policy_binding one = binding("api.test", "203.0.113." + std::to_string(i));
    one.client = addr("10.0.0." + std::to_string(i));
    one.client_id = client_id_of(*Address::parse("10.0.0." + std::to_string(i)), {});
    code = ledger().record(reader().raw(), &one, sizeof one, 1, nullptr);
  }
  EXPECT_EQ(code, POLICY_EXHAUSTED);
}

TEST_F(Ledger, AnAnswerWaitsUntilItIsInForce) {
  const std::uint64_t first = record(binding("api.test", "203.0.113.1"));
  const std::uint64_t second = record(binding("api.test", "203.0.113.2"));
  EXPECT_EQ(wait(first), POLICY_OK);
  EXPECT_EQ(wait(second), POLICY_OK);
  service().run_due(1);
  EXPECT_TRUE(told_.empty());
  rings(applied_);
  EXPECT_EQ(ledger().applied(reader().raw(), first), POLICY_OK);
  EXPECT_EQ(rings(applied_), 1u);
  service().run_due(1);
  EXPECT_THAT(told_, testing::ElementsAre(POLICY_OK));
  EXPECT_EQ(wait(first), POLICY_NOT_FOUND) << "in force already: no call comes";
  ledger().applied(reader().raw(), second);
  service().run_due(1);
  EXPECT_THAT(told_, testing::ElementsAre(POLICY_OK, POLICY_OK));
}

TEST_F(Ledger, AnAnswerWaitsNoLongerThanItsDeadline) {
  const std::uint64_t seq = record(binding("api.test", "203.0.113.1"));
  EXPECT_FALSE(service().next_due());
  wait(seq, 1000);
  wait(seq, 500);
  EXPECT_EQ(service().next_due(), 500u);
  service().run_due(499);
  EXPECT_TRUE(told_.empty());
  service().run_due(500);
  EXPECT_THAT(told_, testing::ElementsAre(POLICY_TIMEOUT));
  EXPECT_EQ(service().next_due(), 1000u);
}

TEST_F(Ledger, MainIsWokenOnlyForAnEarlierDeadline) {
  const std::uint64_t seq = record(binding("api.test", "203.0.113.1"));
  wait(seq, 1000);
  EXPECT_EQ(rings(applied_), 1u);
  wait(seq, 2000);
  EXPECT_EQ(rings(applied_), 0u) << "it is awake by then";
  wait(seq, 500);
  EXPECT_EQ(rings(applied_), 1u);
}

TEST_F(Ledger, AnEnforcerIsToldAndStartsWithNothingInForce) {
  const std::uint64_t seq = record(binding("api.test", "203.0.113.1"));
  ledger().applied(reader().raw(), seq);  // by the one before
  policy_host next{&shared_, "nftables"};
  next.enforcer = std::nullopt;
  int calls = 0;
  host_.enforcer.reset();
  LedgerService fresh(*BindingTable::map(table_->fd()), {}, 1);
  fresh.subscribe(next, [](void* user) { ++*static_cast<int*>(user); }, &calls);
  fresh.notify_recorded();
  EXPECT_EQ(calls, 1);
  EXPECT_EQ(table_->applied_by_all(1), 0u);
  fresh.subscribe(next, nullptr, nullptr);
  fresh.notify_recorded();
  EXPECT_EQ(calls, 1);
}

TEST_F(Ledger, APluginThatStoppedIsNotCalled) {
  const std::uint64_t seq = record(binding("api.test", "203.0.113.1"));
  wait(seq, 500);
  int calls = 0;
  ledger().on_recorded(&host_, [](void* user) { ++*static_cast<int*>(user); }, &calls);
  shared_.forget(&host_);
  service().notify_recorded();
  service().run_due(1000);
  EXPECT_TRUE(told_.empty());
  EXPECT_EQ(calls, 0);
}

class NoEnforcer : public Ledger {
 protected:
  NoEnforcer() : Ledger(0) {}
};
TEST_F(NoEnforcer, NobodyWaitsAndNobodyIsWoken) {
  const std::uint64_t seq = record(binding("api.test", "203.0.113.1"));
  EXPECT_EQ(rings(recorded_), 0u);
  EXPECT_EQ(wait(seq), POLICY_NOT_FOUND);
}

// Answers and their enforcer at the same time: each waiter is told exactly once.
TEST_F(Ledger, WaitersAndAppliedRace) {
  constexpr unsigned kAnswers = 2000;
  std::atomic<unsigned> told{0};
  std::atomic<bool> done{false};
  unsigned at_once = 0;
  std::thread enforcer([&] {
    policy::Reader mine(policy::Host(&host_, &host_api()));
    while (!done) ledger().applied(mine.raw(), table_->last());
    ledger().applied(mine.raw(), table_->last());
  });
  std::thread main([&] {
    while (!done) service().run_due(1);
  });
  for (unsigned i = 0; i < kAnswers; ++i) {
    const std::uint64_t seq = record(binding("api.test", "203.0.113.1"));
    const policy_code code = ledger().when_applied(
        reader().raw(), seq, UINT64_MAX,
        [](void* user, policy_code) { static_cast<std::atomic<unsigned>*>(user)->fetch_add(1); }, &told);
    at_once += code == POLICY_NOT_FOUND;
  }
  done = true;
  enforcer.join();
  main.join();
  service().run_due(1);
  EXPECT_EQ(told + at_once, kAnswers);
}

}  // namespace
}  // namespace sallyport
