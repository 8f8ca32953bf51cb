// CONNECT and what may go through it (ACCEPTANCE 5.3). Each deny with the origin at 0 octets.
#include "proxy_bench.hpp"

namespace sallyport::http_proxy {
namespace {

TEST_F(ProxyBench, TunnelCarriesBothWaysAndHalfCloses) {  // HTP-01
  Witness witness;
  Origin origin(kGood, 443, witness.record({}, "server hello"));
  start();
  Peer client = tunnel("api.example.test:443");
  const std::string hello = make_hello("api.example.test");
  client.send(hello);
  EXPECT_EQ(client.receive(12), "server hello");
  client.send("more");
  client.shutdown_send();
  EXPECT_EQ(client.receive_all(), "");
  EXPECT_EQ(client.end, "eof");
  EXPECT_EQ(witness.wait_recorded(1), std::vector{hello + "more"});
  const auto audit = host.wait_for_audit(2);
  ASSERT_EQ(audit.size(), 2u);
  EXPECT_EQ(audit[0].verdict, POLICY_ALLOW);
  EXPECT_EQ(audit[0].name, "api.example.test");
  EXPECT_EQ(audit[0].address, kGood);
  EXPECT_EQ(audit[0].port, 443);
  EXPECT_EQ(audit[0].client, "127.0.0.1");
  EXPECT_NE(audit[0].detail.find(R"("http":{"method":"CONNECT","host":"api.example.test"})"), std::string::npos)
      << audit[0].detail;
  EXPECT_TRUE(audit[1].closed);
  const auto flows = host.gate.flows();
  ASSERT_EQ(flows.size(), 1u);
  EXPECT_TRUE(flows[0].closed);
  EXPECT_EQ(flows[0].attached, 2u);
  EXPECT_EQ(flows[0].up, hello.size() + 4);
  EXPECT_EQ(flows[0].down, 12u);
  EXPECT_EQ(flows[0].reason, POLICY_REASON_OK);
}

TEST_F(ProxyBench, AMegabyteEachWayIsUnchanged) {
  std::string big(3'000'000, '\0');
  for (std::size_t i = 0; i < big.size(); ++i) big[i] = static_cast<char>(i * 2654435761u >> 13);
  const std::string hello = make_hello("api.example.test");
  Origin origin(kGood, 443, [&](Peer& peer) {
    EXPECT_EQ(peer.receive(hello.size()), hello);
    EXPECT_EQ(peer.receive(big.size()), big);
    peer.send(big);
  });
  start();
  Peer client = tunnel("api.example.test:443", hello);
  std::thread sender([&] { client.send(big); });
  EXPECT_EQ(client.receive_all(), big);
  sender.join();
}

TEST_F(ProxyBench, EarlyOctetsGoOnOnceAndInOrder) {  // HTP-17
  Witness witness;
  const std::string hello = make_hello("api.example.test");
  Origin origin(kGood, 443, witness.record({}, "ok", hello.size()));
  start();
  for (std::size_t cut = 0; cut <= hello.size(); cut += 5) {
    Peer client = tunnel("api.example.test:443", hello.substr(0, cut));
    client.send(hello.substr(cut));
    ASSERT_EQ(client.receive(2), "ok") << cut;
    client.close();
  }
  for (const std::string& got : witness.wait_recorded(origin.connections())) EXPECT_EQ(got, hello);
}

struct TunnelCase {
  const char* why;
  std::string octets;
  std::uint16_t reason;
};
class RefusedTunnel : public ProxyBench, public testing::WithParamInterface<TunnelCase> {};

std::string extension(unsigned type, std::string_view data) {
  return std::string{static_cast<char>(type >> 8), static_cast<char>(type & 0xff), static_cast<char>(data.size() >> 8),
                     static_cast<char>(data.size() & 0xff)} +
         std::string(data);
}

TEST_P(RefusedTunnel, IsClosedBeforeAnOctetGoesUp) {
  Witness witness;
  Origin origin(kGood, 443, witness.record());
  start();
  Peer client = tunnel("api.example.test:443");
  client.send(GetParam().octets);
  const std::string got = client.receive_all();
  EXPECT_TRUE(got.empty() || got.starts_with("\x15\x03\x03")) << got;
  EXPECT_TRUE(client.end == "eof" || client.end == "reset") << client.end;
  const auto audit = host.wait_for_audit(3);  // CONNECT, the refusal, the close
  EXPECT_EQ(audit[1].verdict, POLICY_DENY);
  EXPECT_EQ(audit[1].reason, GetParam().reason);
  EXPECT_EQ(audit[1].name, "api.example.test");
  EXPECT_EQ(audit[2].reason, GetParam().reason);
  EXPECT_EQ(witness.wait_recorded(1), std::vector<std::string>{""});
}

INSTANTIATE_TEST_SUITE_P(
    Hellos, RefusedTunnel,
    testing::ValuesIn<TunnelCase>({
        {"ClearHttp", "GET / HTTP/1.1\r\nHost: api.example.test\r\n\r\n", POLICY_REASON_NOT_TLS},  // HTP-18
        {"Ssh", "SSH-2.0-OpenSSH_9.2\r\n", POLICY_REASON_NOT_TLS},
        {"Binary", std::string("\x00\x01\x02\x03", 4), POLICY_REASON_NOT_TLS},
        {"Http2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", POLICY_REASON_NOT_TLS},
        {"SecondConnect", "CONNECT evil.test:443 HTTP/1.1\r\n\r\n", POLICY_REASON_NOT_TLS},
        {"OtherName", make_hello("evil.test"), POLICY_REASON_SNI_MISMATCH},  // HTP-19
        {"OtherAllowedName", make_hello("pkg.test"), POLICY_REASON_SNI_MISMATCH},
        {"Below", make_hello("x.api.example.test"), POLICY_REASON_SNI_MISMATCH},
        {"NoSni", make_hello(""), POLICY_REASON_SNI_MISSING},  // HTP-20
        {"Literal", make_hello("93.184.216.34"), POLICY_REASON_SNI_MALFORMED},
        {"TrailingDot", make_hello("api.example.test."), POLICY_REASON_SNI_MALFORMED},
        {"Ech", make_hello("api.example.test", extension(0xfe0d, "ech")), POLICY_REASON_ECH_DENIED},
        {"Esni", make_hello("api.example.test", extension(0xffce, "esni")), POLICY_REASON_ECH_DENIED},
        {"TooLarge", std::string("\x16\x03\x01\x40\x00\x01\x02\x00\x00", 9) + std::string(100, 'x'),
         POLICY_REASON_HELLO_TOO_LARGE},
        {"Sslv2", std::string("\x80\x2e\x01\x03\x01\x00\x15\x00\x00\x00\x10", 11) + std::string(40, 'x'),
         POLICY_REASON_TLS_MALFORMED},
    }),
    [](const auto& row) { return row.param.why; });

TEST_F(ProxyBench, HelloInTwoSegmentsAtEveryCut) {
  Witness witness;
  const std::string good = make_hello("api.example.test"), bad = make_hello("apj.example.test");
  Origin origin(kGood, 443, witness.record({}, "ok", good.size()));
  start();
  for (std::size_t cut = 1; cut < good.size(); cut += 9) {
    Peer client = tunnel("api.example.test:443");
    client.send(good.substr(0, cut));
    client.send(good.substr(cut));
    EXPECT_EQ(client.receive(2), "ok") << cut;
    Peer refused = tunnel("api.example.test:443");
    refused.send(bad.substr(0, cut));
    refused.send(bad.substr(cut));
    EXPECT_TRUE(refused.receive_all().starts_with("\x15")) << cut;
  }
}

TEST_F(ProxyBench, SilenceInATunnelEnds) {
  config.hello_timeout = 150ms;
  Witness witness;
  Origin origin(kGood, 443, witness.record());
  start();
  for (const std::string& part : {std::string(), make_hello("api.example.test").substr(0, 20)}) {
    host.clear_audit();
    Peer client = tunnel("api.example.test:443", part);
    EXPECT_EQ(client.receive_all(), "");
    const auto audit = host.wait_for_audit(3);
    EXPECT_EQ(audit[1].reason, POLICY_REASON_HELLO_TIMEOUT);
    EXPECT_EQ(audit[2].reason, POLICY_REASON_HELLO_TIMEOUT);
  }
  EXPECT_EQ(witness.wait_recorded(2), (std::vector<std::string>{"", ""}));
}

TEST_F(ProxyBench, GreaseEchIsAnOption) {
  config.allow_grease_ech = true;
  Witness witness;
  Origin origin(kGood, 443, witness.record({}, "ok"));
  start();
  Peer client = tunnel("api.example.test:443", make_hello("api.example.test", extension(0xfe0d, "ech")));
  EXPECT_EQ(client.receive(2), "ok");
}

TEST_F(ProxyBench, TunnelAnyOptsOut) {
  policy.flags = POLICY_FLAG_TUNNEL_ANY;
  Witness witness;
  Origin origin(kGood, 443, witness.record("220 server speaks first\r\n"));
  start();
  Peer client = tunnel("api.example.test:443");
  EXPECT_EQ(client.receive(25), "220 server speaks first\r\n");
  client.send("anything");
  client.shutdown_send();
  client.receive_all();
  EXPECT_EQ(witness.wait_recorded(1), std::vector<std::string>{"anything"});
}

TEST_F(ProxyBench, OnOtherPortsTheServerMaySpeakFirst) {
  Witness witness;
  Origin origin(kGood, 22, witness.record("SSH-2.0-server\r\n"));
  start();
  Peer client = tunnel("api.example.test:22");
  EXPECT_EQ(client.receive_until("\n"), "SSH-2.0-server\r\n");
  client.send("SSH-2.0-client\r\n");
  client.send(std::string("\x00\x01\x02", 3));
  client.shutdown_send();
  EXPECT_EQ(client.receive_all(), "");
  EXPECT_EQ(witness.wait_recorded(1), std::vector{"SSH-2.0-client\r\n" + std::string("\x00\x01\x02", 3)});
}

// The client has not read what the server said first, so its refusal has to wait for room beside it.
TEST_F(ProxyBench, ARefusalWaitsForAClientThatIsSlowToRead) {
  std::atomic<bool> stuck{false};
  Origin origin(kGood, 8443, [&](Peer& peer) {
    const timeval patience{0, 300'000};
    ::setsockopt(peer.fd(), SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    while (peer.send(std::string(1 << 20, 's'))) {
    }
    stuck = true;
    peer.receive_all();
  });
  start();
  Peer client = tunnel("pkg.test:8443");
  ASSERT_TRUE(becomes_true([&] { return stuck.load(); }));
  client.send(make_hello("evil.test"));
  host.wait_for_audit(2);
  client.receive_all();
  EXPECT_NE(client.end, "hang");
  const auto audit = host.wait_for_audit(3);
  ASSERT_EQ(audit.size(), 3u);
  EXPECT_EQ(audit[1].reason, POLICY_REASON_SNI_MISMATCH);
  EXPECT_TRUE(audit[2].closed);
}

class OtherPort : public ProxyBench, public testing::WithParamInterface<TunnelCase> {};

TEST_P(OtherPort, TlsAndHttpMustCarryTheName) {
  Witness witness;
  Origin origin(kGood, 8443, witness.record());
  start();
  Peer client = tunnel("pkg.test:8443");
  client.send(GetParam().octets);
  client.receive_all();
  const auto audit = host.wait_for_audit(3);
  EXPECT_EQ(audit[1].verdict, POLICY_DENY);
  EXPECT_EQ(audit[1].reason, GetParam().reason);
  EXPECT_EQ(witness.wait_recorded(1), std::vector<std::string>{""});
}

INSTANTIATE_TEST_SUITE_P(FirstOctets, OtherPort,
                         testing::ValuesIn<TunnelCase>({
                             {"Sni", make_hello("evil.test"), POLICY_REASON_SNI_MISMATCH},
                             {"NoSni", make_hello(""), POLICY_REASON_SNI_MISSING},
                             {"Host", "GET / HTTP/1.1\r\nHost: evil.test\r\n\r\n", POLICY_REASON_HOST_MISMATCH},
                             {"AbsoluteTarget", "GET http://evil.test/ HTTP/1.1\r\nHost: pkg.test:8443\r\n\r\n",
                              POLICY_REASON_HOST_MISMATCH},
                             {"Connect", "CONNECT evil.test:443 HTTP/1.1\r\nHost: pkg.test:8443\r\n\r\n",
                              POLICY_REASON_HOST_MISMATCH},
                             {"TwoHosts", "GET / HTTP/1.1\r\nHost: pkg.test:8443\r\nHost: evil.test\r\n\r\n",
                              POLICY_REASON_FRAMING_AMBIGUOUS},
                             {"ClearHttp2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", POLICY_REASON_UNPARSED},
                         }),
                         [](const auto& row) { return row.param.why; });

TEST_F(ProxyBench, HttpInATunnelIsReadRequestByRequest) {
  Witness witness;
  Origin origin(kGood, 8080, witness.serve());
  start();
  Peer client = tunnel("pkg.test:8080");
  const std::string request = "POST /a HTTP/1.1\r\nHost: pkg.test:8080\r\nContent-Length: 3\r\n\r\nabc";
  for (int i = 0; i < 3; ++i) {
    client.send(request);
    EXPECT_TRUE(client.receive_until("hello").starts_with("HTTP/1.1 200 OK\r\n"));
  }
  client.send("GET / HTTP/1.1\r\nHost: evil.test\r\n\r\n");
  const std::string refused = client.receive_all();
  EXPECT_EQ(status_of(refused), "403");
  EXPECT_TRUE(refused_with(refused, "host_mismatch")) << refused;
  const auto requests = witness.requests();
  ASSERT_EQ(requests.size(), 3u);
  EXPECT_EQ(origin.connections(), 1u);
  EXPECT_EQ(requests[0].body, "abc");
  EXPECT_EQ(requests[0].head.find("Via"), std::string::npos) << "the client believes to speak with its origin";
}

TEST_F(ProxyBench, AllowedAddressIsDialledWhateverALaterLookupSays) {  // HTP-21
  Witness witness;
  Origin origin(kGood, 443, witness.record({}, "ok"));
  Origin inside("127.0.0.1", 443, witness.record({}, "ok"));
  start();
  host.change([&] { zone["api.example.test"] = {kGood}; });
  Peer client = tunnel("api.example.test:443");
  host.change([&] { zone["api.example.test"] = {"127.0.0.1"}; });
  client.send(make_hello("api.example.test"));
  EXPECT_EQ(client.receive(2), "ok");
  EXPECT_EQ(lookups, 1);
  EXPECT_EQ(inside.connections(), 0u);
}

struct AddressCase {
  const char* why;
  std::vector<std::string> addresses;
};
class ForbiddenAddress : public ProxyBench, public testing::WithParamInterface<AddressCase> {};

TEST_P(ForbiddenAddress, IsNotDialled) {  // HTP-22
  zone["api.example.test"] = GetParam().addresses;
  zone["pkg.test"] = GetParam().addresses;
  Witness witness;
  Origin https("0.0.0.0", 443, witness.record());
  Origin http("0.0.0.0", 80, witness.record());
  has_ipv6 = true;
  start();
  const std::string tunnelled = ask("CONNECT api.example.test:443 HTTP/1.1\r\nHost: api.example.test\r\n\r\n");
  const std::string plain = ask(get("http://pkg.test/"));
  for (const std::string& got : {tunnelled, plain}) {
    EXPECT_EQ(status_of(got), "403") << got;
    EXPECT_TRUE(refused_with(got, "addr_forbidden")) << got;
  }
  const auto audit = host.wait_for_audit(2);
  ASSERT_EQ(audit.size(), 2u);
  EXPECT_EQ(audit[0].address, GetParam().addresses[0]);
  EXPECT_EQ(https.connections() + http.connections(), 0u);
}

INSTANTIATE_TEST_SUITE_P(Guard, ForbiddenAddress,
                         testing::ValuesIn<AddressCase>({
                             {"Loopback", {"127.0.0.1"}},
                             {"Private", {"10.0.0.1"}},
                             {"Metadata", {"169.254.169.254"}},
                             {"Cgnat", {"100.64.0.1"}},
                             {"Mapped", {"::ffff:127.0.0.1"}},
                             {"Nat64", {"64:ff9b::7f00:1"}},
                             {"Unspecified", {"0.0.0.0"}},
                             {"V6Loopback", {"::1"}},
                         }),
                         [](const auto& row) { return row.param.why; });

TEST_F(ProxyBench, TheProxyIsNoTargetOfItsOwn) {  // HTP-22
  zone["pkg.test"] = {"127.0.0.1"};
  policy.lifted = {"127.0.0.1"};
  start();
  policy.allow["pkg.test"].insert(port_);
  const std::string authority = "pkg.test:" + std::to_string(port_);
  for (const std::string& request :
       {"CONNECT " + authority + " HTTP/1.1\r\nHost: " + authority + "\r\n\r\n", get("http://" + authority + "/")}) {
    const std::string got = ask(request);
    EXPECT_EQ(status_of(got), "403") << got;
    EXPECT_TRUE(refused_with(got, "addr_forbidden")) << got;
  }
}

TEST_F(ProxyBench, AnAddressNeedsARuleOfItsOwn) {
  policy.literals = {kOther};
  Witness witness;
  Origin good(kGood, 443, witness.record());
  Origin other(kOther, 443, witness.record("banner"));
  start();
  const std::string denied = ask("CONNECT 93.184.216.34:443 HTTP/1.1\r\nHost: 93.184.216.34:443\r\n\r\n");
  EXPECT_EQ(status_of(denied), "403");
  EXPECT_TRUE(refused_with(denied, "ip_literal_denied")) << denied;
  Peer client = tunnel("93.184.216.35:443");
  EXPECT_EQ(client.receive(6), "banner");
  EXPECT_EQ(good.connections(), 0u);
  EXPECT_EQ(lookups, 0);
}

TEST_F(ProxyBench, OneLabelNamesAskNoResolver) {
  policy.allow["supervisor"] = {8080};
  policy.lifted = {"172.20.0.5"};
  host.fixed["supervisor"] = {"172.20.0.5"};
  policy.allow["other"] = {8080};
  Witness witness;
  Origin origin("172.20.0.5", 8080, witness.serve());
  start();
  EXPECT_EQ(status_of(ask(get("http://supervisor:8080/", "Connection: close\r\n"))), "200");
  EXPECT_EQ(status_of(ask(get("http://other:8080/"))), "502");
  EXPECT_EQ(lookups, 0);
}

TEST_F(ProxyBench, RevokedTunnelsEndAtOnce) {  // NFT-08
  Witness witness;
  Origin origin(kGood, 443, witness.record({}, "ok"));
  start();
  Peer client = tunnel("api.example.test:443", make_hello("api.example.test"));
  ASSERT_EQ(client.receive(2), "ok");
  host.change([&] { policy.allow.clear(); });
  const auto began = std::chrono::steady_clock::now();
  host.publish();
  client.receive_all();
  EXPECT_NE(client.end, "hang");
  EXPECT_LT(std::chrono::steady_clock::now() - began, 1s);
  host.wait_for_audit(2);
  EXPECT_EQ(host.gate.flows().at(0).reason, POLICY_REASON_REVOKED);
}

TEST_F(ProxyBench, IdleTunnelsEnd) {  // HTP-33
  config.idle_timeout = 200ms;
  Witness witness;
  Origin origin(kGood, 443, witness.record({}, "ok"));
  start();
  Peer client = tunnel("api.example.test:443", make_hello("api.example.test"));
  ASSERT_EQ(client.receive(2), "ok");
  const auto began = std::chrono::steady_clock::now();
  client.receive_all();
  EXPECT_NE(client.end, "hang");
  EXPECT_GT(std::chrono::steady_clock::now() - began, 150ms);
  EXPECT_LT(std::chrono::steady_clock::now() - began, 2s);
  host.wait_for_audit(2);
  EXPECT_EQ(host.gate.flows().at(0).reason, POLICY_REASON_TIMED_OUT);
  EXPECT_TRUE(becomes_true([&] { return counts_->total() == 0; }));
}

TEST_F(ProxyBench, AResetOfEitherSideReachesTheOther) {  // HTP-33
  Witness witness;
  Origin origin(kGood, 443, [](Peer& peer) {
    peer.receive(1);
    peer.send("ok");
    if (peer.receive(4) == "die!") peer.reset();
  });
  start();
  Peer client = tunnel("api.example.test:443", make_hello("api.example.test"));
  ASSERT_EQ(client.receive(2), "ok");
  client.close();
  EXPECT_TRUE(becomes_true([&] { return counts_->total() == 0; }));
  Origin resets(kGood, 8443, [](Peer& peer) {
    peer.receive(1);
    peer.reset();
  });
  Peer second = tunnel("api.example.test:8443", make_hello("api.example.test"));
  second.receive_all();
  EXPECT_EQ(second.end, "reset");
}

}  // namespace
}  // namespace sallyport::http_proxy
