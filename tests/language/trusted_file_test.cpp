// CFG-03: a file that others could have written is refused, whatever it says.
#include "language/trusted_file.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "found.hpp"
#include "language/load.hpp"

namespace sallyport {
namespace {

namespace fs = std::filesystem;
using Kind = TrustFailure::Kind;
using testing::HasSubstr;

class TrustedFileTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = fs::canonical(fs::temp_directory_path()).string() + "/trusted_file_test.XXXXXX";
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    directory_ = pattern;
  }
  void TearDown() override {
    fs::permissions(directory_, fs::perms::owner_all);
    fs::remove_all(directory_);
  }

  std::string file(const std::string& name, const std::string& content = "version: 1\n", mode_t mode = 0644) {
    const std::string path = directory_ + "/" + name;
    fs::create_directories(fs::path(path).parent_path());
    std::ofstream(path, std::ios::binary) << content;
    EXPECT_EQ(::chmod(path.c_str(), mode), 0);
    return path;
  }

  void expect(const std::string& path, Kind kind, const std::string& message) {
    const TrustedFile::Opened opened = TrustedFile::open(path, 1 << 20);
    ASSERT_TRUE(opened.failure.has_value()) << path;
    EXPECT_FALSE(opened.file.has_value());
    EXPECT_EQ(opened.failure->kind, kind) << opened.failure->message;
    EXPECT_THAT(opened.failure->message, HasSubstr(message));
    // The policy loader refuses the same file, in the same words.
    const LoadOutcome outcome = load_policy_file(path);
    EXPECT_FALSE(outcome.ok());
    ASSERT_EQ(outcome.diagnostics.size(), 1u);
    EXPECT_EQ(outcome.diagnostics[0].code, "P001");
    EXPECT_THAT(outcome.diagnostics[0].message, HasSubstr(message));
  }

  std::string directory_;
};

TEST_F(TrustedFileTest, OwnFileIsReadWhole) {
  TrustedFile::Opened opened = TrustedFile::open(file("policy.yaml", "hello"), 5);
  ASSERT_TRUE(opened.file.has_value()) << opened.failure->message;
  std::string content;
  EXPECT_FALSE(opened.file->read(content).has_value());
  EXPECT_EQ(content, "hello");
  EXPECT_EQ(opened.file->size(), 5u);
  EXPECT_EQ(opened.file->path(), directory_ + "/policy.yaml");
  EXPECT_NE(::fcntl(opened.file->fd(), F_GETFD) & FD_CLOEXEC, 0);
}

TEST_F(TrustedFileTest, DotsAndRelativePathsLeadToTheSameFile) {
  const std::string path = file("a/policy.yaml");
  EXPECT_TRUE(TrustedFile::open(directory_ + "/a/../a/./policy.yaml", 100).file.has_value());
  const fs::path before = fs::current_path();
  fs::current_path(directory_ + "/a");
  const bool relative = TrustedFile::open("policy.yaml", 100).file.has_value();
  fs::current_path(before);
  EXPECT_TRUE(relative);
}

TEST_F(TrustedFileTest, Missing) { expect(directory_ + "/none.yaml", Kind::kMissing, "does not exist"); }
TEST_F(TrustedFileTest, MissingDirectory) {
  expect(directory_ + "/none/policy.yaml", Kind::kMissing, "does not exist");
}
TEST_F(TrustedFileTest, FileForADirectory) { expect(file("x") + "/policy.yaml", Kind::kMissing, "is not a directory"); }
TEST_F(TrustedFileTest, EmptyPath) { expect("", Kind::kMissing, "an empty path"); }
TEST_F(TrustedFileTest, Root) { expect("/", Kind::kDirectory, "is a directory"); }
TEST_F(TrustedFileTest, Directory) { expect(directory_, Kind::kDirectory, "is a directory"); }

TEST_F(TrustedFileTest, SymbolicLink) {
  const std::string target = file("real.yaml");
  fs::create_symlink(target, directory_ + "/policy.yaml");
  expect(directory_ + "/policy.yaml", Kind::kSymlink, "is a symbolic link");
  EXPECT_EQ(TrustedFile::open(directory_ + "/policy.yaml", 100).failure->repair, "name what it leads to: " + target);
}

TEST_F(TrustedFileTest, DanglingSymbolicLink) {
  fs::create_symlink("nowhere", directory_ + "/policy.yaml");
  expect(directory_ + "/policy.yaml", Kind::kSymlink, "is a symbolic link");
}

TEST_F(TrustedFileTest, SymbolicLinkAboveTheFile) {
  file("real/policy.yaml");
  fs::create_directory_symlink(directory_ + "/real", directory_ + "/link");
  expect(directory_ + "/link/policy.yaml", Kind::kSymlink, "/link` is a symbolic link");
}

TEST_F(TrustedFileTest, Fifo) {
  ASSERT_EQ(::mkfifo((directory_ + "/policy.yaml").c_str(), 0600), 0);
  expect(directory_ + "/policy.yaml", Kind::kNotRegular, "is not a regular file");  // and does not wait for a writer
}

TEST_F(TrustedFileTest, Device) { expect("/dev/zero", Kind::kNotRegular, "is not a regular file"); }

TEST_F(TrustedFileTest, WorldWritable) {
  const std::string path = file("policy.yaml", "version: 1\n", 0646);
  expect(path, Kind::kWritable, "is writable by everyone");
  EXPECT_EQ(TrustedFile::open(path, 100).failure->repair, "chmod go-w " + path);
}

TEST_F(TrustedFileTest, GroupWritable) {
  expect(file("policy.yaml", "version: 1\n", 0664), Kind::kWritable, "is writable by its group");
}

TEST_F(TrustedFileTest, WorldWritableDirectory) {
  const std::string path = file("open/policy.yaml");
  ASSERT_EQ(::chmod((directory_ + "/open").c_str(), 0777), 0);
  expect(path, Kind::kWritable, "/open` is writable by everyone");
}

TEST_F(TrustedFileTest, WorldWritableDirectoryFurtherUp) {
  const std::string path = file("open/inner/policy.yaml");
  ASSERT_EQ(::chmod((directory_ + "/open").c_str(), 0777), 0);
  expect(path, Kind::kWritable, "/open` is writable by everyone");
}

TEST_F(TrustedFileTest, StickyDirectoryMayBeOpen) {  // as /tmp is, where this test runs
  const std::string path = file("open/policy.yaml");
  ASSERT_EQ(::chmod((directory_ + "/open").c_str(), 01777), 0);
  EXPECT_TRUE(TrustedFile::open(path, 100).file.has_value());
}

TEST_F(TrustedFileTest, Unreadable) {
  const std::string path = file("policy.yaml", "version: 1\n", ::geteuid() == 0 ? 0600 : 0200);
  if (::geteuid() == 0) {  // who reads everything: be someone else for a moment
    ASSERT_EQ(::chmod(directory_.c_str(), 0755), 0);
    ASSERT_EQ(::seteuid(12345), 0);
  }
  expect(path, Kind::kUnreadable, "may not be read");
  if (::getuid() == 0) ASSERT_EQ(::seteuid(0), 0);
}

TEST_F(TrustedFileTest, OwnedBySomeoneElse) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root can give files away";
  const std::string path = file("policy.yaml");
  ASSERT_EQ(::chown(path.c_str(), 12345, 12345), 0);
  expect(path, Kind::kOwner, "belongs to uid 12345, who could change it");
  ASSERT_EQ(::chown(path.c_str(), 65534, 65534), 0);
  expect(path, Kind::kOwner, "belongs to someone outside this user namespace");
}

TEST_F(TrustedFileTest, DirectoryOwnedBySomeoneElse) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root can give files away";
  const std::string path = file("theirs/policy.yaml");
  ASSERT_EQ(::chown((directory_ + "/theirs").c_str(), 12345, 12345), 0);
  expect(path, Kind::kOwner, "/theirs` belongs to uid 12345");
}

TEST_F(TrustedFileTest, EverythingThatIsWrongIsSaidAtOnce) {
  const std::string path = file("open/inner/policy.yaml", "version: 1\n", 0666);
  ASSERT_EQ(::chmod((directory_ + "/open").c_str(), 0777), 0);
  ASSERT_EQ(::chmod((directory_ + "/open/inner").c_str(), 0775), 0);
  expect(path, Kind::kWritable,
         "`" + directory_ + "/open` is writable by everyone; `" + directory_ +
             "/open/inner` is writable by its group; `" + path + "` is writable by everyone");
  EXPECT_EQ(TrustedFile::open(path, 100).failure->repair,
            "chmod go-w " + directory_ + "/open " + directory_ + "/open/inner " + path);
}

TEST_F(TrustedFileTest, OwnerAndModeAreSaidAtOnce) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root can give files away";
  const std::string path = file("policy.yaml", "version: 1\n", 0666);
  ASSERT_EQ(::chown(path.c_str(), 12345, 12345), 0);
  expect(path, Kind::kOwner, "belongs to uid 12345, who could change it; `" + path + "` is writable by everyone");
  EXPECT_EQ(TrustedFile::open(path, 100).failure->repair,
            "chmod go-w " + path + "; it must belong to root or to uid 0");
}

TEST_F(TrustedFileTest, AMissingFileBelowAnOpenDirectoryIsBoth) {
  file("open/other.yaml");
  ASSERT_EQ(::chmod((directory_ + "/open").c_str(), 0777), 0);
  expect(directory_ + "/open/policy.yaml", Kind::kWritable,
         "/open` is writable by everyone; `" + directory_ + "/open/policy.yaml` does not exist");
}

TEST_F(TrustedFileTest, OneGigabyte) {
  const std::string path = file("policy.yaml");
  fs::resize_file(path, 1 << 30);  // sparse
  expect(path, Kind::kTooLarge, "has 1073741824 octets, more than");
}

TEST_F(TrustedFileTest, AtTheLimitAndOneOver) {
  const std::string path = file("policy.yaml", "12345");
  EXPECT_TRUE(TrustedFile::open(path, 5).file.has_value());
  EXPECT_FALSE(TrustedFile::open(path, 4).file.has_value());
}

TEST_F(TrustedFileTest, ShrunkOrGrownWhileItIsRead) {
  const std::string path = file("policy.yaml", "version: 1\nrules: []\n");
  for (const std::uintmax_t size : {5u, 500u}) {
    TrustedFile::Opened opened = TrustedFile::open(path, 1000);
    ASSERT_TRUE(opened.file.has_value());
    fs::resize_file(path, size);
    std::string content;
    const auto failure = opened.file->read(content);
    ASSERT_TRUE(failure.has_value());
    EXPECT_EQ(failure->kind, Kind::kChanged);
    EXPECT_EQ(content, "");
  }
}

TEST_F(TrustedFileTest, WhatWasCheckedIsWhatIsRead) {
  const std::string path = file("policy.yaml", "version: 1\n");
  TrustedFile::Opened opened = TrustedFile::open(path, 1000);
  ASSERT_TRUE(opened.file.has_value());
  fs::rename(file("other.yaml", "default: allow\n"), path);
  std::string content;
  EXPECT_FALSE(opened.file->read(content).has_value());
  EXPECT_EQ(content, "version: 1\n");
}

// CFG-03, "truncated": cut at every octet, a policy is refused, or warned about, or whole up to its last line feed.
TEST_F(TrustedFileTest, ATruncatedPolicyDoesNotPassInSilence) {
  const std::string whole =
      "version: 1\nrules:\n  - name: r\n    action: allow\n    domains: [a.example.com]\n    ports: [443]\n";
  for (std::size_t length = 0; length < whole.size(); ++length) {
    const LoadOutcome outcome = load_policy_file(file("policy.yaml", whole.substr(0, length)));
    const bool at_line_end = length > 0 && whole[length - 1] == '\n';
    EXPECT_TRUE(!outcome.diagnostics.empty() || at_line_end) << whole.substr(0, length);
  }
}

}  // namespace
}  // namespace sallyport
