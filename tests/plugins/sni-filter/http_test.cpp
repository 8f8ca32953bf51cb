// Clear HTTP: the Host of every request, read strictly in both directions (issue item 9; ACCEPTANCE 5.3 where it
// applies).
#include <future>

#include "filter_bench.hpp"

namespace sallyport::sni {
namespace {

using namespace std::chrono_literals;

std::string get(std::string_view host, std::string_view path = "/", std::string_view extra = {}) {
  return "GET " + std::string(path) + " HTTP/1.1\r\nHost: " + std::string(host) + "\r\n" + std::string(extra) + "\r\n";
}
std::string ok(std::string_view body, std::string_view extra = {}) {
  return "HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(body.size()) + "\r\n" + std::string(extra) + "\r\n" +
         std::string(body);
}

// Answers every request head it gets with its target; remembers all octets.
class HttpOrigin {
 public:
  Origin::Script script() {
    return [this](Peer& peer) {
      for (;;) {
        const std::string head = peer.receive_until("\r\n\r\n");
        {
          const std::lock_guard lock(mutex_);
          all_ += head;
        }
        if (head.find("\r\n\r\n") == std::string::npos) return;
        const std::size_t begin = head.find(' ') + 1;
        peer.send(ok(head.substr(begin, head.find(' ', begin) - begin)));
      }
    };
  }
  std::string all() const {
    const std::lock_guard lock(mutex_);
    return all_;
  }

 private:
  mutable std::mutex mutex_;
  std::string all_;
};

struct FirstCase {
  const char* why;
  std::string request;
  int status;  // 0: reset
  std::uint16_t reason;
};
class RefusedFirst : public FilterBench, public testing::WithParamInterface<FirstCase> {};

TEST_P(RefusedFirst, AnswersAndDialsNobody) {
  HttpOrigin http;
  Origin origin(kGood, 80, http.script());
  start();
  Peer client = connect(80);
  client.send(GetParam().request);
  const std::string got = client.receive_all();
  if (GetParam().status == 0) {
    EXPECT_EQ(client.end, "reset");
  } else {
    EXPECT_EQ(client.end, "eof");
    EXPECT_TRUE(got.starts_with("HTTP/1.1 " + std::to_string(GetParam().status) + " ")) << got;
    EXPECT_NE(got.find("\r\nProxy-Status: sallyport; error="), std::string::npos) << got;
    EXPECT_NE(got.find(" ref=k3f9a\"\r\n"), std::string::npos) << got;
    EXPECT_NE(got.find("\"ref\":\"k3f9a\""), std::string::npos) << got;
    EXPECT_NE(got.find("\r\nContent-Type: application/problem+json\r\n"), std::string::npos) << got;
    EXPECT_NE(got.find("\r\nConnection: close\r\n"), std::string::npos) << got;
  }
  const auto audit = host.wait_for_audit(1);
  ASSERT_EQ(audit.size(), 1u);
  EXPECT_EQ(audit[0].reason, GetParam().reason);
  EXPECT_EQ(audit[0].verdict, POLICY_DENY);
  EXPECT_EQ(origin.connections(), 0u);
}

INSTANTIATE_TEST_SUITE_P(
    Requests, RefusedFirst,
    testing::ValuesIn<FirstCase>({
        {"OtherHost", get("evil.test"), 403, POLICY_REASON_HOST_MISMATCH},
        {"SuffixOfHost", get("xapi.example.test"), 403, POLICY_REASON_HOST_MISMATCH},  // NAM-03
        {"OtherPort", get("api.example.test:8080"), 403, POLICY_REASON_HOST_MISMATCH},
        {"AddressAsHost", get("93.184.216.34"), 403, POLICY_REASON_HOST_MISMATCH},
        {"NoHost", "GET / HTTP/1.1\r\n\r\n", 400, POLICY_REASON_HOST_MISMATCH},
        {"NoHost10", "GET / HTTP/1.0\r\n\r\n", 403, POLICY_REASON_HOST_MISMATCH},
        {"TwoHosts", "GET / HTTP/1.1\r\nHost: api.example.test\r\nHost: evil.test\r\n\r\n", 400,
         POLICY_REASON_FRAMING_AMBIGUOUS},  // HTP-07
        {"HostList", get("api.example.test, evil.test"), 400, POLICY_REASON_AUTHORITY_MALFORMED},
        {"TabBeforeHost", get("\tapi.example.test"), 400, POLICY_REASON_AUTHORITY_MALFORMED},
        {"TabBehindHost", get("api.example.test\t"), 400, POLICY_REASON_AUTHORITY_MALFORMED},
        {"ConnectionHost", get("api.example.test", "/", "Connection: host\r\n"), 400,
         POLICY_REASON_FRAMING_AMBIGUOUS},                                                     // HTP-24
        {"BracketedName", get("[api.example.test]"), 400, POLICY_REASON_AUTHORITY_MALFORMED},  // HTP-10
        {"AbsoluteElsewhere", get("api.example.test", "http://evil.test/"), 403,
         POLICY_REASON_HOST_MISMATCH},  // HTP-05
        {"AbsoluteOtherScheme", get("api.example.test", "ftp://api.example.test/"), 403,
         POLICY_REASON_HOST_MISMATCH},  // HTP-30
        {"Connect", "CONNECT api.example.test:443 HTTP/1.1\r\nHost: api.example.test:443\r\n\r\n", 403,
         POLICY_REASON_HOST_MISMATCH},
        {"Http2Preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, POLICY_REASON_UNPARSED},  // HTP-29
        {"ObsFold", "GET / HTTP/1.1\r\nHost: api.example.test\r\nX: a\r\n b\r\n\r\n", 400,
         POLICY_REASON_FRAMING_AMBIGUOUS},  // HTP-13
        {"BareLf", "GET / HTTP/1.1\nHost: api.example.test\n\n", 400, POLICY_REASON_FRAMING_AMBIGUOUS},
        {"SpaceBeforeColon", "GET / HTTP/1.1\r\nHost : api.example.test\r\n\r\n", 400, POLICY_REASON_FRAMING_AMBIGUOUS},
        {"LengthAndEncoding", get("api.example.test", "/", "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n"), 400,
         POLICY_REASON_FRAMING_AMBIGUOUS},  // HTP-11
        {"HeadTooLarge", get("api.example.test", "/", "X: " + std::string(66'000, 'x') + "\r\n"), 431,
         POLICY_REASON_FRAMING_AMBIGUOUS},  // HTP-31
        {"NotHttp", "SSH-2.0-OpenSSH_9.2\r\n", 0, POLICY_REASON_UNPARSED},
    }),
    [](const auto& row) { return row.param.why; });

TEST_F(FilterBench, GoodRequestsGoThroughUnchanged) {
  HttpOrigin http;
  Origin origin(kGood, 80, http.script());
  start();
  const std::vector<std::string> requests = {get("api.example.test", "/1"), get("API.example.test.", "/2"),
                                             get("api.example.test:80", "/3"),
                                             get("api.example.test", "http://api.example.test/4")};
  Peer client = connect(80);
  std::string all;
  for (const std::string& request : requests) {
    client.send(request);
    EXPECT_TRUE(client.receive_until("\r\n\r\n").starts_with("HTTP/1.1 200"));
    const std::size_t begin = request.find(' ') + 1;
    const std::string target = request.substr(begin, request.find(' ', begin) - begin);
    EXPECT_EQ(client.receive(target.size()), target);
    all += request;
  }
  EXPECT_EQ(http.all(), all);
  EXPECT_EQ(origin.connections(), 1u);
}

// HTP-27: what Java's client and curl --http2 send first. The offer stays here, the request goes on.
TEST_F(FilterBench, OfferOfClearHttp2IsLeftOut) {
  HttpOrigin http;
  Origin origin(kGood, 80, http.script());
  start();
  for (const std::string fields :
       {"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMA\r\nX-A: b\r\n",
        "connection: keep-alive\r\nX-A: b\r\nUPGRADE: websocket, H2C\r\n",
        "X-A: b\r\nConnection: upgrade\r\nUpgrade: websocket\r\nhttp2-settings: AAMA\r\n"}) {
    Peer client = connect(80);
    client.send(get("api.example.test", "/1", fields));
    EXPECT_TRUE(client.receive_until("\r\n\r\n").starts_with("HTTP/1.1 200")) << fields;
  }
  const std::string all = http.all();
  EXPECT_NE(all.find("GET /1 HTTP/1.1\r\nHost: api.example.test\r\nX-A: b\r\n"), std::string::npos) << all;
  for (const char* word : {"h2c", "H2C", "pgrade", "PGRADE", "ettings"})
    EXPECT_EQ(all.find(word), std::string::npos) << word;
}

TEST_F(FilterBench, LaterMismatchComesAfterTheEarlierResponses) {
  HttpOrigin http;
  Origin origin(kGood, 80, http.script());
  start();
  Peer client = connect(80);
  client.send(get("api.example.test", "/1") + get("api.example.test", "/2") + get("evil.test", "/3") +
              get("api.example.test", "/4"));
  const std::string got = client.receive_all();
  EXPECT_EQ(client.end, "eof");
  EXPECT_TRUE(got.starts_with(ok("/1") + ok("/2") + "HTTP/1.1 403 ")) << got;
  EXPECT_EQ(http.all(), get("api.example.test", "/1") + get("api.example.test", "/2"))
      << "nothing of a refused request leaves";
  EXPECT_EQ(host.wait_for_audit(3)[1].reason, POLICY_REASON_HOST_MISMATCH);
}

TEST_F(FilterBench, BodyIsNoRequest) {  // a request inside a body is body; what follows the body is a request
  std::promise<std::string> origin_got;
  const std::string hidden = get("evil.test");
  const std::string by_length =
      "POST /a HTTP/1.1\r\nHost: api.example.test\r\nContent-Length: " + std::to_string(hidden.size()) + "\r\n\r\n" +
      hidden;
  char size[16];
  std::snprintf(size, sizeof size, "%zx", hidden.size());
  const std::string by_chunks = "POST /b HTTP/1.1\r\nHost: api.example.test\r\nTransfer-Encoding: chunked\r\n\r\n" +
                                std::string(size) + "\r\n" + hidden + "\r\n0\r\n\r\n";
  Origin origin(kGood, 80, [&](Peer& peer) {
    std::string got = peer.receive(by_length.size());
    peer.send(ok("a"));
    got += peer.receive(by_chunks.size());
    peer.send(ok("b"));
    origin_got.set_value(got + peer.receive_all());
  });
  start();
  Peer client = connect(80);
  client.send(by_length + by_chunks + hidden);
  const std::string got = client.receive_all();
  EXPECT_TRUE(got.starts_with(ok("a") + ok("b") + "HTTP/1.1 403 ")) << got;
  EXPECT_EQ(origin_got.get_future().get(), by_length + by_chunks);
}

TEST_F(FilterBench, BadChunkEndsTheConnection) {  // HTP-14
  Recorder recorder;
  Origin origin(kGood, 80, recorder.script());
  start();
  Peer client = connect(80);
  client.send(
      "POST / HTTP/1.1\r\nHost: api.example.test\r\nTransfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n");
  EXPECT_EQ(client.receive_all(), "");
  EXPECT_EQ(client.end, "reset");
  bool seen = false;
  for (const AuditRecord& record : host.wait_for_audit(3))
    seen = seen || record.reason == POLICY_REASON_FRAMING_AMBIGUOUS;
  EXPECT_TRUE(seen);
}

TEST_F(FilterBench, WebSocketIsOpaqueAfter101Alone) {  // HTP-28
  const std::string upgrade = get("api.example.test", "/ws", "Connection: Upgrade\r\nUpgrade: websocket\r\n");
  Origin origin(kGood, 80, [&](Peer& peer) {
    peer.receive(upgrade.size());
    peer.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nframe");
    peer.send("echo " + peer.receive(6));
    peer.receive_all();
  });
  start();
  Peer client = connect(80);
  client.send(upgrade + "\x01\x02\x03");  // early octets wait for the 101
  EXPECT_TRUE(client.receive_until("\r\n\r\n").starts_with("HTTP/1.1 101 "));
  EXPECT_EQ(client.receive(5), "frame");
  client.send("\x04\x05\x06");
  EXPECT_EQ(client.receive(11), "echo \x01\x02\x03\x04\x05\x06");
}

TEST_F(FilterBench, DeclinedWebSocketStaysHttp) {  // HTP-28
  HttpOrigin http;
  Origin origin(kGood, 80, http.script());
  start();
  Peer client = connect(80);
  client.send(get("api.example.test", "/ws", "Connection: Upgrade\r\nUpgrade: websocket\r\n") + get("evil.test"));
  const std::string got = client.receive_all();
  EXPECT_TRUE(got.starts_with(ok("/ws") + "HTTP/1.1 403 ")) << got;
  EXPECT_EQ(http.all().find("evil.test"), std::string::npos);
}

TEST_F(FilterBench, BadChunkOfTheOriginIsRecorded) {
  Origin origin(kGood, 80, [](Peer& peer) {
    peer.receive(get("api.example.test").size());
    peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n");
    peer.receive_all();
  });
  start();
  Peer client = connect(80);
  client.send(get("api.example.test"));
  client.receive_all();
  const auto audit = host.wait_for_audit(3);
  EXPECT_EQ(audit[1].reason, POLICY_REASON_FRAMING_AMBIGUOUS);
  EXPECT_EQ(audit[1].verdict, POLICY_DENY);
  EXPECT_EQ(testing_kit::line_of(audit[2])["http"]["status"], 200);
}

TEST_F(FilterBench, AuditHasTheFirstRequest) {
  HttpOrigin http;
  Origin origin(kGood, 80, http.script());
  start();
  {
    Peer client = connect(80);
    client.send(get("API.example.test", "/secret?token=1"));
    EXPECT_TRUE(client.receive_until("\r\n\r\n").starts_with("HTTP/1.1 200"));
    client.receive(15);
  }
  const auto audit = host.wait_for_audit(2);
  const auto opened = testing_kit::line_of(audit[0]), closed = testing_kit::line_of(audit[1]);
  EXPECT_EQ(opened["http"], (nlohmann::json{{"method", "GET"}, {"host", "API.example.test"}}));
  EXPECT_EQ(closed["http"], (nlohmann::json{{"method", "GET"}, {"host", "API.example.test"}, {"status", 200}}));
  EXPECT_EQ(opened.dump().find("secret"), std::string::npos);
}

struct ClaimCase {
  const char* why;
  std::string request, method, host;
};
class Claims : public FilterBench, public testing::WithParamInterface<ClaimCase> {};

TEST_P(Claims, AreInTheAudit) {
  start();
  Peer client = connect(80);
  client.send(GetParam().request);
  client.receive_all();
  const nlohmann::json line = testing_kit::line_of(host.wait_for_audit(1).at(0));
  EXPECT_FALSE(line.contains("detail_dropped"));
  EXPECT_EQ(line["http"].value("method", ""), GetParam().method) << line.dump();
  EXPECT_EQ(line["http"].value("host", ""), GetParam().host) << line.dump();
  EXPECT_EQ(line["name"], "api.example.test");
}

INSTANTIATE_TEST_SUITE_P(Requests, Claims,
                         testing::ValuesIn<ClaimCase>({
                             {"OtherHost", get("Evil.test:81"), "GET", "Evil.test:81"},
                             {"TargetElsewhere", get("api.example.test", "http://evil.test/"), "GET", "evil.test"},
                             {"HostElsewhere", get("evil.test", "http://api.example.test/"), "GET", "evil.test"},
                             {"Connect", "CONNECT evil.test:443 HTTP/1.1\r\nHost: api.example.test\r\n\r\n", "CONNECT",
                              "evil.test"},
                             {"MalformedHost", get("u@evil.test"), "GET", "u@evil.test"},
                             {"HighOctets", get("\xff\\"), "GET", "\\xff\\\\"},
                             {"LongestEscape", get(std::string(5000, '\xff')), "GET",
                              [] {
                                std::string out;
                                for (int i = 0; i < 63; ++i) out += "\\xff";
                                return out + "...";
                              }()},
                             {"NoHost", "GET / HTTP/1.0\r\n\r\n", "GET", ""},
                         }),
                         [](const auto& row) { return row.param.why; });

struct ResponseCase {
  const char* why;
  std::string response;
};
class BadResponses : public FilterBench, public testing::WithParamInterface<ResponseCase> {};

TEST_P(BadResponses, AreABadGateway) {  // HTP-36
  Origin origin(kGood, 80, [](Peer& peer) {
    peer.receive(get("api.example.test").size());
    peer.send(GetParam().response);
    peer.receive_all();
  });
  start();
  Peer client = connect(80);
  client.send(get("api.example.test"));
  const std::string got = client.receive_all();
  EXPECT_TRUE(got.starts_with("HTTP/1.1 502 ")) << got;
  EXPECT_NE(got.find("details=\"framing_ambiguous ref=k3f9a\""), std::string::npos) << got;
  const auto audit = host.wait_for_audit(3);  // opened, refused, closed
  EXPECT_EQ(audit[1].reason, POLICY_REASON_FRAMING_AMBIGUOUS);
  EXPECT_EQ(audit[1].verdict, POLICY_DENY);
  const nlohmann::json line = testing_kit::line_of(audit[1]);
  EXPECT_EQ(line["http"]["status"], 502);
  EXPECT_TRUE(line["cause"].get<std::string>().starts_with("response: ")) << line.dump();
}

std::string flood() {
  std::string out;
  for (int i = 0; i < 100; ++i) out += "HTTP/1.1 102 Processing\r\n\r\n";
  return out;
}

INSTANTIATE_TEST_SUITE_P(
    Responses, BadResponses,
    testing::ValuesIn<ResponseCase>({
        {"UnaskedSwitch", "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"},
        {"LengthAndEncoding", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
        {"NoHttp", "SSH-2.0-Server\r\n\r\n"},
        {"BareLf", "HTTP/1.1 200 OK\nContent-Length: 0\n\n"},
    }),
    [](const auto& row) { return row.param.why; });

TEST_F(FilterBench, InterimFloodIsCapped) {  // HTP-35
  Origin origin(kGood, 80, [](Peer& peer) {
    peer.receive(get("api.example.test").size());
    peer.send(flood());
    peer.receive_all();
  });
  start();
  Peer client = connect(80);
  client.send(get("api.example.test"));
  EXPECT_NE(client.receive_all().find("HTTP/1.1 502 "), std::string::npos);
}

TEST_F(FilterBench, ResponseShapes) {
  struct Row {
    std::string request, response, seen;
  };
  const std::string head = "HEAD / HTTP/1.1\r\nHost: api.example.test\r\n\r\n";
  const std::vector<Row> rows = {
      {get("api.example.test", "/1"), "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", ""},
      {head, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", ""},
      {get("api.example.test", "/2"), "HTTP/1.1 304 Not Modified\r\nContent-Length: 1000\r\n\r\n", ""},
      {get("api.example.test", "/5"), "HTTP/1.1 999 Denied\r\nContent-Length: 1\r\n\r\nx", ""},
      {get("api.example.test", "/6"),
       "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", ""},
      {get("api.example.test", "/3"), "HTTP/1.1 103 Early Hints\r\n\r\n" + ok("x"), ""},
  };
  Origin origin(kGood, 80, [&](Peer& peer) {
    for (const Row& row : rows) {
      peer.receive(row.request.size());
      peer.send(row.response);
    }
    peer.receive(get("api.example.test", "/4").size());
    peer.send("HTTP/1.0 200 OK\r\n\r\nuntil the end");
  });
  start();
  Peer client = connect(80);
  for (const Row& row : rows) {
    client.send(row.request);
    EXPECT_EQ(client.receive(row.response.size()), row.response);
  }
  client.send(get("api.example.test", "/4"));
  EXPECT_EQ(client.receive_all(), "HTTP/1.0 200 OK\r\n\r\nuntil the end");
  EXPECT_EQ(client.end, "eof");
}

TEST_F(FilterBench, ExpectContinue) {
  const std::string head =
      "POST / HTTP/1.1\r\nHost: api.example.test\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n";
  Origin origin(kGood, 80, [&](Peer& peer) {
    peer.receive(head.size());
    peer.send("HTTP/1.1 100 Continue\r\n\r\n");
    peer.send(ok(peer.receive(5)));
    peer.receive_all();
  });
  start();
  Peer client = connect(80);
  client.send(head);
  EXPECT_EQ(client.receive_until("\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
  client.send("hello");
  EXPECT_EQ(client.receive(ok("hello").size()), ok("hello"));
}

TEST_F(FilterBench, ResponseBeforeTheBodyIsTheLast) {  // CL.0: the origin would take the body for a request
  const std::string head = "POST /early HTTP/1.1\r\nHost: api.example.test\r\nContent-Length: 100\r\n\r\n";
  std::promise<std::string> rest;
  Origin origin(kGood, 80, [&](Peer& peer) {
    peer.receive(head.size());
    peer.send(ok("early"));
    rest.set_value(peer.receive_all());
  });
  start();
  Peer client = connect(80);
  client.send(head);
  EXPECT_EQ(client.receive(ok("early").size()), ok("early"));
  client.send(get("evil.test") + std::string(100, 'x'));
  EXPECT_EQ(client.receive_all(), "");
  EXPECT_EQ(rest.get_future().get(), "");
}

TEST_F(FilterBench, CutOffResponseIsAReset) {
  Origin origin(kGood, 80, [](Peer& peer) {
    peer.receive(get("api.example.test").size());
    peer.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf");
  });
  start();
  Peer client = connect(80);
  client.send(get("api.example.test"));
  client.receive_all();
  EXPECT_EQ(client.end, "reset");
}

TEST_F(FilterBench, ClientEndsAfterItsRequest) {
  HttpOrigin http;
  Origin origin(kGood, 80, http.script());
  start();
  Peer client = connect(80);
  client.send(get("api.example.test", "/end"));
  client.shutdown_send();
  EXPECT_EQ(client.receive_all(), ok("/end"));
  EXPECT_EQ(client.end, "eof");
}

TEST_F(FilterBench, HttpOnAnyPortIsChecked) {
  HttpOrigin http;
  Origin origin(kGood, 8080, http.script());
  start();
  Peer bad = connect(8080);
  bad.send(get("evil.test:8080"));
  EXPECT_TRUE(bad.receive_all().starts_with("HTTP/1.1 403 "));
  Peer good = connect(8080);
  good.send(get("api.example.test:8080", "/x"));
  EXPECT_EQ(good.receive(ok("/x").size()), ok("/x"));
  good.send(get("evil.test"));
  EXPECT_TRUE(good.receive_all().starts_with("HTTP/1.1 403 "));
  EXPECT_EQ(http.all(), get("api.example.test:8080", "/x"));
}

TEST_F(FilterBench, LargeUploadAndDownload) {
  constexpr std::size_t kOctets = 32 * 1024 * 1024;
  Origin origin(kGood, 80, [](Peer& peer) {
    peer.receive_until("\r\n\r\n");
    const std::string body = peer.receive(kOctets);
    peer.send(ok(body));
    peer.receive_all();
  });
  start();
  Peer client = connect(80);
  const std::string body(kOctets, 'b');
  std::thread writer([&] {
    client.send("PUT / HTTP/1.1\r\nHost: api.example.test\r\nContent-Length: " + std::to_string(kOctets) + "\r\n\r\n" +
                body);
  });
  EXPECT_EQ(client.receive_until("\r\n\r\n"),
            "HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(kOctets) + "\r\n\r\n");
  EXPECT_EQ(client.receive(kOctets), body);
  writer.join();
}

// REL-01: a kept connection has one request more while the filter drains, and no reset.
class HttpDrain : public FilterBench {
 protected:
  void drain() {
    std::promise<void> drained;
    loop_.post([&] {
      filter_->drain();
      drained.set_value();
    });
    drained.get_future().wait();
  }
};

TEST_F(HttpDrain, TheNextResponseIsTheLast) {
  HttpOrigin http;
  Origin origin(kGood, 80, http.script());
  start();
  Peer client = connect(80);
  client.send(get("api.example.test", "/one"));
  EXPECT_EQ(client.receive_until("/one").find("Connection: close"), std::string::npos);
  drain();
  client.send(get("api.example.test", "/two"));
  const std::string last = client.receive_all();
  EXPECT_EQ(client.end, "eof");
  EXPECT_NE(last.find("\r\nConnection: close\r\n\r\n/two"), std::string::npos) << last;
}

TEST_F(HttpDrain, ASilentOneEndsWithoutAReset) {
  HttpOrigin http;
  Origin origin(kGood, 80, http.script());
  start();
  Peer client = connect(80);
  client.send(get("api.example.test", "/one"));
  client.receive_until("/one");
  drain();
  EXPECT_EQ(client.receive_all(), "");
  EXPECT_EQ(client.end, "eof");
  client.send(get("api.example.test", "/late"));
  std::this_thread::sleep_for(20ms);
  client.receive_all();
  EXPECT_EQ(client.end, "eof") << "too late for an answer, and still no reset";
  EXPECT_EQ(http.all().find("/late"), std::string::npos);
}

}  // namespace
}  // namespace sallyport::sni
