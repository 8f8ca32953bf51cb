// A gate with the real worker and dns.so: queries are answered, edits are live, deaths are survived.
#include "gate_lab.hpp"

namespace sallyport {
namespace {

constexpr int kNoError = 0, kNxDomain = 3;

class Serve : public GateLab {
 protected:
  void serve() {
    write("gateway.yaml",
          gateway("  - { name: dns, config: { listen: [dns], answers: real, upstreams: [\"127.0.0.9:53\"] } }\n"));
    start(WORKER);
    ASSERT_TRUE(await([&] { return generation() == 1 && status()["state"] == "serving"; })) << log();
  }
};

TEST_F(Serve, AnswersByThePolicy) {
  serve();
  EXPECT_EQ(ask("a.test"), kNoError) << log();
  EXPECT_EQ(ask("b.test"), kNxDomain);
  EXPECT_TRUE(listens(5300));
}

TEST_F(Serve, EditIsLiveWithinASecond) {
  serve();
  const pid_t before = worker();
  ASSERT_EQ(ask("b.test"), kNxDomain);
  const auto edited = std::chrono::steady_clock::now();
  write("policy.yaml",
        std::string(kPolicy) + "  - { name: b, action: allow, domains: [b.test], resolves_to: [203.0.113.6] }\n");
  EXPECT_TRUE(await([&] { return ask("b.test") == kNoError; }, 2s)) << log();
  EXPECT_LT(std::chrono::steady_clock::now() - edited, 1s);
  EXPECT_EQ(worker(), before) << log();
  // And back: what is denied now is denied within a second.
  write("policy.yaml", kPolicy);
  EXPECT_TRUE(await([&] { return ask("b.test") == kNxDomain; }, 1s)) << log();
}

TEST_F(Serve, KilledWorkerIsBackWithinTwoSeconds) {  // REL-08
  serve();
  for (int death = 0; death < 2; ++death) {
    const pid_t before = worker();
    ASSERT_EQ(::kill(before, SIGKILL), 0);
    const auto killed = std::chrono::steady_clock::now();
    EXPECT_TRUE(await([&] { return ask("a.test") == kNoError; }, 3s)) << log();
    EXPECT_LT(std::chrono::steady_clock::now() - killed, 2s);
    EXPECT_NE(worker(), before);
  }
}

TEST_F(Serve, KilledWardenLeavesNoWorker) {
  serve();
  const pid_t left = worker();
  signal(SIGKILL);
  wait();
  EXPECT_TRUE(await([&] { return is_gone(left); }, 2s));
}

TEST_F(Serve, ReplacedWorkerRefusesNobody) {
  serve();
  std::uint64_t asked = 0, answered = 0;
  for (int round = 0; round < 5; ++round) {
    write("gateway.yaml", gateway("  - { name: dns, config: { listen: [dns], answers: real, cache_entries: " +
                                  std::to_string(100 + round) + ", upstreams: [\"127.0.0.9:53\"] } }\n"));
    for (int i = 0; i < 100 || generation() < static_cast<std::uint64_t>(round) + 2; ++i) {
      ++asked;
      answered += ask("a.test") == kNoError ? 1 : 0;
      ASSERT_LT(i, 5000) << log();
    }
  }
  EXPECT_EQ(answered, asked) << log();
}

TEST_F(Serve, AuditHasTheGroupAndTheMetricsCount) {
  serve();
  ASSERT_EQ(ask("b.test"), kNxDomain);
  const auto audit = [&] {
    std::ostringstream out;
    out << std::ifstream(path("out")).rdbuf();
    return out.str();
  };
  ASSERT_TRUE(await([&] { return audit().find("b.test") != std::string::npos; }, 3s));
  const std::string text = audit();
  const nlohmann::json line = nlohmann::json::parse(text.substr(0, text.find('\n')));
  EXPECT_EQ(line["gateway"], "lab");
  EXPECT_EQ(line["client"]["group"], "agents");
  EXPECT_EQ(line["client"]["addr"], "127.0.0.1");
  EXPECT_EQ(line["where"], "policy.yaml:1");
  const absl::StatusOr<std::string> metrics = ask_gateway(path("lab.sock"), "metrics");
  ASSERT_TRUE(metrics.ok());
  EXPECT_NE(metrics->find("sallyport_policy_generation 1"), std::string::npos) << *metrics;
  EXPECT_NE(metrics->find("sallyport_plugin_up{plugin=\"dns\"} 1"), std::string::npos) << *metrics;
}

TEST_F(Serve, AuditFileIsOpenedAgainAfterItWasRenamed) {
  write("gateway.yaml", gateway("  - { name: dns, config: { listen: [dns], answers: real } }\n",
                                "  dns: { udp: \"127.0.0.1:5300\" }\n", "audit: { sinks: [\"file:audit.jsonl\"] }\n"));
  start(WORKER);
  ASSERT_TRUE(await([&] { return generation() == 1; })) << log();
  const auto holds = [&](const char* file, const char* text) {
    std::ostringstream out;
    out << std::ifstream(path(file)).rdbuf();
    return out.str().find(text) != std::string::npos;
  };
  ASSERT_EQ(ask("b.test"), kNxDomain);
  ASSERT_TRUE(await([&] { return holds("audit.jsonl", "b.test"); }, 3s));
  std::filesystem::rename(path("audit.jsonl"), path("audit.jsonl.1"));
  signal(SIGUSR1);
  ASSERT_TRUE(await([&] { return std::filesystem::exists(path("audit.jsonl")); }, 2s)) << log();
  ASSERT_EQ(ask("c.test"), kNxDomain);
  EXPECT_TRUE(await([&] { return holds("audit.jsonl", "c.test"); }, 3s));
  EXPECT_FALSE(holds("audit.jsonl.1", "c.test"));
}

}  // namespace
}  // namespace sallyport
