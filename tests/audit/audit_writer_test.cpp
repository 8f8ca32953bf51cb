#include "audit/audit_writer.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <nlohmann/json.hpp>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "audit/audit_ring.hpp"
#include "audit/escape.hpp"
#include "audit/schema_check.hpp"

namespace sallyport {
namespace {

using nlohmann::json;
constexpr std::uint64_t kNow = 1'764'026'272'104'113'000;  // 2025-11-24T23:17:52.104113Z
constexpr std::uint64_t kSecond = 1'000'000'000;

// A sink in memory.
class Sink {
 public:
  Sink() : fd_(memfd_create("sink", MFD_CLOEXEC)) {}
  ~Sink() { close(fd_); }
  int fd() const { return fd_; }
  std::string text() const {
    std::string out(static_cast<std::size_t>(lseek(fd_, 0, SEEK_END)), '\0');
    EXPECT_EQ(pread(fd_, out.data(), out.size(), 0), static_cast<ssize_t>(out.size()));
    return out;
  }
  std::vector<json> lines() const {
    std::vector<json> out;
    std::istringstream stream(text());
    for (std::string line; std::getline(stream, line);) out.push_back(json::parse(line));
    return out;
  }

 private:
  int fd_;
};

std::shared_ptr<const Snapshot> snapshot_of(std::uint64_t generation) {
  PolicyModel model;
  model.source = "policy.yaml";
  model.default_where = {2, 1};
  RuleModel rule;
  rule.name = "ai-providers";
  rule.action = Action::kAllow;
  rule.domains.push_back(*Pattern::parse("api.example.test"));
  rule.ports.push_back({443, 443, kProtoTcp});
  rule.where = {9, 3};
  model.rules.push_back(rule);
  static std::vector<std::vector<std::byte>> kept;  // a snapshot borrows its octets
  auto octets = compile(model, generation);
  EXPECT_TRUE(octets.ok());
  kept.push_back(std::move(*octets));
  return *Snapshot::open(kept.back());
}

AuditRecord denied(std::string_view name, std::uint64_t at = kNow) {
  AuditRecord record;
  record.realtime_ns = at;
  record.generation = 42;
  record.client_id = 5;
  record.layer = Layer::kTls;
  record.reason = Reason::kDstNotBound;
  record.proto = kProtoTcp;
  record.port = 443;
  record.set_plugin("sni-filter");
  record.set_name(*DomainName::parse(name));
  record.set_addr(*Address::parse("198.51.100.7"));
  record.set_client_addr(*Address::parse("172.20.0.7"), 48211);
  record.set_detail(R"({"tls":{"alpn":"h2","ech":false},"flow":"7f2a"})");
  record.ref = audit_ref(record, 7);
  return record;
}

AuditWriter writer_to(const Sink& sink, std::uint64_t window = kSecond) {
  AuditWriter writer({.gateway = "agents-1", .run_seed = 0xabcdef123456, .fold_window_ns = window}, sink.fd());
  writer.publish(snapshot_of(42));
  writer.name_client(5, "agents");
  return writer;
}

void expect_schema(const Sink& sink) {
  const json schema = testing_kit::audit_schema();
  for (const json& line : sink.lines()) EXPECT_EQ(testing_kit::violation(schema, line), "") << line.dump();
}

TEST(AuditWriter, LineIsTheDocumentedOne) {
  Sink sink;
  AuditWriter writer = writer_to(sink);
  const std::string ref = writer.add(denied("api.openai.com"));
  const std::string id = sink.lines().at(0)["id"];
  EXPECT_EQ(
      sink.text(),
      R"({"schema":"sallyport.audit/1","ts":"2025-11-24T23:17:52.104113Z","id":")" + id +
          R"(","gateway":"agents-1","generation":42,"kind":"decision","plugin":"sni-filter","verdict":"deny",)"
          R"("effective":"deny","mode":"enforce","reason":"dst_not_bound","rule":null,"match":null,"where":"policy.yaml:2",)"
          R"("client":{"group":"agents","addr":"172.20.0.7","port":48211,"user":null},"name":"api.openai.com",)"
          R"("addr":"198.51.100.7","port":443,"proto":"tcp","tls":{"alpn":"h2","ech":false},"dns":null,"http":null,)"
          R"("bytes":null,"duration_ms":null,"flow":"7f2a","trace":null,"count":1,"lost_before":0})"
          "\n");
  EXPECT_EQ(id.size(), 26u);
  EXPECT_TRUE(id.ends_with(ref));
  EXPECT_EQ(ref, ref_text(denied("api.openai.com").ref));
  expect_schema(sink);
}

TEST(AuditWriter, RuleAndPlaceComeFromTheSnapshotOfTheGeneration) {
  Sink sink;
  AuditWriter writer = writer_to(sink);
  AuditRecord allowed = denied("api.example.test");
  allowed.verdict = allowed.effective = Effect::kAllow;
  allowed.reason = Reason::kOk;
  allowed.rule = 0;
  writer.add(allowed);
  allowed.rule = 7;  // no such rule
  writer.add(allowed);
  allowed.rule = 0;
  allowed.generation = 41;  // not published
  writer.add(allowed);
  const auto lines = sink.lines();
  EXPECT_EQ(lines.at(0)["rule"], "ai-providers");
  EXPECT_EQ(lines.at(0)["where"], "policy.yaml:9");
  EXPECT_EQ(lines.at(0)["reason"], "ok");
  EXPECT_TRUE(lines.at(1)["rule"].is_null());
  EXPECT_TRUE(lines.at(2)["rule"].is_null());
  EXPECT_TRUE(lines.at(2)["where"].is_null());
  expect_schema(sink);
}

TEST(AuditWriter, DnsRecordNamesItsType) {
  Sink sink;
  AuditWriter writer = writer_to(sink);
  AuditRecord record = denied("cdn.example.net");
  record.layer = Layer::kDns;
  record.qtype = 28;
  record.addr_family = 0;
  record.client_addr_family = 0;
  record.client_port = 0;
  record.port = 0;
  record.client_id = 9;
  record.set_detail("");
  writer.add(record);
  const json line = sink.lines().at(0);
  EXPECT_EQ(line["dns"]["qtype"], "AAAA");
  EXPECT_TRUE(line["addr"].is_null());
  EXPECT_TRUE(line["port"].is_null());
  EXPECT_TRUE(line["client"]["addr"].is_null());
  EXPECT_EQ(line["client"]["group"], "client-9");
  expect_schema(sink);
}

struct HostileCase {
  const char* why;
  std::string raw;
  std::string expected;
};

class Hostile : public ::testing::TestWithParam<HostileCase> {};

TEST_P(Hostile, IsOneEscapedLine) {  // LOG-01
  Sink sink;
  AuditWriter writer = writer_to(sink);
  AuditRecord record = denied("a.test");
  record.set_raw(GetParam().raw);
  writer.add(record);
  const std::string text = sink.text();
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 1);
  for (const char c : text.substr(0, text.size() - 1)) ASSERT_TRUE(c >= 0x20 && c < 0x7f) << text;
  const json line = sink.lines().at(0);
  EXPECT_EQ(line["raw"], GetParam().expected);
  EXPECT_TRUE(line["name"].is_null());
  expect_schema(sink);
}

INSTANTIATE_TEST_SUITE_P(Inputs, Hostile,
                         ::testing::ValuesIn<HostileCase>({
                             {"CrLf", "a.test\r\n{\"schema\":1}", "a.test\\x0d\\x0a{\"schema\":1}"},
                             {"Ansi", "\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m"},
                             {"Quotes", "\"},{\"", "\"},{\""},
                             {"Backslash", "a\\u0041", "a\\\\u0041"},
                             {"Nul", std::string("a\0b", 3), "a\\x00b"},
                             {"Bidi",
                              "a\xe2\x80\xae"
                              "b",
                              "a\\xe2\\x80\\xaeb"},
                             {"InvalidUtf8", "\xff\xc0\x80", "\\xff\\xc0\\x80"},
                             {"Delete", "\x7f", "\\x7f"},
                             {"Longest", std::string(255, 'x'), std::string(255, 'x')},
                             {"CutWithMark", std::string(64 * 1024, 'x'), std::string(252, 'x') + "..."},
                             {"EscapesGrow", std::string(255, '\n'),
                              [] {
                                std::string out;
                                for (int i = 0; i < 63; ++i) out += "\\x0a";
                                return out + "...";
                              }()},
                         }),
                         [](const auto& row) { return row.param.why; });

struct DetailCase {
  const char* why;
  std::string detail;
  bool dropped;
};

class Detail : public ::testing::TestWithParam<DetailCase> {};

TEST_P(Detail, OnlyAllowedMembersGetIn) {  // LOG-01
  Sink sink;
  AuditWriter writer = writer_to(sink);
  AuditRecord record = denied("a.test");
  record.set_detail(GetParam().detail);
  writer.add(record);
  const auto lines = sink.lines();
  ASSERT_EQ(lines.size(), 1u);
  EXPECT_EQ(lines[0].contains("detail_dropped"), GetParam().dropped) << lines[0].dump();
  EXPECT_EQ(lines[0]["verdict"], "deny");
  EXPECT_EQ(lines[0]["count"], 1);
  expect_schema(sink);
}

INSTANTIATE_TEST_SUITE_P(
    Details, Detail,
    ::testing::ValuesIn<DetailCase>({
        {"Nothing", "", false},
        {"EmptyObject", "{}", false},
        {"All",
         R"({"tls":{},"dns":{},"http":{"method":"GET"},"bytes":{"up":1,"down":2},"duration_ms":1.5,"flow":"a","raw":"b"})",
         false},
        {"BytesAsNumber", R"({"bytes":12})", false},
        {"OverwritesVerdict", R"({"verdict":"allow","tls":{}})", true},
        {"OverwritesSchema", R"({"schema":"x"})", true},
        {"WrongType", R"({"tls":"x"})", true},
        {"NegativeDuration", R"({"duration_ms":-1})", true},
        {"Array", "[1]", true},
        {"NoJson", "{", true},
        {"TwoDocuments", "{}{}", true},
        {"InvalidUtf8", "{\"flow\":\"\xff\"}", true},
        {"ControlOctet", "{\"flow\":\"\n\"}", true},
        {"HugeNumber", R"({"duration_ms":1e999})", true},
        {"TooLong", "{\"flow\":\"" + std::string(1024, 'x') + "\"}", true},
        {"Deep", "{\"tls\":{\"a\":" + std::string(480, '[') + std::string(480, ']') + "}}", false},
        {"EscapesInside", R"({"flow":"\u001b[31m\u202e","raw":"\u0000\n"})", false},
    }),
    [](const auto& row) { return row.param.why; });

TEST(AuditWriter, EscapesInsideDetailStayEscaped) {
  Sink sink;
  AuditWriter writer = writer_to(sink);
  AuditRecord record = denied("a.test");
  record.set_detail("{\"tls\":{\"alpn\":\"\\u202e\xe2\x80\xae\\u001b\"}}");
  writer.add(record);
  EXPECT_NE(sink.text().find(R"("tls":{"alpn":"\u202e\u202e\u001b"})"), std::string::npos) << sink.text();
}

TEST(AuditWriter, PathsAreLeftOutUnlessAskedFor) {
  AuditRecord record = denied("a.test");
  record.set_detail(R"({"http":{"method":"GET","path":"/secret","query":"token=1","target":"/secret?token=1"}})");
  Sink sink;
  writer_to(sink).add(record);
  EXPECT_EQ(sink.text().find("secret"), std::string::npos);
  EXPECT_EQ(sink.lines().at(0)["http"]["method"], "GET");
  Sink asked;
  AuditWriter({.gateway = "g", .log_paths = true}, asked.fd()).add(record);
  EXPECT_NE(asked.text().find("/secret?token=1"), std::string::npos);
}

TEST(AuditWriter, RepeatsAreFoldedAndCounted) {
  Sink sink;
  AuditWriter writer = writer_to(sink);
  const std::string ref = writer.add(denied("a.test"));
  for (int i = 1; i <= 5; ++i) {
    AuditRecord repeat = denied("a.test", kNow + static_cast<std::uint64_t>(i));
    repeat.client_port = static_cast<std::uint16_t>(50'000 + i);
    EXPECT_EQ(writer.add(repeat), ref);
  }
  const std::string other = writer.add(denied("b.test"));
  EXPECT_NE(other, ref);
  EXPECT_EQ(sink.lines().size(), 2u);
  writer.flush(kNow + kSecond - 1);
  EXPECT_EQ(sink.lines().size(), 2u);
  writer.flush(kNow + kSecond);
  ASSERT_EQ(sink.lines().size(), 3u);
  const json folded = sink.lines().at(2);
  EXPECT_EQ(folded["count"], 5);
  EXPECT_EQ(folded["name"], "a.test");
  EXPECT_EQ(folded["ts"], audit_time(kNow + 1));
  EXPECT_EQ(writer.add(denied("a.test", kNow + 2 * kSecond)), ref);  // a new line, and the same ref
  std::set<std::string> ids;
  for (const json& line : sink.lines()) EXPECT_TRUE(ids.insert(line["id"]).second);
  expect_schema(sink);
}

TEST(AuditWriter, SumOfCountsIsTheNumberOfRecords) {
  Sink sink;
  AuditWriter writer = writer_to(sink);
  std::uint64_t records = 0;
  constexpr std::uint64_t kDecisions = 40'000;  // more distinct ones than are folded at a time
  for (std::uint64_t t = 0; t < kDecisions; ++t) {
    for (unsigned repeat = 0; repeat <= t % 3; ++repeat, ++records) {
      writer.add(denied("n" + std::to_string(t) + ".test", kNow + t * 1000));
    }
  }
  EXPECT_GT(writer.lines(), kDecisions) << "some were written before their time, for want of room";
  EXPECT_TRUE(writer.finish());
  std::uint64_t sum = 0;
  for (const json& line : sink.lines()) sum += line["count"].get<std::uint64_t>();
  EXPECT_EQ(sum, records);
}

// What a line stands for is lost with it, whether it never got in, waits still, or is half written.
TEST(AuditWriter, EveryRecordOfALostLineIsCounted) {  // LOG-02
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  ASSERT_GT(fcntl(ends[1], F_SETPIPE_SZ, 4096), 0);
  fcntl(ends[1], F_SETFL, O_NONBLOCK);
  AuditWriter writer({.gateway = "g"}, ends[1]);
  std::uint64_t records = 0;
  for (int name = 0; name < 3000; ++name) {
    for (int repeat = 0; repeat < 4; ++repeat, ++records) writer.add(denied("n" + std::to_string(name) + ".test"));
  }
  EXPECT_FALSE(writer.finish());
  std::string text(65536, '\0');
  text.resize(static_cast<std::size_t>(read(ends[0], text.data(), text.size())));
  std::uint64_t told = 0;
  text.resize(text.rfind('\n') + 1);  // whole lines
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) told += json::parse(line)["count"].get<std::uint64_t>();
  EXPECT_GT(told, 0u);
  EXPECT_EQ(told + writer.total_lost(), records);
  close(ends[0]);
  close(ends[1]);
}

TEST(AuditWriter, ASlowSinkGetsFewerLinesAndLosesNoRepeats) {  // LOG-02
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  AuditWriter writer({.gateway = "g", .batched = true}, ends[1]);
  std::uint64_t records = 0;
  for (int name = 0; name < 1500; ++name) {  // with their repeats more than may wait for a sink
    for (int repeat = 0; repeat < 3; ++repeat, ++records) writer.add(denied("n" + std::to_string(name) + ".test"));
  }
  // Repeats after the window, too, while it does not keep up.
  for (int name = 0; name < 1500; ++name, ++records)
    writer.add(denied("n" + std::to_string(name) + ".test", kNow + 2 * kSecond));
  fcntl(ends[0], F_SETFL, O_NONBLOCK);
  std::string text;
  for (std::uint64_t second = 3; second < 200 && (writer.is_folding() || writer.pending_octets() > 0); ++second) {
    writer.flush(kNow + second * kSecond);
    std::array<char, 65536> chunk;
    for (ssize_t size; (size = read(ends[0], chunk.data(), chunk.size())) > 0;)
      text.append(chunk.data(), static_cast<std::size_t>(size));
  }
  EXPECT_EQ(writer.total_lost(), 0u);
  std::uint64_t sum = 0;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) sum += json::parse(line)["count"].get<std::uint64_t>();
  EXPECT_EQ(sum, records);
  close(ends[0]);
  close(ends[1]);
}

TEST(AuditWriter, ClockThatIsSetBackEndsTheWindow) {  // REL-06
  constexpr std::uint64_t kDay = 86400 * kSecond;
  Sink sink;
  AuditWriter writer = writer_to(sink);
  writer.add(denied("a.test"));
  writer.add(denied("a.test", kNow + 1));
  writer.flush(kNow - kDay);
  EXPECT_EQ(sink.lines().size(), 2u) << "the repeat waits for a day";
  writer.add(denied("a.test", kNow - kDay));
  writer.add(denied("a.test", kNow - kDay + 1));
  EXPECT_EQ(sink.lines().size(), 3u);
  writer.add(denied("a.test", kNow - 2 * kDay));
  EXPECT_EQ(sink.lines().size(), 5u);
  writer.add(denied("a.test", kNow - 2 * kDay - 1));  // another worker's, a little late
  EXPECT_EQ(sink.lines().size(), 5u);
}

TEST(AuditWriter, ClosingRecordsAreNeverFolded) {
  Sink sink;
  AuditWriter writer = writer_to(sink);
  AuditRecord record = denied("a.test");
  record.kind = AuditKind::kClose;
  record.set_detail(R"({"bytes":{"up":10,"down":20},"duration_ms":88})");
  writer.add(record);
  writer.add(record);
  ASSERT_EQ(sink.lines().size(), 2u);
  EXPECT_EQ(sink.lines().at(0)["kind"], "close");
  EXPECT_EQ(sink.lines().at(0)["bytes"]["down"], 20);
  expect_schema(sink);
}

TEST(AuditWriter, IdsSortByTimeAndEndInTheRef) {
  AuditRecord record = denied("a.test");
  Sink sink;
  AuditWriter short_run = writer_to(sink, 0);
  for (unsigned i = 0; i < 300; ++i) {
    record.realtime_ns = kNow + i * 300'000ull;  // several in one millisecond
    short_run.add(record);
  }
  std::string last;
  for (const json& line : sink.lines()) {
    EXPECT_LT(last, line["id"].get<std::string>());
    last = line["id"];
    EXPECT_TRUE(last.ends_with(ref_text(record.ref)));
  }
}

TEST(AuditRef, IsOfTheDecisionAlone) {
  const AuditRecord base = denied("a.test");
  const std::uint32_t ref = audit_ref(base, 1);
  EXPECT_LT(ref, 1u << kRefBits);
  AuditRecord same = base;
  same.qtype = 28;  // A and AAAA
  same.proto = kProtoUdp;
  same.layer = Layer::kDns;
  same.realtime_ns += kSecond;
  same.set_plugin("dns");
  same.set_detail("{}");
  same.set_addr(*Address::parse("203.0.113.9"));  // the name says it
  EXPECT_EQ(audit_ref(same, 1), ref);
  const auto differs = [&](const char* why, auto change) {
    AuditRecord other = base;
    change(other);
    EXPECT_NE(audit_ref(other, 1), ref) << why;
  };
  differs("name", [](AuditRecord& r) { r.set_name(*DomainName::parse("b.test")); });
  differs("raw", [](AuditRecord& r) { r.set_raw("a.test"); });
  differs("address", [](AuditRecord& r) { r.name_size = 0; });
  differs("port", [](AuditRecord& r) { r.port = 444; });
  differs("reason", [](AuditRecord& r) { r.reason = Reason::kNoRule; });
  differs("client", [](AuditRecord& r) { r.client_id = 6; });
  EXPECT_NE(audit_ref(base, 2), ref);
  EXPECT_EQ(ref_text(0), "00000");
  EXPECT_EQ(ref_text((1u << kRefBits) - 1), "zzzzz");
}

TEST(AuditRef, SpreadsOverItsRange) {
  std::set<std::uint32_t> refs;
  for (int i = 0; i < 2000; ++i) refs.insert(audit_ref(denied("n" + std::to_string(i) + ".test"), 9));
  EXPECT_GE(refs.size(), 1995u);  // of 2^25; some 0.06 collisions are to be expected
}

TEST(AuditRef, OfAHostileWorkerIsFiveCharacters) {
  AuditRing ring = *AuditRing::create(128, -1, 77);
  EXPECT_EQ(ring.ref_seed(), 77u);
  EXPECT_EQ(AuditRing::map(ring.fd(), -1)->ref_seed(), 77u);
  AuditRecord record = denied("a.test");
  record.ref = 0xffffffff;
  ASSERT_TRUE(ring.write(record));
  std::array<AuditRecord, 1> out;
  ASSERT_EQ(ring.read(out), 1u);
  EXPECT_EQ(out[0].ref, (1u << kRefBits) - 1);
}

TEST(AuditWriter, MatchIsTheMostSpecificPattern) {
  PolicyModel model;
  RuleModel rule;
  for (const char* pattern : {"*.test", "*.cdn.test", "a.cdn.test", ".apex.test", "apex.test"})
    rule.domains.push_back(*Pattern::parse(pattern));
  for (const char* prefix : {"198.51.0.0/16", "198.51.100.0/24"}) rule.addresses.push_back(*Prefix::parse(prefix));
  model.rules.push_back(rule);
  const MatchText match = match_text(model);
  const auto of_name = [&](const char* text) {
    const DomainName name = *DomainName::parse(text);
    return match(0, &name, nullptr);
  };
  EXPECT_EQ(of_name("b.cdn.test"), "*.cdn.test");
  EXPECT_EQ(of_name("a.cdn.test"), "a.cdn.test");
  EXPECT_EQ(of_name("x.apex.test"), ".apex.test");
  EXPECT_EQ(of_name("apex.test"), "apex.test");
  EXPECT_EQ(of_name("other.test"), "*.test");
  EXPECT_EQ(of_name("other.example"), "");
  const Address inside = *Address::parse("198.51.100.7");
  EXPECT_EQ(match(0, nullptr, &inside), "198.51.100.0/24");
  EXPECT_EQ(match(1, nullptr, &inside), "");

  Sink sink;
  AuditWriter writer({.gateway = "g"}, sink.fd());
  writer.publish(snapshot_of(42), match);
  AuditRecord record = denied("b.cdn.test");
  writer.add(record);  // by the default: nothing matched
  record.rule = 0;
  writer.add(record);
  EXPECT_TRUE(sink.lines().at(0)["match"].is_null());
  EXPECT_EQ(sink.lines().at(1)["match"], "*.cdn.test");
  expect_schema(sink);
}

// decisions/0058: of a list too, and of a rule's own names and a list's the more specific.
TEST(AuditWriter, MatchIsAPatternOfAList) {
  auto list = std::make_shared<PatternSet>();
  for (const char* pattern : {"*.test", ".cdn.test", "a.cdn.test"}) list->add(*Pattern::parse(pattern));
  RuleModel rule;
  rule.domains = {*Pattern::parse("*.b.cdn.test"), *Pattern::parse("only.example")};
  rule.lists = {list};
  PolicyModel model;
  model.rules.push_back(rule);
  const MatchText match = match_text(model);
  const auto of_name = [&](const char* text) {
    const DomainName name = *DomainName::parse(text);
    return match(0, &name, nullptr);
  };
  EXPECT_EQ(of_name("a.cdn.test"), "a.cdn.test");
  EXPECT_EQ(of_name("c.cdn.test"), ".cdn.test");
  EXPECT_EQ(of_name("x.b.cdn.test"), "*.b.cdn.test");
  EXPECT_EQ(of_name("other.test"), "*.test");
  EXPECT_EQ(of_name("only.example"), "only.example");
  EXPECT_EQ(of_name("none.example"), "");
}

TEST(AuditWriter, RuleOfTheCommandLineSaysSo) {
  PolicyModel model;
  model.source = "policy.yaml";
  RuleModel rule;
  rule.name = "--allow api.example.test";
  rule.action = Action::kAllow;
  rule.domains.push_back(*Pattern::parse("api.example.test"));
  model.rules.push_back(rule);
  const auto octets = *compile(model, 42);
  Sink sink;
  AuditWriter writer({.gateway = "g"}, sink.fd());
  writer.publish(*Snapshot::open(octets));
  writer.name_client(5, "");  // the policy has no client for this cell
  AuditRecord record = denied("api.example.test");
  record.rule = 0;
  record.verdict = Effect::kContinue;
  record.effective = Effect::kAllow;
  writer.add(record);
  const json line = sink.lines().at(0);
  EXPECT_EQ(line["where"], "command line");
  EXPECT_TRUE(line["client"]["group"].is_null());
  EXPECT_EQ(line["verdict"], "continue");
  EXPECT_EQ(line["effective"], "allow");
  expect_schema(sink);
}

TEST(AuditWriter, TextOfAPluginIsNotEscapedTwice) {
  Sink sink;
  AuditWriter writer = writer_to(sink);
  AuditRecord record = denied("a.test");
  record.set_detail(R"({"raw":"a\\\\\\x1b","cause":"b\\x00\u001b"})");
  writer.add(record);
  EXPECT_EQ(sink.lines().at(0)["raw"], R"(a\\\x1b)");
  EXPECT_EQ(sink.lines().at(0)["cause"], R"(b\x00\x1b)");
  expect_schema(sink);
}

TEST(AuditWriter, HalfALineIsEndedFirst) {
  Sink sink;
  ASSERT_EQ(write(sink.fd(), "{\"half", 6), 6);
  AuditWriter writer({.gateway = "g", .after_half_line = true}, sink.fd());
  writer.add(denied("a.test"));
  EXPECT_TRUE(writer.finish());
  const std::string text = sink.text();
  EXPECT_TRUE(text.starts_with("{\"half\n{\"schema\"")) << text;
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 2);

  const int full = open("/dev/full", O_WRONLY);
  AuditWriter stuck({.gateway = "g", .after_half_line = true}, full);
  stuck.add(denied("a.test"));
  EXPECT_FALSE(stuck.finish());
  EXPECT_EQ(stuck.total_lost(), 1u);  // the line end that was to come first is no record
  EXPECT_EQ(stuck.sink_failure(), "No space left on device");
  close(full);
}

TEST(AuditWriter, FullSinkNeverBlocksAndTheLossIsTold) {  // LOG-02
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);  // a blocking pipe that nobody reads
  AuditWriter writer({.gateway = "g", .fold_window_ns = 0}, ends[1]);
  AuditRecord record = denied("a.test");
  for (int i = 0; i < 6000; ++i) writer.add(record);
  EXPECT_GT(writer.total_lost(), 0u);
  EXPECT_LE(writer.pending_octets(), 1024u * 1024u);
  const std::uint64_t lost = writer.total_lost();

  // The reader comes back: whole lines, in order, and the next one says how many are missing.
  std::string text;
  fcntl(ends[0], F_SETFL, O_NONBLOCK);
  const auto read_all = [&] {
    std::array<char, 65536> chunk;
    for (ssize_t size; (size = read(ends[0], chunk.data(), chunk.size())) > 0; writer.flush(kNow))
      text.append(chunk.data(), static_cast<std::size_t>(size));
  };
  read_all();
  EXPECT_EQ(writer.pending_octets(), 0u);
  writer.add(record);
  read_all();
  std::istringstream stream(text);
  std::uint64_t lines = 0, told = 0;
  for (std::string line; std::getline(stream, line); ++lines) told = json::parse(line)["lost_before"];
  EXPECT_EQ(told, lost);
  EXPECT_EQ(lines, 6001 - lost);
  EXPECT_EQ(writer.lines(), lines);
  close(ends[0]);
  close(ends[1]);
}

TEST(AuditWriter, NoSpaceIsCounted) {  // LOG-02
  const int full = open("/dev/full", O_WRONLY);
  ASSERT_GE(full, 0);
  AuditWriter writer({.gateway = "g", .fold_window_ns = 0}, full);
  writer.add(denied("a.test"));
  writer.add(denied("b.test"));
  EXPECT_FALSE(writer.finish());
  EXPECT_EQ(writer.total_lost(), 2u);
  close(full);
}

TEST(AuditWriter, RingLossesAreTold) {
  Sink sink;
  AuditWriter writer = writer_to(sink);
  writer.add_lost(3);
  writer.add(denied("a.test"));
  writer.add(denied("b.test"));
  EXPECT_EQ(sink.lines().at(0)["lost_before"], 3);
  EXPECT_EQ(sink.lines().at(1)["lost_before"], 0);
  EXPECT_EQ(writer.total_lost(), 3u);
}

TEST(AuditWriter, AnythingFromSharedMemoryIsALine) {
  // Random octets in place of a record, as a worker that was taken over could write them.
  Sink sink;
  AuditWriter writer = writer_to(sink, 0);
  AuditRing ring = *AuditRing::create(128, -1);
  std::uint64_t state = 88172645463325252u;
  for (int round = 0; round < 500; ++round) {
    AuditRecord record;
    auto* octets = reinterpret_cast<unsigned char*>(&record);
    for (std::size_t i = 0; i < sizeof record; ++i) {
      state ^= state << 13;
      state ^= state >> 7;
      state ^= state << 17;
      octets[i] = static_cast<unsigned char>(state);
    }
    record.realtime_ns = kNow;
    if (round % 2 == 0) record.generation = 42;
    ASSERT_TRUE(ring.write(record));
    std::array<AuditRecord, 1> out;
    ASSERT_EQ(ring.read(out), 1u);
    writer.add(out[0]);
  }
  EXPECT_EQ(sink.lines().size(), 500u);
  expect_schema(sink);
}

TEST(AuditSchema, RefusesWhatItShould) {  // the checker itself can fail
  Sink sink;
  writer_to(sink).add(denied("a.test"));
  const json schema = testing_kit::audit_schema();
  const json good = sink.lines().at(0);
  ASSERT_EQ(testing_kit::violation(schema, good), "");
  json bad = good;
  bad["verdict"] = "maybe";
  EXPECT_NE(testing_kit::violation(schema, bad), "");
  bad = good;
  bad.erase("reason");
  EXPECT_NE(testing_kit::violation(schema, bad), "");
  bad = good;
  bad["extra"] = 1;
  EXPECT_NE(testing_kit::violation(schema, bad), "");
  bad = good;
  bad["client"]["port"] = 70000;
  EXPECT_NE(testing_kit::violation(schema, bad), "");
}

TEST(AuditText, QtypesAndTimes) {
  EXPECT_EQ(qtype_text(1), "A");
  EXPECT_EQ(qtype_text(65), "HTTPS");
  EXPECT_EQ(qtype_text(65280), "TYPE65280");
  EXPECT_EQ(audit_time(0), "1970-01-01T00:00:00.000000Z");
  EXPECT_EQ(printable("a\tb"), "a\\x09b");
}

}  // namespace
}  // namespace sallyport
