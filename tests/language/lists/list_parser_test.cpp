// Each format, line by line: what a line names, and why one that names nothing is refused. CFG-01.
#include "language/lists/list_parser.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <ctime>
#include <random>

#include "names/pattern_set.hpp"

namespace sallyport {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

// "a.test", "*.a.test", ".a.test", with "!" in front where the line blocks and "+" where it lets pass; a refusal is
// "LINE:COLUMN+LENGTH reason".
class Notes : public ListSink {
 public:
  void name(const DomainName& name, PatternKind kind, EntrySense sense, const LinePart&) override {
    const std::string mark = sense == EntrySense::kBlocks ? "!" : sense == EntrySense::kPasses ? "+" : "";
    names.push_back(mark + Pattern{name, kind}.text());
  }
  void invalid(const InvalidLine& why, const LinePart& where) override {
    faults.push_back(std::to_string(where.line) + ":" + std::to_string(where.column) + "+" +
                     std::to_string(where.length) + " " + why.reason);
    text = where.text;
    is_mistake = why.is_mistake;
  }

  std::vector<std::string> names, faults;
  std::string text;
  bool is_mistake = false;
};

Notes read(ListFormat format, std::string_view text, std::size_t piece = 1 << 20) {
  Notes notes;
  ListParser parser(format, notes);
  for (; !text.empty(); text.remove_prefix(std::min(piece, text.size()))) parser.feed(text.substr(0, piece));
  parser.finish();
  return notes;
}

struct Names {
  std::string why;
  ListFormat format;
  std::string line;
  std::vector<std::string> names;
};

class Line : public testing::TestWithParam<Names> {};

TEST_P(Line, Names) {
  const Notes notes = read(GetParam().format, GetParam().line + "\n");
  EXPECT_THAT(notes.faults, IsEmpty());
  EXPECT_EQ(notes.names, GetParam().names);
}

using F = ListFormat;

INSTANTIATE_TEST_SUITE_P(
    Formats, Line,
    testing::ValuesIn<Names>({
        {"DomainsExact", F::kDomains, "a.test", {"a.test"}},
        {"DomainsBelow", F::kDomains, "*.a.test", {"*.a.test"}},
        {"DomainsBelowTwice", F::kDomains, "**.a.test", {"*.a.test"}},
        {"DomainsBoth", F::kDomains, ".a.test", {".a.test"}},
        {"DomainsFolded", F::kDomains, "  A.Test.  ", {"a.test"}},
        {"DomainsComment", F::kDomains, "# a.test", {}},
        {"DomainsCommentBehind", F::kDomains, "a.test # why", {"a.test"}},
        {"DomainsBlank", F::kDomains, "\t ", {}},
        {"DomainsULabel",
         F::kDomains,
         "b\xc3\xbc"
         "cher.test",
         {"xn--bcher-kva.test"}},
        {"DomainsTopLevel", F::kDomains, "com", {"com"}},
        {"DomainsCarriageReturn", F::kDomains, "a.test\r", {"a.test"}},
        {"HostsZero", F::kHosts, "0.0.0.0 ads.test", {"ads.test"}},
        {"HostsLoopback", F::kHosts, "127.0.0.1\tads.test", {"ads.test"}},
        {"HostsV6", F::kHosts, "::1 ads.test", {"ads.test"}},
        {"HostsSeveral", F::kHosts, "0.0.0.0 a.test b.test  # c.test", {"a.test", "b.test"}},
        {"HostsCommentAtOnce", F::kHosts, "0.0.0.0 a.test#b", {"a.test"}},
        {"HostsOwn", F::kHosts, "127.0.0.1 localhost localhost.localdomain", {}},
        {"HostsZone", F::kHosts, "fe80::1%lo0 localhost", {}},
        {"HostsPreamble", F::kHosts, "0.0.0.0 0.0.0.0", {}},
        {"HostsBroadcast", F::kHosts, "255.255.255.255 broadcasthost", {}},
        {"AdblockName", F::kAdblock, "||ads.test^", {".ads.test"}},
        {"AdblockEnd", F::kAdblock, "||ads.test^|", {".ads.test"}},
        {"AdblockBelow", F::kAdblock, "||*.ads.test^", {"*.ads.test"}},
        {"AdblockImportant", F::kAdblock, "||ads.test^$important", {".ads.test"}},
        {"AdblockAll", F::kAdblock, "||ads.test^$all,important", {".ads.test"}},
        {"AdblockTopLevel", F::kAdblock, "||zip^", {".zip"}},
        {"AdblockComment", F::kAdblock, "! Title: x", {}},
        {"AdblockHeader", F::kAdblock, "[Adblock Plus 2.0]", {}},
        {"AdblockHash", F::kAdblock, "# a comment of AdGuard's", {}},
        {"DnsmasqServer", F::kDnsmasq, "server=/a.test/9.9.9.9", {"+.a.test"}},
        {"DnsmasqServerPort", F::kDnsmasq, "server=/a.test/9.9.9.9#5353", {"+.a.test"}},
        {"DnsmasqStandard", F::kDnsmasq, "server=/a.test/#", {"+.a.test"}},
        {"DnsmasqNobody", F::kDnsmasq, "server=/a.test/", {"!.a.test"}},
        {"DnsmasqLocal", F::kDnsmasq, "local=/a.test/", {"!.a.test"}},
        {"DnsmasqAddress", F::kDnsmasq, "address=/a.test/0.0.0.0", {"!.a.test"}},
        {"DnsmasqNull", F::kDnsmasq, "address=/a.test/#", {"!.a.test"}},
        {"DnsmasqSeveral", F::kDnsmasq, "address=/a.test/b.test/c.test/", {"!.a.test", "!.b.test", "!.c.test"}},
        {"DnsmasqDot", F::kDnsmasq, "local=/.a.test/", {"!.a.test"}},
        {"DnsmasqBelow", F::kDnsmasq, "local=/*.a.test/", {"!*.a.test"}},
        {"DnsmasqBlanks", F::kDnsmasq, " server = /a.test/9.9.9.9  # quad9", {"+.a.test"}},
        {"DnsmasqComment", F::kDnsmasq, "# server=/a.test/9.9.9.9", {}},
        {"SquidExact", F::kSquid, "a.test", {"a.test"}},
        {"SquidBoth", F::kSquid, ".a.test", {".a.test"}},
        {"SquidSeveral", F::kSquid, "a.test .b.test # both", {"a.test", ".b.test"}},
        {"RpzNxdomain", F::kRpz, "ads.test CNAME .", {"!ads.test"}},
        {"RpzNodata", F::kRpz, "ads.test 300 IN CNAME *.", {"!ads.test"}},
        {"RpzBelow", F::kRpz, "*.ads.test IN 300 CNAME .", {"!*.ads.test"}},
        {"RpzPasses", F::kRpz, "ok.test CNAME rpz-passthru.", {"+ok.test"}},
        {"RpzPassesAsOfOld", F::kRpz, "ok.test CNAME ok.test.", {"+ok.test"}},
        {"RpzDrop", F::kRpz, "ads.test CNAME rpz-drop.", {"!ads.test"}},
        {"RpzSinkhole", F::kRpz, "ads.test A 0.0.0.0", {"!ads.test"}},
        {"RpzSinkhole6", F::kRpz, "ads.test AAAA ::", {"!ads.test"}},
        {"RpzComment", F::kRpz, "; ads.test CNAME .", {}},
        {"RpzCommentBehind", F::kRpz, "ads.test CNAME . ; why", {"!ads.test"}},
        {"RpzTtl", F::kRpz, "$TTL 1h30m", {}},
        {"RpzSoa", F::kRpz, "@ SOA localhost. root.localhost. 1 2 3 4 5", {}},
        {"RpzCase", F::kRpz, "ADS.Test cname RPZ-Drop.", {"!ads.test"}},
    }),
    [](const auto& row) { return row.param.why; });

struct Refused {
  std::string why;
  ListFormat format;
  std::string line;
  std::string place;  // "COLUMN+LENGTH"
  std::string reason;
  bool is_mistake = true;
};

class RefusedLine : public testing::TestWithParam<Refused> {};

TEST_P(RefusedLine, SaysWhereAndWhy) {
  const Notes notes = read(GetParam().format, "\n" + GetParam().line + "\n");
  EXPECT_THAT(notes.names, IsEmpty());
  ASSERT_EQ(notes.faults.size(), 1u);
  EXPECT_THAT(notes.faults[0], testing::StartsWith("2:" + GetParam().place + " "));
  EXPECT_THAT(notes.faults[0], HasSubstr(GetParam().reason));
  EXPECT_EQ(notes.is_mistake, GetParam().is_mistake);
}

INSTANTIATE_TEST_SUITE_P(Formats, RefusedLine,
                         testing::ValuesIn<Refused>({
                             {"Nul", F::kDomains, std::string("a.t\0est", 7), "4+1", "NUL"},
                             {"NulInComment", F::kAdblock, std::string("! \0", 3), "3+1", "NUL"},
                             {"Everything", F::kDomains, "*", "1+1", "covers every name"},
                             {"Dot", F::kDomains, ".", "1+1", "covers every name"},
                             {"StarInside", F::kDomains, "a*.b.test", "2+1", "`*` stands for whole labels"},
                             {"Url", F::kDomains, "https://a.test/x", "1+16", "a URL", false},
                             {"Port", F::kDomains, "a.test:443", "7+1", "octet"},
                             {"Two", F::kDomains, "a.test b.test", "8+6", "more than one name"},
                             {"Address", F::kDomains, "192.0.2.1", "1+9", "an address", false},
                             {"AddressV6", F::kDomains, "2001:db8::1", "1+11", "an address", false},
                             {"Legacy", F::kDomains, "a.0x7f", "3+1", "reads as an address"},
                             {"TooLong", F::kDomains,
                              std::string(63, 'a') + "." + std::string(63, 'b') + "." + std::string(63, 'c') + "." +
                                  std::string(63, 'd'),
                              "193+1", "more than 253"},
                             {"LongLabel", F::kDomains, std::string(64, 'a') + ".test", "1+69", "more than 63"},
                             {"NoUtf8", F::kDomains,
                              "b\xfc"
                              "cher.test",
                              "1+11", "internationalised"},
                             {"ALabel", F::kDomains, "xn--a.test", "1+10", ""},
                             {"Empty", F::kDomains, "a..test", "3+1", ""},
                             {"HostsNoAddress", F::kHosts, "ads.test", "1+8", "no address in front"},
                             {"HostsNoName", F::kHosts, "0.0.0.0", "1+7", "without a name"},
                             {"HostsBad", F::kHosts, "0.0.0.0 a.test b..test", "18+1", ""},
                             {"HostsAddress", F::kHosts, "0.0.0.0 192.0.2.1", "9+9", "an address", false},
                             {"AdblockThirdParty", F::kAdblock, "||ads.example^$third-party", "15+12",
                              "modifier has no meaning for a gateway", false},
                             {"AdblockException", F::kAdblock, "@@||ads.test^", "1+13", "exception", false},
                             {"AdblockNoCaret", F::kAdblock, "||ads.test", "1+10", "begin so"},
                             {"AdblockPath", F::kAdblock, "||ads.test/x", "11+2", "a path", false},
                             {"AdblockPathBehind", F::kAdblock, "||ads.test^x", "12+1", "a part of a URL", false},
                             {"AdblockPort", F::kAdblock, "||ads.test:8080^", "11+6", "a port", false},
                             {"AdblockStar", F::kAdblock, "||ads*.test^", "6+1", "`*`", false},
                             {"AdblockRegex", F::kAdblock, "/ads[0-9]/", "1+10", "regular expression", false},
                             {"AdblockElement", F::kAdblock, "a.test##.ad", "1+11", "elements", false},
                             {"AdblockElementAnywhere", F::kAdblock, "##.ad", "1+5", "elements", false},
                             {"AdblockPart", F::kAdblock, "ads.test", "1+8", "||name^", false},
                             {"AdblockAddress", F::kAdblock, "||192.0.2.1^", "3+9", "an address", false},
                             {"DnsmasqOption", F::kDnsmasq, "log-queries", "1+11", "names nobody", false},
                             {"DnsmasqUpstream", F::kDnsmasq, "server=9.9.9.9", "8+7", "every name", false},
                             {"DnsmasqAll", F::kDnsmasq, "address=/#/0.0.0.0", "10+1", "covers every name", false},
                             {"DnsmasqNoDots", F::kDnsmasq, "server=//9.9.9.9", "9+1", "without a dot", false},
                             {"DnsmasqGlob", F::kDnsmasq, "address=/*a.test/", "10+7", "whole labels", false},
                             {"DnsmasqUnclosed", F::kDnsmasq, "address=/a.test", "9+7", "no `/`"},
                             {"DnsmasqOneBad", F::kDnsmasq, "address=/a.test/b..test/", "19+1", ""},
                             {"SquidStar", F::kSquid, "*.a.test", "1+8", "no `*`"},
                             {"SquidOption", F::kSquid, "-n a.test", "1+2", "option", false},
                             {"SquidAddress", F::kSquid, "192.0.2.1", "1+9", "an address", false},
                             {"RpzAddressTrigger", F::kRpz, "32.1.2.0.192.rpz-ip CNAME .", "1+19", "rpz-ip", false},
                             {"RpzElsewhere", F::kRpz, "ads.test CNAME garden.test.", "16+12", "another name", false},
                             {"RpzTcp", F::kRpz, "ads.test CNAME rpz-tcp-only.", "16+13", "TCP", false},
                             {"RpzData", F::kRpz, "ads.test A 192.0.2.1", "12+9", "resolves_to", false},
                             {"RpzText", F::kRpz, "ads.test TXT \"x\"", "10+3", "neither", false},
                             {"RpzInclude", F::kRpz, "$INCLUDE other.db", "1+8", "another file", false},
                             {"RpzAll", F::kRpz, "* CNAME .", "1+1", "covers every name"},
                             {"RpzNoType", F::kRpz, "ads.test", "1+8", "without a type"},
                             {"RpzNoOwner", F::kRpz, "  CNAME .", "3+7", "without an owner"},
                             {"RpzAbsolute", F::kRpz, "ads.test.rpz.test. CNAME .", "1+18", "which zone"},
                         }),
                         [](const auto& row) { return row.param.why; });

TEST(ListParser, AnInvalidLineAddsNothing) {
  EXPECT_THAT(read(F::kHosts, "0.0.0.0 a.test b..test\n0.0.0.0 c.test\n").names, ElementsAre("c.test"));
}

TEST(ListParser, ByteOrderMarkAndLineEnds) {
  EXPECT_THAT(read(F::kDomains,
                   "\xef\xbb\xbf"
                   "a.test\r\n\r\nb.test")
                  .names,
              ElementsAre("a.test", "b.test"));
}

TEST(ListParser, ARestWithoutLineFeedIsALine) {
  Notes notes;
  ListParser parser(F::kDomains, notes);
  parser.feed("a.test\nb.te");
  EXPECT_FALSE(parser.ends_with_line_feed());
  parser.feed("st");
  parser.finish();
  EXPECT_THAT(notes.names, ElementsAre("a.test", "b.test"));
  EXPECT_EQ(parser.lines(), 2u);
}

TEST(ListParser, ALineOfAMegabyteIsRefusedAndTheNextOneRead) {
  for (const std::size_t piece : {std::size_t{1000}, std::size_t{4} << 20}) {
    const Notes notes = read(F::kDomains, std::string(1 << 20, 'a') + "\nb.test\n", piece);
    EXPECT_THAT(notes.names, ElementsAre("b.test"));
    EXPECT_THAT(notes.faults, ElementsAre(HasSubstr("1:1+1 the line has more than 65536 octets")));
  }
}

TEST(ListParser, RpzOwnersAreBelowTheZone) {
  const Notes notes = read(F::kRpz,
                           "$ORIGIN rpz.test.\n"
                           "@ 1h IN SOA ns.test. root.test. (\n  1 ; serial\n  2 3 4\n  5 )\n"
                           "  IN NS ns.test.\n"
                           "a.test CNAME .\n"
                           "  A 0.0.0.0\n"
                           "b.test.rpz.test. CNAME .\n"
                           "rpz.test. TXT \"about\"\n"
                           "$ORIGIN com.rpz.test.\n"
                           "*.ads CNAME .\n"
                           "other.test. CNAME .\n");
  EXPECT_THAT(notes.names, ElementsAre("!a.test", "!a.test", "!b.test", "!*.ads.com"));
  EXPECT_THAT(notes.faults, ElementsAre(HasSubstr("13:1+11 the owner is not in the zone `rpz.test`")));
}

TEST(ListParser, RpzTakesItsZoneFromTheSoa) {
  const Notes notes = read(F::kRpz, "rpz.test. SOA . . 1 2 3 4 5\nrpz.test. NS .\na.test.rpz.test. CNAME .\n");
  EXPECT_THAT(notes.names, ElementsAre("!a.test"));
  EXPECT_THAT(notes.faults, IsEmpty());
}

// Where the pieces end must not matter.
TEST(ListParser, PiecesOfAnySizeReadAlike) {
  const std::string text =
      "\xef\xbb\xbf$ORIGIN rpz.test.\r\n@ SOA a. b. (\n1 2 3\n4 5 )\na.test CNAME .\n\n; x\nb..test CNAME .\n*.c.test "
      "CNAME *.";
  const Notes whole = read(F::kRpz, text);
  EXPECT_THAT(whole.names, ElementsAre("!a.test", "!*.c.test"));
  EXPECT_EQ(whole.faults.size(), 1u);
  for (std::size_t piece = 1; piece < text.size(); ++piece) {
    const Notes parts = read(F::kRpz, text, piece);
    EXPECT_EQ(parts.names, whole.names) << "pieces of " << piece;
    EXPECT_EQ(parts.faults, whole.faults) << "pieces of " << piece;
  }
}

}  // namespace
}  // namespace sallyport
