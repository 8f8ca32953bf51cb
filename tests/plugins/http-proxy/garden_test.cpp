// HTP-14, HTP-15: the classes of payloads that http-garden collects, generated: every variant of a length, a coding, a
// chunk, a field line and a line end that some server takes differently from another. A request that is not refused is
// read by a strict origin as exactly one request, with the body that was meant; and nothing behind it is a request.
#include <tuple>

#include "proxy_bench.hpp"

namespace sallyport::http_proxy {
namespace {

struct Payload {
  std::string why, octets;
  const char* body;  // that an accepted request has; nullptr: it must be refused
};

std::string post(const std::string& fields, const std::string& body) {
  return "POST http://pkg.test/ HTTP/1.1\r\nHost: pkg.test\r\n" + fields + "\r\n" + body;
}

std::vector<Payload> payloads() {
  std::vector<Payload> out;
  const auto refuse = [&](std::string why, std::string octets) { out.push_back({why, octets, nullptr}); };
  const auto accept = [&](std::string why, std::string octets, const char* body) {
    out.push_back({why, octets, body});
  };
  const auto octet = [](int value) { return std::string(1, static_cast<char>(value)); };

  // Content-Length: what surrounds the digits.
  for (const char* value : {"+3",
                            "-3",
                            "3,",
                            ",3",
                            "3,3",
                            "3, 3",
                            "3 3",
                            "0x3",
                            "0o3",
                            "0b11",
                            "3.0",
                            "3e0",
                            "1_0",
                            "'3'",
                            "\"3\"",
                            "3;",
                            "03",
                            "003",
                            "99999999999999999999",
                            "18446744073709551619",
                            "9223372036854775811",
                            "\xd9\xa3",
                            "three",
                            "NaN",
                            "3\t4",
                            "--3",
                            "",
                            " "})
    refuse(std::string("length ") + value, post("Content-Length: " + std::string(value) + "\r\n", "abc"));
  accept("length", post("Content-Length: 3\r\n", "abc"), "abc");
  accept("length blanks", post("Content-Length: \t 3 \t\r\n", "abc"), "abc");
  accept("length zero", post("Content-Length: 0\r\n", ""), "");
  accept("length of a GET", "GET http://pkg.test/ HTTP/1.1\r\nHost: pkg.test\r\nContent-Length: 3\r\n\r\nabc", "abc");
  for (const char* other : {"Content-Length: 3", "content-length: 4", "Content-Length: ", "CONTENT-LENGTH:3"})
    refuse("two lengths", post("Content-Length: 3\r\n" + std::string(other) + "\r\n", "abc"));

  // Transfer-Encoding: which values are "chunked".
  const std::string chunked = "3\r\nabc\r\n0\r\n\r\n";
  for (const char* value : {"chunked,",
                            ",chunked",
                            "chunked,chunked",
                            "chunked, identity",
                            "identity, chunked",
                            "gzip, chunked",
                            "chunked;q=1",
                            "\"chunked\"",
                            "'chunked'",
                            "xchunked",
                            "chunkedx",
                            "chunked chunked",
                            "identity",
                            "gzip",
                            "",
                            "chunk",
                            "chunked\v",
                            "\vchunked",
                            "chunked\f",
                            "cow",
                            "chunked\xa0",
                            "\xc2\xa0"
                            "chunked",
                            "chun\tked",
                            "chunked\x1f",
                            "null",
                            "chunked/1"})
    refuse(std::string("coding ") + value, post("Transfer-Encoding: " + std::string(value) + "\r\n", chunked));
  for (const char* value : {"chunked", "Chunked", "CHUNKED", " \tchunked\t "})
    accept(std::string("coding ") + value, post("Transfer-Encoding:" + std::string(value) + "\r\n", chunked), "abc");
  for (const char* field :
       {"Transfer-Encoding : chunked", "Transfer-Encoding\t: chunked", " Transfer-Encoding: chunked",
        "Transfer-Encoding\r\n: chunked", "Transfer-Encoding:\r\n chunked", "Transfer-Encoding:\n chunked",
        "X: y\r\tTransfer-Encoding: chunked", "Transfer-Encoding: chunked\r", "\rTransfer-Encoding: chunked",
        "Transfer-Encoding\v: chunked", "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity"})
    refuse(std::string("field ") + field, post(std::string(field) + "\r\nContent-Length: 3\r\n", chunked));
  for (const char* name : {"Transfer_Encoding", "Transfer.Encoding", "X-Transfer-Encoding", "Transfer-Encodings"})
    accept(std::string("other field ") + name, post(std::string(name) + ": chunked\r\nContent-Length: 3\r\n", "abc"),
           "abc");
  for (const auto& [a, b] : {std::pair("Content-Length: 3\r\n", "Transfer-Encoding: chunked\r\n"),
                             std::pair("Content-Length: 0\r\n", "transfer-encoding: CHUNKED\r\n")}) {
    refuse("length, coding", post(std::string(a) + b, chunked));
    refuse("coding, length", post(std::string(b) + a, chunked));
  }
  refuse("coding in 1.0",
         "POST http://pkg.test/ HTTP/1.0\r\nHost: pkg.test\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked);

  // Chunks.
  const std::string te = "Transfer-Encoding: chunked\r\n";
  for (const char* size : {"0x3",
                           "0X3",
                           "+3",
                           "-3",
                           " 3",
                           "3 ",
                           "\t3",
                           "3\t",
                           "0_3",
                           "3_0",
                           "3,",
                           "g",
                           "",
                           "3g",
                           "00000000000000003",
                           "ffffffffffffffff",
                           "10000000000000003",
                           "8000000000000000",
                           "\"3\"",
                           "3\v",
                           "3\x01",
                           "3\xff",
                           "3.0",
                           "3\r",
                           "3\n"})
    refuse(std::string("chunk ") + size, post(te, std::string(size) + "\r\nabc\r\n0\r\n\r\n"));
  for (const char* size : {"3", "03", "0000000000000003"})
    accept(std::string("chunk ") + size, post(te, std::string(size) + "\r\nabc\r\n0\r\n\r\n"), "abc");
  accept("hex chunk", post(te, "A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n"), "01234567890123456789");
  for (const char* part : {"3\nabc\r\n0\r\n\r\n",
                           "3\rabc\r\n0\r\n\r\n",
                           "3\r\nabc\n0\r\n\r\n",
                           "3\r\nabc0\r\n\r\n",
                           "3\r\nabcd\r\n0\r\n\r\n",
                           "3\r\nab\r\n0\r\n\r\n",
                           "3\r\nabc\r\n0\n\r\n",
                           "3\r\nabc\r\n0\r\n\n",
                           "3\r\nabc\r\r\n0\r\n\r\n",
                           "3\r\nabcXX0\r\n\r\n",
                           "\r\n3\r\nabc\r\n0\r\n\r\n",
                           "3;a=\r\r\nabc\r\n0\r\n\r\n",
                           "3;a=\nabc\r\n0\r\n\r\n",
                           "3;a=b\rc\r\nabc\r\n0\r\n\r\n",
                           "3;\x01\r\nabc\r\n0\r\n\r\n",
                           "3 ;a=b\r\nabc\r\n0\r\n\r\n",
                           "3\r\nabc\r\n0\r\nContent-Length: 9\r\n\r\n",
                           "3\r\nabc\r\n0\r\nTransfer-Encoding: x\r\n\r\n",
                           "3\r\nabc\r\n0\r\nHost: evil.test\r\n\r\n",
                           "3\r\nabc\r\n0\r\n x: y\r\n\r\n",
                           "3\r\nabc\r\n0\r\nx : y\r\n\r\n",
                           "3\r\nabc\r\n0\r\nx\r\n\r\n",
                           "3\r\nabc\r\n0\r\nx: a\n\r\n",
                           "3\r\nabc\r\n0\r\n: y\r\n\r\n"})
    refuse(std::string("chunks ") + part, post(te, part));
  accept("extensions", post(te, "3;a;b=c;d=\"e\"\r\nabc\r\n0;f\r\n\r\n"), "abc");
  accept("trailers", post(te, "3\r\nabc\r\n0\r\nX: y\r\nZ:\r\n\r\n"), "abc");
  refuse("a long extension", post(te, "3;" + std::string(20'000, 'a') + "\r\nabc\r\n0\r\n\r\n"));
  refuse("long trailers", post(te, "0\r\nX: " + std::string(10'000, 'a') + "\r\n\r\n"));

  // Every octet in a name, before a colon, in a value, in a method and a target.
  for (int value = 0; value < 256; ++value) {
    const std::string c = octet(value), why = std::to_string(value);
    const bool token = std::isalnum(value) || (value && std::strchr("!#$%&'*+-.^_`|~", value));
    const bool control = (value < 0x20 && value != '\t') || value == 0x7f;
    const std::string name = post("X" + c + "Y: z\r\nContent-Length: 3\r\n", "abc");
    if (token || value == ':') {
      accept("name octet " + why, name, "abc");
    } else {
      refuse("name octet " + why, name);
    }
    if (!token && value != ':')
      refuse("octet before colon " + why, post("X" + c + ": z\r\nContent-Length: 3\r\n", "abc"));
    const std::string in_value = post("X: a" + c + "b\r\nContent-Length: 3\r\n", "abc");
    if (control) {
      refuse("value octet " + why, in_value);
    } else {
      accept("value octet " + why, in_value, "abc");
    }
    const std::string target =
        "POST http://pkg.test/a" + c + "b HTTP/1.1\r\nHost: pkg.test\r\nContent-Length: 3\r\n\r\nabc";
    if (value > 0x20 && value < 0x7f && value != '#') {
      accept("target octet " + why, target, "abc");
    } else {
      refuse("target octet " + why, target);
    }
    if (!token) {
      refuse("method octet " + why,
             "PO" + c + "ST http://pkg.test/ HTTP/1.1\r\nHost: pkg.test\r\nContent-Length: 3\r\n\r\nabc");
    }
    if (value != '1' && value != '0')
      refuse("version octet " + why,
             "POST http://pkg.test/ HTTP/1." + c + "\r\nHost: pkg.test\r\nContent-Length: 3\r\n\r\nabc");
    if (!std::isalnum(value) && value != '-' && value != '_' && value != '.' && value != ':' && value != ' ' &&
        value != '\t') {
      refuse("host octet " + why,
             "POST http://pkg.test/ HTTP/1.1\r\nHost: pkg" + c + "test\r\nContent-Length: 3\r\n\r\nabc");
    }
  }

  // Request lines and line ends.
  for (const char* line :
       {"POST  http://pkg.test/ HTTP/1.1", "POST http://pkg.test/  HTTP/1.1", " POST http://pkg.test/ HTTP/1.1",
        "POST\thttp://pkg.test/\tHTTP/1.1", "POST http://pkg.test/ HTTP/1.1 ", "POST http://pkg.test/ http/1.1",
        "POST http://pkg.test/", "POST http://pkg.test/ HTTP/11", "POST http://pkg.test/ HTTP/1.1.1",
        "POST http://pkg.test/ HTTP/01.1", "POST http://pkg.test/ HTTP /1.1", "POST http://pkg.test/ XTTP/1.1",
        "\r\nPOST http://pkg.test/ HTTP/1.1", "\nPOST http://pkg.test/ HTTP/1.1", "POST http://pkg.test/ HTTP/1.1\r",
        "POST http://pkg.test/ a HTTP/1.1", "POST http://pkg.test/\\ a HTTP/1.1", "POST /\thttp://pkg.test/ HTTP/1.1"})
    refuse(std::string("line ") + line, std::string(line) + "\r\nHost: pkg.test\r\nContent-Length: 3\r\n\r\nabc");
  refuse("line feeds alone", "POST http://pkg.test/ HTTP/1.1\nHost: pkg.test\nContent-Length: 3\n\nabc");
  refuse("line feed at the end", "POST http://pkg.test/ HTTP/1.1\r\nHost: pkg.test\r\nContent-Length: 3\r\n\nabc");
  for (const char* fold :
       {"X: a\r\n b", "X: a\r\n\tb", "X:\r\n b", " X: a", "\tX: a", "X: a\n b", "Content-Length:\r\n 3"})
    refuse(std::string("fold ") + fold, post(std::string(fold) + "\r\nContent-Length: 3\r\n", "abc"));
  for (const char* hosts : {"Host: pkg.test", "host: evil.test", "Host: ", "HOST: pkg.test"})
    refuse("two hosts", post(std::string(hosts) + "\r\nContent-Length: 3\r\n", "abc"));
  for (const char* expect : {"100-continue, x", "x", "100-Continue; q=1"})
    refuse(std::string("expect ") + expect,
           post("Expect: " + std::string(expect) + "\r\nContent-Length: 3\r\n", "abc"));
  for (const char* connection : {"close;", "a b", "\"close\"", "close\x01", "(close)", "content-length:3"})
    refuse(std::string("connection ") + connection,
           post("Connection: " + std::string(connection) + "\r\nContent-Length: 3\r\n", "abc"));
  accept("connection empties", post("Connection: ,, close ,,\r\nContent-Length: 3\r\n", "abc"), "abc");
  return out;
}

// The smuggled request that every payload carries behind its body.
constexpr char kBehind[] = "GET http://evil.test/smuggled HTTP/1.1\r\nHost: evil.test\r\n\r\n";

TEST_F(ProxyBench, EveryPayloadIsRefusedOrOneRequest) {
  config.header_timeout = config.body_timeout = 5s;
  Witness witness;
  Origin origin(kGood, 80, witness.serve()), evil(kOther, 80, witness.serve());
  start();
  std::size_t accepted = 0, refused = 0;
  for (const Payload& payload : payloads()) {
    const std::size_t before = witness.requests().size();
    Peer client = connect();
    client.send(payload.octets + kBehind);
    client.shutdown_send();
    const std::string got = client.receive_all();
    ASSERT_NE(client.end, "hang") << payload.why;
    const auto requests = witness.requests();
    if (payload.body) {
      ++accepted;
      ASSERT_EQ(requests.size(), before + 1) << payload.why << "\n" << payload.octets << "\n" << got;
      EXPECT_EQ(requests.back().body, payload.body) << payload.why;
      EXPECT_TRUE(got.starts_with("HTTP/1.1 200 ")) << payload.why;
      EXPECT_EQ(requests.back().head.find("smuggled"), std::string::npos) << payload.why;
    } else {
      ++refused;
      // A chunk can be found bad only after the head has gone: then the origin has no whole request.
      EXPECT_EQ(requests.size(), before) << payload.why << "\n" << payload.octets << "\n" << got;
      EXPECT_TRUE(got.empty() || got.starts_with("HTTP/1.1 4") || got.starts_with("HTTP/1.1 505"))
          << payload.why << got;
    }
  }
  EXPECT_EQ(evil.connections(), 0u);
  EXPECT_FALSE(witness.malformed());
  EXPECT_GT(accepted, 200u);
  EXPECT_GT(refused, 700u);
}

TEST_F(ProxyBench, HundredThousandTinyChunks) {  // HTP-14
  Witness witness;
  Origin origin(kGood, 80, witness.serve());
  start();
  std::string body;
  for (int i = 0; i < 100'000; ++i) body += "1\r\nx\r\n";
  const auto began = std::chrono::steady_clock::now();
  const std::string got = ask(post("Transfer-Encoding: chunked\r\nConnection: close\r\n", body + "0\r\n\r\n"));
  EXPECT_EQ(status_of(got), "200");
  EXPECT_EQ(witness.requests().at(0).body, std::string(100'000, 'x'));
  EXPECT_LT(std::chrono::steady_clock::now() - began, 5s);
}

}  // namespace
}  // namespace sallyport::http_proxy
