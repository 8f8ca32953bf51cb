// Ports where anything may be spoken: TLS and HTTP in the forms that lenient servers take, and protocols that are
// neither.
#include "filter_bench.hpp"

namespace sallyport::sni {
namespace {

using namespace std::chrono_literals;

struct DisguisedCase {
  const char* why;
  std::string octets;
  std::uint16_t reason;
};
class Disguised : public FilterBench, public testing::WithParamInterface<DisguisedCase> {};

TEST_P(Disguised, IsRefusedAndTheOriginGetsNothing) {
  Recorder recorder;
  Origin origin(kGood, 8443, recorder.script());
  start();
  Peer client = connect(8443);
  client.send(GetParam().octets);
  client.receive_all();
  EXPECT_NE(client.end, "hang");
  EXPECT_EQ(recorder.wait(1), std::vector<std::string>{""});
  const auto audit = host.wait_for_audit(2);  // the connection, then the refusal
  EXPECT_EQ(audit[1].verdict, POLICY_DENY);
  EXPECT_EQ(audit[1].reason, GetParam().reason);
}

std::string behind(std::string_view record) { return std::string(record) + make_hello("evil.test"); }
std::string version(char major) {
  std::string hello = make_hello("evil.test");
  hello[1] = major;
  return hello;
}
std::string line(std::string_view start) { return std::string(start) + " HTTP/1.1\r\nHost: evil.test\r\n\r\n"; }

INSTANTIATE_TEST_SUITE_P(
    Forms, Disguised,
    testing::ValuesIn<DisguisedCase>({
        {"EmptyChangeCipherSpec", behind(std::string_view("\x14\x03\x01\0\0", 5)), POLICY_REASON_TLS_MALFORMED},
        {"ChangeCipherSpec", behind(std::string_view("\x14\x03\x01\0\x01\x01", 6)), POLICY_REASON_TLS_MALFORMED},
        {"WarningAlert", behind(std::string_view("\x15\x03\x01\0\x02\x01\x5a", 7)), POLICY_REASON_TLS_MALFORMED},
        {"ApplicationData", behind(std::string_view("\x17\x03\x01\0\0", 5)), POLICY_REASON_TLS_MALFORMED},
        {"Heartbeat", behind(std::string_view("\x18\x03\x01\0\0", 5)), POLICY_REASON_TLS_MALFORMED},
        {"Version0", version(0), POLICY_REASON_TLS_MALFORMED},
        {"Version2", version(2), POLICY_REASON_TLS_MALFORMED},
        {"Version15", version(15), POLICY_REASON_TLS_MALFORMED},
        {"VerticalTab", line("\x0bGET /1"), POLICY_REASON_FRAMING_AMBIGUOUS},
        {"FormFeed", line("\x0cGET /2"), POLICY_REASON_FRAMING_AMBIGUOUS},
        {"Separator", line("\x1cGET /3"), POLICY_REASON_FRAMING_AMBIGUOUS},
        {"NextLine", line("\x85GET /4"), POLICY_REASON_FRAMING_AMBIGUOUS},
        {"NoBreakSpace", line("\xa0GET /5"), POLICY_REASON_FRAMING_AMBIGUOUS},
        {"VerticalTabBehind", line("GET\x0b/6"), POLICY_REASON_FRAMING_AMBIGUOUS},
        {"SeparatorBehind", line("POST\x1f/7"), POLICY_REASON_FRAMING_AMBIGUOUS},
        {"ControlInTarget",
         line("COPY /\x01"
              "8"),
         POLICY_REASON_FRAMING_AMBIGUOUS},
    }),
    [](const auto& row) { return row.param.why; });

TEST_F(FilterBench, BinaryFirstPacketsAreSentOnAtOnce) {
  Origin origin(kGood, 22, [](Peer& peer) {
    peer.send("got " + peer.receive(3));
    peer.receive_all();
  });
  start();
  const auto began = std::chrono::steady_clock::now();
  for (const std::string_view first :
       {std::string_view("\xff\xfb\x18"), std::string_view("\xff\xfb\x01"), std::string_view("\x05\x01\x02"),
        std::string_view("\0\0\x08", 3), std::string_view("0\x14\x02")}) {  // telnet, SOCKS 5, Postgres, LDAP
    Peer client = connect(22);
    client.send(first);
    EXPECT_EQ(client.receive(7), "got " + std::string(first));
  }
  EXPECT_LE(std::chrono::steady_clock::now() - began, 3s);
}

TEST_F(FilterBench, BinaryThatTurnsIntoHttpIsCutOff) {
  Recorder recorder;
  Origin origin(kGood, 8080, recorder.script("!"));
  start();
  Peer client = connect(8080);
  client.send("COPY /\x01");
  EXPECT_EQ(client.receive(1), "!");  // it is there
  client.send("8 HTTP/1.1\r\nHost: evil.test\r\n\r\n");
  client.receive_all();
  EXPECT_EQ(client.end, "reset");
  EXPECT_EQ(recorder.wait(1), std::vector<std::string>{"COPY /\x01"});
  EXPECT_EQ(host.wait_for_audit(2)[1].reason, POLICY_REASON_FRAMING_AMBIGUOUS);
}

TEST_F(FilterBench, BinaryGoesOnBehindItsFirstLine) {
  Recorder recorder;
  Origin origin(kGood, 8080, recorder.script("!"));
  start();
  Peer client = connect(8080);
  client.send("\x01\x02");
  EXPECT_EQ(client.receive(1), "!");
  client.send("\x03 x\nGET / HTTP/1.1\r\n");
  client.shutdown_send();
  client.receive_all();
  EXPECT_EQ(recorder.wait(1), std::vector<std::string>{"\x01\x02\x03 x\nGET / HTTP/1.1\r\n"});
}

// Two rules for one name: 10.0.0.0/8 with `tunnel: any`, and the rest.
class TunnelByAddress : public FilterBench {
 protected:
  static constexpr char kInside[] = "10.0.0.5";
  static constexpr char kBanner[] = "SSH-2.0-x\r\n";

  void begin(bool tunnel_first) {  // a rule of the two, before the address is known
    start();
    host.decide = [tunnel_first](const policy_query& q) {
      const bool known = (q.known & POLICY_KNOW_ADDRESS) && q.dest && (q.known & POLICY_KNOW_NAME);
      const bool tunnel = known ? FakeHost::text(*q.dest) == kInside : tunnel_first;
      return FakeHost::verdict(q.deferred & POLICY_KNOW_ADDRESS ? POLICY_CONTINUE : POLICY_ALLOW, POLICY_REASON_OK,
                               tunnel ? POLICY_FLAG_TUNNEL_ANY : 0);
    };
  }
};

TEST_F(TunnelByAddress, OtherAddressesAreInspected) {
  Recorder recorder;
  Origin origin(kGood, 443, recorder.script("ok"));
  begin(true);
  Peer bad = connect(443);
  bad.send(make_hello("evil.test"));
  EXPECT_TRUE(bad.receive_all().starts_with("\x15"));
  EXPECT_EQ(origin.connections(), 0u);
  Peer good = connect(443);
  good.send(make_hello("api.example.test"));
  EXPECT_EQ(good.receive(2), "ok");
}

TEST_F(TunnelByAddress, ThatAddressIsATunnelInEitherOrder) {
  zone["api.example.test"] = {kInside};
  Recorder recorder;
  Origin web(kInside, 443, recorder.script("ok")), other(kInside, 8443, recorder.script("ok"));
  begin(true);
  for (const bool tunnel_first : {true, false}) {
    for (const std::uint16_t port : {443, 8443}) {
      Peer client = connect(port);
      client.send(kBanner);
      EXPECT_EQ(client.receive(2), "ok") << port << tunnel_first;
    }
    host.decide = [](const policy_query& q) {
      const bool known = (q.known & POLICY_KNOW_ADDRESS) && q.dest && (q.known & POLICY_KNOW_NAME);
      return FakeHost::verdict(q.deferred & POLICY_KNOW_ADDRESS ? POLICY_CONTINUE : POLICY_ALLOW, POLICY_REASON_OK,
                               known ? POLICY_FLAG_TUNNEL_ANY : 0);
    };
  }
}

TEST_F(TunnelByAddress, WithoutItOtherProtocolsAreRefusedUndialled) {
  Recorder recorder;
  Origin origin(kGood, 443, recorder.script());
  begin(false);
  Peer client = connect(443);
  client.send(kBanner);
  client.receive_all();
  EXPECT_EQ(host.wait_for_audit(1)[0].reason, POLICY_REASON_NOT_TLS);
  EXPECT_EQ(origin.connections(), 0u);
}

TEST_F(TunnelByAddress, OfBothKindsTheTunnelIsDialled) {
  zone["api.example.test"] = {kGood, kInside};
  Recorder recorder;
  Origin outside(kGood, 443, recorder.script()), inside(kInside, 443, recorder.script("ok"));
  begin(true);
  Peer client = connect(443);
  client.send(kBanner);
  EXPECT_EQ(client.receive(2), "ok");
  EXPECT_EQ(outside.connections(), 0u);
}

TEST_F(FilterBench, ASilentFamilyIsNotWaitedFor) {  // RFC 8305 §3
  silent_aaaa = 10s;
  Recorder recorder;
  Origin origin(kGood, 22, recorder.script("ok"));
  start();
  const auto began = std::chrono::steady_clock::now();
  Peer client = connect(22);
  client.send("\x01");
  EXPECT_EQ(client.receive(2), "ok");
  EXPECT_LE(std::chrono::steady_clock::now() - began, 2s);
}

TEST_F(FilterBench, ALateFamilyIsDialledStill) {
  zone["api.example.test"] = {"2606:2800:220:1::1", kGood};  // nobody listens at the second
  silent_aaaa = 300ms;
  Recorder recorder;
  Origin origin("2606:2800:220:1::1", 22, recorder.script("ok"));
  start();
  Peer client = connect(22);
  client.send("\x01");
  EXPECT_EQ(client.receive(2), "ok");
}

TEST_F(FilterBench, ALateFamilyIsWaitedForWhereTheFirstIsRefused) {
  zone["api.example.test"] = {"2606:2800:220:1::1", "10.0.0.5"};
  silent_aaaa = 300ms;
  Recorder recorder;
  Origin origin("2606:2800:220:1::1", 22, recorder.script("ok"));
  start();
  Peer client = connect(22);
  client.send("\x01");
  EXPECT_EQ(client.receive(2), "ok");
}

}  // namespace
}  // namespace sallyport::sni
