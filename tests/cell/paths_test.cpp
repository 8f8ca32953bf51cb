// The parsers of what the kernel lists: mounts and Unix sockets, and the path arithmetic over them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cell_lab.hpp"
#include "host/cell/mount_table.hpp"
#include "host/cell/unix_sockets.hpp"
#include "host/cell/workload.hpp"

namespace sallyport::cell {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

struct WithinCase {
  const char* why;
  const char* path;
  const char* directory;
  bool within;
};

class IsWithin : public testing::TestWithParam<WithinCase> {};
TEST_P(IsWithin, ByWholeComponents) { EXPECT_EQ(is_within(GetParam().path, GetParam().directory), GetParam().within); }
INSTANTIATE_TEST_SUITE_P(Paths, IsWithin,
                         testing::ValuesIn<WithinCase>({{"Itself", "/a", "/a", true},
                                                        {"Below", "/a/b/c", "/a", true},
                                                        {"TextPrefix", "/ab", "/a", false},
                                                        {"Above", "/a", "/a/b", false},
                                                        {"Root", "/a", "/", true},
                                                        {"RootItself", "/", "/", true},
                                                        {"RootInDirectory", "/", "/a", false}}),
                         [](const auto& row) { return row.param.why; });

TEST(Steps, FromBelowTheRootToThePath) {
  EXPECT_THAT(steps_below("/r", "/r/a/b"), ElementsAre("/r/a", "/r/a/b"));
  EXPECT_THAT(steps_below("/", "/a/b"), ElementsAre("/a", "/a/b"));
  EXPECT_THAT(steps_below("/r", "/r"), IsEmpty());
  EXPECT_THAT(steps_below("/r", "/rx/a"), IsEmpty());
}

TEST(Mounts, ParsedWithEscapesAndWithoutRepetition) {
  const MountTable table = MountTable::parse(
      "22 27 0:21 / /proc rw,relatime - proc proc rw\n"
      "27 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n"
      "30 27 0:9 / /mnt/my\\040disk\\134x rw shared:7 - ext4 /dev/vdb rw\n"
      "31 30 0:9 / /mnt/my\\040disk\\134x/sub rw - ext4 /dev/vdb rw\n"
      "32 27 0:9 / /mnt/my\\040disk\\134x rw - ext4 /dev/vdb rw\n");
  EXPECT_TRUE(table.has("/mnt/my disk\\x"));
  EXPECT_TRUE(table.has_beneath("/mnt"));
  EXPECT_FALSE(table.has_beneath("/proc"));
  EXPECT_THAT(table.topmost_beneath("/mnt"), ElementsAre("/mnt/my disk\\x"));
  EXPECT_THAT(table.topmost_beneath("/"), ElementsAre("/mnt/my disk\\x", "/proc"));
}

TEST(Mounts, TheKernelsOwnAreKnownWhereverTheyAre) {
  const MountTable table = MountTable::parse(
      "22 27 0:21 / /proc rw - proc proc rw\n"
      "23 27 0:21 / /srv/chroot/proc rw shared:4 master:2 - proc proc rw\n"
      "24 27 8:1 / /srv/chroot/home rw - ext4 /dev/sda1 rw\n");
  EXPECT_TRUE(table.is_kernels("/srv/chroot/proc"));
  EXPECT_FALSE(table.is_kernels("/srv/chroot/home"));
  EXPECT_THAT(table.kernels_beneath("/srv"), ElementsAre("/srv/chroot/proc"));
}

TEST(Mounts, HostileTextIsNotAMount) { EXPECT_TRUE(MountTable::parse("garbage\n\n a b c\n1 2 3 4\n").empty()); }

TEST(Sockets, AbstractOnesAreLeftOutAndRelativeOnesNoted) {
  const std::string header = "Num       RefCount Protocol Flags    Type St Inode Path\n";
  const UnixSockets none =
      UnixSockets::parse(header + "ffff: 00000002 00000000 00010000 0001 01 19 @/tmp/abstract\nffff: 2 0 0 1 01 20\n");
  EXPECT_FALSE(none.has_relative_names());
  EXPECT_THAT(none.within("/nonexistent", "").paths, IsEmpty());
  EXPECT_TRUE(UnixSockets::parse(header + "ffff: 2 0 0 1 01 20 agent.sock\n").has_relative_names());
}

TEST(Sockets, TheNearestAreFoundBeforeTheBound) {
  const cell_test::Scratch scratch(cell_test::Who::kUser);
  scratch.make_directory("a/b/c");
  for (int i = 0; i < 50; ++i) scratch.write("a/b/c/" + std::to_string(i), "");
  const std::vector<int> open = {cell_test::listen_at(scratch / "near", SOCK_STREAM),
                                 cell_test::listen_at(scratch / "a/b/c/deep", SOCK_STREAM)};
  const UnixSockets unlisted = UnixSockets::parse("");
  const UnixSockets::Search whole = unlisted.within(scratch.path(), "");
  EXPECT_TRUE(whole.complete);
  EXPECT_THAT(whole.paths, ElementsAre(scratch / "a/b/c/deep", scratch / "near"));
  const UnixSockets::Search bounded = unlisted.within(scratch.path(), "", 4);
  EXPECT_FALSE(bounded.complete);
  EXPECT_THAT(bounded.paths, testing::Contains(scratch / "near"));
  // A relative name somewhere: it may be anywhere, and no bound holds.
  const UnixSockets relative = UnixSockets::parse("ffff: 2 0 0 1 01 20 agent.sock\n");
  EXPECT_THAT(relative.within(scratch.path(), "", 4).paths, ElementsAre(scratch / "a/b/c/deep", scratch / "near"));
  for (int fd : open) ::close(fd);
}

TEST(Command, CandidatesAsExecvpTriesThem) {
  EXPECT_THAT(command_candidates("ls", {"A=b", "PATH=/x::/y"}), ElementsAre("/x/ls", "./ls", "/y/ls"));
  EXPECT_THAT(command_candidates("./ls", {"PATH=/x"}), ElementsAre("./ls"));
  EXPECT_THAT(command_candidates("", {"PATH=/x"}), IsEmpty());
}

}  // namespace
}  // namespace sallyport::cell
