// Who asked, in a line of the audit: cells, addresses, users; and several workers' rings into one writer.
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "audit/audit_ring.hpp"
#include "audit/audit_writer.hpp"
#include "audit/schema_check.hpp"

namespace sallyport {
namespace {

using nlohmann::json;

class AuditClient : public ::testing::Test {
 protected:
  AuditClient() : fd_(memfd_create("sink", MFD_CLOEXEC)) {
    PolicyModel model;
    model.source = "policy.yaml";
    model.clients.push_back(client("agents", "172.20.0.0/16"));
    model.clients.push_back(client("build", "2001:db8:1::/48"));
    model.clients.push_back(client("some", "172.20.7.0/24"));  // of both: the first is named
    ClientModel ci;
    ci.name = "ci";
    ci.credentials = {"ci-bot"};
    model.clients.push_back(ci);
    octets_ = *compile(model, 42);
    writer_.emplace(AuditWriter::Options{.gateway = "g", .fold_window_ns = 0}, fd_);
    writer_->publish(*Snapshot::open(octets_));
  }
  ~AuditClient() override { close(fd_); }

  static ClientModel client(const char* name, const char* prefix) {
    ClientModel out;
    out.name = name;
    out.addresses.push_back(*Prefix::parse(prefix));
    return out;
  }

  static AuditRecord record(const char* from) {
    AuditRecord out;
    out.generation = 42;
    out.client_id = 1ull << 63 | 5;
    out.set_plugin("dns");
    out.set_name(*DomainName::parse("a.test"));
    if (from[0] != 0) out.set_client_addr(*Address::parse(from), 4000);
    return out;
  }

  std::vector<json> lines() {
    std::string text(static_cast<std::size_t>(lseek(fd_, 0, SEEK_END)), '\0');
    EXPECT_EQ(pread(fd_, text.data(), text.size(), 0), static_cast<ssize_t>(text.size()));
    std::vector<json> out;
    std::istringstream stream(text);
    const json schema = testing_kit::audit_schema();
    for (std::string line; std::getline(stream, line);) {
      out.push_back(json::parse(line));
      EXPECT_EQ(testing_kit::violation(schema, out.back()), "") << line;
    }
    return out;
  }

  json line_of(const AuditRecord& given) {
    writer_->add(given);
    return lines().back()["client"];
  }

  int fd_;
  std::vector<std::byte> octets_;
  std::optional<AuditWriter> writer_;
};

TEST_F(AuditClient, GroupOfAnAddressIsThePolicys) {
  EXPECT_EQ(line_of(record("172.20.0.7")).dump(), R"({"addr":"172.20.0.7","group":"agents","port":4000,"user":null})");
  EXPECT_EQ(line_of(record("172.20.7.7"))["group"], "agents");
  EXPECT_EQ(line_of(record("2001:db8:1::7"))["group"], "build");
  EXPECT_TRUE(line_of(record("10.0.0.1"))["group"].is_null());
}

TEST_F(AuditClient, GroupIsOfTheGenerationThatDecided) {
  AuditRecord other = record("172.20.0.7");
  other.generation = 41;  // not known here
  EXPECT_TRUE(line_of(other)["group"].is_null());
  PolicyModel model;
  model.source = "policy.yaml";
  model.clients.push_back(client("renamed", "172.20.0.0/16"));
  const auto newer = *compile(model, 43);
  writer_->publish(*Snapshot::open(newer));
  EXPECT_EQ(line_of(record("172.20.0.7"))["group"], "agents");
  other.generation = 43;
  EXPECT_EQ(line_of(other)["group"], "renamed");
}

TEST_F(AuditClient, ANamedClientKeepsItsName) {
  writer_->name_client(7, "cell-group");
  writer_->name_client(8, "");
  AuditRecord cell = record("");
  cell.client_id = 7;
  EXPECT_EQ(line_of(cell)["group"], "cell-group");
  cell.set_client_addr(*Address::parse("172.20.0.7"), 1);
  EXPECT_EQ(line_of(cell)["group"], "cell-group");
  cell.client_id = 8;
  EXPECT_TRUE(line_of(cell)["group"].is_null());
  cell = record("");
  cell.client_id = 9;
  EXPECT_EQ(line_of(cell)["group"], "client-9");
}

TEST_F(AuditClient, UserIsShownEscapedAndCut) {
  AuditRecord given = record("172.20.0.7");
  given.set_user("ci-bot");
  EXPECT_EQ(line_of(given)["user"], "ci-bot");
  given.set_user("a\x1b[31m\"\n\xff");
  EXPECT_EQ(line_of(given)["user"], "a\\x1b[31m\"\\x0a\\xff");
  given.set_user(std::string(100, 'u'));
  EXPECT_EQ(line_of(given)["user"], std::string(63, 'u') + "...");
  given = record("172.20.0.7");
  given.set_user(std::string(63, '\x01'));  // grows to 252
  EXPECT_EQ(std::string(line_of(given)["user"]).size(), 252u);
}

TEST_F(AuditClient, GroupMayBeTheUsers) {
  AuditRecord given = record("10.0.0.1");  // in no client's networks
  EXPECT_TRUE(line_of(given)["group"].is_null());
  given.set_user("ci-bot");
  EXPECT_EQ(line_of(given)["group"], "ci");
}

TEST_F(AuditClient, UsersAreNotFoldedTogether) {
  writer_.emplace(AuditWriter::Options{.gateway = "g", .fold_window_ns = 1'000'000'000}, fd_);
  AuditRecord given = record("172.20.0.7");
  given.set_user("ann");
  writer_->add(given);
  writer_->add(given);
  given.set_user("bob");
  writer_->add(given);
  ASSERT_TRUE(writer_->finish());
  std::map<std::string, int> counts;
  for (const json& line : lines()) counts[line["client"]["user"]] += static_cast<int>(line["count"]);
  EXPECT_EQ(counts, (std::map<std::string, int>{{"ann", 2}, {"bob", 1}}));
}

TEST_F(AuditClient, UserComesThroughTheRing) {
  AuditRing ring = *AuditRing::create(128, -1);
  AuditRecord given = record("172.20.0.7");
  given.set_user("ci-bot");
  ASSERT_TRUE(ring.write(given));
  given.user_size = 255;  // nonsense of a worker
  ASSERT_TRUE(ring.write(given));
  std::array<AuditRecord, 2> out;
  ASSERT_EQ(ring.read(out), 2u);
  EXPECT_EQ(out[0].user_text(), "ci-bot");
  EXPECT_EQ(out[1].user_text().size(), AuditRecord::kMaxUser);
}

// A warden has a ring for each worker, and one writer for all of them.
TEST_F(AuditClient, ManyRingsOneWriter) {
  constexpr unsigned kRings = 3, kRecords = 300;
  std::vector<AuditRing> rings;
  for (unsigned r = 0; r < kRings; ++r) rings.push_back(*AuditRing::create(512, -1, /*ref_seed=*/9));
  std::vector<std::thread> workers;
  for (unsigned r = 0; r < kRings; ++r) {
    workers.emplace_back([&, r] {
      AuditRing mine = *AuditRing::map(rings[r].fd(), -1);
      for (unsigned n = 0; n < kRecords; ++n) {
        AuditRecord given = record("172.20.0.7");
        given.set_plugin("p" + std::to_string(r));
        given.ref = audit_ref(given, mine.ref_seed());
        while (!mine.write(given)) std::this_thread::yield();
      }
    });
  }
  std::array<AuditRecord, 16> out;
  for (unsigned taken = 0; taken < kRings * kRecords;) {
    for (AuditRing& ring : rings) {
      const std::size_t count = ring.read(out);
      for (std::size_t i = 0; i < count; ++i) writer_->add(out[i]);
      taken += static_cast<unsigned>(count);
    }
  }
  for (auto& worker : workers) worker.join();
  std::map<std::string, unsigned> counts;
  std::map<std::string, unsigned> ids;
  std::string ref;
  for (const json& line : lines()) {
    ++counts[line["plugin"]];
    const std::string id = line["id"];
    EXPECT_EQ(++ids[id], 1u) << "one id, two lines";
    if (ref.empty()) ref = id.substr(21);
    EXPECT_EQ(id.substr(21), ref);  // the same decision, whichever worker says so
  }
  EXPECT_EQ(counts, (std::map<std::string, unsigned>{{"p0", kRecords}, {"p1", kRecords}, {"p2", kRecords}}));
}

}  // namespace
}  // namespace sallyport
