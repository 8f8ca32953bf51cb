#include "wire/http_head.hpp"

#include <gtest/gtest.h>

#include <random>
#include <string>

namespace sallyport::wire {
namespace {

struct RequestCase {
  const char* why;
  std::string octets;
  HttpFault fault;  // kNone: done
};

class Request : public ::testing::TestWithParam<RequestCase> {};

// Whole, octet by octet and cut anywhere, a head is read the same.
TEST_P(Request, IsJudgedTheSameForEverySplit) {
  const auto& [why, octets, fault] = GetParam();
  HttpRequestReader whole;
  const HttpState state = whole.feed(octets);
  EXPECT_EQ(to_string(whole.fault()), to_string(fault));
  EXPECT_EQ(state, fault == HttpFault::kNone ? HttpState::kDone : HttpState::kFailed);
  const std::size_t step = octets.size() > 4000 ? 997 : 1;
  for (std::size_t cut = 0; cut <= octets.size(); cut += step) {
    HttpRequestReader reader;
    std::size_t consumed = 0;
    reader.feed(std::string_view(octets).substr(0, cut));
    consumed += reader.consumed();
    reader.feed(std::string_view(octets).substr(cut));
    consumed += reader.consumed();
    ASSERT_EQ(reader.state(), state) << "cut at " << cut;
    ASSERT_EQ(reader.fault(), whole.fault()) << "cut at " << cut;
    ASSERT_EQ(consumed, whole.consumed()) << "cut at " << cut;
    ASSERT_EQ(reader.raw(), whole.raw());
  }
}

std::string get(std::string_view fields) {
  return "GET / HTTP/1.1\r\nHost: pkg.test\r\n" + std::string(fields) + "\r\n";
}
std::string line(std::string_view start) { return std::string(start) + "\r\nHost: pkg.test\r\n\r\n"; }
std::string many_fields(int count) {
  std::string fields;
  for (int i = 0; i < count; ++i) fields += "a:b\r\n";
  return "GET / HTTP/1.1\r\nHost: a\r\n" + fields + "\r\n";
}
std::string head_of_size(std::size_t size) {
  const std::string rest = get("x: \r\n");
  return get("x: " + std::string(size - rest.size(), 'y') + "\r\n");
}

INSTANTIATE_TEST_SUITE_P(
    StartLines, Request,
    ::testing::ValuesIn<RequestCase>({
        {"Plain", get(""), HttpFault::kNone},
        {"Http10", "GET / HTTP/1.0\r\n\r\n", HttpFault::kNone},
        {"Absolute", line("GET http://pkg.test:8080/x?y HTTP/1.1"), HttpFault::kNone},
        {"Connect", line("CONNECT pkg.test:443 HTTP/1.1"), HttpFault::kNone},
        {"Asterisk", line("OPTIONS * HTTP/1.1"), HttpFault::kNone},
        {"UnknownMethod", line("SLUDGE / HTTP/1.1"), HttpFault::kNone},
        {"AsteriskForGet", line("GET * HTTP/1.1"), HttpFault::kTarget},
        {"ConnectLowerCase", line("connect pkg.test:443 HTTP/1.1"), HttpFault::kTarget},  // HTP-30
        {"ConnectWithoutPort", line("CONNECT pkg.test HTTP/1.1"), HttpFault::kTarget},    // HTP-04
        {"ConnectPortZero", line("CONNECT pkg.test:0 HTTP/1.1"), HttpFault::kTarget},
        {"ConnectPath", line("CONNECT /x HTTP/1.1"), HttpFault::kTarget},
        {"ConnectUserInfo", line("CONNECT a@b:443 HTTP/1.1"), HttpFault::kTarget},  // HTP-08
        {"AbsoluteUserInfo", line("GET http://pkg.test@evil.test/ HTTP/1.1"), HttpFault::kTarget},
        {"AbsoluteTwoPorts", line("GET http://pkg.test:80:443/ HTTP/1.1"), HttpFault::kTarget},  // HTP-09
        {"AbsoluteEmptyPort", line("GET http://pkg.test:/ HTTP/1.1"), HttpFault::kTarget},
        {"AbsoluteFragment", line("GET http://pkg.test#@evil.test/ HTTP/1.1"), HttpFault::kTarget},
        {"AbsoluteBackslash", line("GET http://pkg.test\\@evil.test/ HTTP/1.1"), HttpFault::kTarget},
        {"AbsoluteBrackets", line("GET http://[pkg.test]/ HTTP/1.1"), HttpFault::kTarget},  // HTP-10
        {"AbsoluteNoHost", line("GET http:///x HTTP/1.1"), HttpFault::kTarget},
        {"Urn", line("GET urn:x HTTP/1.1"), HttpFault::kTarget},
        {"Fragment", line("GET /x#y HTTP/1.1"), HttpFault::kTarget},
        {"HighOctetInTarget", line("GET /\xc3\xbc HTTP/1.1"), HttpFault::kTarget},
        {"SpaceInTarget", line("GET /a b HTTP/1.1"), HttpFault::kTarget},
        {"TwoSpaces", line("GET  / HTTP/1.1"), HttpFault::kTarget},
        {"TabForSpace", line("GET\t/ HTTP/1.1"), HttpFault::kStartLine},
        {"SpaceAfterVersion", line("GET / HTTP/1.1 "), HttpFault::kStartLine},
        {"LeadingSpace", line(" GET / HTTP/1.1"), HttpFault::kMethod},
        {"LeadingEmptyLine", "\r\n" + get(""), HttpFault::kStartLine},
        {"Http09", "GET /\r\n\r\n", HttpFault::kStartLine},  // HTP-29
        {"Http132", line("GET / HTTP/1.32"), HttpFault::kVersion},
        {"Http12", line("GET / HTTP/1.2"), HttpFault::kVersion},
        {"Http3", line("GET / HTTP/3.0"), HttpFault::kVersion},
        {"LowerCaseVersion", line("GET / http/1.1"), HttpFault::kStartLine},
        {"Http2Preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", HttpFault::kHttp2Preface},
        {"TlsHello", "\x16\x03\x01\x02\x00\x01", HttpFault::kControlOctet},
        {"LongMethod", line(std::string(10'000, 'A') + " / HTTP/1.1"), HttpFault::kMethod},  // HTP-30
        {"MethodSeparator", line("GE(T / HTTP/1.1"), HttpFault::kMethod},
        {"LongTarget", line("GET /" + std::string(kMaxRequestTarget, 'a') + " HTTP/1.1"),
         HttpFault::kTargetTooLong},  // HTP-31
    }),
    [](const auto& row) { return row.param.why; });

INSTANTIATE_TEST_SUITE_P(Fields, Request,
                         ::testing::ValuesIn<RequestCase>({
                             {"Utf8Value", get("x: \xc3\xbc\r\n"), HttpFault::kNone},
                             {"EmptyValue", get("x:\r\n"), HttpFault::kNone},
                             {"SpaceBeforeColon", get("x : y\r\n"), HttpFault::kSpaceBeforeColon},  // HTP-13
                             {"TabBeforeColon", get("x\t: y\r\n"), HttpFault::kSpaceBeforeColon},
                             {"LeadingSpaceOnFirst", "GET / HTTP/1.1\r\n Host: pkg.test\r\n\r\n", HttpFault::kObsFold},
                             {"ObsFold", get("x: y\r\n z\r\n"), HttpFault::kObsFold},
                             {"ObsFoldTab", get("x: y\r\n\tz\r\n"), HttpFault::kObsFold},
                             {"BareLf", "GET / HTTP/1.1\r\nHost: pkg.test\nx: y\r\n\r\n", HttpFault::kBareLf},
                             {"BareLfAtOnce", "GET / HTTP/1.1\nHost: pkg.test\r\n\r\n", HttpFault::kBareLf},
                             {"BareLfAtTheEnd", "GET / HTTP/1.1\r\nHost: pkg.test\r\n\n", HttpFault::kBareLf},
                             {"BareCr", get("x: y\rz: a\r\n"), HttpFault::kBareCr},
                             {"TwoCr", get("x: y\r\r\n"), HttpFault::kBareCr},
                             {"NulInValue", get(std::string("x: y\0z\r\n", 8)), HttpFault::kControlOctet},
                             {"EscapeInValue", get("x: \x1b[31m\r\n"), HttpFault::kControlOctet},
                             {"DeleteInValue", get("x: \x7f\r\n"), HttpFault::kControlOctet},
                             {"NulInName", get(std::string("x\0: y\r\n", 7)), HttpFault::kControlOctet},
                             {"EmptyName", get(": y\r\n"), HttpFault::kFieldName},  // CVE-2023-25725
                             {"NoColon", get("xyz\r\n"), HttpFault::kNoColon},
                             {"SpaceInName", get("x y: z\r\n"), HttpFault::kFieldName},
                             {"HighOctetInName", get("\xc3\xbc: z\r\n"), HttpFault::kFieldName},
                             {"MostFields", many_fields(999), HttpFault::kNone},
                             {"TooManyFields", many_fields(1000), HttpFault::kTooManyFields},  // HTP-31
                             {"LargestHead", head_of_size(kMaxHttpHead), HttpFault::kNone},
                             {"HeadTooLarge", head_of_size(kMaxHttpHead + 1), HttpFault::kTooLarge},
                         }),
                         [](const auto& row) { return row.param.why; });

INSTANTIATE_TEST_SUITE_P(
    Framing, Request,
    ::testing::ValuesIn<RequestCase>({
        {"TwoHosts", get("Host: pkg.test\r\n"), HttpFault::kTwoHosts},  // HTP-07
        {"TwoHostsOtherCase", get("hOST: evil.test\r\n"), HttpFault::kTwoHosts},
        {"NoHost", "GET / HTTP/1.1\r\n\r\n", HttpFault::kHostMissing},
        {"EmptyHost", "GET / HTTP/1.1\r\nHost:\r\n\r\n", HttpFault::kHostMalformed},
        {"HostTabBefore", "GET / HTTP/1.1\r\nHost: \ta.test\r\n\r\n", HttpFault::kHostMalformed},
        {"HostTabBehind", "GET / HTTP/1.1\r\nHost: a.test \t\r\n\r\n", HttpFault::kHostMalformed},
        {"HostBlanks", "GET / HTTP/1.1\r\nHost:  a.test  \r\nX:\ta\t\r\n\r\n", HttpFault::kNone},
        {"ConnectionNamesHost", get("Connection: close, Host\r\n"), HttpFault::kConnection},  // HTP-24
        {"ConnectionNamesLength", get("Connection: content-length\r\n"), HttpFault::kConnection},
        {"ConnectionNamesEncoding", get("Connection: x-a, Transfer-Encoding\r\n"), HttpFault::kConnection},
        {"HostList", "GET / HTTP/1.1\r\nHost: a.test, b.test\r\n\r\n", HttpFault::kHostMalformed},
        {"HostUserInfo", "GET / HTTP/1.1\r\nHost: a@b.test\r\n\r\n", HttpFault::kHostMalformed},
        {"HostMalformedIn10", "GET / HTTP/1.0\r\nHost: a/b\r\n\r\n", HttpFault::kHostMalformed},
        {"Length", get("Content-Length: 5\r\n"), HttpFault::kNone},
        {"LengthZero", get("Content-Length: 0\r\n"), HttpFault::kNone},
        {"LengthLargest", get("Content-Length: 9223372036854775807\r\n"), HttpFault::kNone},
        {"LengthOverSigned", get("Content-Length: 9223372036854775808\r\n"), HttpFault::kContentLength},
        {"Length2To64", get("Content-Length: 18446744073709551616\r\n"), HttpFault::kContentLength},  // HTP-12
        {"LengthPlus", get("Content-Length: +5\r\n"), HttpFault::kContentLength},
        {"LengthMinus", get("Content-Length: -5\r\n"), HttpFault::kContentLength},
        {"LengthList", get("Content-Length: 5,5\r\n"), HttpFault::kContentLength},
        {"LengthListOfTwo", get("Content-Length: 5, 6\r\n"), HttpFault::kContentLength},
        {"LengthEmpty", get("Content-Length:\r\n"), HttpFault::kContentLength},
        {"LengthHex", get("Content-Length: 0x5\r\n"), HttpFault::kContentLength},
        {"LengthLeadingZero", get("Content-Length: 05\r\n"), HttpFault::kContentLength},
        {"LengthUnderscore", get("Content-Length: 1_0\r\n"), HttpFault::kContentLength},
        {"LengthSpaceInside", get("Content-Length: 1 0\r\n"), HttpFault::kContentLength},
        {"LengthTwice", get("Content-Length: 5\r\nContent-Length: 5\r\n"), HttpFault::kContentLength},
        {"LengthTwiceDiffers", get("Content-Length: 5\r\ncontent-length: 6\r\n"), HttpFault::kContentLength},
        {"Chunked", get("Transfer-Encoding: chunked\r\n"), HttpFault::kNone},
        {"ChunkedUpper", get("Transfer-Encoding: Chunked\r\n"), HttpFault::kNone},  // HTP-11
        {"ChunkedComma", get("Transfer-Encoding: chunked,\r\n"), HttpFault::kTransferEncoding},
        {"ChunkedGzip", get("Transfer-Encoding: chunked, gzip\r\n"), HttpFault::kTransferEncoding},
        {"GzipChunked", get("Transfer-Encoding: gzip, chunked\r\n"), HttpFault::kTransferEncoding},
        {"Identity", get("Transfer-Encoding: identity\r\n"), HttpFault::kTransferEncoding},
        {"EncodingEmpty", get("Transfer-Encoding:\r\n"), HttpFault::kTransferEncoding},
        {"EncodingTwice", get("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"),
         HttpFault::kTransferEncoding},
        {"EncodingParameter", get("Transfer-Encoding: chunked;q=1\r\n"), HttpFault::kTransferEncoding},
        {"EncodingVerticalTab",
         get("Transfer-Encoding: \x0b"
             "chunked\r\n"),
         HttpFault::kControlOctet},
        {"EncodingIn10", "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
         HttpFault::kTransferEncoding},
        {"LengthAndEncoding", get("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"),
         HttpFault::kLengthAndEncoding},
        {"EncodingAndLength", get("Transfer-Encoding: chunked\r\nContent-Length: 0\r\n"),
         HttpFault::kLengthAndEncoding},
        {"ConnectWithBody", "CONNECT a.test:443 HTTP/1.1\r\nHost: a.test\r\nContent-Length: 3\r\n\r\n",
         HttpFault::kBodyNotAllowed},
        {"ConnectionNotTokens", get("Connection: close; x\r\n"), HttpFault::kConnection},
        {"UpgradeNotTokens", get("Upgrade: a b\r\n"), HttpFault::kConnection},
    }),
    [](const auto& row) { return row.param.why; });

const HttpRequestHead& done(HttpRequestReader& reader, std::string_view octets) {
  EXPECT_EQ(reader.feed(octets), HttpState::kDone) << to_string(reader.fault());
  return reader.head();
}

TEST(HttpRequest, PartsOfAnOriginFormRequest) {
  HttpRequestReader reader;
  const auto& head = done(reader,
                          "POST /a?b HTTP/1.1\r\nHost: Pkg.test:8080\r\nContent-Length:  12 \r\nX-A: b \t\r\nExpect: "
                          "100-Continue\r\n\r\nbody");
  EXPECT_EQ(head.method, "POST");
  EXPECT_EQ(head.form, TargetForm::kOrigin);
  EXPECT_EQ(head.path, "/a?b");
  EXPECT_EQ(head.host.host, "Pkg.test");
  EXPECT_EQ(head.host.port, 8080);
  EXPECT_EQ(head.body, BodyKind::kLength);
  EXPECT_EQ(head.content_length, 12u);
  EXPECT_TRUE(head.keep_alive);
  EXPECT_TRUE(head.expect_continue);
  ASSERT_NE(head.find("x-a"), nullptr);
  EXPECT_EQ(head.find("x-a")->value, "b");
  EXPECT_EQ(head.find("x-b"), nullptr);
  EXPECT_EQ(reader.raw().substr(reader.raw().size() - 4), "\r\n\r\n");
}

TEST(HttpRequest, AbsoluteFormGivesBothNames) {  // HTP-05
  HttpRequestReader reader;
  const auto& head = done(reader, "GET http://pkg.test:81?q HTTP/1.1\r\nHost: evil.test\r\n\r\n");
  EXPECT_EQ(head.form, TargetForm::kAbsolute);
  EXPECT_EQ(head.scheme, "http");
  EXPECT_EQ(head.target_authority.host, "pkg.test");
  EXPECT_EQ(head.target_authority.port, 81);
  EXPECT_EQ(head.path, "?q");
  EXPECT_EQ(head.host.host, "evil.test");
}

TEST(HttpRequest, PipelinedRequestsAreTakenOneByOne) {
  const std::string two = get("") + "GET /2 HTTP/1.0\r\nHost: b.test\r\n\r\n";
  HttpRequestReader reader;
  done(reader, two);
  const std::size_t first = reader.consumed();
  EXPECT_EQ(first, get("").size());
  EXPECT_EQ(reader.feed("anything"), HttpState::kDone);  // takes nothing until reset
  EXPECT_EQ(reader.consumed(), 0u);
  reader.reset();
  const auto& head = done(reader, std::string_view(two).substr(first));
  EXPECT_EQ(head.host.host, "b.test");
  EXPECT_EQ(head.path, "/2");
  EXPECT_FALSE(head.keep_alive);
  EXPECT_EQ(first + reader.consumed(), two.size());
}

TEST(HttpRequest, ConnectionAndUpgrade) {
  HttpRequestReader close;
  EXPECT_FALSE(done(close, get("Connection: x, CLOSE\r\n")).keep_alive);
  HttpRequestReader old;
  EXPECT_TRUE(done(old, "GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n").keep_alive);
  HttpRequestReader socket;
  const auto& head = done(socket, get("Connection: Upgrade\r\nUpgrade: WebSocket\r\n"));
  EXPECT_TRUE(head.connection_upgrade);
  EXPECT_TRUE(head.upgrade_websocket);
  EXPECT_FALSE(head.upgrade_h2c);
  HttpRequestReader both;
  EXPECT_FALSE(done(both, get("Upgrade: websocket, x\r\n")).upgrade_websocket);
}

TEST(HttpRequest, ClearHttp2UpgradeIsSeenInEveryForm) {  // HTP-27
  for (const char* fields : {"Upgrade: h2c\r\n", "Upgrade: websocket, H2C\r\n", "Upgrade: x\r\nUpgrade: h2c\r\n",
                             "HTTP2-Settings: AAMAAABk\r\n"}) {
    HttpRequestReader reader;
    EXPECT_TRUE(done(reader, get(fields)).upgrade_h2c) << fields;
  }
}

TEST(HttpRequest, ViewsOutliveAMove) {
  HttpRequestReader reader;
  done(reader, get("x: y\r\n"));
  const HttpRequestReader moved = std::move(reader);
  EXPECT_EQ(moved.head().host.host, "pkg.test");
  EXPECT_EQ(moved.head().find("X")->value, "y");
}

struct ResponseCase {
  const char* why;
  const char* octets;
  ResponseTo request;
  HttpFault fault;
  BodyKind body;
};

class Response : public ::testing::TestWithParam<ResponseCase> {};

TEST_P(Response, BodyFollowsTheRules) {  // RFC 9112 §6.3
  HttpResponseReader reader;
  reader.feed(GetParam().octets, GetParam().request);
  ASSERT_EQ(to_string(reader.fault()), to_string(GetParam().fault));
  if (GetParam().fault != HttpFault::kNone) return;
  ASSERT_EQ(reader.state(), HttpState::kDone);
  EXPECT_EQ(reader.head().body, GetParam().body);
}

INSTANTIATE_TEST_SUITE_P(
    Responses, Response,
    ::testing::ValuesIn<ResponseCase>({
        {"Length", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", ResponseTo::kOther, HttpFault::kNone,
         BodyKind::kLength},
        {"LengthZero", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", ResponseTo::kOther, HttpFault::kNone,
         BodyKind::kNone},
        {"Chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", ResponseTo::kOther, HttpFault::kNone,
         BodyKind::kChunked},
        {"UntilClose", "HTTP/1.1 200 OK\r\n\r\n", ResponseTo::kOther, HttpFault::kNone, BodyKind::kUntilClose},
        {"ToHead", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", ResponseTo::kHead, HttpFault::kNone,
         BodyKind::kNone},
        {"NoContent", "HTTP/1.1 204 No Content\r\n\r\n", ResponseTo::kOther, HttpFault::kNone, BodyKind::kNone},
        {"NotModified", "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", ResponseTo::kOther, HttpFault::kNone,
         BodyKind::kNone},
        {"Continue", "HTTP/1.1 100 Continue\r\n\r\n", ResponseTo::kOther, HttpFault::kNone, BodyKind::kNone},
        {"Switching", "HTTP/1.1 101 Switching Protocols\r\n\r\n", ResponseTo::kOther, HttpFault::kNone,
         BodyKind::kTunnel},
        {"ToConnect", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", ResponseTo::kConnect, HttpFault::kNone,
         BodyKind::kTunnel},
        {"RefusedConnect", "HTTP/1.1 403 No\r\nContent-Length: 5\r\n\r\n", ResponseTo::kConnect, HttpFault::kNone,
         BodyKind::kLength},
        {"NoReason", "HTTP/1.1 200\r\n\r\n", ResponseTo::kOther, HttpFault::kNone, BodyKind::kUntilClose},
        {"StatusOfTwoDigits", "HTTP/1.1 20 OK\r\n\r\n", ResponseTo::kOther, HttpFault::kStartLine, BodyKind::kNone},
        {"Status999", "HTTP/1.1 999 Denied\r\nContent-Length: 5\r\n\r\n", ResponseTo::kOther, HttpFault::kNone,
         BodyKind::kLength},
        {"Status099", "HTTP/1.1 099 OK\r\n\r\n", ResponseTo::kOther, HttpFault::kStartLine, BodyKind::kNone},
        {"GzipChunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", ResponseTo::kOther,
         HttpFault::kNone, BodyKind::kChunked},
        {"ChunkedNotLast", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, gzip\r\n\r\n", ResponseTo::kOther,
         HttpFault::kTransferEncoding, BodyKind::kNone},
        {"ChunkedTwice", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n", ResponseTo::kOther,
         HttpFault::kTransferEncoding, BodyKind::kNone},
        {"GzipAlone", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", ResponseTo::kOther,
         HttpFault::kTransferEncoding, BodyKind::kNone},
        {"ConnectionNamesLength", "HTTP/1.1 200 OK\r\nConnection: content-length\r\n\r\n", ResponseTo::kOther,
         HttpFault::kConnection, BodyKind::kNone},
        {"StatusOfFourDigits", "HTTP/1.1 2000 OK\r\n\r\n", ResponseTo::kOther, HttpFault::kStartLine, BodyKind::kNone},
        {"Icy", "ICY 200 OK\r\n\r\n", ResponseTo::kOther, HttpFault::kStartLine, BodyKind::kNone},
        {"LengthAndEncoding", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
         ResponseTo::kOther, HttpFault::kLengthAndEncoding, BodyKind::kNone},  // HTP-36
        {"BareLf", "HTTP/1.1 200 OK\n\n", ResponseTo::kOther, HttpFault::kBareLf, BodyKind::kNone},
    }),
    [](const auto& row) { return row.param.why; });

TEST(RebuiltHeads, ConnectionMayNameHostAndLengths) {  // HTP-24: whoever writes the head anew never leaves those out
  const std::string octets = get("Connection: host, content-length, x-a, connection\r\nContent-Length: 3\r\n");
  HttpRequestReader as_it_came, rebuilt(HttpLimits{.rebuilt = true});
  EXPECT_EQ(as_it_came.feed(octets), HttpState::kFailed);
  EXPECT_EQ(as_it_came.fault(), HttpFault::kConnection);
  ASSERT_EQ(rebuilt.feed(octets), HttpState::kDone);
  EXPECT_EQ(rebuilt.head().content_length, 3u);
  HttpRequestReader no_list(HttpLimits{.rebuilt = true});
  EXPECT_EQ(no_list.feed(get("Connection: a b\r\n")), HttpState::kFailed);
}

TEST(HeadLimits, AreTheReadersOwnAndNeverAboveTheCaps) {
  const auto fault = [](HttpLimits limits, const std::string& octets) {
    HttpRequestReader reader(limits);
    reader.feed(octets);
    return reader.fault();
  };
  const std::string plain = get("");
  EXPECT_EQ(fault({.head = plain.size()}, plain), HttpFault::kNone);
  EXPECT_EQ(fault({.head = plain.size() - 1}, plain), HttpFault::kTooLarge);
  EXPECT_EQ(fault({.fields = 1}, plain), HttpFault::kNone);
  EXPECT_EQ(fault({.fields = 1}, get("x: y\r\n")), HttpFault::kTooManyFields);
  EXPECT_EQ(fault({.target = 3}, line("GET /ab HTTP/1.1")), HttpFault::kNone);
  EXPECT_EQ(fault({.target = 3}, line("GET /abc HTTP/1.1")), HttpFault::kTargetTooLong);
  EXPECT_EQ(fault({.head = 1 << 30}, head_of_size(kMaxHttpHead + 1)), HttpFault::kTooLarge);
  EXPECT_EQ(fault({.fields = 1 << 30}, many_fields(1000)), HttpFault::kTooManyFields);
}

}  // namespace
}  // namespace sallyport::wire
