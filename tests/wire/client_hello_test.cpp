#include "wire/client_hello.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include "wire/hello_builder.hpp"

namespace sallyport::wire {
namespace {

using namespace testing;  // the hello builder's
using Failure = ClientHelloReader::Failure;
using State = ClientHelloReader::State;

// Everything a caller can see, as text, so that two readings compare in one line.
std::string outcome(const ClientHelloReader& reader) {
  std::string out = "state " + std::to_string(static_cast<int>(reader.state())) + " " +
                    std::string(to_string(reader.failure())) + " " + reader.message() + " at " +
                    std::to_string(reader.consumed());
  if (reader.state() != State::kDone) return out;
  const ClientHello& hello = reader.hello();
  out += " sni " + std::to_string(static_cast<int>(hello.sni_state)) + std::string(to_string(hello.sni_fault)) + "<" +
         std::string(hello.sni) + "> alpn";
  for (std::size_t i = 0; i < std::min(hello.alpn_count, ClientHello::kMaxAlpn); ++i)
    out += "," + std::string(hello.alpn[i]);
  return out + " v" + std::to_string(hello.highest_version) + " ech" + std::to_string(hello.ech) +
         std::to_string(hello.esni);
}

std::string read_whole(std::string_view octets) {
  ClientHelloReader reader;
  reader.feed(octets);
  return outcome(reader);
}

std::string browser_hello(std::string_view name, bool sni_last = true) {
  std::string list = extension(0x2a2a, "") + extension(23, "") + extension(65281, u8(0)) +
                     extension(10, vec16(u16(0x3a3a) + u16(0x11ec))) + alpn({"h2", "http/1.1"}) +
                     versions({0x4a4a, 0x0304, 0x0303}) + post_quantum_key_share() + extension(0x5a5a, u8(0));
  list = sni_last ? list + sni(name) : sni(name) + list;
  HelloParts parts;
  parts.ciphers = u16(0x6a6a) + u16(0x1301) + u16(0x1302);
  parts.extensions = list;
  return handshake(hello_body(parts));
}

TEST(ClientHello, PostQuantumHelloWithNameLastIsRead) {  // TLS-07, TLS-09
  const std::string octets = records(browser_hello("Api.Example.test"));
  ASSERT_GT(octets.size(), 1400u);  // does not fit one segment
  ClientHelloReader reader;
  ASSERT_EQ(reader.feed(octets), State::kDone) << reader.message();
  EXPECT_EQ(reader.hello().sni, "Api.Example.test");
  EXPECT_EQ(reader.hello().sni_state, SniState::kPresent);
  EXPECT_TRUE(reader.hello().offers_alpn("h2"));
  EXPECT_EQ(reader.hello().alpn_count, 2u);
  EXPECT_EQ(reader.hello().highest_version, 0x0304);
  EXPECT_EQ(reader.hello().version_count, 2u);  // GREASE left out
  EXPECT_EQ(reader.hello().cipher_suites, 3u);
  EXPECT_FALSE(reader.hello().ech);
  EXPECT_EQ(reader.consumed(), octets.size());
}

TEST(ClientHello, CutAtEveryOctetIntoTwoSegments) {  // TLS-05
  for (const std::string& octets :
       {records(browser_hello("api.example.test")), records(browser_hello("a..b", false))}) {
    const std::string expected = read_whole(octets);
    for (std::size_t cut = 0; cut <= octets.size(); ++cut) {
      ClientHelloReader reader;
      const State first = reader.feed(std::string_view(octets).substr(0, cut));
      if (cut < octets.size()) ASSERT_EQ(first, State::kNeedMore) << cut;
      reader.feed(std::string_view(octets).substr(cut));
      ASSERT_EQ(outcome(reader), expected) << "cut at " << cut;
    }
  }
}

TEST(ClientHello, CutAtEveryOctetIntoTwoRecords) {  // TLS-06
  const std::string message = browser_hello("api.example.test");
  for (std::size_t cut = 1; cut < message.size(); ++cut) {
    ClientHelloReader reader;
    ASSERT_EQ(reader.feed(record(message.substr(0, cut)) + record(message.substr(cut))), State::kDone)
        << cut << reader.message();
    ASSERT_EQ(reader.hello().sni, "api.example.test");
  }
}

TEST(ClientHello, RecordsOfOneOctetFedOctetByOctet) {  // TLS-06
  ClientHelloReader reader;
  for (const char c : records(browser_hello("api.example.test"), 1)) reader.feed(std::string_view(&c, 1));
  ASSERT_EQ(reader.state(), State::kDone) << reader.message();
  EXPECT_EQ(reader.hello().sni, "api.example.test");
}

std::string padded_hello(std::size_t message_size) {
  const std::string bare = sni("api.example.test") + extension(21, "");
  const std::size_t fixed = handshake(hello_body({.extensions = bare})).size();
  return handshake(
      hello_body({.extensions = extension(21, std::string(message_size - fixed, '\0')) + sni("api.example.test")}));
}

TEST(ClientHello, LargeHellosUpToTheCap) {  // TLS-08
  for (const std::size_t size : {std::size_t{11'414}, ClientHelloReader::kMaxHandshake}) {
    const std::string message = padded_hello(size);
    ASSERT_EQ(message.size(), size);
    ClientHelloReader reader;
    ASSERT_EQ(reader.feed(records(message)), State::kDone) << reader.message();
    EXPECT_EQ(reader.hello().sni, "api.example.test");
  }
  ClientHelloReader reader;
  // Refused as soon as the length is known: the rest need not come.
  ASSERT_EQ(reader.feed(record(u8(1) + u24(ClientHelloReader::kMaxHandshake - 4 + 1))), State::kFailed);
  EXPECT_EQ(reader.failure(), Failure::kTooLarge);
  EXPECT_EQ(reader.consumed(), 9u);
}

TEST(ClientHello, RecordsThatMultiplyTheStreamAreTooLarge) {  // TLS-06, TLS-08
  ClientHelloReader reader;
  const std::string octets = records(padded_hello(ClientHelloReader::kMaxHandshake), 1);
  ASSERT_EQ(reader.feed(octets), State::kFailed);
  EXPECT_EQ(reader.failure(), Failure::kTooLarge);
  EXPECT_EQ(reader.consumed(), ClientHelloReader::kMaxStream);
  ClientHelloReader small;
  EXPECT_EQ(small.feed(records(padded_hello(11'414), 1)), State::kDone) << small.message();
}

TEST(ClientHello, AnyRandomSplitGivesTheSameOutcome) {  // TLS-05, TLS-06
  std::mt19937 random(7);
  const std::string message = browser_hello("api.example.test");
  for (int round = 0; round < 300; ++round) {
    std::string octets;
    for (std::size_t at = 0; at < message.size();) {
      const std::size_t size = std::min<std::size_t>(1 + random() % 700, message.size() - at);
      octets += record(std::string_view(message).substr(at, size));
      at += size;
    }
    if (round % 3 == 0) octets[random() % octets.size()] ^= static_cast<char>(1 << random() % 8);
    const std::string expected = read_whole(octets);
    ClientHelloReader reader;
    for (std::size_t at = 0; at < octets.size();) {
      const std::size_t size = std::min<std::size_t>(random() % 300, octets.size() - at);
      reader.feed(std::string_view(octets).substr(at, size));
      at += size;
    }
    ASSERT_EQ(outcome(reader), expected) << "round " << round << ", seed 7";
  }
}

struct NameCase {
  const char* why;
  std::string extensions;
  SniState state;
  SniFault fault;
};

class ServerName : public ::testing::TestWithParam<NameCase> {};

TEST_P(ServerName, IsJudged) {
  ClientHelloReader reader;
  ASSERT_EQ(reader.feed(hello_with(GetParam().extensions)), State::kDone) << reader.message();
  EXPECT_EQ(reader.hello().sni_state, GetParam().state);
  EXPECT_EQ(to_string(reader.hello().sni_fault), to_string(GetParam().fault));
}

constexpr auto kBad = SniState::kMalformed;
std::string list_of(std::string_view entries) { return extension(0, vec16(entries)); }
std::string label_name(std::size_t size) {
  std::string name;
  while (name.size() < size) name += name.size() % 50 == 49 ? '.' : 'a';
  name.back() = 'z';
  return name;
}

INSTANTIATE_TEST_SUITE_P(  // TLS-04
    Names, ServerName,
    ::testing::ValuesIn<NameCase>({
        {"Plain", sni("api.example.test"), SniState::kPresent, SniFault::kNone},
        {"UpperCaseIsForTheNameToFold", sni("API.Example.TEST"), SniState::kPresent, SniFault::kNone},
        {"Underscore", sni("a_b.example.test"), SniState::kPresent, SniFault::kNone},
        {"SingleLabel", sni("supervisor"), SniState::kPresent, SniFault::kNone},
        {"Longest", sni(label_name(253)), SniState::kPresent, SniFault::kNone},
        {"Absent", alpn({"h2"}), SniState::kAbsent, SniFault::kNone},
        {"EmptyExtension", extension(0, ""), kBad, SniFault::kEmptyList},
        {"EmptyList", list_of(""), kBad, SniFault::kEmptyList},
        {"EmptyName", sni(""), kBad, SniFault::kEmptyName},
        {"OtherNameType", list_of(u8(1) + vec16("api.example.test")), kBad, SniFault::kNameType},
        {"TwoNames", list_of(host_name("a.test") + host_name("b.test")), kBad, SniFault::kTwoNames},
        {"SecondOfOtherType", list_of(host_name("a.test") + u8(1) + vec16("b.test")), kBad, SniFault::kTwoNames},
        {"TwoExtensions", sni("a.test") + alpn({"h2"}) + sni("a.test"), kBad, SniFault::kTwoExtensions},
        {"Ipv4", sni("192.0.2.1"), kBad, SniFault::kAddress},
        {"Ipv4AsOneNumber", sni("3221225985"), kBad, SniFault::kAddress},
        {"Ipv4AsHex", sni("0xc0000201"), kBad, SniFault::kAddress},
        {"Ipv6", sni("2001:db8::1"), kBad, SniFault::kOctet},
        {"TrailingDot", sni("api.example.test."), kBad, SniFault::kTrailingDot},
        {"OnlyDot", sni("."), kBad, SniFault::kEmptyLabel},
        {"LeadingDot", sni(".example.test"), kBad, SniFault::kEmptyLabel},
        {"EmptyLabel", sni("a..test"), kBad, SniFault::kEmptyLabel},
        {"Nul", sni(std::string("api.example.test\0.evil.test", 27)), kBad, SniFault::kNul},
        {"Space", sni("api.example.test "), kBad, SniFault::kOctet},
        {"PortInName", sni("api.example.test:443"), kBad, SniFault::kOctet},
        {"HighOctet",
         sni("b\xc3\xbc"
             "cher.test"),
         kBad, SniFault::kOctet},
        {"Wildcard", sni("*.example.test"), kBad, SniFault::kOctet},
        {"Over253", sni(label_name(254)), kBad, SniFault::kTooLong},
        {"Of256", sni(label_name(256)), kBad, SniFault::kTooLong},
        {"ListLongerThanExtension", extension(0, u16(40) + host_name("a.test")), kBad, SniFault::kLength},
        {"ListShorterThanExtension", extension(0, vec16(host_name("a.test")) + "x"), kBad, SniFault::kLength},
        {"NameLongerThanList", list_of(u8(0) + u16(7) + "a.test"), kBad, SniFault::kLength},
        {"NameCutAfterType", list_of(u8(0)), kBad, SniFault::kLength},
    }),
    [](const auto& row) { return row.param.why; });

struct StreamCase {
  const char* why;
  std::string octets;
  State state;
  Failure failure;
};

class Stream : public ::testing::TestWithParam<StreamCase> {};

TEST_P(Stream, IsJudgedAndEverySplitAgrees) {
  const std::string& octets = GetParam().octets;
  ClientHelloReader whole;
  EXPECT_EQ(whole.feed(octets), GetParam().state) << whole.message();
  EXPECT_EQ(to_string(whole.failure()), to_string(GetParam().failure)) << whole.message();
  ClientHelloReader single;
  for (const char c : octets) single.feed(std::string_view(&c, 1));
  EXPECT_EQ(outcome(single), outcome(whole));
}

HelloParts parts_with(void (*change)(HelloParts&)) {
  HelloParts parts;
  parts.extensions = sni("api.example.test");
  change(parts);
  return parts;
}
std::string changed(void (*change)(HelloParts&)) { return records(handshake(hello_body(parts_with(change)))); }
std::string thousands_of_types(bool repeat_one) {
  std::string list;
  for (std::size_t type = 0x1000; type < 0x3000; ++type) list += extension(static_cast<std::uint16_t>(type), "");
  return list + (repeat_one ? extension(0x1fff, "") : "");
}

INSTANTIATE_TEST_SUITE_P(
    Streams, Stream,
    ::testing::ValuesIn<StreamCase>({
        {"Nothing", "", State::kNeedMore, Failure::kNone},
        {"Http", "GET / HTTP/1.1\r\n", State::kFailed, Failure::kNotTls},      // TLS-14
        {"Ssh", "SSH-2.0-OpenSSH_9.2\r\n", State::kFailed, Failure::kNotTls},  // TLS-14
        {"StartTls", "EHLO x\r\nSTARTTLS\r\n", State::kFailed, Failure::kNotTls},
        {"Alert", record("\x02\x50", 21), State::kFailed, Failure::kNotTls},
        {"ApplicationData", record("abc", 23), State::kFailed, Failure::kNotTls},
        {"RecordVersion2", u8(22) + u8(2) + u8(0), State::kFailed, Failure::kNotTls},
        {"SslV2", u8(0x80) + u8(46) + u8(1) + u16(0x0002) + u16(9), State::kFailed, Failure::kSslV2},  // TLS-10
        {"SslV2WithTls12", u8(0x80) + u8(46) + u8(1) + u16(0x0303), State::kFailed, Failure::kSslV2},  // TLS-10
        {"HighBitButNotSslV2", u8(0x80) + u8(46) + u8(2) + u16(0x0002), State::kFailed, Failure::kNotTls},
        {"HighBitOddVersion", u8(0x80) + u8(46) + u8(1) + u16(0x0003), State::kFailed, Failure::kNotTls},
        {"SslV2Cut", u8(0x80) + u8(46) + u8(1) + u8(3), State::kNeedMore, Failure::kNone},
        {"OtherMessage", record(handshake("", 0)), State::kFailed, Failure::kMalformed},
        {"ServerHello", record(handshake("abcd", 2)), State::kFailed, Failure::kMalformed},
        {"EmptyRecordFirst", record(""), State::kFailed, Failure::kMalformed},
        {"EmptyRecordInside", record(u8(1)) + record(""), State::kFailed, Failure::kMalformed},
        {"RecordOver16384", record(std::string(16385, '\1')), State::kFailed, Failure::kMalformed},
        {"OtherRecordInside", record(u8(1)) + record("\1", 20), State::kFailed, Failure::kMalformed},
        {"SecondRecordOfOtherVersion", record(u8(1)) + record("x", 22, 0x0201), State::kFailed, Failure::kMalformed},
        {"TwoMessagesInARecord", record(handshake(hello_body({})) + handshake("", 20)), State::kFailed,
         Failure::kMalformed},
        {"EarlyDataAfterwards", hello_with(sni("a.test")) + record("\1", 20) + record("x", 23), State::kDone,
         Failure::kNone},
        {"Tls13Only", hello_with(versions({0x0304}) + sni("a.test")), State::kDone, Failure::kNone},  // TLS-10
        {"Tls10", changed([](HelloParts& p) { p.version = 0x0301; }), State::kDone, Failure::kNone},  // TLS-10
        {"Ssl3", changed([](HelloParts& p) { p.version = 0x0300; }), State::kDone, Failure::kNone},
        {"NoExtensions", changed([](HelloParts& p) { p.has_extensions = false; }), State::kDone, Failure::kNone},
        {"Version2", changed([](HelloParts& p) { p.version = 0x0200; }), State::kFailed, Failure::kMalformed},
        {"SessionOf33", changed([](HelloParts& p) { p.session += 'x'; }), State::kFailed, Failure::kMalformed},
        {"NoCiphers", changed([](HelloParts& p) { p.ciphers = ""; }), State::kFailed, Failure::kMalformed},
        {"OddCiphers", changed([](HelloParts& p) { p.ciphers += 'x'; }), State::kFailed, Failure::kMalformed},
        {"NoCompression", changed([](HelloParts& p) { p.compression = ""; }), State::kFailed, Failure::kMalformed},
        {"NoNullCompression", changed([](HelloParts& p) { p.compression = "\1"; }), State::kFailed,
         Failure::kMalformed},
        {"DuplicateExtension", hello_with(extension(5, "") + sni("a.test") + extension(5, "")), State::kFailed,
         Failure::kMalformed},
        {"DuplicateGrease", hello_with(extension(0x2a2a, "") + extension(0x2a2a, "")), State::kFailed,
         Failure::kMalformed},
        {"ThousandsOfTypes", hello_with(thousands_of_types(false)), State::kDone, Failure::kNone},
        {"ThousandsOfTypesAndOneTwice", hello_with(thousands_of_types(true)), State::kFailed, Failure::kMalformed},
        {"PskNotLast", hello_with(extension(41, "x") + sni("a.test")), State::kFailed, Failure::kMalformed},
        {"EmptyAlpn", hello_with(extension(16, vec16(""))), State::kFailed, Failure::kMalformed},
        {"AlpnEmptyName", hello_with(alpn({"h2", ""})), State::kFailed, Failure::kMalformed},
        {"AlpnCut", hello_with(extension(16, vec16(u8(9) + "h2"))), State::kFailed, Failure::kMalformed},
        {"OddVersions", hello_with(extension(43, vec8("abc"))), State::kFailed, Failure::kMalformed},
        {"ExtensionListCut", record(handshake(hello_body({.extensions = sni("a.test")}).substr(0, 80))), State::kFailed,
         Failure::kMalformed},
        {"HalfAnExtensionHeader", hello_with(sni("a.test") + "abc"), State::kFailed, Failure::kMalformed},
        {"OctetsAfterExtensions", record(handshake(hello_body({.extensions = sni("a.test")}) + "x")), State::kFailed,
         Failure::kMalformed},
    }),
    [](const auto& row) { return row.param.why; });

TEST(ClientHello, EveryTruncationOfTheBodyIsRefused) {  // TLS-13
  const std::string body = hello_body({.extensions = sni("api.example.test") + alpn({"h2"})});
  const std::size_t before_extensions = body.size() - 2 - (sni("api.example.test") + alpn({"h2"})).size();
  for (std::size_t size = 0; size < body.size(); ++size) {
    ClientHelloReader reader;
    const State state = reader.feed(record(handshake(std::string_view(body).substr(0, size))));
    // Cut just before the extensions it is an old, whole hello without a name.
    ASSERT_EQ(state, size == before_extensions ? State::kDone : State::kFailed) << size;
    if (state == State::kDone) ASSERT_EQ(reader.hello().sni_state, SniState::kAbsent);
  }
}

TEST(ClientHello, EveryWrongLengthOctetIsRefusedOrHarmless) {  // TLS-13
  // Whatever one octet lies, the reader ends with an outcome, and never with another well-formed name than the one
  // sent.
  const std::string octets = hello_with(alpn({"h2"}) + sni("api.example.test") + versions({0x0304}));
  const std::size_t name_at = octets.find("api.example.test");
  for (std::size_t at = 0; at < octets.size(); ++at) {
    if (at >= name_at && at < name_at + 16) continue;
    for (int value = 0; value < 256; ++value) {
      std::string lying = octets;
      lying[at] = static_cast<char>(value);
      ClientHelloReader reader;
      if (reader.feed(lying) != State::kDone) continue;
      if (reader.hello().sni_state == SniState::kPresent)
        ASSERT_EQ(reader.hello().sni, "api.example.test") << at << " " << value;
    }
  }
}

TEST(ClientHello, EncryptedHelloIsSeenInEveryForm) {  // TLS-11
  const std::string outer =
      extension(0xfe0d, u8(0) + u16(1) + u16(1) + u8(7) + vec16(std::string(32, 'k')) + vec16(std::string(144, 'p')));
  ClientHelloReader ech;
  ASSERT_EQ(ech.feed(hello_with(sni("public.example.test") + outer)), State::kDone);
  EXPECT_TRUE(ech.hello().ech);
  EXPECT_EQ(ech.hello().sni, "public.example.test");
  ClientHelloReader esni;
  ASSERT_EQ(esni.feed(hello_with(extension(0xffce, "x"))), State::kDone);
  EXPECT_TRUE(esni.hello().esni);
  EXPECT_FALSE(esni.hello().ech);
  ClientHelloReader draft;
  ASSERT_EQ(draft.feed(hello_with(extension(0xfe0a, "x"))), State::kDone);
  EXPECT_TRUE(draft.hello().ech);
}

TEST(ClientHello, ResumptionAndEarlyDataAreSeen) {  // TLS-16
  ClientHelloReader reader;
  ASSERT_EQ(reader.feed(hello_with(extension(35, "ticket") + extension(42, "") + sni("a.test") + extension(41, "psk"))),
            State::kDone);
  EXPECT_TRUE(reader.hello().session_ticket);
  EXPECT_TRUE(reader.hello().early_data);
  EXPECT_TRUE(reader.hello().pre_shared_key);
  ClientHelloReader plain;
  ASSERT_EQ(plain.feed(hello_with(extension(35, ""))), State::kDone);
  EXPECT_FALSE(plain.hello().session_ticket);
}

TEST(ClientHello, ShuffledExtensionsReadTheSame) {  // TLS-09
  std::mt19937 random(11);
  std::vector<std::string> list = {sni("api.example.test"),  alpn({"h2", "http/1.1"}), versions({0x0304, 0x0303}),
                                   post_quantum_key_share(), extension(0x8a8a, ""),    extension(0xabcd, "unknown")};
  for (int round = 0; round < 100; ++round) {
    std::shuffle(list.begin(), list.end(), random);
    std::string extensions;
    for (const auto& one : list) extensions += one;
    ClientHelloReader reader;
    ASSERT_EQ(reader.feed(hello_with(extensions)), State::kDone) << reader.message();
    ASSERT_EQ(reader.hello().sni, "api.example.test");
    ASSERT_EQ(reader.hello().highest_version, 0x0304);
    ASSERT_TRUE(reader.hello().offers_alpn("http/1.1"));
  }
}

TEST(ClientHello, ViewsOutliveAMoveAndResetReadsTheNext) {
  ClientHelloReader reader;
  ASSERT_EQ(reader.feed(hello_with(sni("first.test"))), State::kDone);
  ClientHelloReader moved = std::move(reader);
  EXPECT_EQ(moved.hello().sni, "first.test");
  moved.reset();
  EXPECT_EQ(moved.state(), State::kNeedMore);
  ASSERT_EQ(moved.feed(hello_with(sni("second.test"))), State::kDone);
  EXPECT_EQ(moved.hello().sni, "second.test");
}

TEST(ClientHello, AlpnBeyondTheKeptIsCounted) {
  ClientHelloReader reader;
  ASSERT_EQ(reader.feed(hello_with(alpn({"1", "2", "3", "4", "5", "6", "7", "8", "9", "10"}))), State::kDone);
  EXPECT_EQ(reader.hello().alpn_count, 10u);
  EXPECT_TRUE(reader.hello().offers_alpn("8"));
  EXPECT_FALSE(reader.hello().offers_alpn("9"));
}

}  // namespace
}  // namespace sallyport::wire
