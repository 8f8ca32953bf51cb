// Requests in absolute form, from client to origin and back (ACCEPTANCE 5.3).
#include "proxy_bench.hpp"

namespace sallyport::http_proxy {
namespace {

TEST_F(ProxyBench, RequestIsRebuiltFromItsParts) {
  Witness witness;
  Origin origin(kGood, 80, witness.serve());
  start();
  Peer client = connect();
  client.send(
      "GET http://PKG.test./a/../b?c=d HTTP/1.1\r\nHost: pkg.TEST\r\nUser-Agent: x/1\r\nCookie: a=b\r\nTE: trailers\r\n"
      "X-A: 1\r\nX-B: 2\r\nKeep-Alive: 5\r\nConnection: x-a, cookie, keep-alive, te\r\nAccept:\t*/*  \r\n\r\n");
  const std::string response = client.receive_until("hello");
  EXPECT_EQ(response, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nVia: 1.1 sallyport-00112233\r\n\r\nhello");
  EXPECT_EQ(witness.requests().at(0).head,
            "GET /a/../b?c=d HTTP/1.1\r\nHost: pkg.test\r\nUser-Agent: x/1\r\nCookie: a=b\r\nX-B: 2\r\nAccept: */*\r\n"
            "Via: 1.1 sallyport-00112233\r\n\r\n");
}

TEST_F(ProxyBench, ConnectionOptionsNeverTakeAwayHostOrLength) {  // HTP-24
  Witness witness;
  Origin origin(kGood, 80, witness.serve());
  start();
  const std::string got =
      ask("POST http://pkg.test/ HTTP/1.1\r\nHost: pkg.test\r\nX-A: 1\r\nAuthorization: b\r\nContent-Length: 3\r\n"
          "Connection: host, content-length, x-a, connection, transfer-encoding, authorization, close\r\n\r\nabc");
  EXPECT_EQ(status_of(got), "200");
  const auto requests = witness.requests();
  ASSERT_EQ(requests.size(), 1u);
  EXPECT_EQ(requests[0].body, "abc");
  EXPECT_NE(requests[0].head.find("Host: pkg.test\r\n"), std::string::npos);
  EXPECT_NE(requests[0].head.find("Authorization: b\r\n"), std::string::npos);
  EXPECT_EQ(requests[0].head.find("X-A"), std::string::npos);
}

TEST_F(ProxyBench, TheTargetDecidesIfHostIsRewritten) {  // HTP-05
  config.host_mismatch = HostMismatch::kRewrite;
  Witness witness;
  Origin origin(kGood, 80, witness.serve());
  start();
  EXPECT_EQ(status_of(ask("GET http://pkg.test/ HTTP/1.1\r\nHost: evil.test\r\nConnection: close\r\n\r\n")), "200");
  EXPECT_EQ(status_of(ask("GET http://evil.test/ HTTP/1.1\r\nHost: pkg.test\r\n\r\n")), "403");
  EXPECT_NE(witness.requests().at(0).head.find("Host: pkg.test\r\n"), std::string::npos);
  EXPECT_EQ(witness.requests().at(0).head.find("evil"), std::string::npos);
}

TEST_F(ProxyBench, EmptyPathsAndOtherPorts) {
  Witness witness;
  Origin http(kGood, 80, witness.serve()), alt(kGood, 8080, witness.serve());
  start();
  ask(get("http://pkg.test", "Connection: close\r\n"));
  ask(get("http://pkg.test?a=b", "Connection: close\r\n"));
  ask("OPTIONS http://pkg.test HTTP/1.1\r\nHost: pkg.test:80\r\nConnection: close\r\n\r\n");
  ask(get("http://pkg.test:8080/x", "Connection: close\r\n"));
  const auto requests = witness.requests();
  ASSERT_EQ(requests.size(), 4u);
  EXPECT_TRUE(requests[0].head.starts_with("GET / HTTP/1.1\r\nHost: pkg.test\r\n"));
  EXPECT_TRUE(requests[1].head.starts_with("GET /?a=b HTTP/1.1\r\n"));
  EXPECT_TRUE(requests[2].head.starts_with("OPTIONS * HTTP/1.1\r\nHost: pkg.test\r\n"));
  EXPECT_TRUE(requests[3].head.starts_with("GET /x HTTP/1.1\r\nHost: pkg.test:8080\r\n"));
}

TEST_F(ProxyBench, KeepAliveBothWays) {
  Witness witness;
  Origin origin(kGood, 80, witness.serve());
  start();
  Peer client = connect();
  for (int i = 0; i < 20; ++i) {
    client.send(get("http://pkg.test/" + std::to_string(i)));
    EXPECT_TRUE(client.receive_until("hello").starts_with("HTTP/1.1 200 OK\r\n")) << i;
  }
  EXPECT_EQ(origin.connections(), 1u);
  EXPECT_EQ(lookups, 1);
  EXPECT_EQ(host.wait_for_audit(40).size(), 40u);  // a decision and a close each
}

TEST_F(ProxyBench, PipelinedRequestsAreAnsweredInOrder) {
  Witness witness;
  Origin origin(kGood, 80, witness.serve([](const Witness::Request& request) {
    const std::string path = request.head.substr(5, request.head.find(' ', 5) - 5);
    return "HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(path.size()) + "\r\n\r\n" + path;
  }));
  start();
  std::string all;
  for (int i = 0; i < 10; ++i)
    all += "POST http://pkg.test/n" + std::to_string(i) + " HTTP/1.1\r\nHost: pkg.test\r\nContent-Length: 4\r\n" +
           (i == 9 ? "Connection: close\r\n" : "") + "\r\nbody";
  const std::string got = ask(all);
  std::size_t at = 0;
  for (int i = 0; i < 10; ++i) {
    at = got.find("\r\n\r\n", at);
    ASSERT_NE(at, std::string::npos) << i << got;
    EXPECT_EQ(got.substr(at + 4, 3), "/n" + std::to_string(i));
    ++at;
  }
}

TEST_F(ProxyBench, AnUpstreamConnectionIsNeverSharedBetweenClients) {
  config.auth = Auth::kOptional;
  host.gate.passwords = {{"a", "x"}, {"b", "x"}};
  Witness witness;
  Origin origin(kGood, 80, witness.serve());
  start();
  const std::string users[] = {"", "Proxy-Authorization: Basic YTp4\r\n", "Proxy-Authorization: Basic Yjp4\r\n"};
  for (int round = 0; round < 3; ++round) {
    for (const std::string& user : users) {
      Peer client = connect();
      client.send(get("http://pkg.test/", user));
      client.receive_until("hello");
      client.close();
    }
  }
  EXPECT_EQ(origin.connections(), 3u) << "one for each of the three";
  std::map<std::size_t, int> each;
  for (const auto& request : witness.requests()) ++each[request.connection];
  for (const auto& [connection, count] : each) EXPECT_EQ(count, 3) << connection;
}

TEST_F(ProxyBench, AReusedConnectionThatDiesIsTriedOnceMore) {
  std::atomic<int> served{0};
  // Answers one request a connection, and closes when the second has come.
  Origin origin(kGood, 80, [&](Peer& peer) {
    peer.receive_head();
    ++served;
    peer.send(Witness::kHello);
    peer.receive_head();
  });
  start();
  Peer client = connect();
  for (int i = 0; i < 3; ++i) {
    client.send(get("http://pkg.test/"));
    EXPECT_TRUE(client.receive_until("hello").starts_with("HTTP/1.1 200")) << i;
  }
  EXPECT_EQ(origin.connections(), 3u);
  client.send("POST http://pkg.test/ HTTP/1.1\r\nHost: pkg.test\r\nContent-Length: 2\r\n\r\nab");
  const std::string got = client.receive_all();
  EXPECT_EQ(status_of(got), "502") << got;
  EXPECT_EQ(served, 3) << "what may have been done already is not repeated";
}

TEST_F(ProxyBench, KeptConnectionsAreDecidedAgain) {
  Witness witness;
  Origin origin(kGood, 80, witness.serve());
  start();
  Peer client = connect();
  client.send(get("http://pkg.test/"));
  client.receive_until("hello");
  host.change([&] { policy.allow.erase("pkg.test"); });
  client.send(get("http://pkg.test/"));
  EXPECT_EQ(status_of(client.receive_all()), "403");
  EXPECT_EQ(witness.requests().size(), 1u);
}

TEST_F(ProxyBench, BodiesAreFramedAnew) {
  Witness witness;
  Origin origin(kGood, 80, witness.serve());
  start();
  const std::string got = ask(
      "POST http://pkg.test/ HTTP/1.1\r\nHost: pkg.test\r\nTransfer-Encoding: Chunked\r\nTrailer: X-T\r\n"  // HTP-11
      "Connection: close\r\n\r\n3;ext=\"a\"\r\nabc\r\n00000a\r\n0123456789\r\n0\r\nX-T: y\r\n\r\n");
  EXPECT_EQ(status_of(got), "200");
  const auto requests = witness.requests();
  ASSERT_EQ(requests.size(), 1u);
  EXPECT_EQ(requests[0].body, "abc0123456789");
  EXPECT_NE(requests[0].head.find("Transfer-Encoding: chunked\r\n"), std::string::npos);
  EXPECT_EQ(requests[0].head.find("Trailer"), std::string::npos);
  EXPECT_FALSE(witness.malformed());
}

TEST_F(ProxyBench, LargeBodiesBothWays) {
  std::string big(2'000'000, '\0');
  for (std::size_t i = 0; i < big.size(); ++i) big[i] = static_cast<char>(i * 2654435761u >> 11);
  Witness witness;
  Origin origin(kGood, 80, witness.serve([&](const Witness::Request& request) {
    if (request.head.find("chunked") == std::string::npos)
      return "HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(request.body.size()) + "\r\n\r\n" + request.body;
    std::string out = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    for (std::size_t at = 0; at < request.body.size(); at += 70'000) {
      const std::string part = request.body.substr(at, 70'000);
      char size[16];
      std::snprintf(size, sizeof size, "%zx\r\n", part.size());
      out += size + part + "\r\n";
    }
    return out + "0\r\n\r\n";
  }));
  start();
  for (const bool chunked : {false, true}) {
    std::string request = "PUT http://pkg.test/ HTTP/1.1\r\nHost: pkg.test\r\nConnection: close\r\n";
    if (chunked) {
      request += "Transfer-Encoding: chunked\r\n\r\n";
      for (std::size_t at = 0; at < big.size(); at += 65'536) {
        const std::string part = big.substr(at, 65'536);
        char size[16];
        std::snprintf(size, sizeof size, "%zX\r\n", part.size());
        request += size + part + "\r\n";
      }
      request += "0\r\n\r\n";
    } else {
      request += "Content-Length: " + std::to_string(big.size()) + "\r\n\r\n" + big;
    }
    Peer client = connect();
    std::thread sender([&] { client.send(request); });
    const std::string got = client.receive_all();
    sender.join();
    EXPECT_EQ(client.end, "eof");
    EXPECT_EQ(status_of(got.substr(0, 100)), "200");
    std::string body = got.substr(got.find("\r\n\r\n") + 4), data;
    if (chunked) {
      wire::ChunkedReader reader;
      for (std::string_view left = body; !left.empty() && reader.state() == wire::HttpState::kNeedMore;) {
        std::string_view run;
        reader.next(left, run);
        data += run;
        left.remove_prefix(reader.consumed());
      }
      EXPECT_EQ(reader.state(), wire::HttpState::kDone);
    } else {
      data = body;
    }
    EXPECT_TRUE(data == big) << data.size();
  }
}

TEST_F(ProxyBench, AnHttp10ClientGetsAPlainBody) {
  Witness witness;
  Origin origin(kGood, 80, witness.serve([](const auto&) {
    return "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
  }));
  start();
  const std::string got = ask("GET http://pkg.test/ HTTP/1.0\r\n\r\n");
  EXPECT_TRUE(got.ends_with("Connection: close\r\n\r\nabcde")) << got;
  EXPECT_EQ(got.find("chunked"), std::string::npos);
}

TEST_F(ProxyBench, ContinueComesFromTheOrigin) {  // HTP-35
  Origin origin(kGood, 80, [](Peer& peer) {
    EXPECT_NE(peer.receive_head().find("Expect: 100-continue\r\n"), std::string::npos);
    peer.send("HTTP/1.1 100 Continue\r\n\r\n");
    EXPECT_EQ(peer.receive(4), "body");
    peer.send(Witness::kHello);
  });
  start();
  Peer client = connect();
  client.send("POST http://pkg.test/ HTTP/1.1\r\nHost: pkg.test\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n");
  EXPECT_TRUE(client.receive_head().starts_with("HTTP/1.1 100 "));
  client.send("body");
  EXPECT_TRUE(client.receive_until("hello").starts_with("HTTP/1.1 200 "));
}

TEST_F(ProxyBench, ARefusalOfTheOriginEndsTheUpload) {  // HTP-35
  Origin origin(kGood, 80, [](Peer& peer) {
    peer.receive_head();
    peer.send("HTTP/1.1 417 Expectation Failed\r\nContent-Length: 2\r\n\r\nno");
    peer.receive_all();
  });
  start();
  const std::string got =
      ask("POST http://pkg.test/ HTTP/1.1\r\nHost: pkg.test\r\nExpect: 100-continue\r\nContent-Length: 40000\r\n\r\n");
  EXPECT_EQ(status_of(got), "417");
  EXPECT_NE(got.find("Connection: close\r\n"), std::string::npos) << got;
  EXPECT_TRUE(got.ends_with("\r\n\r\nno"));
}

TEST_F(ProxyBench, OffersOfClearHttp2AreLeftOut) {  // HTP-27
  Witness witness;
  Origin origin(kGood, 80, witness.serve());
  start();
  EXPECT_EQ(
      status_of(ask(get("http://pkg.test/",
                        "Connection: Upgrade, HTTP2-Settings, close\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"))),
      "200");
  const std::string head = witness.requests().at(0).head;
  EXPECT_EQ(head.find("pgrade"), std::string::npos) << head;
  EXPECT_EQ(head.find("HTTP2"), std::string::npos) << head;
}

constexpr char kUpgrade[] =
    "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    "Sec-WebSocket-Version: 13\r\n";

TEST_F(ProxyBench, WebSocketAfterA101) {  // HTP-28
  Origin origin(kGood, 80, [](Peer& peer) {
    const std::string head = peer.receive_head();
    EXPECT_NE(head.find("Connection: Upgrade\r\nUpgrade: websocket\r\n"), std::string::npos) << head;
    EXPECT_NE(head.find("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"), std::string::npos) << head;
    peer.send(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Accept: x\r\n\r\nfirst");
    EXPECT_EQ(peer.receive(4), "ping");
    peer.send("pong");
    peer.receive_all();
  });
  start();
  Peer client = connect();
  client.send(get("http://pkg.test/", kUpgrade));
  const std::string head = client.receive_head();
  EXPECT_TRUE(head.starts_with("HTTP/1.1 101 ")) << head;
  EXPECT_NE(head.find("Sec-WebSocket-Accept: x\r\n"), std::string::npos) << head;
  EXPECT_EQ(client.receive(5), "first");
  client.send("ping");
  EXPECT_EQ(client.receive(4), "pong");
  EXPECT_EQ(host.gate.open_flows(), 1u);
  host.change([&] { policy.allow.clear(); });
  host.publish();  // NFT-08
  client.receive_all();
  EXPECT_NE(client.end, "hang");
}

TEST_F(ProxyBench, WithoutA101NothingSwitches) {  // HTP-28
  Witness witness;
  Origin origin(kGood, 80, witness.serve());
  start();
  Peer client = connect();
  client.send(get("http://pkg.test/", kUpgrade));
  EXPECT_TRUE(client.receive_until("hello").starts_with("HTTP/1.1 200 "));
  client.send(get("http://evil.test/"));
  EXPECT_EQ(status_of(client.receive_all()), "403");
  EXPECT_EQ(witness.requests().size(), 1u);
}

TEST_F(ProxyBench, ADownloadEndsWhenItsNameIsRevoked) {  // NFT-08
  Origin origin(kGood, 80, [](Peer& peer) {
    peer.receive_head();
    peer.send("HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nstart");
    peer.receive_all();
  });
  start();
  Peer client = connect();
  client.send(get("http://pkg.test/"));
  client.receive_until("start");
  host.change([&] { policy.allow.clear(); });
  host.publish();
  loop_.post([this] { proxy_->decide_again(); });  // as the plugin does at each publish
  client.receive_all();
  EXPECT_EQ(client.end, "reset");
  EXPECT_EQ(host.wait_for_audit(2)[1].reason, POLICY_REASON_REVOKED);
}

struct FailureCase {
  const char* why;
  net::ResolveOutcome outcome;
  const char* status;
  const char* error;
};
class LookupFailure : public ProxyBench, public testing::WithParamInterface<FailureCase> {};

TEST_P(LookupFailure, IsToldApart) {  // HTP-37
  failures["pkg.test"] = GetParam().outcome;
  start();
  const std::string got = ask(get("http://pkg.test/"));
  EXPECT_EQ(status_of(got), GetParam().status) << got;
  EXPECT_NE(got.find("error=" + std::string(GetParam().error)), std::string::npos) << got;
  EXPECT_EQ(host.wait_for_audit(1)[0].reason, POLICY_REASON_UPSTREAM_FAILED);
}

INSTANTIATE_TEST_SUITE_P(Outcomes, LookupFailure,
                         testing::ValuesIn<FailureCase>({
                             {"NoSuchName", net::ResolveOutcome::kNxDomain, "502", "dns_error"},
                             {"NoAddress", net::ResolveOutcome::kNoData, "502", "dns_error"},
                             {"ServFail", net::ResolveOutcome::kFailed, "502", "dns_error"},
                             {"Timeout", net::ResolveOutcome::kTimeout, "502", "dns_timeout"},
                         }),
                         [](const auto& row) { return row.param.why; });

TEST_F(ProxyBench, RefusedConnectionsAreBadGateways) {  // HTP-37
  zone["pkg.test"] = {"93.184.216.99"};
  start();
  for (int i = 0; i < 2; ++i) {
    const std::string got = ask(get("http://pkg.test/"));
    EXPECT_EQ(status_of(got), "502") << got;
    EXPECT_NE(got.find("error=connection_refused"), std::string::npos) << got;
  }
  EXPECT_NE(host.wait_for_audit(2)[0].detail.find("connect: Connection refused"), std::string::npos);
}

TEST_F(ProxyBench, ASilentOriginIsAGatewayTimeout) {  // HTP-37
  config.response_timeout = 200ms;
  Origin origin(kGood, 80, [](Peer& peer) { peer.receive_all(); });
  start();
  const std::string got = ask(get("http://pkg.test/"));
  EXPECT_EQ(status_of(got), "504") << got;
  EXPECT_EQ(host.wait_for_audit(1)[0].verdict, POLICY_ALLOW);
}

TEST_F(ProxyBench, SeveralAddressesAreTried) {
  has_ipv6 = true;
  zone["pkg.test"] = {"2a00::1", "93.184.216.99", kGood};
  Witness witness;
  Origin origin(kGood, 80, witness.serve());
  start();
  EXPECT_EQ(status_of(ask(get("http://pkg.test/", "Connection: close\r\n"))), "200");
  EXPECT_EQ(host.wait_for_audit(1)[0].address, kGood);
}

}  // namespace
}  // namespace sallyport::http_proxy
