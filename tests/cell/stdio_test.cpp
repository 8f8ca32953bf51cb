// Standard files give the command what the caller opened them for, and not the files behind them (CEL-11).
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <functional>

#include "cell_lab.hpp"

namespace sallyport::cell_test {
namespace {

using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

class CellStdio : public testing::TestWithParam<Who> {
 protected:
  void SetUp() override {
    scratch_.make_directory("work");
    scratch_.write("outside", "first\nsecond\nthird\n");
    scratch_.write("work/inside", "first\nsecond\n");
  }
  // The command with `path` of the scratch directory as descriptor `fd`, opened as the caller's shell would.
  Launch with(int fd, const std::string& path, int flags, std::vector<std::string> command) {
    Launch wanted{.who = GetParam(), .directory = scratch_ / "work", .command = std::move(command)};
    wanted.before_exec = [fd, flags, file = scratch_ / path] { ::dup2(::open(file.c_str(), flags, 0644), fd); };
    return wanted;
  }
  mode_t mode(const std::string& path) {
    struct stat status{};
    ::stat((scratch_ / path).c_str(), &status);
    return status.st_mode & 07777;
  }

  Scratch scratch_{GetParam()};
};

INSTANTIATE_TEST_SUITE_P(As, CellStdio, testing::ValuesIn(everybody()), name_of);

// Everything that a descriptor of a file can be turned into, by each number given.
constexpr const char* kAttack = R"(
import os, sys
def attempt(what, call):
  try: call(); print('did', what, file=out)
  except OSError as e: pass
out = os.fdopen(int(sys.argv[1]), 'w')
for fd in map(int, sys.argv[2:]):
  path = '/proc/self/fd/%d' % fd
  attempt('write', lambda: os.write(os.open(path, os.O_WRONLY), b'OWNED'))
  attempt('append', lambda: os.write(os.open(path, os.O_WRONLY | os.O_APPEND), b'OWNED'))
  attempt('truncate', lambda: os.truncate(path, 0))
  attempt('ftruncate', lambda: os.ftruncate(fd, 0))
  attempt('open truncating', lambda: os.open(path, os.O_RDONLY | os.O_TRUNC))
  attempt('chmod', lambda: os.chmod(path, 0o4777))
  attempt('fchmod', lambda: os.fchmod(fd, 0o4777))
  attempt('touch', lambda: os.utime(fd, (0, 0)))
  attempt('attribute', lambda: os.setxattr(fd, 'user.owned', b'x'))
  attempt('link', lambda: os.link(path, 'linked', follow_symlinks=True))
print('tried', file=out)
)";

std::vector<std::string> attack(std::vector<std::string> numbers) {
  std::vector<std::string> command = python(kAttack);
  command.insert(command.end(), numbers.begin(), numbers.end());
  return command;
}

TEST_P(CellStdio, AFileOpenedForReadingCanOnlyBeRead) {
  const Outcome outcome = run(with(0, "outside", O_RDONLY, attack({"1", "0"})));
  EXPECT_EQ(outcome.output, "tried\n") << outcome.all();
  EXPECT_EQ(scratch_.read("outside"), "first\nsecond\nthird\n");
  EXPECT_EQ(mode("outside"), 0644u);
}

TEST_P(CellStdio, ItIsStillAFileWithItsOffset) {
  Launch wanted = with(0, "outside", O_RDONLY, python(R"(
import os, stat, sys
print(stat.S_ISREG(os.fstat(0).st_mode), os.lseek(0, 0, os.SEEK_CUR), os.fstat(0).st_size)
print(os.read(0, 6), os.pread(0, 5, 0), open('/dev/stdin').readline().strip(), os.lseek(0, 0, os.SEEK_CUR))
)"));
  wanted.before_exec = [inner = wanted.before_exec] {
    inner();
    ::lseek(0, 6, SEEK_SET);
  };
  EXPECT_EQ(run(wanted).output, "True 6 19\nb'second' b'first' first 12\n");
}

TEST_P(CellStdio, TheCallerReadsOnWhereTheCommandStopped) {  // while read line; do sallyport run ...; done < file
  for (const char* path : {"outside", "work/inside"}) {
    const int file = ::open((scratch_ / path).c_str(), O_RDONLY | O_CLOEXEC);
    ASSERT_GE(file, 0);
    Launch wanted = with(0, path, O_RDONLY, python("import os; os.read(0, 6)"));
    wanted.before_exec = [file] { ::dup2(file, 0); };
    EXPECT_EQ(run(wanted).code, 0) << path;
    EXPECT_EQ(::lseek(file, 0, SEEK_CUR), 6) << path;
    ::close(file);
  }
}

TEST_P(CellStdio, ADeletedOrUnreachableFileIsCopied) {  // a shell's here-document
  Launch wanted = with(0, "outside", O_RDONLY, attack({"1", "0"}));
  const std::string path = scratch_ / "outside";
  wanted.before_exec = [inner = wanted.before_exec, path] {
    inner();
    ::unlink(path.c_str());
  };
  EXPECT_EQ(run(wanted).code, 0);
  SetUp();
  wanted.command = shell("stat -Lc %F /dev/stdin; cat");
  EXPECT_EQ(run(wanted).output, "fifo\nfirst\nsecond\nthird\n");
  SetUp();
  wanted.before_exec = [path] {
    ::dup2(::open(path.c_str(), O_RDONLY), 0);
    ::chmod(path.c_str(), 0);
  };
  if (GetParam() == Who::kUser && ::geteuid() == 0) EXPECT_EQ(run(wanted).output, "fifo\nfirst\nsecond\nthird\n");
}

TEST_P(CellStdio, AFileOpenedForAppendingCanOnlyGrow) {
  // Both outputs, as by >> file 2>&1; what the test sees goes through a file of the command's own.
  Launch wanted = with(1, "outside", O_WRONLY | O_APPEND, {});
  wanted.before_exec = [inner = wanted.before_exec] {
    inner();
    ::dup2(1, 2);
  };
  wanted.command = shell("exec 3>result; exec /usr/bin/python3 -c \"$0\" 3 1 2");
  wanted.command.emplace_back(kAttack);
  EXPECT_EQ(run(wanted).code, 0);
  const std::string said = scratch_.read("work/result");
  for (const char* what : {"truncate", "link"}) EXPECT_THAT(said, Not(HasSubstr(what)));
  EXPECT_THAT(said, testing::EndsWith("tried\n"));
  EXPECT_THAT(scratch_.read("outside"), StartsWith("first\nsecond\nthird\n"));
  EXPECT_EQ(mode("outside"), 0644u);
  // ... and is not there to be read.
  wanted.command =
      shell("timeout 1 head -c1 /proc/self/fd/3 3>&1 > result; stat -Lc %F /proc/self/fd/3 3>&1 >> result");
  EXPECT_EQ(run(wanted).code, 0);
  EXPECT_EQ(scratch_.read("work/result"), "fifo\n");
}

TEST_P(CellStdio, AppendedOutputKeepsItsOrderAndAllOfIt) {
  Launch wanted = with(1, "outside", O_WRONLY | O_APPEND,
                       shell("i=0; while [ $i -lt 200 ]; do echo out $i; echo err $i >&2; i=$((i+1)); done;"
                             "head -c 3000000 /dev/zero"));
  wanted.before_exec = [inner = wanted.before_exec] {
    inner();
    ::dup2(1, 2);
  };
  EXPECT_EQ(run(wanted).code, 0);
  std::string expected = "first\nsecond\nthird\n";
  for (int i = 0; i < 200; ++i) expected += "out " + std::to_string(i) + "\nerr " + std::to_string(i) + "\n";
  expected.append(3'000'000, '\0');
  EXPECT_TRUE(scratch_.read("outside") == expected);
}

TEST_P(CellStdio, AppendedOutputThatIsLostIsSaid) {
  if (::access("/dev/full", W_OK) != 0) GTEST_SKIP() << "no /dev/full";
  Launch wanted = with(1, "outside", O_WRONLY | O_APPEND, shell("head -c 100000 /dev/zero"));
  wanted.before_exec = [inner = wanted.before_exec] {
    inner();
    const rlimit limit{4096, 4096};  // the warden ignores the signal, so that it is an error
    ::signal(SIGXFSZ, SIG_IGN);
    ::setrlimit(RLIMIT_FSIZE, &limit);
  };
  const Outcome outcome = run(wanted);
  EXPECT_TRUE(outcome.reported("closing output could not be written")) << outcome.all();
}

TEST_P(CellStdio, AFileOpenedForWritingIsTheCommandsButNotItsMode) {
  scratch_.write("outside", "");
  Launch wanted = with(1, "outside", O_WRONLY | O_TRUNC, python(R"(
import os
os.write(1, b'0123456789'); os.lseek(1, 4, os.SEEK_SET); os.write(1, b'x'); os.ftruncate(1, 8)
os.fchmod(1, 0o4777)
if os.getuid() == 0: os.fchown(1, 12345, 12345)
)"));
  EXPECT_EQ(run(wanted).code, 0);
  EXPECT_EQ(scratch_.read("outside"), "0123x567");
  EXPECT_EQ(mode("outside"), 0644u);
  struct stat status{};
  ASSERT_EQ(::stat((scratch_ / "outside").c_str(), &status), 0);
  EXPECT_EQ(status.st_uid, user_of(GetParam()));
}

TEST_P(CellStdio, WhatTheWriteHasClearedIsNotPutBack) {
  ASSERT_EQ(::chmod((scratch_ / "outside").c_str(), 04755), 0);
  EXPECT_EQ(run(with(1, "outside", O_WRONLY, shell("echo x; chmod 755 /proc/self/fd/1"))).code, 0);
  EXPECT_EQ(mode("outside"), 0755u);
}

TEST_P(CellStdio, WhatTheCommandMayWriteByNameStaysAsItIs) {
  const std::vector<std::string> look = python("import os; os.fchmod(0, 0o755); print(os.read(0, 6))");
  EXPECT_EQ(run(with(0, "work/inside", O_RDONLY, look)).output, "b'first\\n'\n");
  EXPECT_EQ(mode("work/inside"), 0755u);
  // cat sees that its output is its input, which it could not of a pipe.
  const Outcome loop = run(with(1, "work/inside", O_WRONLY | O_APPEND, shell("cat inside")));
  EXPECT_THAT(loop.output, HasSubstr("input file is output file")) << loop.all();
  // A file that is kept read-only there is not the command's.
  scratch_.write("work/.envrc", "mine\n");
  EXPECT_EQ(run(with(0, "work/.envrc", O_RDONLY, attack({"1", "0"}))).output, "tried\n");
  EXPECT_EQ(scratch_.read("work/.envrc"), "mine\n");
}

TEST_P(CellStdio, TheNullDeviceKeepsItsModeAndServes) {
  if (GetParam() == Who::kUser) GTEST_SKIP() << "a user may not change a device";
  const std::string null = scratch_ / "null";  // one of our own: the host's is not at stake
  if (::mknod(null.c_str(), S_IFCHR | 0666, makedev(1, 3)) != 0) GTEST_SKIP() << "needs CAP_MKNOD";
  if (const int fd = ::open(null.c_str(), O_RDWR | O_CLOEXEC); fd < 0) {
    GTEST_SKIP() << "devices can't be opened here";
  } else {
    ::close(fd);
  }
  ASSERT_EQ(::chmod(null.c_str(), 0666), 0);
  Launch wanted = with(0, "null", O_RDWR,
                       shell("chmod 600 /proc/self/fd/0 2>/dev/null; cat /dev/stdin; echo x > /proc/self/fd/0;"
                             "[ -c /dev/stdin ] && echo device"));
  EXPECT_EQ(run(wanted).output, "device\n");
  EXPECT_EQ(mode("null"), 0666u);
}

TEST_P(CellStdio, ABlockDeviceCanOnlyBeRead) {
  if (GetParam() == Who::kUser) GTEST_SKIP() << "needs root to open a block device";
  const std::string device = scratch_ / "block";
  if (::mknod(device.c_str(), S_IFBLK | 0600, makedev(7, 0)) != 0) GTEST_SKIP() << "needs CAP_MKNOD";
  if (const int fd = ::open(device.c_str(), O_RDONLY | O_CLOEXEC); fd < 0) {
    GTEST_SKIP() << "no loop device here";
  } else {
    ::close(fd);
  }
  const Outcome outcome =
      run(with(0, "block", O_RDONLY,
               shell("stat -Lc %F /proc/self/fd/0; head -c 512 >/dev/null; chmod 666 /proc/self/fd/0 2>/dev/null;"
                     "(: > /proc/self/fd/0) 2>/dev/null && echo opened")));
  EXPECT_EQ(outcome.output, "block special file\n") << outcome.all();
  EXPECT_EQ(mode("block"), 0600u);
}

}  // namespace
}  // namespace sallyport::cell_test
