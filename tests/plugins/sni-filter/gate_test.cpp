// At a gate: who connects is known by address, and the destination is a real address or the gateway's own
// (ACCEPTANCE 5.4). The README's table, row by row; each deny with the origin and the client's own address at 0.
#include <future>

#include "filter_bench.hpp"

namespace sallyport::sni {
namespace {

using namespace std::chrono_literals;

constexpr char kElsewhere[] = "93.184.216.99";  // an address of the client's choice

class Gate : public FilterBench {
 protected:
  void SetUp() override {
    listener_id = 0;
    config.destination = Destination::kOriginal;
    policy.allow["other.example.test"] = {22, 443};
    zone["other.example.test"] = {"93.184.216.35"};
  }
  void TearDown() override {
    FilterBench::TearDown();
    if (counts_) EXPECT_EQ(counts_->total(), 0u);
    EXPECT_EQ(host.gate.open_flows(), 0u);
  }
  void bind(std::string_view name, const char* address) {
    policy_binding binding{};
    binding.struct_size = sizeof binding;
    binding.client = FakeHost::address("127.0.0.1");
    binding.client_id = testing_kit::FakeGate::client_id_of(binding.client);
    binding.addr = FakeHost::address(address);
    policy_error error{};
    error.struct_size = sizeof error;
    ASSERT_EQ(FakeHost::edge()->name(policy::str(name), POLICY_FORM_HOST, &binding.name, &error), POLICY_OK);
    host.gate.add_binding(binding);
  }
  // Sends, reads to the end; the reason of the only decision.
  std::uint16_t refused(const char* to, std::uint16_t port, std::string_view octets) {
    host.clear_audit();
    Peer client = connect_to(endpoint(to, port));
    client.send(octets);
    client.receive_all();
    EXPECT_NE(client.end, "hang");
    // A flow before this one may close only now; its record is not the one that is asked for.
    AuditRecord record;
    for (std::size_t count = 1;; ++count) {
      const std::vector<AuditRecord> audit = host.wait_for_audit(count);
      if (audit.size() < count) break;  // wait_for_audit() has failed the test
      record = audit[count - 1];
      if (!record.closed) break;
    }
    EXPECT_EQ(record.verdict, POLICY_DENY);
    EXPECT_EQ(record.client, "127.0.0.1");
    return record.reason;
  }
};

// REL-01: a connection in the listener's queue is taken before a drain closes it, and counted at once.
TEST_F(Gate, DrainTakesWhoWaits) {
  Recorder recorder;
  Origin origin(kGood, 443, recorder.script("ok"));
  start();
  bind("api.example.test", kGood);
  std::vector<Peer> queued;
  std::promise<void> drained;
  loop_.post([&] {
    for (int i = 0; i < 3; ++i) queued.push_back(connect_to(endpoint(kGood, 443)));  // nobody accepts while this runs
    filter_->drain();
    drained.set_value();
  });
  drained.get_future().wait();
  EXPECT_EQ(counts_->total(), 3u);
  for (Peer& one : queued) {
    one.send(make_hello("api.example.test"));
    EXPECT_EQ(one.receive(2), "ok");
    one.close();
  }
  recorder.wait(3);
  for (int i = 0; i < 500 && counts_->total() > 0; ++i) std::this_thread::sleep_for(5ms);
}

TEST_F(Gate, DialOwnReachesOurAnswer) {  // TLS-02
  Recorder recorder, theirs;
  Origin origin(kGood, 443, recorder.script("ok"));
  Origin evil(kElsewhere, 443, theirs.script("evil"));
  start();
  Peer client = connect_to(endpoint(kElsewhere, 443));
  client.send(make_hello("api.example.test"));
  EXPECT_EQ(client.receive(2), "ok");
  const auto audit = host.wait_for_audit(1);
  EXPECT_EQ(audit[0].address, kGood);
  EXPECT_EQ(audit[0].name, "api.example.test");
  EXPECT_EQ(audit[0].client, "127.0.0.1");
  EXPECT_EQ(evil.connections(), 0u);
}

TEST_F(Gate, StrictDemandsABinding) {  // TLS-02, TLS-03
  config.strict = true;
  Recorder recorder, theirs;
  Origin origin(kGood, 443, recorder.script("ok"));
  Origin evil(kElsewhere, 443, theirs.script("evil"));
  start();
  bind("api.example.test", kGood);
  EXPECT_EQ(refused(kElsewhere, 443, make_hello("api.example.test")), POLICY_REASON_DST_NOT_BOUND);
  EXPECT_EQ(refused(kGood, 443, make_hello("other.example.test")), POLICY_REASON_DST_NOT_BOUND);
  EXPECT_EQ(refused(kGood, 443, make_hello("evil.test")), POLICY_REASON_SNI_NOT_ALLOWED);
  EXPECT_EQ(origin.connections() + evil.connections(), 0u);
  Peer client = connect_to(endpoint(kGood, 443));
  client.send(make_hello("api.example.test"));
  EXPECT_EQ(client.receive(2), "ok");
  EXPECT_EQ(lookups, 0) << "the bound address is dialled";
}

TEST_F(Gate, StrictTakesNoBindingThatHasEnded) {
  config.strict = true;
  start();
  bind("api.example.test", kGood);
  host.gate.expire_bindings();
  EXPECT_EQ(refused(kGood, 443, make_hello("api.example.test")), POLICY_REASON_DST_NOT_BOUND);
}

TEST_F(Gate, StrictGuardsTheBoundAddressAgain) {
  config.strict = true;
  Recorder recorder;
  Origin origin("10.0.0.5", 443, recorder.script("ok"));
  start();
  bind("api.example.test", "10.0.0.5");
  EXPECT_EQ(refused("10.0.0.5", 443, make_hello("api.example.test")), POLICY_REASON_ADDR_FORBIDDEN);
  EXPECT_EQ(origin.connections(), 0u);
}

TEST_F(Gate, DeniedSniAtABoundAddress) {  // TLS-03, DOH-01 by name
  Recorder recorder;
  Origin origin(kGood, 443, recorder.script("ok"));
  start();
  bind("api.example.test", kGood);
  for (const char* name : {"evil.test", "dns.google", "xapi.example.test", "api.example.test.evil.test"})
    EXPECT_EQ(refused(kGood, 443, make_hello(name)), POLICY_REASON_SNI_NOT_ALLOWED) << name;
  EXPECT_EQ(refused(kGood, 443, make_hello("")), POLICY_REASON_SNI_MISSING);
  EXPECT_EQ(refused(kGood, 443, "SSH-2.0-x\r\n"), POLICY_REASON_NOT_TLS);  // TLS-14
  EXPECT_EQ(origin.connections(), 0u);
}

TEST_F(Gate, OtherSniWhereTheServerWasDialledBefore) {
  policy.allow["other.example.test"].insert(8443);
  Recorder recorder;
  Origin origin(kGood, 8443, recorder.script());
  start();
  bind("api.example.test", kGood);
  Peer client = connect_to(endpoint(kGood, 8443));
  client.send(make_hello("other.example.test"));
  EXPECT_TRUE(client.receive_all().starts_with("\x15"));
  EXPECT_EQ(host.wait_for_audit(2)[1].reason, POLICY_REASON_SNI_MISMATCH);
  EXPECT_EQ(recorder.wait(1), std::vector<std::string>{""});
}

TEST_F(Gate, OtherAllowedSniIsDialledByItself) {
  Recorder recorder;
  Origin origin("93.184.216.35", 443, recorder.script("ok"));
  start();
  bind("api.example.test", kGood);
  Peer client = connect_to(endpoint(kGood, 443));
  client.send(make_hello("other.example.test"));
  EXPECT_EQ(client.receive(2), "ok");
}

TEST_F(Gate, AddressWithoutNameAtOnce) {  // DOH-01 by address
  start();
  for (const std::uint16_t port : {22, 853, 5432}) {
    Peer client = connect_to(endpoint("8.8.8.8", port));
    client.receive_all();
    EXPECT_EQ(client.end, "reset") << "though it says nothing";
  }
  for (const AuditRecord& record : host.wait_for_audit(3)) EXPECT_EQ(record.reason, POLICY_REASON_IP_LITERAL_DENIED);
  EXPECT_EQ(refused("8.8.8.8", 443, make_hello("")), POLICY_REASON_SNI_MISSING);
  EXPECT_EQ(refused("8.8.8.8", 80, "GET / HTTP/1.1\r\nHost: 8.8.8.8\r\n\r\n"), POLICY_REASON_IP_LITERAL_DENIED);
}

TEST_F(Gate, AddressByARuleForAddresses) {
  policy.literals.insert(kElsewhere);
  Recorder recorder;
  Origin origin(kElsewhere, 5432, recorder.script("db"));
  start();
  Peer client = connect_to(endpoint(kElsewhere, 5432));
  client.send("x");
  EXPECT_EQ(client.receive(2), "db");
}

TEST_F(Gate, ServerThatSpeaksFirstByTheBinding) {
  Recorder recorder;
  Origin origin(kGood, 22, [](Peer& peer) {
    peer.send("SSH-2.0-Server\r\n");
    peer.receive_all();
  });
  start();
  bind("api.example.test", kElsewhere);
  Peer client = connect_to(endpoint(kElsewhere, 22));
  EXPECT_EQ(client.receive(16), "SSH-2.0-Server\r\n") << "our own answer for the one name";
  EXPECT_EQ(refused(kElsewhere, 23, ""), POLICY_REASON_PORT_DENIED);
}

TEST_F(Gate, SeveralNamesOfOneAddress) {
  Origin origin(kGood, 22, [](Peer& peer) {
    peer.send("hi");
    peer.receive_all();
  });
  start();
  bind("api.example.test", kGood);
  bind("other.example.test", kGood);
  {
    Peer client = connect_to(endpoint(kGood, 22));
    EXPECT_EQ(client.receive(2), "hi");
  }
  EXPECT_EQ(lookups, 0) << "the address itself, which each of them was told";
  host.wait_for_audit(2);
  bind("denied.example.test", kGood);
  EXPECT_EQ(refused(kGood, 22, ""), POLICY_REASON_NO_RULE) << "which of them is meant cannot be told";
}

TEST_F(Gate, BindingOfAnotherClientIsNone) {
  config.strict = true;
  start();
  policy_binding binding{};
  binding.client = FakeHost::address("127.0.0.2");
  binding.client_id = testing_kit::FakeGate::client_id_of(FakeHost::address("127.0.0.1"));  // as of equal hashes
  binding.addr = FakeHost::address(kGood);
  policy_error error{};
  FakeHost::edge()->name(policy::str("api.example.test"), POLICY_FORM_HOST, &binding.name, &error);
  host.gate.add_binding(binding);
  EXPECT_EQ(refused(kGood, 443, make_hello("api.example.test")), POLICY_REASON_DST_NOT_BOUND);
}

TEST_F(Gate, StraightToTheListener) {
  start();
  EXPECT_EQ(refused("127.0.0.1", port_, ""), POLICY_REASON_DST_NOT_BOUND);
}

TEST_F(Gate, HostDecidesEachRequest) {
  const std::string response = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
  const auto get = [](std::string_view host_name) {
    return "GET / HTTP/1.1\r\nHost: " + std::string(host_name) + "\r\n\r\n";
  };
  Recorder recorder;
  Origin origin(kGood, 80, recorder.script(response, get("api.example.test").size()));
  start();
  Peer client = connect_to(endpoint(kElsewhere, 80));
  client.send(get("api.example.test"));
  EXPECT_EQ(client.receive(response.size()), response);
  client.send(get("other.example.test"));
  EXPECT_TRUE(client.receive_all().starts_with("HTTP/1.1 403 "));
  const auto audit = host.wait_for_audit(3);  // open, deny, close
  EXPECT_EQ(audit[1].reason, POLICY_REASON_HOST_MISMATCH);
  EXPECT_EQ(recorder.wait(1), std::vector{get("api.example.test")});
  EXPECT_EQ(refused(kGood, 80, get("evil.test")), POLICY_REASON_NO_RULE);
}

TEST_F(Gate, ByNameAlone) {  // answers: gateway
  config.destination = Destination::kName;
  Recorder recorder;
  Origin origin(kGood, 443, recorder.script("ok")), other(kGood, 8443, recorder.script("ok"));
  start();
  for (const std::uint16_t port : {443, 8443}) {
    Peer client = connect_to(endpoint("172.20.0.3", port));
    client.send(make_hello("api.example.test"));
    EXPECT_EQ(client.receive(2), "ok") << port;
  }
  EXPECT_EQ(refused("172.20.0.3", 443, make_hello("evil.test")), POLICY_REASON_SNI_NOT_ALLOWED);
  EXPECT_EQ(refused("172.20.0.3", 22, "SSH-2.0-x\r\n"), POLICY_REASON_NOT_TLS);
  EXPECT_EQ(refused("172.20.0.3", 5432, std::string(32, '\0')), POLICY_REASON_NOT_TLS);
  EXPECT_EQ(refused("172.20.0.3", 80, "EHLO x\r\n"), POLICY_REASON_UNPARSED);
  EXPECT_EQ(refused("172.20.0.3", 9443, make_hello("api.example.test")), POLICY_REASON_PORT_DENIED);
}

TEST_F(Gate, ByNameTheServerDoesNotSpeakFirst) {  // TLS-12
  config.destination = Destination::kName;
  config.hello_timeout = 300ms;
  Recorder recorder;
  Origin origin(kGood, 22, recorder.script("SSH"));
  start();
  EXPECT_EQ(refused("172.20.0.3", 22, ""), POLICY_REASON_HELLO_TIMEOUT);
  EXPECT_EQ(origin.connections(), 0u);
}

TEST_F(Gate, UnknownClientIsReset) {
  host.gate.sources = {"172.20.0.9"};
  start();
  Peer client = connect_to(endpoint(kGood, 443));
  client.receive_all();
  EXPECT_EQ(client.end, "reset");
  const auto audit = host.wait_for_audit(1);
  EXPECT_EQ(audit[0].reason, POLICY_REASON_CLIENT_UNKNOWN);
  EXPECT_EQ(audit[0].client, "127.0.0.1");
}

TEST_F(Gate, RevocationClosesAtOnce) {
  Recorder recorder;
  Origin origin(kGood, 443, recorder.script("ok"));
  start();
  Peer client = connect_to(endpoint(kElsewhere, 443));
  client.send(make_hello("api.example.test"));
  EXPECT_EQ(client.receive(2), "ok");
  host.wait_for_audit(1);
  ASSERT_EQ(host.gate.flows().at(0).attached, 2u);
  host.change([this] { policy.allow.clear(); });
  const auto began = std::chrono::steady_clock::now();
  host.publish();
  client.receive_all();
  EXPECT_EQ(client.end, "reset");
  EXPECT_LE(std::chrono::steady_clock::now() - began, 1s);
  const auto audit = host.wait_for_audit(2);
  EXPECT_TRUE(audit[1].closed);
  EXPECT_EQ(audit[1].reason, POLICY_REASON_REVOKED);
  EXPECT_EQ(audit.size(), 2u) << "one closing record";
}

TEST_F(Gate, PlacesOfEachClient) {  // HTP-33
  config.max_flows_per_client = 2;
  Recorder recorder;
  Origin origin(kGood, 443, recorder.script("ok"));
  start();
  {
    std::vector<Peer> clients;
    for (int i = 0; i < 2; ++i) {
      clients.push_back(connect_to(endpoint(kGood, 443)));
      clients.back().send(make_hello("api.example.test"));
      EXPECT_EQ(clients.back().receive(2), "ok");
    }
    EXPECT_EQ(refused(kGood, 443, ""), POLICY_REASON_LIMIT_EXCEEDED);
  }
  while (counts_->total() > 0) std::this_thread::yield();
  Peer again = connect_to(endpoint(kGood, 443));
  again.send(make_hello("api.example.test"));
  EXPECT_EQ(again.receive(2), "ok");
}

TEST(SniFilterConfig, DestinationOfEachListener) {
  Config config;
  ASSERT_TRUE(parse_config(R"({"listen":["web","catch"],"destination":"name","by_original":["catch"],
                              "binding":"strict","workers":2,"max_flows_per_client":7})",
                           config)
                  .ok());
  EXPECT_EQ(config.destination, Destination::kName);
  EXPECT_EQ(config.listeners.at("catch"), Destination::kOriginal);
  EXPECT_TRUE(config.strict);
  EXPECT_EQ(parse_config(R"({"by_original":["catch"]})", config).pointer, "/by_original");
  EXPECT_EQ(parse_config(R"({"by_name":["tcp"],"by_original":["tcp"]})", config).pointer, "/by_original");
  EXPECT_EQ(parse_config(R"({"binding":"loose"})", config).pointer, "/binding");
}

TEST(SniFilterPlugin, EveryThreadServesAndCounts) {
  FakeHost host;
  const std::uint16_t port = host.listen_tcp("web", 0);
  {
    testing_kit::LoadedPlugin plugin(SNI_FILTER_PLUGIN, host);
    ASSERT_EQ(plugin.create(R"({"listen":["web"],"workers":4})"), POLICY_OK) << plugin.error.text;
    ASSERT_EQ(plugin.start(), POLICY_OK) << plugin.error.text;
    EXPECT_EQ(host.open_threads(), 4u);
    for (int i = 0; i < 40; ++i) {
      const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
      const net::tcp::endpoint at = endpoint("127.0.0.1", port);
      ASSERT_EQ(::connect(fd, at.data(), static_cast<socklen_t>(at.size())), 0);
      Peer client(fd);
      client.send(make_hello("evil.test"));
      EXPECT_TRUE(client.receive_all().starts_with("\x15"));
    }
    host.wait_for_audit(40);
    const char* const denied = R"(sallyport_connections_total{plugin="sni-filter",result="denied"})";
    for (int i = 0; i < 500 && host.gate.counter(denied) < 40; ++i) std::this_thread::sleep_for(10ms);
    EXPECT_EQ(host.gate.counter(denied), 40u);
    EXPECT_EQ(host.gate.counter(R"(sallyport_tls_client_hellos_total{result="ok"})"), 40u);
    EXPECT_EQ(plugin.stop(), POLICY_OK);
  }
  EXPECT_EQ(host.open_threads(), 0u);
}

}  // namespace
}  // namespace sallyport::sni
