#include <gtest/gtest.h>

#include "message_builder.hpp"
#include "wire/dns_message.hpp"

namespace sallyport::wire {
namespace {

MessageBuilder builder() { return {}; }

struct QueryRow {
  const char* why;
  Octets message;
  QueryOutcome outcome;
  bool has_question;
  bool has_edns;
};
void PrintTo(const QueryRow& row, std::ostream* out) { *out << row.why; }

class Queries : public testing::TestWithParam<QueryRow> {};

TEST_P(Queries, HaveOneOutcome) {
  const DnsQuery query = read_query(GetParam().message);
  EXPECT_EQ(query.outcome, GetParam().outcome);
  EXPECT_EQ(query.question.has_value(), GetParam().has_question);
  EXPECT_EQ(query.edns.has_value(), GetParam().has_edns);
}

constexpr auto kSilence = QueryOutcome::kSilence;
constexpr auto kQuery = QueryOutcome::kQuery;
constexpr auto kFormErr = QueryOutcome::kFormErr;
constexpr auto kNotImp = QueryOutcome::kNotImp;
constexpr auto kRefused = QueryOutcome::kRefused;
constexpr auto kBadVers = QueryOutcome::kBadVers;

const std::string kLongest =
    std::string(63, 'a') + "." + std::string(63, 'b') + "." + std::string(63, 'c') + "." + std::string(61, 'd');

INSTANTIATE_TEST_SUITE_P(
    Wire, Queries,
    testing::ValuesIn<QueryRow>({
        {"Plain", builder().header(1, 0x0100, 1).question("api.example.test").octets, kQuery, true, false},
        {"WithOpt", builder().header(1, 0x0120, 1, 0, 0, 1).question("a.test").opt().octets, kQuery, true, true},
        {"AnyType", builder().header(1, 0, 1).question("a.test", 65535).octets, kQuery, true, false},
        {"Root", builder().header(1, 0, 1).question("").octets, kQuery, true, false},
        {"Empty", {}, kSilence, false, false},
        {"Octets11", Octets(11, 0), kSilence, false, false},
        {"Response", builder().header(1, 0x8100, 1).question("a.test").octets, kSilence, false, false},
        {"ResponseWithOpcode", builder().header(1, 0xa800, 1).question("a.test").octets, kSilence, false, false},
        {"HeaderOnly", builder().header(1, 0, 1).octets, kFormErr, false, false},
        // DNS-15
        {"PointerToItself", builder().header(1, 0, 1).pointer(12).u16(1).u16(1).octets, kFormErr, false, false},
        {"PointerLoop", builder().header(1, 0, 1).label("a").pointer(12).u16(1).u16(1).octets, kFormErr, false, false},
        {"PointerForward", builder().header(1, 0, 1).pointer(18).u16(1).u16(1).name("a").octets, kFormErr, false,
         false},
        {"PointerPastTheEnd", builder().header(1, 0, 1).pointer(0x3fff).u16(1).u16(1).octets, kFormErr, false, false},
        // DNS-16
        {"Label64", builder().header(1, 0, 1).question(std::string(64, 'a')).octets, kFormErr, false, false},
        {"Name256", builder().header(1, 0, 1).question(kLongest + "d").octets, kFormErr, false, false},
        {"Labels128", builder().header(1, 0, 1).question(repeat("a.", 128)).octets, kFormErr, false, false},
        {"Name255", builder().header(1, 0, 1).question(kLongest).octets, kQuery, true, false},
        // DNS-19
        {"NoQuestion", builder().header(1, 0, 0).octets, kFormErr, false, false},
        {"CookieAlone",
         builder().header(1, 0, 0, 0, 0, 1).opt(1232, 0, 0, {0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8}).octets, kFormErr,
         false, false},
        {"TwoQuestions", builder().header(1, 0, 2).question("a.test").question("b.test").octets, kFormErr, false,
         false},
        {"AnswerInside",
         builder().header(1, 0, 1, 1).question("a.test").pointer(12).record(1, 60, {192, 0, 2, 1}).octets, kFormErr,
         false, false},
        {"AuthorityInside", builder().header(1, 0, 1, 0, 1).question("a.test", 251).pointer(12).record(6, 0, {}).octets,
         kFormErr, false, false},
        {"TrailingOctet", builder().header(1, 0, 1).question("a.test").u8(0).octets, kFormErr, true, false},
        {"TrailingAfterOpt", builder().header(1, 0, 1, 0, 0, 1).question("a.test").opt().u8(0).octets, kFormErr, true,
         true},
        {"QuestionCutShort", builder().header(1, 0, 1).name("a.test").u16(1).octets, kFormErr, false, false},
        // DNS-20
        {"OpcodeStatus", builder().header(1, 0x1000, 1).question("a.test").octets, kNotImp, false, false},
        {"OpcodeNotify", builder().header(1, 0x2000, 1).question("a.test").octets, kNotImp, false, false},
        {"OpcodeUpdate", builder().header(1, 0x2800, 1, 0, 1).question("a.test").octets, kNotImp, false, false},
        {"Opcode15", builder().header(1, 0x7800, 0).octets, kNotImp, false, false},
        // DNS-21
        {"ClassChaos", builder().header(1, 0, 1).question("version.bind", 16, 3).octets, kRefused, true, false},
        {"ClassAny", builder().header(1, 0, 1).question("a.test", 1, 255).octets, kRefused, true, false},
        {"ClassZero", builder().header(1, 0, 1).question("a.test", 1, 0).octets, kRefused, true, false},
        // DNS-22
        {"EdnsVersion1", builder().header(1, 0, 1, 0, 0, 1).question("a.test").opt(1232, 1).octets, kBadVers, true,
         true},
        {"EdnsVersion1OtherOptions",
         builder().header(1, 0, 1, 0, 0, 1).question("a.test").opt(1232, 1, 0, {1, 2, 3}).octets, kBadVers, true, true},
        {"UnknownOption",
         builder().header(1, 0, 1, 0, 0, 1).question("a.test").opt(1232, 0, 0, {0xff, 0xfe, 0, 2, 1, 2}).octets, kQuery,
         true, true},
        {"EmptyOption", builder().header(1, 0, 1, 0, 0, 1).question("a.test").opt(1232, 0, 0, {0, 3, 0, 0}).octets,
         kQuery, true, true},
        {"TwoOpt", builder().header(1, 0, 1, 0, 0, 2).question("a.test").opt().opt().octets, kFormErr, false, false},
        {"OptCountedNotThere", builder().header(1, 0, 1, 0, 0, 1).question("a.test").octets, kFormErr, true, false},
        {"OptNotCounted", builder().header(1, 0, 1).question("a.test").opt().octets, kFormErr, true, false},
        {"OptOfANamedOwner",
         builder().header(1, 0, 1, 0, 0, 1).question("a.test").name("x").record(41, 0, {}, 1232).octets, kFormErr, true,
         false},
        {"OptOwnerByPointer",
         builder().header(1, 0, 1, 0, 0, 1).question("a.test").pointer(18).record(41, 0, {}, 1232).octets, kFormErr,
         true, false},
        {"OtherAdditional",
         builder().header(1, 0, 1, 0, 0, 1).question("a.test").name("").record(250, 0, {}, 255).octets, kFormErr, true,
         false},
        {"OptionCutShort",
         builder().header(1, 0, 1, 0, 0, 1).question("a.test").opt(1232, 0, 0, {0, 10, 0, 8, 1}).octets, kFormErr, true,
         false},
        {"OptionHeaderCutShort",
         builder().header(1, 0, 1, 0, 0, 1).question("a.test").opt(1232, 0, 0, {0, 10, 0}).octets, kFormErr, true,
         false},
        {"OptDataCutShort",
         builder().header(1, 0, 1, 0, 0, 1).question("a.test").u8(0).u16(41).u16(512).u32(0).u16(4).octets, kFormErr,
         true, false},
        {"OptFixedCutShort", builder().header(1, 0, 1, 0, 0, 1).question("a.test").u8(0).u16(41).u16(512).octets,
         kFormErr, true, false},
    }),
    [](const auto& row) { return row.param.why; });

TEST(QueryTest, FieldsAreTheClients) {
  const DnsQuery query = read_query(builder()
                                        .header(0xbeef, 0x0110, 1, 0, 0, 1)
                                        .question("API.ExAmPlE.TeSt", 28)
                                        .opt(1400, 0, 0x8000, {0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8})
                                        .octets);
  ASSERT_EQ(query.outcome, QueryOutcome::kQuery);
  EXPECT_EQ(query.header.id, 0xbeef);
  EXPECT_TRUE(query.header.recursion_desired());
  EXPECT_TRUE(query.header.checking_disabled());
  EXPECT_EQ(query.question->name.text(), "API.ExAmPlE.TeSt");
  EXPECT_EQ(query.question->type, kTypeAaaa);
  EXPECT_EQ(query.edns->udp_size, 1232);
  EXPECT_TRUE(query.edns->dnssec_ok);
  EXPECT_TRUE(query.edns->has_cookie);
}

TEST(QueryTest, EdnsSizesAreBroughtWithinBounds) {  // DNS-22
  const auto limit = [](unsigned size) {
    return read_query(builder().header(1, 0, 1, 0, 0, 1).question("a.test").opt(size).octets).udp_limit();
  };
  EXPECT_EQ(limit(0), 512);
  EXPECT_EQ(limit(511), 512);
  EXPECT_EQ(limit(513), 513);
  EXPECT_EQ(limit(1232), 1232);
  EXPECT_EQ(limit(65535), 1232);
  EXPECT_EQ(read_query(builder().header(1, 0, 1).question("a.test").octets).udp_limit(), 512);
}

TEST(QueryTest, EveryPrefixOfAQueryIsRefused) {
  const Octets whole =
      builder().header(1, 0x0100, 1, 0, 0, 1).question("api.example.test").opt(1232, 0, 0, {0, 3, 0, 1, 7}).octets;
  ASSERT_EQ(read_query(whole).outcome, QueryOutcome::kQuery);
  for (std::size_t size = 0; size < whole.size(); ++size)
    EXPECT_EQ(read_query(std::span(whole).first(size)).outcome, size < 12 ? kSilence : kFormErr) << size;
}

TEST(QueryTest, EveryOutcomeHasItsRcode) {
  EXPECT_EQ(rcode_of(kQuery), Rcode::kNoError);
  EXPECT_EQ(rcode_of(kFormErr), Rcode::kFormErr);
  EXPECT_EQ(rcode_of(kNotImp), Rcode::kNotImp);
  EXPECT_EQ(rcode_of(kRefused), Rcode::kRefused);
  EXPECT_EQ(rcode_of(kBadVers), Rcode::kBadVers);
  EXPECT_EQ(rcode_of(kSilence), Rcode::kRefused);
}

}  // namespace
}  // namespace sallyport::wire
