// The file that a run's audit goes to: what is refused, what is mended, what is said of losses.
#include "host/warden/audit_trail.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

namespace sallyport {
namespace {

class AuditTrailTest : public testing::Test {
 protected:
  AuditTrailTest() {
    char pattern[] = "/tmp/audit-trail-XXXXXX";
    directory_ = ::mkdtemp(pattern);
    path_ = directory_ + "/audit.jsonl";
    PolicyModel model;
    model.clients.push_back({.name = "agents", .addresses = {}, .cells = {"ci-*"}});
    octets_ = *compile(model, 1);
    snapshot_ = *Snapshot::open(octets_);
  }
  ~AuditTrailTest() override {
    ::unlink(path_.c_str());
    ::rmdir(directory_.c_str());
  }

  void put(const std::string& text) { std::ofstream(path_) << text; }
  std::string text() const {
    std::ostringstream out;
    out << std::ifstream(path_).rdbuf();
    return out.str();
  }
  absl::StatusOr<AuditTrail> open(const std::string& path, const std::string& cell = "ci-1") {
    return AuditTrail::open(path, snapshot_, 5, cell);
  }
  static void write(AuditTrail& trail, Reason reason = Reason::kNoRule, Effect effect = Effect::kDeny) {
    AuditRing ring = *AuditRing::map(trail.ring_fd(), trail.wake_fd());
    AuditRecord record;
    record.realtime_ns = 1'764'026'272'104'113'000;
    record.generation = 1;
    record.client_id = 5;
    record.layer = Layer::kDns;
    record.reason = reason;
    record.verdict = record.effective = effect;
    record.set_name(*DomainName::parse("evil.test"));
    record.ref = audit_ref(record, ring.ref_seed());
    ASSERT_TRUE(ring.write(record));
  }

  std::string directory_, path_;
  std::vector<std::byte> octets_;
  std::shared_ptr<const Snapshot> snapshot_;
};

TEST_F(AuditTrailTest, LineAndSummaryHaveOneRef) {
  auto trail = open(path_);
  ASSERT_TRUE(trail.ok()) << trail.status();
  write(*trail);
  write(*trail, Reason::kUpstreamFailed, Effect::kAllow);
  trail->collect();
  EXPECT_FALSE(trail->finish().any());
  ASSERT_EQ(trail->denied().rows().size(), 1u);
  ASSERT_EQ(trail->failed().rows().size(), 1u);
  const auto line = nlohmann::json::parse(text().substr(0, text().find('\n')));
  EXPECT_TRUE(line["id"].get<std::string>().ends_with(trail->denied().rows()[0].ref));
  EXPECT_EQ(line["client"]["group"], "agents");
  EXPECT_EQ(line["gateway"], "ci-1");
}

TEST_F(AuditTrailTest, CellWithoutAClientHasNoGroup) {
  auto trail = open(path_, "other");
  write(*trail);
  trail->finish();
  EXPECT_TRUE(nlohmann::json::parse(text())["client"]["group"].is_null());
}

TEST_F(AuditTrailTest, HalfALineOfAnEarlierRunIsEnded) {
  put("{\"whole\":1}\n{\"half");
  auto trail = open(path_);
  write(*trail);
  EXPECT_FALSE(trail->finish().any());
  EXPECT_THAT(text(), testing::StartsWith("{\"whole\":1}\n{\"half\n{\"schema\":"));
}

TEST_F(AuditTrailTest, WholeLinesAreLeftAlone) {
  put("{\"whole\":1}\n");
  auto trail = open(path_);
  write(*trail);
  trail->finish();
  EXPECT_THAT(text(), testing::StartsWith("{\"whole\":1}\n{\"schema\":"));
}

TEST_F(AuditTrailTest, PipeNeedsAReader) {
  ASSERT_EQ(::mkfifo(path_.c_str(), 0600), 0);
  const auto refused = open(path_);
  EXPECT_THAT(std::string(refused.status().message()), testing::HasSubstr("nobody reads the pipe"));
  const int reader = ::open(path_.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
  auto trail = open(path_);
  ASSERT_TRUE(trail.ok()) << trail.status();
  ::close(reader);
  ::signal(SIGPIPE, SIG_IGN);  // as the warden does
  write(*trail);
  const AuditLoss loss = trail->finish();
  EXPECT_EQ(loss.records, 1u);
  EXPECT_EQ(loss.why, "nobody reads the pipe any more");
}

TEST_F(AuditTrailTest, FullDiskIsTold) {
  auto trail = open("/dev/full");
  ASSERT_TRUE(trail.ok()) << trail.status();
  write(*trail);
  const AuditLoss loss = trail->finish();
  EXPECT_EQ(loss.records, 1u);
  EXPECT_EQ(loss.why, "No space left on device");
}

TEST_F(AuditTrailTest, WithoutAFileNothingIsLost) {
  auto trail = open("");
  write(*trail);
  const AuditLoss loss = trail->finish();
  EXPECT_FALSE(loss.any());
  EXPECT_EQ(loss.why, "");
  EXPECT_EQ(trail->denied().rows().size(), 1u);
}

}  // namespace
}  // namespace sallyport
