// PLG-01: what is not exactly a checked plugin file is refused in words, before any of its code runs.
#include "host/plugin/plugin_image.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

namespace sallyport {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

class PluginFile : public testing::Test {
 protected:
  void SetUp() override {
    char pattern[] = "/tmp/sallyport-plugin-test-XXXXXX";
    ASSERT_NE(::mkdtemp(pattern), nullptr);
    directory_ = pattern;
    fs::copy_file(MINI_PLUGIN, directory_ / "mini.so");
    ::chmod((directory_ / "mini.so").c_str(), 0644);
  }
  void TearDown() override { fs::remove_all(directory_); }

  std::string refusal(const std::string& directory, const std::string& file) {
    const auto image = open_plugin(directory, file);
    return image.ok() ? "accepted" : std::string(image.status().message());
  }

  fs::path directory_;
};

TEST_F(PluginFile, IsReadAndSealed) {
  const auto image = open_plugin(directory_, "mini.so");
  ASSERT_TRUE(image.ok()) << image.status();
  EXPECT_EQ(image->name, "mini");
  EXPECT_EQ(::pwrite(image->fd, "x", 1, 0), -1) << "the copy can be changed";
  EXPECT_EQ(*plugin_config(*image, nlohmann::json::object()), "{}");
  EXPECT_THAT(std::string(plugin_config(*image, {{"a", 1}}).status().message()), HasSubstr("unknown option `a`"));
}

TEST_F(PluginFile, OtherPathsAreRefused) {
  EXPECT_THAT(refusal("plugins", "mini.so"), HasSubstr("absolute"));
  EXPECT_THAT(refusal(directory_.string() + "/../x", "mini.so"), HasSubstr("`..`"));
  EXPECT_THAT(refusal(directory_, "../mini.so"), HasSubstr("without a path"));
  EXPECT_THAT(refusal(directory_, "mini"), HasSubstr("ends in .so"));
  EXPECT_THAT(refusal(directory_, "none.so"), HasSubstr("none.so"));
  fs::create_symlink(directory_ / "mini.so", directory_ / "link.so");
  EXPECT_NE(refusal(directory_, "link.so"), "accepted");
  fs::create_directory_symlink(directory_, directory_.string() + "-link");
  EXPECT_NE(refusal(directory_.string() + "-link", "mini.so"), "accepted");
  fs::remove(directory_.string() + "-link");
}

TEST_F(PluginFile, WritableByOthersIsRefused) {
  ::chmod((directory_ / "mini.so").c_str(), 0666);
  EXPECT_THAT(refusal(directory_, "mini.so"), HasSubstr("writable"));
  ::chmod((directory_ / "mini.so").c_str(), 0644);
  ::chmod(directory_.c_str(), 0777);
  EXPECT_THAT(refusal(directory_, "mini.so"), HasSubstr("writable"));
}

TEST_F(PluginFile, OtherOwnersAreRefused) {  // needs root, which CI is
  if (::geteuid() != 0) GTEST_SKIP() << "only root can give files away";
  for (uid_t owner : {uid_t{12345}, uid_t{65534}}) {
    ASSERT_EQ(::chown((directory_ / "mini.so").c_str(), owner, 0), 0);
    EXPECT_NE(refusal(directory_, "mini.so"), "accepted") << owner;
  }
  ASSERT_EQ(::chown((directory_ / "mini.so").c_str(), 0, 0), 0);
  ASSERT_EQ(::chown(directory_.c_str(), 12345, 0), 0);
  EXPECT_NE(refusal(directory_, "mini.so"), "accepted");
}

TEST_F(PluginFile, ForeignFilesAreRefused) {
  std::ofstream(directory_ / "text.so") << "#!/bin/sh\n";
  EXPECT_THAT(refusal(directory_, "text.so"), HasSubstr("not an ELF file"));
  std::ofstream(directory_ / "empty.so");
  EXPECT_THAT(refusal(directory_, "empty.so"), HasSubstr("empty.so"));
  for (const char* library : {"/lib/x86_64-linux-gnu/libm.so.6"}) {
    if (!fs::exists(library)) continue;
    fs::copy_file(library, directory_ / "libm.so");
    EXPECT_THAT(refusal(directory_, "libm.so"), HasSubstr("not a Sallyport plugin"));
  }
}

}  // namespace
}  // namespace sallyport
