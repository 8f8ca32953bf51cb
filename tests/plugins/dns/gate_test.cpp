// The dns plugin at a gate: who asks, `answers: gateway`, `blocked_answer`, and what crosses to the outside.
#include <sys/resource.h>

#include "gate_bench.hpp"

namespace sallyport::dns {
namespace {

constexpr std::uint16_t kNoError = 0, kServFail = 2, kNxDomain = 3, kRefused = 5;

TEST_F(GateBench, GatewayAddressForEveryAllowedName) {
  run_gateway();
  EXPECT_EQ(ask("api.example.test").addresses, std::vector<std::string>{"172.20.0.3"});
  EXPECT_EQ(ask("alias.example.test").addresses, std::vector<std::string>{"172.20.0.3"});
  EXPECT_EQ(ask("alias.example.test").answers, 1u) << "no chain where the address is ours";
  EXPECT_EQ(witness->queries(), 2u) << "asked before an address is given, and once";
  EXPECT_EQ(host.wait_for_audit(1)[0].client, "127.0.0.1");
}

TEST_F(GateBench, GatewayAddressesOfBothFamilies) {
  run(zone(), R"(,"answers":"gateway","gateway_addresses":["172.20.0.3","fd00::3","172.20.0.4"])");
  EXPECT_EQ(ask("both.example.test").addresses, (std::vector<std::string>{"172.20.0.3", "172.20.0.4"}));
  EXPECT_EQ(ask("both.example.test", wire::kTypeAaaa).addresses, std::vector<std::string>{"fd00::3"});
  EXPECT_EQ(ask("api.example.test", wire::kTypeAaaa).answers, 0u) << "NODATA as the real name has it";
}

TEST_F(GateBench, GatewayAddressIsGoodForHalfAMinuteAtLeast) {  // DNS-30
  Witness::Zone with = zone();
  with.ttl = 0;
  run_gateway(with);
  EXPECT_EQ(ask("api.example.test").ttls, std::vector{30u});
  EXPECT_EQ(ask("api.example.test").ttls, std::vector{30u});
  EXPECT_EQ(witness->queries(), 2u) << "whether the name still exists is asked as often as its TTL says";
}

TEST_F(GateBench, GatewayWithoutThatFamilyIsNoData) {
  run_gateway();
  const Reply reply = ask("both.example.test", wire::kTypeAaaa);
  EXPECT_EQ(reply.rcode, kNoError);
  EXPECT_EQ(reply.answers, 0u);
  EXPECT_TRUE(reply.soa_ttl.has_value());
  EXPECT_EQ(ask("gone.example.test", wire::kTypeAaaa).rcode, kNxDomain) << "honest all the same";
}

TEST_F(GateBench, GatewayIsHonestAboutAbsence) {  // decision 15
  run_gateway();
  const Reply gone = ask("gone.example.test");
  EXPECT_EQ(gone.rcode, kNxDomain);
  EXPECT_EQ(gone.ede, -1);
}

TEST_F(GateBench, GatewayGivesNothingForForbiddenAddresses) {  // DNS-11
  Witness::Zone bad;
  bad.records[{"api.example.test", wire::kTypeA}] = {"169.254.169.254"};
  run_gateway(bad);
  EXPECT_EQ(ask("api.example.test").rcode, kNxDomain);
  EXPECT_EQ(host.wait_for_audit(1)[0].reason, POLICY_REASON_ANSWER_FORBIDDEN_ADDR);
}

TEST_F(GateBench, GatewayForSingleLabelsWithHostAddresses) {
  host.fixed["single"] = {"172.20.0.5"};
  policy.lifted.insert("172.20.0.5");
  run_gateway();
  EXPECT_EQ(ask("single").addresses, std::vector<std::string>{"172.20.0.3"});
  EXPECT_EQ(ask("single", wire::kTypeAaaa).rcode, kNoError);
  EXPECT_EQ(witness->queries(), 0u);
}

struct BlockedCase {
  const char* why;
  const char* word;
  std::uint16_t type, rcode;
  std::vector<std::string> addresses;
};
class BlockedAnswers : public GateBench, public testing::WithParamInterface<BlockedCase> {};

TEST_P(BlockedAnswers, SayBlockedInEveryForm) {  // DNS-02, ACCEPTANCE section 0, decision 6
  run_gateway(zone(), R"(,"blocked_answer":")" + std::string(GetParam().word) + "\"");
  const Reply reply = ask("evil.test", GetParam().type);
  EXPECT_EQ(reply.rcode, GetParam().rcode);
  EXPECT_EQ(reply.addresses, GetParam().addresses);
  EXPECT_EQ(reply.ede, 15);
  EXPECT_NE(reply.ede_text.find("no_rule"), std::string::npos);
  for (const std::uint32_t ttl : reply.ttls) EXPECT_LE(ttl, 10u);
  if (reply.soa_ttl) EXPECT_LE(*reply.soa_ttl, 10u);
  EXPECT_EQ(reply.soa_ttl.has_value(), reply.addresses.empty() && reply.rcode != kRefused);
  EXPECT_EQ(witness->queries(), 0u);
  const auto audit = host.wait_for_audit(1);
  ASSERT_EQ(audit.size(), 1u);
  EXPECT_EQ(audit[0].verdict, POLICY_DENY);
}

INSTANTIATE_TEST_SUITE_P(Words, BlockedAnswers,
                         testing::ValuesIn<BlockedCase>({
                             {"NxDomain", "nxdomain", wire::kTypeA, kNxDomain, {}},
                             {"ZeroA", "zero", wire::kTypeA, kNoError, {"0.0.0.0"}},
                             {"ZeroAaaa", "zero", wire::kTypeAaaa, kNoError, {"::"}},
                             {"ZeroHttps", "zero", wire::kTypeHttps, kNoError, {}},
                             {"Refused", "refused", wire::kTypeA, kRefused, {}},
                         }),
                         [](const auto& row) { return row.param.why; });

TEST_F(GateBench, HttpsOfAnAllowedNameIsNoDataWhateverBlockedNamesGet) {  // DNS-07
  run_gateway(zone(), R"(,"blocked_answer":"refused")");
  const Reply reply = ask("api.example.test", wire::kTypeHttps);
  EXPECT_EQ(reply.rcode, kNoError);
  EXPECT_EQ(reply.answers, 0u);
}

TEST_F(GateBench, UnknownClientIsRefused) {  // DNS-31
  host.gate.sources = {"127.0.0.9"};
  run_gateway();
  const Reply reply = ask("api.example.test");
  EXPECT_EQ(reply.rcode, kRefused);
  EXPECT_EQ(reply.ede, 18);
  EXPECT_NE(reply.ede_text.find("client_unknown"), std::string::npos);
  EXPECT_EQ(witness->queries(), 0u);
  auto audit = host.wait_for_audit(1);
  EXPECT_EQ(audit[0].reason, POLICY_REASON_CLIENT_UNKNOWN);
  EXPECT_EQ(audit[0].verdict, POLICY_DENY);
  EXPECT_EQ(audit[0].name, "api.example.test");
  EXPECT_EQ(audit[0].client, "127.0.0.1");

  const int fd = loopback_socket(SOCK_STREAM, tcp_port);  // the weak twin has none
  const Octets query = framed(query_octets("api.example.test"));
  ::send(fd, query.data(), query.size(), 0);
  EXPECT_EQ(Reply::parse(read_framed(fd)).rcode, kRefused);
  ::close(fd);
  EXPECT_EQ(ask_octets(MessageBuilder().header(1, 0x0100, 0).octets).rcode, kRefused) << "no service of any kind";
  EXPECT_EQ(witness->queries(), 0u);
  EXPECT_EQ(ask_from(9, "api.example.test").rcode, kNoError);
}

TEST_F(GateBench, EveryDecisionKnowsItsClient) {
  std::atomic<unsigned> without{0};
  run_real();
  host.change([&] {
    host.decide = [&](const policy_query& q) {
      if (q.client == nullptr || FakeHost::text(*q.client) != "127.0.0.7") ++without;
      return policy(q);
    };
  });
  for (const char* name : {"api.example.test", "evil.test", "alias.example.test", "gone.example.test"}) {
    ask_from(7, name);
    ask_from(7, name, wire::kTypeAaaa);
    ask_from(7, name, wire::kTypeTxt);
  }
  EXPECT_EQ(without, 0u);
}

TEST_F(GateBench, CellListenersKnowTheirClientsById) {
  listener_client = 77;
  run_gateway();
  std::atomic<unsigned> with{0};
  host.change([&] {
    host.decide = [&](const policy_query& q) {
      if (q.client != nullptr || q.client_id != 77) ++with;
      return policy(q);
    };
  });
  ask("api.example.test");
  EXPECT_EQ(with, 0u);
}

TEST_F(GateBench, NothingOfTheClientsMessageCrosses) {  // DNS-05
  run_real();
  // Client subnet (8), cookie (10), a private one, padding (12); DO and CD set; letters of its own.
  const Octets options = MessageBuilder()
                             .u16(8)
                             .u16(7)
                             .u16(1)
                             .u8(24)
                             .u8(0)
                             .u8(172)
                             .u8(20)
                             .u8(0)
                             .u16(10)
                             .u16(8)
                             .raw("cookie!!")
                             .u16(65001)
                             .u16(4)
                             .raw("leak")
                             .octets;
  MessageBuilder query;
  query.header(0x4242, 0x0110, 1, 0, 0, 1).question("aPi.eXaMpLe.tEsT").opt(4096, 0, 0x8000, options);
  const Reply reply = ask_octets(query.octets);
  EXPECT_EQ(reply.rcode, kNoError);
  EXPECT_EQ(reply.question, "aPi.eXaMpLe.tEsT");
  EXPECT_TRUE(reply.header.checking_disabled());
  ASSERT_EQ(witness->seen().size(), 1u);
  const Octets outside = witness->seen()[0];
  const wire::DnsQuery asked = wire::read_query(outside);
  EXPECT_EQ(asked.header.flags, 0x0100);
  EXPECT_FALSE(asked.edns->dnssec_ok);
  EXPECT_FALSE(asked.edns->has_cookie);
  const std::size_t plain = wire::kDnsHeaderOctets + asked.question->name.octets().size() + 4 + 11;
  EXPECT_EQ(outside.size(), plain) << "an option in the OPT record";
  EXPECT_EQ(std::string(outside.begin(), outside.end()).find("leak"), std::string::npos);
}

TEST_F(GateBench, TheCasePatternOutsideIsOurs) {  // DNS-05, DNS-28
  Witness::Zone with;
  with.ttl = 0;  // asked every time
  for (int i = 0; i < 40; ++i) with.records[{"api.example.test", wire::kTypeA}] = {"93.184.216.34"};
  run_gateway(with);
  for (int i = 0; i < 40; ++i) ask("API.EXAMPLE.TEST");
  std::set<std::string> patterns;
  for (const Octets& seen : witness->seen()) patterns.insert(wire::read_query(seen).question->name.text());
  EXPECT_GT(patterns.size(), 20u) << "of " << witness->queries();
}

TEST_F(GateBench, MetricsTell) {
  host.gate.sources = {"127.0.0.1"};
  run_gateway();
  ask("api.example.test");
  ask("api.example.test");
  ask("evil.test");
  ask_octets(MessageBuilder().header(1, 0x0100, 0).octets);
  const auto counter = [this](const char* series) { return host.gate.counter(series); };
  wait_until([&] { return counter(R"(sallyport_dns_queries_total{transport="udp",rcode="NXDOMAIN"})") == 1; });
  EXPECT_EQ(counter(R"(sallyport_dns_queries_total{transport="udp",rcode="NOERROR"})"), 2u);
  EXPECT_EQ(counter(R"(sallyport_dns_queries_total{transport="udp",rcode="FORMERR"})"), 1u);
  EXPECT_EQ(counter("sallyport_dns_cache_hits_total"), 1u);
  EXPECT_EQ(counter(R"(sallyport_dns_request_duration_seconds_count{cache="hit"})"), 1u);
  EXPECT_EQ(counter(R"(sallyport_dns_request_duration_seconds_bucket{cache="miss",le="+Inf"})"), 1u);
  const std::string upstream = "upstream=\"127.0.0.1:" + std::to_string(witness->port()) + "\"";
  EXPECT_EQ(host.gate.counter("sallyport_dns_upstream_duration_seconds_count{" + upstream + "}"), 1u);
  EXPECT_GT(host.gate.counter("sallyport_dns_upstream_duration_seconds_sum{" + upstream + "}"), 0u);
  EXPECT_EQ(health("cache_hits"), 1u);
  EXPECT_EQ(health("malformed"), 1u);
}

TEST_F(GateBench, DrainAnswersWhatIsAtWorkAndTakesNothingNew) {
  Witness::Zone with = zone();
  with.silent = true;
  run_gateway(with);
  const int idle = loopback_socket(SOCK_STREAM, tcp_port);
  const int busy = loopback_socket(SOCK_STREAM, tcp_port);
  const Octets over_tcp = framed(query_octets("api.example.test"));
  ::send(busy, over_tcp.data(), over_tcp.size(), 0);
  const int udp = send_query(query_octets("both.example.test"));
  wait_until([&] { return witness->queries() == 2; });
  std::uint64_t left = 0;
  EXPECT_EQ(plugin->drain(left), POLICY_OK);
  EXPECT_GE(left, 4u) << "two lookups and two connections";
  EXPECT_TRUE(read_framed(idle).empty()) << "a connection that asks nothing ends";
  ::send(idle, over_tcp.data(), over_tcp.size(), MSG_NOSIGNAL);
  char nothing_more;
  EXPECT_EQ(::recv(idle, &nothing_more, 1, 0), 0) << "too late for an answer, and still no reset";
  ::close(idle);
  const int late = send_query(query_octets("evil.test"));
  witness->speak();
  const auto reply = receive(udp);
  ASSERT_TRUE(reply.has_value());
  EXPECT_EQ(reply->addresses, std::vector<std::string>{"172.20.0.3"});
  EXPECT_EQ(Reply::parse(read_framed(busy)).addresses, std::vector<std::string>{"172.20.0.3"});
  EXPECT_TRUE(read_framed(busy).empty()) << "and then its connection ends too";
  wait_until([&] { return plugin->drain(left) == POLICY_OK && left == 0; });
  Octets nothing(512);
  EXPECT_EQ(::recv(late, nothing.data(), nothing.size(), MSG_DONTWAIT), -1)
      << "left for the next worker on this socket";
  for (const int fd : {busy, late}) ::close(fd);
}

TEST_F(GateBench, DrainAnswersAQueryThatWasOnItsWay) {  // REL-01
  run_gateway();
  const Octets query = framed(query_octets("api.example.test"));
  const int fresh = loopback_socket(SOCK_STREAM, tcp_port), kept = loopback_socket(SOCK_STREAM, tcp_port);
  ::send(kept, query.data(), query.size(), 0);
  ASSERT_FALSE(read_framed(kept).empty());
  std::uint64_t left = 0;
  EXPECT_EQ(plugin->drain(left), POLICY_OK);
  EXPECT_EQ(left, 2u);
  for (const int fd : {fresh, kept}) {
    ::send(fd, query.data(), query.size(), 0);
    EXPECT_EQ(Reply::parse(read_framed(fd)).addresses, std::vector<std::string>{"172.20.0.3"});
    char nothing_more;
    EXPECT_EQ(::recv(fd, &nothing_more, 1, 0), 0) << "and ends";
    ::close(fd);
  }
  wait_until([&] { return plugin->drain(left) == POLICY_OK && left == 0; });
}

TEST_F(GateBench, ConnectionsOfOneClientAreBounded) {
  run_gateway();
  std::vector<int> open;
  for (int i = 0; i < 128; ++i) open.push_back(loopback_socket(SOCK_STREAM, tcp_port, 2));
  const Octets query = framed(query_octets("evil.test"));
  for (const int fd : open) {
    ::send(fd, query.data(), query.size(), 0);
    EXPECT_EQ(Reply::parse(read_framed(fd)).rcode, kNxDomain);
  }
  const int over = loopback_socket(SOCK_STREAM, tcp_port, 2);
  ::send(over, query.data(), query.size(), MSG_NOSIGNAL);
  EXPECT_TRUE(read_framed(over).empty());
  const int other = loopback_socket(SOCK_STREAM, tcp_port, 3);
  ::send(other, query.data(), query.size(), 0);
  EXPECT_EQ(Reply::parse(read_framed(other)).rcode, kNxDomain) << "somebody else has room";
  ::close(over);
  ::close(other);
  for (const int fd : open) ::close(fd);
}

TEST_F(GateBench, WithoutDescriptorsItSaysSoAndRecovers) {  // REL-04
  run_gateway();
  const int udp = loopback_socket(SOCK_DGRAM, udp_port);
  rlimit before{}, low{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  low = before;
  low.rlim_cur = 256;
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &low), 0);
  std::vector<int> taken;
  for (int fd = ::dup(udp); fd >= 0; fd = ::dup(udp)) taken.push_back(fd);
  const auto asked = [&](std::string_view name) {
    const Octets query = query_octets(name);
    ::send(udp, query.data(), query.size(), 0);
    Octets buffer(4096);
    const ssize_t n = ::recv(udp, buffer.data(), buffer.size(), 0);
    buffer.resize(static_cast<std::size_t>(std::max<ssize_t>(n, 0)));
    return Reply::parse(buffer).rcode;
  };
  EXPECT_EQ(asked("api.example.test"), kServFail);
  EXPECT_EQ(asked("evil.test"), kNxDomain);
  for (const int fd : taken) ::close(fd);
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
  EXPECT_EQ(asked("api.example.test"), kNoError) << "at once: nothing of the shortage is remembered";
  ::close(udp);
}

TEST_F(GateBench, FlappingUpstream) {  // REL-07
  Witness::Zone with;
  with.flapping = true;
  with.lose_one_in = 20;
  with.delay = std::chrono::milliseconds(300);
  for (int i = 0; i < 20; ++i) {
    const std::string name = "n" + std::to_string(i) + ".example.test";
    with.records[{name, wire::kTypeA}] = {"93.184.216.34"};
    policy.allow[name] = {443};
  }
  with.ttl = 3;  // so that what is kept runs out while the upstream is down
  run_gateway(with);
  std::atomic<int> answered{0}, asked{0}, dishonest{0};
  std::array<std::thread, 20> clients;
  for (std::size_t i = 0; i < clients.size(); ++i) {
    clients[i] = std::thread([&, i] {
      const std::string name = "n" + std::to_string(i) + ".example.test";
      const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(8);
      for (bool first = true; std::chrono::steady_clock::now() < until; first = false) {
        const Reply reply = ask(name);
        const bool good = reply.rcode == kNoError && reply.answers == 1;
        if (!first) ++asked;
        if (!first && good) ++answered;
        if (!good && reply.rcode != kServFail) ++dishonest;
        std::this_thread::sleep_for(std::chrono::milliseconds(20));  // a client's pace
      }
    });
  }
  for (std::thread& client : clients) client.join();
  EXPECT_GT(asked, 1000);
  EXPECT_GE(answered, asked * 99 / 100) << "of " << asked;
  EXPECT_EQ(dishonest, 0) << "an upstream's absence is no word about a name";
}

}  // namespace
}  // namespace sallyport::dns
