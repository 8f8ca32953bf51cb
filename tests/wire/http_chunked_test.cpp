#include "wire/http_chunked.hpp"

#include <gtest/gtest.h>

#include <string>

namespace sallyport::wire {
namespace {

struct Case {
  const char* why;
  std::string octets;
  HttpState state;
  HttpFault fault;
  std::size_t end;          // consumed
  std::uint64_t body_size;  // data octets
};

class Chunked : public ::testing::TestWithParam<Case> {};

TEST_P(Chunked, EndsAtTheSameOctetForEverySplit) {  // HTP-14
  const auto& row = GetParam();
  const std::size_t step = row.octets.size() > 4000 ? 4999 : 1;
  for (std::size_t cut = 0; cut <= row.octets.size(); cut += step) {
    ChunkedReader reader;
    reader.feed(std::string_view(row.octets).substr(0, cut));
    std::size_t consumed = reader.consumed();
    reader.feed(std::string_view(row.octets).substr(cut));
    consumed += reader.consumed();
    ASSERT_EQ(reader.state(), row.state) << "cut at " << cut << ": " << to_string(reader.fault());
    ASSERT_EQ(to_string(reader.fault()), to_string(row.fault)) << "cut at " << cut;
    ASSERT_EQ(consumed, row.end) << "cut at " << cut;
    if (row.state == HttpState::kDone) ASSERT_EQ(reader.body_size(), row.body_size);
  }
}

std::string tiny_chunks(int count) {
  std::string out;
  for (int i = 0; i < count; ++i) out += "1\r\nx\r\n";
  return out + "0\r\n\r\n";
}

constexpr auto kDone = HttpState::kDone;
constexpr auto kFailed = HttpState::kFailed;
constexpr auto kMore = HttpState::kNeedMore;

INSTANTIATE_TEST_SUITE_P(
    Bodies, Chunked,
    ::testing::ValuesIn<Case>({
        {"Empty", "0\r\n\r\n", kDone, HttpFault::kNone, 5, 0},
        {"OneAndWhatFollows", "5\r\nhello\r\n0\r\n\r\nGET", kDone, HttpFault::kNone, 15, 5},
        {"HexInBothCases", "a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n", kDone, HttpFault::kNone, 35, 20},
        {"Extension", "1;a=\"b\"\r\nx\r\n0;c\r\n\r\n", kDone, HttpFault::kNone, 19, 1},
        {"Trailers", "0\r\nX-A: b\r\nX-B:\r\n\r\n", kDone, HttpFault::kNone, 19, 0},
        {"SixteenDigits", "0000000000000001\r\nx\r\n0\r\n\r\n", kDone, HttpFault::kNone, 26, 1},
        {"TinyChunks", tiny_chunks(100'000), kDone, HttpFault::kNone, 600'005, 100'000},
        {"NoLastCrLf", "0\r\n", kMore, HttpFault::kNone, 3, 0},
        {"SeventeenDigits", "00000000000000001\r\n", kFailed, HttpFault::kChunkSize, 17, 0},
        {"OverSigned", "8000000000000000\r\n", kFailed, HttpFault::kChunkSize, 16, 0},
        {"Underscore", "0_2e\r\n", kFailed, HttpFault::kChunkSize, 2, 0},
        {"HexPrefix", "0x2\r\n", kFailed, HttpFault::kChunkSize, 2, 0},
        {"Plus", "+2\r\n", kFailed, HttpFault::kChunkSize, 1, 0},
        {"Minus", "-2\r\n", kFailed, HttpFault::kChunkSize, 1, 0},
        {"LeadingSpace", " 2\r\n", kFailed, HttpFault::kChunkSize, 1, 0},
        {"TrailingSpace", "2 \r\n", kFailed, HttpFault::kChunkSize, 2, 0},
        {"NoSize", "\r\n", kFailed, HttpFault::kChunkSize, 1, 0},
        {"OnlyExtension", ";a\r\n", kFailed, HttpFault::kChunkSize, 1, 0},
        {"SizeBareLf", "2\nab\r\n", kFailed, HttpFault::kChunkSize, 2, 0},
        {"SizeBareCr", "2\rab\r\n", kFailed, HttpFault::kChunkSize, 3, 0},
        {"ExtensionBareLf", "2;a\nb\r\n", kFailed, HttpFault::kChunkExtension, 4, 0},
        {"ExtensionBareCr", "2;a\rb\r\n", kFailed, HttpFault::kChunkSize, 5, 0},
        {"ExtensionNul", std::string("2;\0\r\n", 5), kFailed, HttpFault::kChunkExtension, 3, 0},
        {"DataTooLong", "2\r\nabc\r\n", kFailed, HttpFault::kChunkEnd, 6, 0},
        {"DataEndBareLf", "2\r\nab\n", kFailed, HttpFault::kChunkEnd, 6, 0},
        {"DataEndBareCr", "2\r\nab\rx", kFailed, HttpFault::kChunkEnd, 7, 0},
        {"TrailerLength", "0\r\nContent-Length: 5\r\n\r\n", kFailed, HttpFault::kTrailer, 18, 0},
        {"TrailerEncoding", "0\r\nTRANSFER-ENCODING: chunked\r\n\r\n", kFailed, HttpFault::kTrailer, 21, 0},
        {"TrailerHost", "0\r\nHost: evil.test\r\n\r\n", kFailed, HttpFault::kTrailer, 8, 0},
        {"TrailerBareLf", "0\r\nX: y\n\r\n", kFailed, HttpFault::kTrailer, 8, 0},
        {"TrailerFold", "0\r\nX: y\r\n z\r\n\r\n", kFailed, HttpFault::kTrailer, 10, 0},
        {"TrailerNoName", "0\r\n: y\r\n\r\n", kFailed, HttpFault::kTrailer, 4, 0},
        {"LastBareLf", "0\r\n\n", kFailed, HttpFault::kTrailer, 4, 0},
        {"TrailersTooLong", "0\r\nX: " + std::string(ChunkedReader::kMaxTrailers, 'y'), kFailed, HttpFault::kTrailer,
         3 + ChunkedReader::kMaxTrailers + 1, 0},
        {"ExtensionsTooLong", "1;" + std::string(ChunkedReader::kMaxExtensions + 1, 'y'), kFailed,
         HttpFault::kChunkExtension, 2 + ChunkedReader::kMaxExtensions + 1, 0},
    }),
    [](const auto& row) { return row.param.why; });

TEST(ChunkedReader, TakesNothingAfterTheEnd) {
  ChunkedReader reader;
  ASSERT_EQ(reader.feed("0\r\n\r\n"), HttpState::kDone);
  EXPECT_EQ(reader.feed("0\r\n\r\n"), HttpState::kDone);
  EXPECT_EQ(reader.consumed(), 0u);
  reader.reset();
  EXPECT_EQ(reader.state(), HttpState::kNeedMore);
}

TEST(Chunked, RunsOfDataAreTheSameForEverySplit) {
  const std::string body = "3;a=b\r\nabc\r\nA\r\n0123456789\r\n0\r\nX: y\r\n\r\nbehind";
  for (std::size_t cut = 0; cut <= body.size(); ++cut) {
    ChunkedReader reader;
    std::string data;
    std::size_t consumed = 0;
    for (std::string_view part : {std::string_view(body).substr(0, cut), std::string_view(body).substr(cut)}) {
      while (!part.empty() && reader.state() == HttpState::kNeedMore) {
        std::string_view run;
        reader.next(part, run);
        data += run;
        consumed += reader.consumed();
        part.remove_prefix(reader.consumed());
      }
    }
    EXPECT_EQ(reader.state(), HttpState::kDone) << cut;
    EXPECT_EQ(data, "abc0123456789") << cut;
    EXPECT_EQ(consumed, body.size() - 6) << cut;
  }
}

}  // namespace
}  // namespace sallyport::wire
