// Captured flows from accept to close (ACCEPTANCE 5.4, 5.8). Each deny with the origin at 0 connections.
#include "filter_bench.hpp"

namespace sallyport::sni {
namespace {

using namespace std::chrono_literals;

constexpr char kAlertUnrecognized[] = "\x15\x03\x03\x00\x02\x02\x70";

TEST_F(FilterBench, TlsWithThatNameGoesThrough) {  // TLS-01
  Recorder recorder;
  Origin origin(kGood, 443, recorder.script("server hello"));
  start();
  const std::string hello = make_hello("api.example.test");
  Peer client = connect(443);
  ASSERT_TRUE(client.send(hello));
  EXPECT_EQ(client.receive(12), "server hello");
  ASSERT_TRUE(client.send("more"));
  client.shutdown_send();
  EXPECT_EQ(client.receive_all(), "");
  EXPECT_EQ(client.end, "eof");
  const auto audit = host.wait_for_audit(2);
  EXPECT_EQ(recorder.wait(1), std::vector{hello + "more"});  // unchanged, octet by octet
  EXPECT_EQ(audit[0].verdict, POLICY_ALLOW);
  EXPECT_EQ(audit[0].name, "api.example.test");
  EXPECT_EQ(audit[0].address, kGood);
  EXPECT_EQ(audit[0].port, 443);
  EXPECT_NE(audit[0].detail.find(R"("tls":{"sni":"api.example.test","alpn":null,"ech":false})"), std::string::npos)
      << audit[0].detail;
  EXPECT_NE(audit[1].detail.find(R"("bytes":{"up":)" + std::to_string(hello.size() + 4) + R"(,"down":12})"),
            std::string::npos)
      << audit[1].detail;
}

TEST_F(FilterBench, SniCaseIsFolded) {  // TLS-04
  Recorder recorder;
  Origin origin(kGood, 443, recorder.script("ok"));
  start();
  Peer client = connect(443);
  client.send(make_hello("API.Example.TEST"));
  EXPECT_EQ(client.receive(2), "ok");
}

struct HelloCase {
  const char* why;
  std::string octets;
  std::uint16_t reason;
};
class RefusedHello : public FilterBench, public testing::WithParamInterface<HelloCase> {};

TEST_P(RefusedHello, AtOnceAndNothingLeaves) {
  policy.allow["other.example.test"] = {443};
  Recorder recorder;
  Origin origin(kGood, 443, recorder.script());
  start();
  const auto began = std::chrono::steady_clock::now();
  Peer client = connect(443);
  client.send(GetParam().octets);
  const std::string got = client.receive_all();
  EXPECT_TRUE(client.end == "eof" || client.end == "reset") << client.end;
  EXPECT_TRUE(got.empty() || got.starts_with("\x15\x03")) << "an alert or nothing";
  EXPECT_LE(std::chrono::steady_clock::now() - began, 3s);
  const auto audit = host.wait_for_audit(1);
  ASSERT_EQ(audit.size(), 1u);
  EXPECT_EQ(audit[0].reason, GetParam().reason);
  EXPECT_EQ(audit[0].verdict, POLICY_DENY);
  EXPECT_EQ(audit[0].name, "api.example.test");
  EXPECT_EQ(origin.connections(), 0u);
  // Another protocol may be what a later rule opens for the address, which has to be known then.
  if (GetParam().reason != POLICY_REASON_NOT_TLS) {
    EXPECT_EQ(lookups, 0) << "a refused flow asks no resolver";
  }
}

// The same hellos to an address that this client was told for that name, and to the gateway's own (TLS-03 to -14).
TEST_P(RefusedHello, AtAGateToo) {
  listener_id = 0;
  Recorder recorder;
  Origin origin(kGood, 443, recorder.script());
  std::size_t rows = 0;
  start();
  for (const Destination how : {Destination::kOriginal, Destination::kName}) {
    Peer client = connect_at(how, endpoint(kGood, 443));
    client.send(GetParam().octets);
    const std::string got = client.receive_all();
    EXPECT_TRUE(got.empty() || got.starts_with("\x15\x03"));
    const auto audit = host.wait_for_audit(++rows);
    EXPECT_EQ(audit.back().verdict, POLICY_DENY);
    const bool other = GetParam().reason == POLICY_REASON_SNI_MISMATCH;  // refused by name: no address has a say
    EXPECT_EQ(audit.back().reason, other ? POLICY_REASON_SNI_NOT_ALLOWED : GetParam().reason);
  }
  EXPECT_EQ(origin.connections(), 0u);
  EXPECT_EQ(lookups, 0);
}

std::string extension(unsigned type, std::string_view data) {
  return {static_cast<char>(type >> 8), static_cast<char>(type & 0xff), static_cast<char>(data.size() >> 8),
          static_cast<char>(data.size() & 0xff)};
}
std::string whole_extension(unsigned type, std::string_view data) { return extension(type, data) + std::string(data); }

std::string truncated(std::string hello) {
  hello[43] = '\x7f';  // the session id says it is longer than the message
  return hello;
}

INSTANTIATE_TEST_SUITE_P(
    Hellos, RefusedHello,
    testing::ValuesIn<HelloCase>({
        {"DeniedName", make_hello("evil.test"), POLICY_REASON_SNI_NOT_ALLOWED},  // TLS-03
        {"OtherAllowedName", make_hello("other.example.test"), POLICY_REASON_SNI_MISMATCH},
        {"NoSni", make_hello(""), POLICY_REASON_SNI_MISSING},  // TLS-04
        {"TrailingDot", make_hello("api.example.test."), POLICY_REASON_SNI_MALFORMED},
        {"Address", make_hello("93.184.216.34"), POLICY_REASON_SNI_MALFORMED},
        {"Port", make_hello("api.example.test:443"), POLICY_REASON_SNI_MALFORMED},
        {"Nul", make_hello(std::string_view("api.example.test\0.evil.test", 27)), POLICY_REASON_SNI_MALFORMED},
        {"Empty", make_hello("", whole_extension(0, "")), POLICY_REASON_SNI_MALFORMED},
        {"LongestEscape", make_hello(std::string(255, '\x01')), POLICY_REASON_SNI_MALFORMED},
        {"Ech", make_hello("api.example.test", whole_extension(0xfe0d, "ech")), POLICY_REASON_ECH_DENIED},  // TLS-11
        {"Esni", make_hello("api.example.test", whole_extension(0xffce, "esni")), POLICY_REASON_ECH_DENIED},
        {"LyingLength", truncated(make_hello("api.example.test")), POLICY_REASON_TLS_MALFORMED},  // TLS-13
        {"TooLarge", std::string("\x16\x03\x01\x40\x00\x01\x02\x00\x00", 9) + std::string(100, 'x'),
         POLICY_REASON_HELLO_TOO_LARGE},                            // TLS-08
        {"Ssh", "SSH-2.0-OpenSSH_9.2\r\n", POLICY_REASON_NOT_TLS},  // TLS-14
        {"ClearHttp", "GET / HTTP/1.1\r\nHost: api.example.test\r\n\r\n", POLICY_REASON_NOT_TLS},
    }),
    [](const auto& row) { return row.param.why; });

TEST_F(FilterBench, GreaseEchIsAnOption) {  // TLS-11
  config.allow_grease_ech = true;
  Recorder recorder;
  Origin origin(kGood, 443, recorder.script("ok"));
  start();
  Peer client = connect(443);
  client.send(make_hello("api.example.test", whole_extension(0xfe0d, "ech")));
  EXPECT_EQ(client.receive(2), "ok");
  EXPECT_NE(host.wait_for_audit(1)[0].detail.find(R"("ech":true)"), std::string::npos);
  EXPECT_EQ(host.wait_for_audit(1)[0].reason, POLICY_REASON_ECH_PRESENT);
  Peer hidden = connect(443);
  hidden.send(make_hello("api.example.test", whole_extension(0xffce, "esni")));
  hidden.receive_all();
  EXPECT_EQ(origin.connections(), 1u);
}

TEST_F(FilterBench, HelloInTwoSegmentsAtEveryCut) {  // TLS-05
  Recorder recorder;
  Origin origin(kGood, 443, recorder.script("ok", make_hello("api.example.test").size()));
  start();
  const std::string good = make_hello("api.example.test"), bad = make_hello("apj.example.test");
  const int on = 1;
  for (std::size_t cut = 1; cut < good.size(); cut += 7) {
    Peer client = connect(443);
    ::setsockopt(client.fd(), IPPROTO_TCP, 1 /* TCP_NODELAY */, &on, sizeof on);
    client.send(good.substr(0, cut));
    client.send(good.substr(cut));
    EXPECT_EQ(client.receive(2), "ok") << cut;
    Peer refused = connect(443);
    refused.send(bad.substr(0, cut));
    refused.send(bad.substr(cut));
    EXPECT_TRUE(refused.receive_all().starts_with("\x15")) << cut;
  }
}

TEST_F(FilterBench, MismatchIsAnAlert) {
  policy.allow["other.example.test"] = {443};
  start();
  Peer client = connect(443);
  client.send(make_hello("other.example.test"));
  EXPECT_EQ(client.receive_all(), std::string(kAlertUnrecognized, 7));
  EXPECT_EQ(client.end, "eof");
}

TEST_F(FilterBench, SilenceEndsAtTheLimit) {  // TLS-12, TLS-14
  config.hello_timeout = 300ms;
  Recorder recorder;
  Origin origin(kGood, 443, recorder.script());
  Origin clear(kGood, 80, recorder.script());
  start();
  for (const std::uint16_t port : {443, 80}) {
    for (const std::string_view first :
         {std::string_view(), std::string_view("\x16\x03\x01\x00\x80\x01", 6), std::string_view("GET / HT")}) {
      if (port == 443 && first.starts_with("GET")) continue;  // not_tls at once
      host.clear_audit();
      Peer client = connect(port);
      client.send(first);
      client.receive_all();
      EXPECT_EQ(client.end, "reset");
      EXPECT_EQ(host.wait_for_audit(1)[0].reason, POLICY_REASON_HELLO_TIMEOUT);
    }
  }
  EXPECT_EQ(origin.connections() + clear.connections(), 0u);
}

TEST_F(FilterBench, DestinationNobodyWasGiven) {  // CEL-15
  start();
  Peer client = connect_to(endpoint("198.18.77.77", 443));
  client.receive_all();
  EXPECT_EQ(client.end, "reset");
  const auto audit = host.wait_for_audit(1);
  EXPECT_EQ(audit[0].reason, POLICY_REASON_DST_NOT_BOUND);
  EXPECT_EQ(audit[0].address, "198.18.77.77");
}

TEST_F(FilterBench, NoConntrackEntryOrLoopback) {  // CEL-06c
  start();
  for (const auto& destination : {std::optional<net::tcp::endpoint>(), std::optional(endpoint("127.0.0.1", 443)),
                                  std::optional(endpoint("::1", 80))}) {
    host.clear_audit();
    Peer client = connect_to(destination);
    client.receive_all();
    EXPECT_EQ(client.end, "reset");
    EXPECT_EQ(host.wait_for_audit(1)[0].reason, POLICY_REASON_DST_NOT_BOUND);
  }
}

TEST_F(FilterBench, LiteralByRuleAlone) {  // CEL-02, ADR-04
  policy.literals.insert("93.184.216.50");
  Recorder recorder;
  Origin allowed("93.184.216.50", 5432, recorder.script("db"));
  Origin denied("93.184.216.51", 5432, recorder.script());
  start();
  Peer good = connect_to(endpoint("93.184.216.50", 5432));
  good.send("x");
  EXPECT_EQ(good.receive(2), "db");
  Peer bad = connect_to(endpoint("93.184.216.51", 5432));
  bad.receive_all();
  EXPECT_EQ(bad.end, "reset");
  EXPECT_EQ(host.wait_for_audit(2).back().reason, POLICY_REASON_IP_LITERAL_DENIED);
  Peer guarded = connect_to(endpoint("169.254.169.254", 80));
  guarded.receive_all();
  EXPECT_EQ(host.wait_for_audit(3).back().reason, POLICY_REASON_ADDR_FORBIDDEN);
  EXPECT_EQ(denied.connections(), 0u);
}

TEST_F(FilterBench, OtherPortIsReset) {  // CEL-14
  Recorder recorder;
  Origin origin(kGood, 23, recorder.script());
  start();
  Peer client = connect(23);
  client.receive_all();
  EXPECT_EQ(client.end, "reset");
  EXPECT_EQ(host.wait_for_audit(1)[0].reason, POLICY_REASON_PORT_DENIED);
  EXPECT_EQ(origin.connections(), 0u);
}

TEST_F(FilterBench, GuardOnWhatIsDialled) {
  zone["api.example.test"] = {"10.0.0.5", "::ffff:10.0.0.5"};
  Recorder recorder;
  Origin origin("10.0.0.5", 443, recorder.script());
  start();
  Peer client = connect(443);
  client.send(make_hello("api.example.test"));
  client.receive_all();
  EXPECT_EQ(client.end, "reset");
  const auto audit = host.wait_for_audit(1);
  EXPECT_EQ(audit[0].reason, POLICY_REASON_ADDR_FORBIDDEN);
  EXPECT_EQ(origin.connections(), 0u);
}

TEST_F(FilterBench, ServerSpeaksFirst) {
  Recorder recorder;
  Origin origin(kGood, 22, [](Peer& peer) {
    peer.send("SSH-2.0-Server\r\n");
    const std::string banner = peer.receive(16);
    peer.send("echo " + banner);
    peer.receive_all();
  });
  start();
  Peer client = connect(22);
  EXPECT_EQ(client.receive(16), "SSH-2.0-Server\r\n");
  client.send("SSH-2.0-Client\r\n");
  EXPECT_EQ(client.receive(21), "echo SSH-2.0-Client\r\n");
}

TEST_F(FilterBench, TlsOnAnyPortIsChecked) {
  Recorder recorder;
  Origin origin(kGood, 8443, recorder.script("ok"));
  start();
  Peer bad = connect(8443);
  bad.send(make_hello("evil.test"));
  EXPECT_TRUE(bad.receive_all().starts_with("\x15"));
  Peer good = connect(8443);
  good.send(make_hello("api.example.test"));
  EXPECT_EQ(good.receive(2), "ok");
  good.close();
  host.wait_for_audit(5);  // open, deny, close; open, close
  const std::vector<std::string> got = recorder.wait(2);
  EXPECT_TRUE(got[0].empty() != got[1].empty()) << "octets left before the decision";
}

TEST_F(FilterBench, PrefixThatCouldBeHttpIsHeldAndRefusedInTheEnd) {
  config.hello_timeout = 300ms;
  Recorder recorder;
  Origin origin(kGood, 8080, recorder.script());
  start();
  Peer client = connect(8080);
  client.send("GET /");
  client.receive_all();
  EXPECT_EQ(client.end, "reset");
  EXPECT_EQ(recorder.wait(1), std::vector<std::string>{""});
}

TEST_F(FilterBench, TunnelAnyLooksAtNothing) {
  policy.flags = POLICY_FLAG_TUNNEL_ANY;
  Recorder recorder;
  Origin origin(kGood, 443, recorder.script("ok"));
  start();
  Peer client = connect(443);
  client.send("anything");
  EXPECT_EQ(client.receive(2), "ok");
}

TEST_F(FilterBench, RefusedUpstreamIsAReset) {  // HTP-37
  start();
  Peer client = connect(22);
  client.receive_all();
  EXPECT_EQ(client.end, "reset");
  const auto audit = host.wait_for_audit(1);
  EXPECT_EQ(audit[0].reason, POLICY_REASON_UPSTREAM_FAILED);
  EXPECT_EQ(audit[0].verdict, POLICY_ALLOW);
}

TEST_F(FilterBench, FirstFamilyFailsSecondWorks) {  // CEL-17
  zone["api.example.test"] = {"2606:2800:220:1::1", kGood};
  Recorder recorder;
  Origin origin(kGood, 22, recorder.script("ok"));
  start();
  const auto began = std::chrono::steady_clock::now();
  Peer client = connect(22);
  client.send("\x01");
  EXPECT_EQ(client.receive(2), "ok");
  EXPECT_LE(std::chrono::steady_clock::now() - began, 300ms);
}

TEST_F(FilterBench, OnlyAaaa) {
  zone["api.example.test"] = {"2606:2800:220:1::1"};
  Recorder recorder;
  Origin origin("2606:2800:220:1::1", 22, recorder.script("ok"));
  start();
  Peer client = connect(22);
  client.send("\x01");
  EXPECT_EQ(client.receive(2), "ok");
  EXPECT_EQ(host.wait_for_audit(1)[0].address, "2606:2800:220:1::1");
}

TEST_F(FilterBench, HalfCloseEachWay) {  // HTP-01
  Origin origin(kGood, 22, [](Peer& peer) {
    const std::string all = peer.receive_all();  // until the client's end
    peer.send("got " + std::to_string(all.size()));
  });
  start();
  Peer client = connect(22);
  client.send(std::string(100'000, '\0'));
  client.shutdown_send();
  EXPECT_EQ(client.receive_all(), "got 100000");
  EXPECT_EQ(client.end, "eof");
}

TEST_F(FilterBench, ResetOfTheServerIsAReset) {
  Origin origin(kGood, 22, [](Peer& peer) {
    peer.send("part");
    peer.receive(1);
    net::reset_on_close(peer.fd());
    peer.close();
  });
  start();
  Peer client = connect(22);
  client.send("\x01");
  client.receive_all();
  EXPECT_EQ(client.end, "reset") << "a cut-off transfer must not look complete";
}

TEST_F(FilterBench, BulkBothWaysIsUnchanged) {  // through copy, then splice
  constexpr std::size_t kOctets = 64 * 1024 * 1024;
  const auto pattern = [](std::size_t from, std::size_t size) {
    std::string out(size, '\0');
    for (std::size_t i = 0; i < size; ++i) out[i] = static_cast<char>((from + i) * 2654435761u >> 13);
    return out;
  };
  const auto send_all = [&](Peer& peer) {
    for (std::size_t sent = 0; sent < kOctets; sent += 65536) {
      if (!peer.send(pattern(sent, 65536))) return;
    }
    peer.shutdown_send();
  };
  const auto check_all = [&](Peer& peer) {
    for (std::size_t got = 0; got < kOctets; got += 65536) {
      if (peer.receive(65536) != pattern(got, 65536)) return got;
    }
    return peer.receive(1).empty() ? kOctets : kOctets + 1;
  };
  std::promise<std::size_t> origin_got;
  Origin origin(kGood, 22, [&](Peer& peer) {
    std::thread writer([&] { send_all(peer); });
    origin_got.set_value(check_all(peer));
    writer.join();
  });
  start();
  Peer client = connect(22);
  std::thread writer([&] { send_all(client); });
  EXPECT_EQ(check_all(client), kOctets);
  writer.join();
  EXPECT_EQ(origin_got.get_future().get(), kOctets);
}

TEST_F(FilterBench, SlowReaderDoesNotHoldUpOthers) {
  Origin origin(kGood, 22, [](Peer& peer) {
    for (int i = 0; i < 1000 && peer.send(std::string(65536, 'x')); ++i) {
    }
  });
  Recorder recorder;
  Origin other(kGood, 8080, recorder.script("ok"));
  start();
  Peer slow = connect(22);
  slow.receive(1);
  Peer quick = connect(8080);
  quick.send("\x01\x02\x03");
  EXPECT_EQ(quick.receive(2), "ok");
  slow.close();
}

TEST_F(FilterBench, IdleFlowEnds) {  // HTP-33
  config.idle_timeout = 1s;
  Recorder recorder;
  Origin origin(kGood, 22, recorder.script());
  start();
  Peer client = connect(22);
  client.send("\x01\x02");
  client.receive_all();
  EXPECT_EQ(client.end, "reset");
  host.wait_for_audit(2);
  while (counts_->total() > 0) std::this_thread::yield();
}

TEST_F(FilterBench, MoreFlowsThanAllowedAreReset) {
  config.max_flows = 2;
  Recorder recorder;
  Origin origin(kGood, 22, recorder.script("ok"));
  start();
  Peer one = connect(22), two = connect(22);
  one.send("\x01");
  two.send("\x01");
  EXPECT_EQ(one.receive(2), "ok");
  EXPECT_EQ(two.receive(2), "ok");
  Peer three = connect(22);
  three.receive_all();
  EXPECT_EQ(three.end, "reset");
}

TEST_F(FilterBench, StopCutsLiveFlows) {
  Recorder recorder;
  Origin origin(kGood, 22, recorder.script("ok"));
  start();
  std::vector<Peer> clients;
  for (int i = 0; i < 20; ++i) {
    clients.push_back(connect(22));
    clients.back().send("\x01");
    EXPECT_EQ(clients.back().receive(2), "ok");
  }
  clients.push_back(connect(443));
  loop_.stop();
  EXPECT_EQ(counts_->total(), 0u);
  EXPECT_EQ(host.open_threads(), 0u);
  clients.front().receive_all();
  EXPECT_EQ(clients.front().end, "reset");
}

TEST_F(FilterBench, AuditThatMayNotLoseRefuses) {
  host.audit_full = true;
  Recorder recorder;
  Origin origin(kGood, 22, recorder.script("ok"));
  start();
  Peer client = connect(22);
  client.send("\x01");
  EXPECT_EQ(client.receive_all(), "");
  EXPECT_EQ(client.end, "reset");
}

}  // namespace
}  // namespace sallyport::sni
