// policy.flow/1: tickets, and what a new policy does to them.
#include <gmock/gmock.h>
#include <sys/socket.h>

#include <nlohmann/json.hpp>
#include <thread>

#include "gate_fixture.hpp"

namespace sallyport {
namespace {

class Flow : public GateFixture {
 protected:
  Flow() {
    shared_.log = [this](std::string_view plugin, std::int32_t, std::string_view text, std::string_view) {
      logged_.push_back(std::string(plugin) + ": " + std::string(text));
    };
  }
  policy_flow* open(const policy_query& asked, const policy_verdict& verdict) {
    policy_flow* flow = nullptr;
    code_ = flow_extension().open(
        reader().raw(), &asked, &verdict,
        [](void* self, std::uint64_t id, std::uint16_t reason) {
          EXPECT_EQ(reason, POLICY_REASON_REVOKED);
          static_cast<Flow*>(self)->revoked_.push_back(id);
        },
        this, &flow);
    return flow;
  }
  void decide_again(std::uint64_t at_ns = 1) {
    shared_.flows.decide_again(shared_, *shared_.versions.current(), at_ns);
  }

  const policy_name api_ = name("api.test");
  const policy_addr peer_ = addr("10.0.0.1", 4000);
  policy_code code_ = POLICY_OK;
  std::vector<std::uint64_t> revoked_;
  std::vector<std::string> logged_;
};

TEST_F(Flow, IsRevokedOnceAndClosedWithARecord) {
  publish(allow("api.test"));
  const policy_query asked = query(api_, peer_);
  policy_flow* flow = open(asked, reader().decide(asked));
  ASSERT_EQ(code_, POLICY_OK);
  EXPECT_EQ(flow_extension().live(flow), 1u);
  publish(allow("api.test"));
  decide_again();
  EXPECT_EQ(flow_extension().live(flow), 1u) << "the new policy allows it as well";
  publish(allow("other.test"));
  decide_again();
  EXPECT_EQ(flow_extension().live(flow), 0u);
  EXPECT_THAT(revoked_, testing::ElementsAre(flow_extension().id(flow)));
  publish(PolicyModel{});
  decide_again();
  EXPECT_EQ(revoked_.size(), 1u);
  flow_extension().close(flow, 10, 20, POLICY_REASON_OK);
  const auto records = audit();
  ASSERT_EQ(records.size(), 1u);
  EXPECT_EQ(records[0].kind, AuditKind::kClose);
  EXPECT_EQ(records[0].reason, Reason::kRevoked);
  EXPECT_EQ(records[0].generation, 1u) << "of the decision that opened it";
  EXPECT_EQ(records[0].name_text(), "api.test");
  EXPECT_EQ(records[0].client_port, 4000);
  const auto detail = nlohmann::json::parse(records[0].detail_text());
  EXPECT_EQ(detail["bytes"]["up"], 10);
  EXPECT_EQ(detail["bytes"]["down"], 20);
  EXPECT_EQ(detail["flow"], "1");
}

TEST_F(Flow, KeepsItsOwnCopyOfTheQuery) {
  publish(allow("api.test"));
  policy_flow* flow = nullptr;
  {
    auto gone_name = std::make_unique<policy_name>(api_);
    auto gone_peer = std::make_unique<policy_addr>(peer_);
    auto user = std::make_unique<std::string>("bot");
    policy_query asked = query(*gone_name, *gone_peer);
    asked.credential = policy::str(*user);
    flow = open(asked, reader().decide(asked));
  }
  ASSERT_NE(flow, nullptr);
  publish(allow("api.test"));
  decide_again();
  EXPECT_EQ(flow_extension().live(flow), 1u);
  flow_extension().close(flow, 0, 0, POLICY_REASON_TIMED_OUT);
  const auto records = audit();
  EXPECT_EQ(records.at(0).user_text(), "bot");
  EXPECT_EQ(records.at(0).reason, Reason::kTimedOut);
}

TEST_F(Flow, IsNotOpenedForWhatIsDeniedMeanwhile) {
  publish(allow("api.test"));
  const policy_query asked = query(api_, peer_);
  const policy_verdict before = reader().decide(asked);
  publish(PolicyModel{});
  EXPECT_EQ(open(asked, before), nullptr);
  EXPECT_EQ(code_, POLICY_DENIED);
  EXPECT_EQ(open(asked, reader().decide(asked)), nullptr) << "a verdict that denies";
  publish(allow("api.test"));
  policy_flow* flow = open(asked, before);
  ASSERT_NE(flow, nullptr) << "and for what is allowed again, it is";
  flow_extension().close(flow, 0, 0, POLICY_REASON_OK);
  EXPECT_EQ(shared_.flows.size(), 0u);
}

TEST_F(Flow, AContinueMayStayOneAndAnAllowMayNotBecomeOne) {
  shared_.flow_layer = true;
  PolicyModel strict = allow("api.test");  // resolves_to makes the answer wait for the address
  strict.rules[0].resolves_to = {*Prefix::parse("203.0.113.0/24")};
  policy_query asked = query(api_, peer_);
  asked.layer = POLICY_LAYER_TCP;
  asked.deferred = POLICY_KNOW_ADDRESS;
  publish(allow("api.test"));
  policy_verdict verdict = reader().decide(asked);
  ASSERT_EQ(verdict.verdict, POLICY_ALLOW);
  policy_flow* allowed = open(asked, verdict);
  publish(strict);
  verdict = reader().decide(asked);
  ASSERT_EQ(verdict.verdict, POLICY_CONTINUE);
  policy_flow* continued = open(asked, verdict);
  decide_again();
  EXPECT_EQ(flow_extension().live(allowed), 0u);
  EXPECT_EQ(flow_extension().live(continued), 1u);
  flow_extension().close(allowed, 0, 0, POLICY_REASON_OK);
  flow_extension().close(continued, 0, 0, POLICY_REASON_OK);
}

TEST_F(Flow, LosesTunnelAnyWithItsRule) {
  PolicyModel any = allow("api.test");
  any.rules[0].tunnel_any = true;
  publish(any);
  const policy_query asked = query(api_, peer_);
  policy_flow* flow = open(asked, reader().decide(asked));
  publish(allow("api.test"));
  decide_again();
  EXPECT_EQ(flow_extension().live(flow), 0u);
  flow_extension().close(flow, 0, 0, POLICY_REASON_OK);
}

TEST_F(Flow, IsShutDownASecondLaterIfItIsStillOpen) {
  int ends[2], late[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, late), 0);
  publish(allow("api.test"));
  const policy_query asked = query(api_, peer_);
  policy_flow* flow = open(asked, reader().decide(asked));
  EXPECT_EQ(flow_extension().attach(flow, ends[0]), POLICY_OK);
  EXPECT_EQ(flow_extension().attach(flow, -1), POLICY_INVALID);
  EXPECT_EQ(flow_extension().attach(flow, 9999), POLICY_INVALID);
  EXPECT_FALSE(shared_.flows.next_due());
  publish(PolicyModel{});
  constexpr std::uint64_t kStart = 5'000'000'000;
  decide_again(kStart);
  EXPECT_EQ(shared_.flows.next_due(), kStart + FlowTable::kGraceNs);
  char octet;
  shared_.flows.shut_late(shared_, kStart + FlowTable::kGraceNs - 1);
  EXPECT_EQ(::recv(ends[1], &octet, 1, MSG_DONTWAIT), -1);
  EXPECT_TRUE(logged_.empty());
  shared_.flows.shut_late(shared_, kStart + FlowTable::kGraceNs);
  EXPECT_EQ(::recv(ends[1], &octet, 1, MSG_DONTWAIT), 0);
  EXPECT_THAT(logged_, testing::ElementsAre(testing::HasSubstr("tested: a revoked flow")));
  EXPECT_FALSE(shared_.flows.next_due());
  EXPECT_EQ(flow_extension().attach(flow, late[0]), POLICY_OK);
  EXPECT_EQ(::recv(late[1], &octet, 1, MSG_DONTWAIT), 0) << "too late for a new one";
  EXPECT_EQ(flow_extension().attach(flow, late[0]), POLICY_EXHAUSTED);
  shared_.flows.shut_late(shared_, kStart + 10 * FlowTable::kGraceNs);
  EXPECT_EQ(logged_.size(), 1u);
  flow_extension().close(flow, 0, 0, POLICY_REASON_OK);
  for (const int fd : {ends[0], ends[1], late[0], late[1]}) ::close(fd);
}

TEST_F(Flow, WhatIsLentIsShutDownTooAndStaysThePlugins) {
  int ends[2], late[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, late), 0);
  publish(allow("api.test"));
  const policy_query asked = query(api_, peer_);
  policy_flow* flow = open(asked, reader().decide(asked));
  EXPECT_EQ(flow_extension().lend(flow, -1), POLICY_INVALID);
  EXPECT_EQ(flow_extension().lend(flow, ends[0]), POLICY_OK);
  publish(PolicyModel{});
  decide_again();
  char octet;
  shared_.flows.shut_late(shared_, 1 + FlowTable::kGraceNs);
  EXPECT_EQ(::recv(ends[1], &octet, 1, MSG_DONTWAIT), 0);
  EXPECT_EQ(flow_extension().lend(flow, late[0]), POLICY_OK);
  EXPECT_EQ(::recv(late[1], &octet, 1, MSG_DONTWAIT), 0) << "too late for a new one";
  EXPECT_EQ(flow_extension().lend(flow, late[0]), POLICY_EXHAUSTED);
  EXPECT_EQ(flow_extension().attach(flow, late[0]), POLICY_EXHAUSTED);
  flow_extension().close(flow, 0, 0, POLICY_REASON_OK);
  for (const int fd : {ends[0], ends[1], late[0], late[1]})
    EXPECT_EQ(::close(fd), 0) << "the host closed what was lent";
}

TEST_F(Flow, ANumberThatWasTakenBackMayBeSomebodyElses) {
  int ends[2], next[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
  publish(allow("api.test"));
  const policy_query asked = query(api_, peer_);
  policy_flow* flow = open(asked, reader().decide(asked));
  ASSERT_EQ(flow_extension().lend(flow, ends[0]), POLICY_OK);
  flow_extension().take_back(flow, ends[1]);  // not lent
  flow_extension().take_back(flow, ends[0]);
  ::close(ends[0]);
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, next), 0);
  ASSERT_EQ(next[0], ends[0]) << "the kernel gives out the lowest number";
  publish(PolicyModel{});
  decide_again();
  shared_.flows.shut_late(shared_, 1 + FlowTable::kGraceNs);
  char octet;
  EXPECT_EQ(::recv(next[1], &octet, 1, MSG_DONTWAIT), -1) << "another's socket was shut down";
  EXPECT_EQ(logged_.size(), 1u) << "the ticket itself is still open";
  EXPECT_EQ(flow_extension().lend(flow, next[0]), POLICY_OK) << "its place is free";
  EXPECT_EQ(::recv(next[1], &octet, 1, MSG_DONTWAIT), 0);
  flow_extension().close(flow, 0, 0, POLICY_REASON_OK);
  for (const int fd : {ends[1], next[0], next[1]}) EXPECT_EQ(::close(fd), 0);
}

// A plugin's thread closes and opens sockets while [main] shuts late flows down: what was taken back is never touched.
TEST_F(Flow, TakingBackAndShuttingDownDoNotCross) {
  const policy_query asked = query(api_, peer_);
  std::atomic<bool> done{false};
  std::atomic<std::uint64_t> rounds{0};
  constexpr int kTurns = 100;
  std::thread main([&] {
    for (; !done; ++rounds) {
      shared_.flows.shut_late(shared_, 1 + FlowTable::kGraceNs);
      std::this_thread::yield();
    }
  });
  int crossed = 0, shut = 0;
  for (int i = 0; i < kTurns; ++i) {
    publish(allow("api.test"));
    policy_flow* flow = open(asked, reader().decide(asked));
    ASSERT_EQ(code_, POLICY_OK);
    int ends[2], next[2];
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    ASSERT_EQ(flow_extension().lend(flow, ends[0]), POLICY_OK);
    publish(PolicyModel{});
    decide_again(1);
    if (i % 2 == 0) {
      for (const std::uint64_t before = rounds; rounds < before + 2;) std::this_thread::yield();
    }
    char octet;
    shut += ::recv(ends[1], &octet, 1, MSG_DONTWAIT) == 0;
    flow_extension().take_back(flow, ends[0]);
    ::close(ends[0]);
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, next), 0);
    for (const std::uint64_t before = rounds; rounds < before + 1;) std::this_thread::yield();
    crossed += ::recv(next[1], &octet, 1, MSG_DONTWAIT) == 0;
    flow_extension().close(flow, 0, 0, POLICY_REASON_OK);
    for (const int fd : {ends[1], next[0], next[1]}) ::close(fd);
  }
  done = true;
  main.join();
  EXPECT_EQ(crossed, 0);
  EXPECT_GE(shut, kTurns / 2) << "the two never met";
}

TEST_F(Flow, CloseWaitsForItsCallback) {
  publish(allow("api.test"));
  const policy_query asked = query(api_, peer_);
  const policy_verdict verdict = reader().decide(asked);
  std::atomic<int> stage{0};
  policy_flow* flow = nullptr;
  ASSERT_EQ(flow_extension().open(
                reader().raw(), &asked, &verdict,
                [](void* user, std::uint64_t, std::uint16_t) {
                  auto& at = *static_cast<std::atomic<int>*>(user);
                  at = 1;
                  for (int i = 0; i < 100'000; ++i) std::this_thread::yield();
                  at = 2;
                },
                &stage, &flow),
            POLICY_OK);
  publish(PolicyModel{});
  std::thread main([&] { decide_again(); });
  while (stage == 0) std::this_thread::yield();
  flow_extension().close(flow, 0, 0, POLICY_REASON_OK);
  EXPECT_EQ(stage, 2);
  main.join();
}

TEST_F(Flow, BelongsToTheThreadThatOpensIt) {
  publish(allow("api.test"));
  const policy_query asked = query(api_, peer_);
  const policy_verdict verdict = reader().decide(asked);
  policy_thread* mine = reader().raw();
  std::thread([&] {
    policy_flow* flow = nullptr;
    EXPECT_EQ(flow_extension().open(mine, &asked, &verdict, nullptr, nullptr, &flow), POLICY_WRONG_THREAD);
  }).join();
}

}  // namespace
}  // namespace sallyport
