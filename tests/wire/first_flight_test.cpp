#include "wire/first_flight.hpp"

#include <gtest/gtest.h>

#include <string>

namespace sallyport::wire {
namespace {

struct Case {
  const char* why;
  std::string octets;
  FirstFlight expected;
};

class FirstFlightOf : public ::testing::TestWithParam<Case> {};

TEST_P(FirstFlightOf, IsKnownAndNoPrefixSaysOtherwise) {
  const auto& [why, octets, expected] = GetParam();
  EXPECT_EQ(first_flight(octets), expected);
  for (std::size_t size = 0; size < octets.size(); ++size) {
    const FirstFlight early = first_flight(std::string_view(octets).substr(0, size));
    if (early != FirstFlight::kNeedMore && early != FirstFlight::kOtherSoFar) {
      EXPECT_EQ(early, expected) << "after " << size;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    Flights, FirstFlightOf,
    ::testing::ValuesIn<Case>({
        {"Nothing", "", FirstFlight::kNeedMore},
        {"Tls", "\x16\x03\x01\x02", FirstFlight::kTls},
        {"TlsFirstOctet", "\x16", FirstFlight::kNeedMore},
        {"RecordVersion2", "\x16\x02\x01", FirstFlight::kTls},
        {"RecordVersion16", "\x16\x10\x01", FirstFlight::kOtherSoFar},
        {"EmptyChangeCipherSpecFirst", std::string("\x14\x03\x01\0\0\x16\x03\x01", 8), FirstFlight::kTls},
        {"ChangeCipherSpecFirst", std::string("\x14\x03\x01\0\x01\x01\x16\x03\x01", 9), FirstFlight::kTls},
        {"AlertFirst", std::string("\x15\x03\x01\0\x02\x01\x5a\x16\x03\x01", 10), FirstFlight::kTls},
        {"RecordTypeBefore", "\x13\x03\x01", FirstFlight::kOtherSoFar},
        {"RecordTypeAfter", "\x19\x03\x01", FirstFlight::kOtherSoFar},
        {"SslV2", std::string("\x80\x2e\x01\x00\x02", 5), FirstFlight::kTls},
        {"SslV2Tls", std::string("\x80\x2e\x01\x03\x01", 5), FirstFlight::kTls},
        {"SslV2TooLong", "\xff\xfb\x01\x03\x01", FirstFlight::kOtherSoFar},
        {"Http", "GET / HTTP/1.1\r\n", FirstFlight::kHttp},
        {"HttpLowerCase", "get / http/1.1\n", FirstFlight::kHttp},
        {"HttpTab", "GET\t/ HTTP/1.1\n", FirstFlight::kHttp},
        {"Http09", "GET /\n", FirstFlight::kHttp},
        {"HttpAfterEmptyLines", "\r\n\nGET / HTTP/1.1\r\n", FirstFlight::kHttp},
        {"HttpUnknownMethod", "SLUDGE / HTTP/1.1\r\n", FirstFlight::kHttp},
        {"HttpUnknownMethodLongTarget", "SLUDGE /" + std::string(4000, 'a') + " HTTP/1.1\r\n", FirstFlight::kHttp},
        {"Http2Preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", FirstFlight::kHttp2},
        {"Http2PrefaceCut", "PRI * HTTP/2.0\r\n", FirstFlight::kNeedMore},
        {"Http2PrefaceChanged", "PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n", FirstFlight::kHttp},
        {"Ssh", "SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n", FirstFlight::kOther},
        {"Smtp", "EHLO client.test\r\n", FirstFlight::kOther},
        // Blanks of lenient servers
        {"VerticalTabBefore", "\x0bGET / HTTP/1.1\r\n", FirstFlight::kHttp},
        {"FormFeedBefore", "\x0cGET /1 HTTP/1.1\r\n", FirstFlight::kHttp},
        {"SeparatorBefore", "\x1cGET /2 HTTP/1.1\r\n", FirstFlight::kHttp},
        {"NextLineBefore", "\x85GET /3 HTTP/1.1\r\n", FirstFlight::kHttp},
        {"NoBreakSpaceBefore", "\xa0GET /4 HTTP/1.1\r\n", FirstFlight::kHttp},
        {"ManyBlanksBefore", "\x85\xa0\x0b\n\x1fGET /5 HTTP/1.1\r\n", FirstFlight::kHttp},
        {"RecordTypeBlankBefore", "\x14 GET /5 HTTP/1.1\r\n", FirstFlight::kHttp},
        {"VerticalTabBehind", "GET\x0b/6 HTTP/1.1\r\n", FirstFlight::kHttp},
        {"SeparatorBehind", "POST\x1f/7 HTTP/1.1\r\n", FirstFlight::kHttp},
        {"HighBlankBehind", "GET\xa0/7", FirstFlight::kHttp},
        {"ControlInTarget",
         "COPY /\x01"
         "8 HTTP/1.1\r\n",
         FirstFlight::kHttp},
        {"HighOctetInTarget",
         "COPY /\xff"
         "8 HTTP/1.1\r\n",
         FirstFlight::kHttp},
        {"NulInTarget", std::string("COPY /\0 HTTP/1.1\r\n", 18), FirstFlight::kHttp},
        {"ControlLineUnended", "COPY /\x01", FirstFlight::kOtherSoFar},
        {"ControlLineEnded", "COPY /\x01\n", FirstFlight::kOther},
        {"ControlLineOverTheLimit", std::string(kFirstLineLimit, '\x01'), FirstFlight::kHttp},
        {"NulOverTheLimit", std::string(kFirstLineLimit, '\0'), FirstFlight::kOther},
        // First packets of other protocols: sent on at once, whether decided or not
        {"Telnet", "\xff\xfb\x18", FirstFlight::kOtherSoFar},
        {"TelnetWillEcho", "\xff\xfb\x01", FirstFlight::kOtherSoFar},
        {"Mqtt", std::string("\x10\x0c\0\x04MQTT\x04\x02\0<\0\0", 14), FirstFlight::kOtherSoFar},
        {"LdapAnonymousBind", std::string("0\x0c\x02\x01\x01`\x07\x02\x01\x03\x04\0\x80\0", 14),
         FirstFlight::kOtherSoFar},
        {"LdapSimpleBind",
         "0\x14\x02\x01\x01`\x0f\x02\x01\x03\x04\x04"
         "cn=a\x80\x04pass",
         FirstFlight::kOtherSoFar},
        {"Tds", std::string("\x12\x01\0\x2f\0\0\x01\0", 8), FirstFlight::kOtherSoFar},
        {"Cassandra", std::string("\x04\0\0\0\x05\0\0\0\0", 9), FirstFlight::kOtherSoFar},
        {"Amqp", std::string("AMQP\0\0\x09\x01", 8), FirstFlight::kOtherSoFar},
        {"Kafka", std::string("\0\0\0\x1a\0\x12\0\0", 8), FirstFlight::kOtherSoFar},
        {"MongoDb", std::string("\x3a\0\0\0\x01\0\0\0\0\0\0\0\xd4\x07\0\0", 16), FirstFlight::kOtherSoFar},
        {"MongoDbOf276Octets", std::string("\x14\x01\0\0\x01\0\0\0", 8), FirstFlight::kTls},  // the price
        {"Rdp", std::string("\x03\0\0\x13\x0e\xe0\0\0", 8), FirstFlight::kOtherSoFar},
        {"MySqlReply", std::string("\x20\0\0\x01\x85\xae\x7f\0", 8), FirstFlight::kOtherSoFar},
        {"Socks5", "\x05\x01\x02", FirstFlight::kOtherSoFar},
        {"MemcachedBinary", std::string("\x80\x0b\0\0\0\0\0\0", 8), FirstFlight::kOtherSoFar},
        {"Redis", "*1\r\n$4\r\nPING\r\n", FirstFlight::kOther},
        {"Postgres", std::string("\0\0\0\x08\x04\xd2\x16\x2f", 8), FirstFlight::kOtherSoFar},
        {"TextWithoutEnd", "hello", FirstFlight::kNeedMore},
        {"TextOverTheLimit", std::string(kFirstLineLimit, 'a'), FirstFlight::kHttp},
        {"BlanksOverTheLimit", std::string(kFirstLineLimit + 2, '\n'), FirstFlight::kHttp},
        {"MethodWithoutBlank", "GETX\n", FirstFlight::kOther},
    }),
    [](const auto& row) { return row.param.why; });

TEST(FirstFlight, EveryRecordTypeAndVersionIsTls) {
  for (int type = 0; type < 256; ++type) {
    for (int version = 0; version < 256; ++version) {
      const std::string octets{static_cast<char>(type), static_cast<char>(version)};
      const bool tls = type >= 20 && type <= 24 && version <= 15;
      EXPECT_EQ(first_flight(octets) == FirstFlight::kTls, tls) << type << " " << version;
    }
  }
}

TEST(FirstFlight, EveryBlankOfEveryServerMakesHttp) {
  for (int octet = 0; octet < 256; ++octet) {
    if (octet > 0x20 && octet < 0x7f) continue;
    const std::string blank(1, static_cast<char>(octet));
    EXPECT_EQ(first_flight(blank + "GET /0 HTTP/1.1\r\n"), FirstFlight::kHttp) << octet;
    if (octet == '\n') continue;  // ends the line
    EXPECT_EQ(first_flight("GET" + blank + "/0 HTTP/1.1\r\n"), FirstFlight::kHttp) << octet;
    EXPECT_EQ(first_flight("SLUDGE" + blank + "/" + blank + "0 http/1.1\r\n"), FirstFlight::kHttp) << octet;
  }
}

}  // namespace
}  // namespace sallyport::wire
