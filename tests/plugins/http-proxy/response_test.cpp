// Malicious responses (HTP-35, HTP-36): the client gets a 502 or a cut connection, never a second response.
#include "proxy_bench.hpp"

namespace sallyport::http_proxy {
namespace {

struct ResponseCase {
  const char* why;
  std::string octets;
};
class BadResponse : public ProxyBench, public testing::WithParamInterface<ResponseCase> {};

TEST_P(BadResponse, IsA502AndTheEnd) {
  Origin origin(kGood, 80, [](Peer& peer) {
    peer.receive_head();
    peer.send(GetParam().octets);
    if (GetParam().octets.find("\r\n\r\n") == std::string::npos) return peer.shutdown_send();  // more might follow
    peer.receive_all();
  });
  start();
  const std::string got = ask(get("http://pkg.test/"));
  EXPECT_EQ(status_of(got), "502") << got;
  EXPECT_TRUE(refused_with(got, "framing_ambiguous")) << got;
  EXPECT_EQ(got.find("HTTP/1.", 1), std::string::npos) << got;
  EXPECT_EQ(got.find("smuggled"), std::string::npos) << got;
  bool told = false;
  for (const AuditRecord& record : host.wait_for_audit(3)) {  // the request, the response, the close
    told |= record.verdict == POLICY_DENY && record.detail.find("response: ") != std::string::npos;
  }
  EXPECT_TRUE(told);
}

std::string ok(const std::string& fields, const std::string& body = {}) {
  return "HTTP/1.1 200 OK\r\n" + fields + "\r\n" + body;
}
constexpr char kSecond[] = "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nsmuggled";
std::string interim(int count) {
  std::string out;
  for (int i = 0; i < count; ++i) out += "HTTP/1.1 103 Early Hints\r\n\r\n";
  return out;
}

INSTANTIATE_TEST_SUITE_P(Heads, BadResponse,
                         testing::ValuesIn<ResponseCase>({
                             {"LengthAndChunked", ok("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
                                                     "0\r\n\r\n" + std::string(kSecond))},
                             {"TwoLengths", ok("Content-Length: 5\r\nContent-Length: 6\r\n", "hello")},
                             {"LengthPlus", ok("Content-Length: +5\r\n", "hello")},
                             {"LengthNegative", ok("Content-Length: -5\r\n", "hello")},
                             {"EmptyLength", ok("Content-Length:\r\n", kSecond)},
                             {"TwoEncodings",
                              ok("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n")},
                             {"GzipChunked", ok("Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n")},
                             {"Identity", ok("Transfer-Encoding: identity\r\n", kSecond)},
                             {"Nul", ok(std::string("X: a\0b\r\n", 8))},
                             {"BareCr", ok("X: a\rSet-Cookie: b\r\nContent-Length: 0\r\n")},
                             {"BareLf", "HTTP/1.1 200 OK\nContent-Length: 0\n\n"},
                             {"ObsFold", ok("X: a\r\n b\r\nContent-Length: 0\r\n")},
                             {"SpaceBeforeColon", ok("Content-Length : 5\r\n", "hello")},
                             {"EmptyName", ok(": x\r\n")},
                             {"Large", ok("X: " + std::string(1024 * 1024, 'a') + "\r\n")},  // HTP-36: 1 MiB
                             {"ManyFields", ok([] {
                                std::string out;
                                for (int i = 0; i < 1001; ++i) out += "a:b\r\n";
                                return out;
                              }())},
                             {"NotHttp", "220 ready\r\n"},
                             {"Http09", "<html>hello</html>"},
                             {"Http2", "HTTP/2.0 200 OK\r\n\r\n"},
                             {"Http12", "HTTP/1.2 200 OK\r\n\r\n"},
                             {"StatusLetters", "HTTP/1.1 2xx OK\r\n\r\n"},
                             {"StatusLong", "HTTP/1.1 2000 OK\r\n\r\n"},
                             {"TlsAlert", std::string("\x15\x03\x01\x00\x02\x02\x28", 7)},
                             {"CutOff", "HTTP/1.1 200 OK\r\nX: "},
                             {"SwitchNobodyAskedFor",
                              "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"},
                             {"ProxyAuthentication",
                              "HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic "
                              "realm=x\r\nContent-Length: 0\r\n\r\n"},
                         }),
                         [](const auto& row) { return row.param.why; });

class CutBody : public ProxyBench, public testing::WithParamInterface<ResponseCase> {};

TEST_P(CutBody, IsAResetAndNothingBehindIt) {
  Origin origin(kGood, 80, [](Peer& peer) {
    peer.receive_head();
    peer.send(GetParam().octets);
  });
  start();
  Peer client = connect();
  client.send(get("http://pkg.test/") + get("http://pkg.test/second"));
  const std::string got = client.receive_all();
  EXPECT_EQ(client.end, "reset") << got;
  EXPECT_EQ(got.find("smuggled"), std::string::npos) << got;
  EXPECT_EQ(got.find("HTTP/1.", 1), std::string::npos) << got;
}

INSTANTIATE_TEST_SUITE_P(
    Bodies, CutBody,
    testing::ValuesIn<ResponseCase>({
        {"ShortLength", ok("Content-Length: 10\r\n", "hello")},
        {"ChunkSizeHex", ok("Transfer-Encoding: chunked\r\n", "0x5\r\nhello\r\n0\r\n\r\n" + std::string(kSecond))},
        {"ChunkSizePlus", ok("Transfer-Encoding: chunked\r\n", "+5\r\nhello\r\n0\r\n\r\n")},
        {"ChunkTooLong", ok("Transfer-Encoding: chunked\r\n", "5\r\nhello!\r\n0\r\n\r\n" + std::string(kSecond))},
        {"ChunkBareLf", ok("Transfer-Encoding: chunked\r\n", "5\nhello\n0\n\n" + std::string(kSecond))},
        {"NoLastChunk", ok("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n")},
        {"NoLastCrlf", ok("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n")},
        {"SeventeenDigits", ok("Transfer-Encoding: chunked\r\n", "00000000000000005\r\nhello\r\n0\r\n\r\n")},
        {"TrailerNamesLength",
         ok("Transfer-Encoding: chunked\r\n", "0\r\nContent-Length: 5\r\n\r\n" + std::string(kSecond))},
    }),
    [](const auto& row) { return row.param.why; });

TEST_F(ProxyBench, AFloodOfInterimResponsesIsCapped) {  // HTP-35
  Origin origin(kGood, 80, [](Peer& peer) {
    peer.receive_head();
    peer.send(interim(1000) + kSecond);
    peer.receive_all();
  });
  start();
  const std::string got = ask(get("http://pkg.test/"));
  std::size_t early = 0;
  for (std::size_t at = 0; (at = got.find("HTTP/1.1 103 ", at)) != got.npos; ++at) ++early;
  EXPECT_EQ(early, 16u);
  EXPECT_NE(got.find("HTTP/1.1 502 "), got.npos);
  EXPECT_EQ(got.find("smuggled"), got.npos);
}

TEST_F(ProxyBench, OctetsBehindAResponseAreNoSecondOne) {  // HTP-36
  std::atomic<int> connections{0};
  Origin origin(kGood, 80, [&](Peer& peer) {
    ++connections;
    peer.receive_head();
    peer.send(Witness::kHello + std::string(kSecond));
    peer.receive_all();
  });
  start();
  Peer client = connect();
  for (int i = 0; i < 3; ++i) {
    client.send(get("http://pkg.test/"));
    EXPECT_TRUE(client.receive_until("hello").ends_with("hello"));
  }
  EXPECT_EQ(connections, 3) << "such a connection is not used again";
}

TEST_F(ProxyBench, OctetsThatComeWhileAConnectionWaitsSpoilIt) {
  std::atomic<int> connections{0};
  std::atomic<bool> poisoned{false};
  Origin origin(kGood, 80, [&](Peer& peer) {
    ++connections;
    peer.receive_head();
    peer.send(Witness::kHello);
    std::this_thread::sleep_for(50ms);
    peer.send(kSecond);
    poisoned = true;
    peer.receive_all();
  });
  start();
  Peer client = connect();
  client.send(get("http://pkg.test/"));
  client.receive_until("hello");
  ASSERT_TRUE(becomes_true([&] { return poisoned.load(); }));
  std::this_thread::sleep_for(20ms);
  client.send(get("http://pkg.test/"));
  EXPECT_EQ(client.receive_until("hello").find("smuggled"), std::string::npos);
  EXPECT_EQ(connections, 2);
}

TEST_F(ProxyBench, ResponsesAreRebuilt) {
  Witness witness;
  Origin origin(kGood, 80, witness.serve([](const auto&) {
    return "HTTP/1.1 200 Fine\r\nProxy-Status: sallyport; error=x\r\nConnection: x-hop, keep-alive\r\nX-Hop: 1\r\n"
           "Keep-Alive: timeout=5\r\nUpgrade: h2c\r\nSet-Cookie: a=b\r\nTransfer-Encoding: chunked\r\n\r\n"
           "3\r\nabc\r\n0\r\nX-Trailer: 1\r\n\r\n";
  }));
  start();
  const std::string got = ask(get("http://pkg.test/", "Connection: close\r\n"));
  EXPECT_EQ(got,
            "HTTP/1.1 200 Fine\r\nSet-Cookie: a=b\r\nTransfer-Encoding: chunked\r\nVia: 1.1 sallyport-00112233\r\n"
            "Connection: close\r\n\r\n3\r\nabc\r\n0\r\n\r\n");
}

TEST_F(ProxyBench, ABodyThatEndsWithTheConnectionIsChunked) {
  Origin origin(kGood, 80, [](Peer& peer) {
    peer.receive_head();
    peer.send("HTTP/1.0 200 OK\r\n\r\nuntil the end");
  });
  start();
  Peer client = connect();
  for (int i = 0; i < 2; ++i) {
    client.send(get("http://pkg.test/"));
    const std::string got = client.receive_until("0\r\n\r\n");
    EXPECT_NE(got.find("\r\nd\r\nuntil the end\r\n0\r\n\r\n"), std::string::npos) << got;
    EXPECT_NE(got.find("Via: 1.0 "), std::string::npos) << got;
  }
}

TEST_F(ProxyBench, ResponsesWithoutABody) {
  Witness witness;
  Origin origin(kGood, 80, witness.serve([](const Witness::Request& request) -> std::string {
    if (request.head.starts_with("HEAD")) return "HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n";
    if (request.head.starts_with("GET /204")) return "HTTP/1.1 204 No Content\r\n\r\n";
    if (request.head.starts_with("GET /304")) return "HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\n\r\n";
    return "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
  }));
  start();
  Peer client = connect();
  client.send("HEAD http://pkg.test/ HTTP/1.1\r\nHost: pkg.test\r\n\r\n");
  EXPECT_NE(client.receive_head().find("Content-Length: 1234\r\n"), std::string::npos);
  client.send(get("http://pkg.test/204"));
  EXPECT_EQ(client.receive_head().find("Content-Length"), std::string::npos);
  client.send(get("http://pkg.test/304"));
  EXPECT_NE(client.receive_head().find("Content-Length: 99\r\n"), std::string::npos);
  client.send(get("http://pkg.test/empty"));
  EXPECT_NE(client.receive_head().find("Content-Length: 0\r\n"), std::string::npos);
  EXPECT_EQ(origin.connections(), 1u);
}

}  // namespace
}  // namespace sallyport::http_proxy
