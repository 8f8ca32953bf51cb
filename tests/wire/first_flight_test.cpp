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
    if (early != FirstFlight::kNeedMore) {
      EXPECT_EQ(early, expected) << "after " << size;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Flights, FirstFlightOf,
                         ::testing::ValuesIn<Case>({
                             {"Nothing", "", FirstFlight::kNeedMore},
                             {"Tls", "\x16\x03\x01\x02", FirstFlight::kTls},
                             {"TlsFirstOctet", "\x16", FirstFlight::kNeedMore},
                             {"NearlyTls", "\x16\x02\x01", FirstFlight::kOther},
                             {"SslV2", std::string("\x80\x2e\x01\x00\x02", 5), FirstFlight::kTls},
                             {"SslV2Tls", std::string("\x80\x2e\x01\x03\x01", 5), FirstFlight::kTls},
                             {"HighOctets", "\xff\xfb\x18\x01", FirstFlight::kOther},  // telnet negotiation
                             {"Http", "GET / HTTP/1.1\r\n", FirstFlight::kHttp},
                             {"HttpLowerCase", "get / http/1.1\n", FirstFlight::kHttp},
                             {"HttpTab", "GET\t/ HTTP/1.1\n", FirstFlight::kHttp},
                             {"Http09", "GET /\n", FirstFlight::kHttp},
                             {"HttpAfterEmptyLines", "\r\n\nGET / HTTP/1.1\r\n", FirstFlight::kHttp},
                             {"HttpUnknownMethod", "SLUDGE / HTTP/1.1\r\n", FirstFlight::kHttp},
                             {"HttpUnknownMethodLongTarget", "SLUDGE /" + std::string(4000, 'a') + " HTTP/1.1\r\n",
                              FirstFlight::kHttp},
                             {"Http2Preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", FirstFlight::kHttp2},
                             {"Http2PrefaceCut", "PRI * HTTP/2.0\r\n", FirstFlight::kNeedMore},
                             {"Http2PrefaceChanged", "PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n", FirstFlight::kHttp},
                             {"Ssh", "SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n", FirstFlight::kOther},
                             {"Smtp", "EHLO client.test\r\n", FirstFlight::kOther},
                             {"Redis", "*1\r\n$4\r\nPING\r\n", FirstFlight::kOther},
                             {"Postgres", std::string("\0\0\0\x08\x04\xd2\x16\x2f", 8), FirstFlight::kOther},
                             {"TextWithoutEnd", "hello", FirstFlight::kNeedMore},
                             {"TextOverTheLimit", std::string(kFirstLineLimit, 'a'), FirstFlight::kHttp},
                             {"BlanksOverTheLimit", std::string(kFirstLineLimit + 2, '\n'), FirstFlight::kHttp},
                             {"MethodWithoutBlank", "GETX\n", FirstFlight::kOther},
                         }),
                         [](const auto& row) { return row.param.why; });

}  // namespace
}  // namespace sallyport::wire
