#include "limits/quota_file.hpp"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

namespace sallyport {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kNoon = 20'000 * 86'400 + 43'200;
constexpr LimitsTable::Now kNow{5'000'000'000, kNoon};

class File : public testing::Test {
 protected:
  File() {
    char name[] = "/tmp/sallyport-quota-XXXXXX";
    directory_ = mkdtemp(name);
    path_ = directory_ / "gate.quotas";
    for (int i = 0; i < 10; ++i) table_.charge(table_.key(i, "c"), limits(), Charge::kUp, 100 + i, kNow);
  }
  ~File() override { fs::remove_all(directory_); }

  static LimitsModel limits() {
    LimitsModel out;
    out.upload = RateModel{1000, 86'400};
    return out;
  }
  std::string contents() const {
    std::ifstream in(path_, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  void write(const std::string& octets) const { std::ofstream(path_, std::ios::binary | std::ios::trunc) << octets; }

  fs::path directory_, path_;
  LimitsTable table_ = *LimitsTable::create({.capacity = 64, .seed = {3, 4}});
};

TEST_F(File, IsWhatWasSaved) {
  QuotaFile file(path_);
  const auto none = file.load();
  ASSERT_TRUE(none.ok());
  EXPECT_FALSE(none->found);
  ASSERT_TRUE(file.save(table_, kNoon));
  const auto loaded = QuotaFile(path_).load();
  ASSERT_TRUE(loaded.ok()) << loaded.error().message;
  EXPECT_TRUE(loaded->found);
  EXPECT_EQ(loaded->seed, table_.seed());
  EXPECT_EQ(loaded->used, table_.used(kNoon));
  EXPECT_EQ(loaded->used.size(), 10u);
  struct stat status{};
  ASSERT_EQ(::stat(path_.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0600u);
}

TEST_F(File, IsNotWrittenAgainForNothing) {
  QuotaFile file(path_);
  ASSERT_TRUE(file.save(table_, kNoon));
  fs::remove(path_);
  ASSERT_TRUE(file.save(table_, kNoon));
  EXPECT_FALSE(fs::exists(path_));
  table_.charge(table_.key(1, "c"), limits(), Charge::kUp, 1, kNow);
  ASSERT_TRUE(file.save(table_, kNoon));
  EXPECT_TRUE(fs::exists(path_));
}

// CFG: every octet damaged, every length cut: never taken for good.
TEST_F(File, IsRefusedOnceDamaged) {
  ASSERT_TRUE(QuotaFile(path_).save(table_, kNoon));
  const std::string good = contents();
  for (std::size_t i = 0; i < good.size(); ++i) {
    std::string bad = good;
    bad[i] = static_cast<char>(bad[i] ^ 0x10);
    write(bad);
    ASSERT_FALSE(QuotaFile(path_).load().ok()) << "octet " << i;
  }
  for (std::size_t length = 0; length < good.size(); ++length) {
    write(good.substr(0, length));
    ASSERT_FALSE(QuotaFile(path_).load().ok()) << "length " << length;
  }
  write(good + "x");
  EXPECT_FALSE(QuotaFile(path_).load().ok());
}

TEST_F(File, IsNoLinkAndNoPipe) {
  ASSERT_TRUE(QuotaFile(path_).save(table_, kNoon));
  fs::rename(path_, directory_ / "elsewhere");
  fs::create_symlink(directory_ / "elsewhere", path_);
  EXPECT_FALSE(QuotaFile(path_).load().ok());
  fs::remove(path_);
  ASSERT_EQ(::mkfifo(path_.c_str(), 0600), 0);
  EXPECT_FALSE(QuotaFile(path_).load().ok());
}

TEST_F(File, KeepsThatSomethingWasLost) {
  table_.lose(kNoon);
  ASSERT_TRUE(QuotaFile(path_).save(table_, kNoon));
  EXPECT_EQ(QuotaFile(path_).load()->lost_at, kNoon);
}

TEST_F(File, StaysWhereItCannotBeReplaced) {
  QuotaFile file(path_);
  ASSERT_TRUE(file.save(table_, kNoon));
  const std::string good = contents();
  fs::create_directory(directory_ / "gate.quotas.new");  // in the way
  table_.charge(table_.key(1, "c"), limits(), Charge::kUp, 1, kNow);
  EXPECT_FALSE(file.save(table_, kNoon));
  EXPECT_EQ(contents(), good);
}

}  // namespace
}  // namespace sallyport
