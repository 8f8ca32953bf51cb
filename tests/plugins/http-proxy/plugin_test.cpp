// The .so, driven through its ABI, with several threads.
#include "proxy_bench.hpp"

namespace sallyport::http_proxy {
namespace {

using testing_kit::LoadedPlugin;

class PluginBench : public testing::Test {
 protected:
  PluginBench() {
    host.decide = [this](const policy_query& q) { return policy(q); };
    host.fixed = {{"pkg.test", {"127.0.0.9"}}, {"api.example.test", {"127.0.0.9"}}};
    port = host.listen_tcp("proxy", 0);
  }
  std::string ask(std::string_view octets) {
    Peer client = connect();
    client.send(octets);
    return client.receive_all();
  }
  Peer connect() {
    const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const net::tcp::endpoint at = endpoint("127.0.0.1", port);
    EXPECT_EQ(::connect(fd, at.data(), static_cast<socklen_t>(at.size())), 0);
    return Peer(fd);
  }

  SmallPolicy policy{{{"pkg.test", {80}}, {"api.example.test", {443}}}, {"127.0.0.9"}, {}, 0};
  FakeHost host;
  std::uint16_t port = 0;
};

constexpr char kGet[] = "GET http://pkg.test/ HTTP/1.1\r\nHost: pkg.test\r\nConnection: close\r\n\r\n";

TEST_F(PluginBench, ServesFromSeveralThreadsAndStops) {
  Witness witness;
  Origin origin("127.0.0.9", 80, witness.serve());
  LoadedPlugin plugin(HTTP_PROXY_PLUGIN, host);
  ASSERT_EQ(plugin.create(R"({"listen":["proxy"],"workers":3})"), POLICY_OK) << plugin.error.text;
  ASSERT_EQ(plugin.start(), POLICY_OK) << plugin.error.text;
  std::vector<std::thread> clients;
  std::atomic<int> good{0};
  for (int i = 0; i < 8; ++i) {
    clients.emplace_back([&] {
      for (int n = 0; n < 50; ++n) good += ask(kGet).starts_with("HTTP/1.1 200 ") ? 1 : 0;
    });
  }
  for (std::thread& client : clients) client.join();
  EXPECT_EQ(good, 400);
  std::this_thread::sleep_for(1100ms);
  EXPECT_NE(plugin.health().find("\"requests\":400"), std::string::npos) << plugin.health();
  EXPECT_EQ(host.gate.counter(R"(sallyport_http_requests_total{code_class="2xx"})"), 400u);
  EXPECT_EQ(host.gate.counter(R"(sallyport_connections_total{plugin="http-proxy",result="allowed"})"), 400u);
  EXPECT_EQ(plugin.stop(), POLICY_OK);
  EXPECT_EQ(host.open_threads(), 0u);
}

TEST_F(PluginBench, DrainAndPublish) {
  Witness witness;
  Origin origin("127.0.0.9", 443, witness.record({}, "ok"));
  LoadedPlugin plugin(HTTP_PROXY_PLUGIN, host);
  ASSERT_EQ(plugin.create("{}"), POLICY_OK) << plugin.error.text;
  ASSERT_EQ(plugin.start(), POLICY_OK) << plugin.error.text;
  Peer client = connect();
  client.send("CONNECT api.example.test:443 HTTP/1.1\r\nHost: api.example.test\r\n\r\n" +
              make_hello("api.example.test"));
  client.receive_head();
  ASSERT_EQ(client.receive(2), "ok");
  std::uint64_t left = 0;
  EXPECT_EQ(plugin.drain(left), POLICY_OK);
  EXPECT_EQ(left, 1u);
  host.change([&] { policy.allow.clear(); });
  const auto began = std::chrono::steady_clock::now();
  host.publish();
  client.receive_all();
  EXPECT_LT(std::chrono::steady_clock::now() - began, 1s);
  for (int i = 0; i < 100 && left > 0; ++i) {
    std::this_thread::sleep_for(10ms);
    EXPECT_EQ(plugin.drain(left), POLICY_OK);
  }
  EXPECT_EQ(left, 0u);
}

// REL-01: as the host does at a drain: it asks until no flow is left, and then ends the process.
TEST_F(PluginBench, NobodyIsLostBetweenAcceptAndDrain) {
  Witness witness;
  Origin origin("127.0.0.9", 80, witness.serve());
  for (int round = 0; round < 3; ++round) {
    LoadedPlugin plugin(HTTP_PROXY_PLUGIN, host);
    ASSERT_EQ(plugin.create(R"({"listen":["proxy"],"workers":2})"), POLICY_OK) << plugin.error.text;
    ASSERT_EQ(plugin.start(), POLICY_OK) << plugin.error.text;
    std::vector<Peer> clients;
    for (int i = 0; i < 8; ++i) {
      clients.push_back(connect());
      clients.back().send(kGet);
    }
    std::uint64_t left = 1;
    for (int i = 0; i < 1000 && left > 0; ++i) {
      ASSERT_EQ(plugin.drain(left), POLICY_OK);
      if (left > 0) std::this_thread::sleep_for(5ms);
    }
    EXPECT_EQ(left, 0u);
    EXPECT_EQ(plugin.stop(), POLICY_OK);
    for (Peer& client : clients) {
      EXPECT_TRUE(client.receive_all().starts_with("HTTP/1.1 200 ")) << round;
      EXPECT_EQ(client.end, "eof") << round;
    }
  }
}

TEST_F(PluginBench, WhoLogsInHoldsUpNobody) {  // HTP-26
  Witness witness;
  Origin origin("127.0.0.9", 80, witness.serve());
  host.gate.passwords["bot"] = "secret";
  host.gate.verify_takes = 1s;
  LoadedPlugin plugin(HTTP_PROXY_PLUGIN, host);
  ASSERT_EQ(plugin.create(R"({"listen":["proxy"],"workers":1,"auth":"optional"})"), POLICY_OK) << plugin.error.text;
  ASSERT_EQ(plugin.start(), POLICY_OK) << plugin.error.text;
  const std::string login =
      "GET http://pkg.test/ HTTP/1.1\r\nHost: pkg.test\r\nConnection: close\r\nProxy-Authorization: Basic ";
  const std::string right = login + "Ym90OnNlY3JldA==\r\n\r\n";  // bot:secret
  Peer slow = connect();
  slow.send(right);
  std::this_thread::sleep_for(100ms);
  const auto began = std::chrono::steady_clock::now();
  EXPECT_TRUE(ask(kGet).starts_with("HTTP/1.1 200 "));
  EXPECT_LT(std::chrono::steady_clock::now() - began, 500ms) << "on the same thread, while a password is verified";
  EXPECT_TRUE(slow.receive_all().starts_with("HTTP/1.1 200 "));
  const auto again = std::chrono::steady_clock::now();
  EXPECT_TRUE(ask(right).starts_with("HTTP/1.1 200 "));
  EXPECT_LT(std::chrono::steady_clock::now() - again, 500ms) << "a password that is known takes no time";
  host.gate.verify_takes = 200ms;
  std::vector<Peer> guesses;
  for (int i = 0; i < 6; ++i) {
    guesses.push_back(connect());
    guesses.back().send(login + "Ym90Ondyb25n\r\n\r\n");  // bot:wrong
  }
  for (Peer& guess : guesses) EXPECT_TRUE(guess.receive_all().starts_with("HTTP/1.1 407 "));
  const std::lock_guard lock(host.gate.verified_mutex);
  EXPECT_EQ(host.gate.verifiers.size(), 1u) << "one thread, and not one that serves";
}

TEST_F(PluginBench, StopsWhileAPasswordIsVerified) {
  host.gate.passwords["bot"] = "secret";
  host.gate.verify_takes = 300ms;
  LoadedPlugin plugin(HTTP_PROXY_PLUGIN, host);
  ASSERT_EQ(plugin.create(R"({"listen":["proxy"],"auth":"required"})"), POLICY_OK) << plugin.error.text;
  ASSERT_EQ(plugin.start(), POLICY_OK) << plugin.error.text;
  std::vector<Peer> logins;
  for (int i = 0; i < 4; ++i) {
    logins.push_back(connect());
    logins.back().send(
        "GET http://pkg.test/ HTTP/1.1\r\nHost: pkg.test\r\nProxy-Authorization: Basic Ym90OnNlY3JldA==\r\n\r\n");
  }
  std::this_thread::sleep_for(100ms);
  EXPECT_EQ(plugin.stop(), POLICY_OK);
  EXPECT_EQ(host.open_threads(), 0u);
}

TEST_F(PluginBench, ConfigErrorsNameTheirPlace) {
  for (const auto& [config, pointer] :
       {std::pair(R"({"auth":"maybe"})", "/auth"), std::pair(R"({"host_mismatch":1})", "/host_mismatch"),
        std::pair(R"({"header_timeout":"1ms"})", "/header_timeout"), std::pair(R"({"max_header":1})", "/max_header"),
        std::pair(R"({"lisen":["x"]})", "/lisen")}) {
    LoadedPlugin plugin(HTTP_PROXY_PLUGIN, host);
    EXPECT_EQ(plugin.create(config), POLICY_INVALID);
    EXPECT_STREQ(plugin.error.pointer, pointer);
  }
  LoadedPlugin plugin(HTTP_PROXY_PLUGIN, host);
  ASSERT_EQ(plugin.create(R"({"listen":["nowhere"]})"), POLICY_OK);
  EXPECT_EQ(plugin.start(), POLICY_NOT_FOUND);
  EXPECT_STREQ(plugin.error.pointer, "/listen");
  EXPECT_EQ(host.open_threads(), 0u);
}

}  // namespace
}  // namespace sallyport::http_proxy
