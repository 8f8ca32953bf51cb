// What a setup brought is there, what it did not is not: get(), policy.metrics/1, policy.topology, policy.decisions,
// policy.sockets/1.
#include <gmock/gmock.h>
#include <policy/ext/log.h>
#include <sys/socket.h>

#include <thread>

#include "gate_fixture.hpp"

namespace sallyport {
namespace {

class Extensions : public GateFixture {
 protected:
  const void* get(const char* id) { return host_api().get(&host_, id); }
};

TEST_F(Extensions, AreThereIfTheSetupBroughtThem) {
  for (const char* id : {POLICY_CLIENTS_ID, POLICY_FLOW_ID, POLICY_TASKS_ID, POLICY_DECISION_ID, POLICY_EDGE_ID,
                         POLICY_AUDIT_ID, POLICY_LOG_ID, POLICY_SOCKETS_ID})
    EXPECT_NE(get(id), nullptr) << id;
  for (const char* id : {POLICY_LEDGER_ID, POLICY_METRICS_ID, POLICY_TOPOLOGY_ID, POLICY_DECISIONS_ID,
                         POLICY_SYNTHETIC_ID, "policy.other/1"})
    EXPECT_EQ(get(id), nullptr) << id;
  shared_.gate = false;
  for (const char* id : {POLICY_CLIENTS_ID, POLICY_FLOW_ID, POLICY_TASKS_ID}) EXPECT_EQ(get(id), nullptr) << id;
}

TEST_F(Extensions, Metrics) {
  MetricsTable table = *MetricsTable::create();
  shared_.metrics.emplace(*MetricsTable::map(table.fd()));
  const auto* metrics = static_cast<const policy_metrics_v1*>(get(POLICY_METRICS_ID));
  ASSERT_NE(metrics, nullptr);
  std::uint32_t id = 0, again = 0, bad = 77;
  const policy_str queries = policy::str("sallyport_dns_queries_total"), udp = policy::str("transport=\"udp\"");
  ASSERT_EQ(metrics->define(&host_, queries, udp, &id), POLICY_OK);
  ASSERT_EQ(metrics->define(&host_, queries, udp, &again), POLICY_OK);
  EXPECT_EQ(id, again);
  EXPECT_EQ(metrics->define(&host_, policy::str("other"), {}, &bad), POLICY_INVALID);
  EXPECT_EQ(bad, MetricsTable::kOverflow);
  std::thread([&] { EXPECT_EQ(metrics->define(&host_, queries, udp, &bad), POLICY_WRONG_THREAD); }).join();
  metrics->add(&host_, id, 3);
  metrics->add(&host_, id, 4);
  EXPECT_EQ(table.value(id), 7u);
  metrics->set(&host_, id, 2);
  EXPECT_EQ(table.value(id), 2u);
}

TEST_F(Extensions, TopologyIsWrittenAsSnprintfDoes) {
  shared_.topology = R"({"name":"gate"})";
  const auto* topology = static_cast<const policy_topology_draft1*>(get(POLICY_TOPOLOGY_ID));
  ASSERT_NE(topology, nullptr);
  char text[64];
  EXPECT_EQ(topology->json(&host_, nullptr, 0), shared_.topology.size());
  EXPECT_EQ(topology->json(&host_, text, sizeof text), shared_.topology.size());
  EXPECT_EQ(text, shared_.topology);
  EXPECT_EQ(topology->json(&host_, text, 5), shared_.topology.size());
  EXPECT_STREQ(text, "{\"na");
}

TEST_F(Extensions, DecisionsOfTheOthers) {
  DecisionJournal journal = *DecisionJournal::create(16);
  shared_.journal.emplace(*DecisionJournal::map(journal.fd()));
  publish(allow("api.test"));
  const policy_name api = name("api.test");
  const policy_addr from = addr("10.0.0.1", 4242);
  policy_query q = query(api, from);
  const policy_addr to = addr("203.0.113.1");
  q.dest = &to;
  reader().audit(q, reader().decide(q));
  for (AuditRecord record : audit()) {
    record.sanitize();
    journal.append(DecisionRecord::of(record));  // the caller's own: left out
    record.set_plugin("dns");
    journal.append(DecisionRecord::of(record));
  }
  const auto* decisions = static_cast<const policy_decisions_draft1*>(get(POLICY_DECISIONS_ID));
  ASSERT_NE(decisions, nullptr);
  std::uint64_t cursor = 0;
  policy_decision_record found[4];
  std::size_t n = 4;
  ASSERT_EQ(decisions->next(reader().raw(), &cursor, found, sizeof found[0], &n), POLICY_OK);
  ASSERT_EQ(n, 1u);
  EXPECT_EQ(std::string_view(found[0].name, found[0].name_len), "api.test");
  EXPECT_EQ(found[0].verdict, POLICY_ALLOW);
  EXPECT_EQ(*address_in(&found[0].client), *Address::parse("10.0.0.1"));
  EXPECT_EQ(found[0].client.port, 4242);
  EXPECT_EQ(*address_in(&found[0].dest), *Address::parse("203.0.113.1"));
  EXPECT_EQ(found[0].dest.port, 443);
  n = 4;
  ASSERT_EQ(decisions->next(reader().raw(), &cursor, found, sizeof found[0], &n), POLICY_OK);
  EXPECT_EQ(n, 0u);
  for (int i = 0; i < 40; ++i) journal.append(DecisionRecord{});
  n = 4;
  EXPECT_EQ(decisions->next(reader().raw(), &cursor, found, sizeof found[0], &n), POLICY_EXHAUSTED);
}

class Listeners : public GateFixture {
 protected:
  struct Heard {
    bool added;
    std::uint64_t client;
  };
  policy_code subscribe(std::string_view listener) {
    const auto* sockets = static_cast<const policy_sockets_v1*>(host_api().get(&host_, POLICY_SOCKETS_ID));
    return sockets->on_listener(
        &host_, policy::str(listener),
        [](void* self, std::uint32_t added, policy_str, int fd, std::uint64_t client) {
          static_cast<Listeners*>(self)->heard_.push_back({added != 0, client});
          EXPECT_EQ(added != 0, fd >= 0);
          if (fd >= 0) ::close(fd);
        },
        this);
  }
  void add(const std::string& name, std::uint64_t client = 0) {
    shared_.add_listener({name, ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), client});
  }
  std::vector<Heard> heard_;
};

TEST_F(Listeners, EachSocketOnceNowAndLater) {
  add("dns");
  add("dns");
  add("web");
  EXPECT_EQ(subscribe("dns"), POLICY_OK);
  EXPECT_EQ(heard_.size(), 2u);
  add("dns", 9);
  ASSERT_EQ(heard_.size(), 3u);
  EXPECT_EQ(heard_[2].client, 9u);
  add("web");
  EXPECT_EQ(heard_.size(), 3u);
  shared_.remove_listener("dns", 0);
  ASSERT_EQ(heard_.size(), 4u) << "once for its sockets of that client";
  EXPECT_FALSE(heard_[3].added);
  shared_.remove_listener("dns", 0);
  EXPECT_EQ(heard_.size(), 4u);
  EXPECT_EQ(shared_.listeners.size(), 3u);
}

TEST_F(Listeners, OneThatIsNotThereYetMayCome) {
  EXPECT_EQ(subscribe("late"), POLICY_NOT_FOUND);
  add("late");
  EXPECT_EQ(heard_.size(), 1u);
  shared_.forget(&host_);
  add("late");
  EXPECT_EQ(heard_.size(), 1u);
}

}  // namespace
}  // namespace sallyport
