// What the person reads when a command or its cell could not be started: the cause, and what helps.
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>

#include "cell_lab.hpp"

namespace sallyport::cell_test {
namespace {

class CellRefusal : public testing::TestWithParam<Who> {
 protected:
  Launch as_usual(std::vector<std::string> command) {
    return {.who = GetParam(), .directory = scratch_.path(), .command = std::move(command)};
  }

  Scratch scratch_{GetParam()};
};

INSTANTIATE_TEST_SUITE_P(As, CellRefusal, testing::ValuesIn(everybody()), name_of);

TEST_P(CellRefusal, WhyACommandCouldNotRunIsSaid) {
  const auto program = [&](const std::string& name, const std::string& text, unsigned mode) {
    scratch_.write(name, text);
    ::chmod((scratch_ / name).c_str(), mode);
  };
  program("plain", "no program", 0644);
  program("orphan", "#! /nonexist/interp -x\n", 0755);
  program("windows", "#!/bin/sh\r\n", 0755);
  program("lead", "#!./plain\n", 0755);
  program("inside", "#!/usr\n", 0755);
  scratch_.make_directory("d");
  ASSERT_EQ(::symlink("nowhere", (scratch_ / "dangling").c_str()), 0);
  struct Row {
    const char* command;
    const char* text;
  };
  for (const Row& row :
       {Row{"nonexist", "nonexist: not found"}, Row{"./missing", "./missing: not found"},
        Row{"./plain", "./plain: is not executable (chmod +x)"}, Row{"./d", "./d: is a directory"},
        Row{"./plain/x", "./plain/x: not found"},
        Row{"./orphan", "./orphan: its interpreter /nonexist/interp does not exist"},
        Row{"./windows",
            "./windows: its interpreter /bin/sh? does not exist: its first line ends as Windows ends lines"},
        Row{"./lead", "./lead: its interpreter ./plain is not executable"},
        Row{"./inside", "./inside: its interpreter /usr is a directory"},
        Row{"./dangling", "./dangling: is a link to nowhere, which does not exist"}}) {
    const Outcome outcome = run(as_usual({row.command}));
    EXPECT_TRUE(outcome.reported(std::string("exec ") + row.text)) << row.command << "\n" << outcome.all();
  }
  EXPECT_FALSE(run(as_usual(shell("exit 127"))).reported("exec"));
}

// A program whose loader is of another system: a copy of this one's with the name changed.
TEST_P(CellRefusal, AMissingLoaderIsSaid) {
  std::ifstream file("/bin/true", std::ios::binary);
  std::string program{std::istreambuf_iterator<char>(file), {}};
  const std::size_t name = program.find("/lib64/ld-linux-x86-64.so.2");
  if (name == program.npos) GTEST_SKIP() << "/bin/true has another loader here";
  program.replace(name, 6, "/lib00");
  scratch_.write("foreign", program);
  ::chmod((scratch_ / "foreign").c_str(), 0755);
  EXPECT_TRUE(
      run(as_usual({"./foreign"})).reported("exec ./foreign: its loader /lib00/ld-linux-x86-64.so.2 does not exist"));
}

TEST_P(CellRefusal, TheLimitOfProcessesIsSaid) {
  if (GetParam() != Who::kUser) GTEST_SKIP() << "root has no such limit";
  Launch wanted = as_usual({"true"});
  wanted.before_exec = [] {
    const rlimit none{0, 0};
    ::setrlimit(RLIMIT_NPROC, &none);
  };
  const Outcome outcome = run(wanted);
  EXPECT_EQ(outcome.code, 125);
  EXPECT_TRUE(
      outcome.reported("error make the cell's namespaces: Resource temporarily unavailable | no more processes "
                       "may be made: raise ulimit -u (now 0)"))
      << outcome.all();
}

TEST_P(CellRefusal, ALimitOfNamespacesIsSaid) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root to set a limit below its own user namespace";
  Launch wanted = as_usual({"true"});
  // The limit belongs to a user namespace: the cell is made in one whose own is 0.
  wanted.before_exec = [] {
    const std::string uid = std::to_string(::geteuid());
    const std::string gid = std::to_string(::getegid());
    ::prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);  // the maps are this process's own to write, after its change of uid
    if (::unshare(CLONE_NEWUSER) != 0) ::_exit(96);
    std::ofstream("/proc/self/setgroups") << "deny";
    std::ofstream("/proc/self/gid_map") << gid + " " + gid + " 1\n";
    std::ofstream("/proc/self/uid_map") << uid + " " + uid + " 1\n";
    std::ofstream("/proc/sys/user/max_net_namespaces") << "0\n";
  };
  const Outcome outcome = run(wanted);
  EXPECT_EQ(outcome.code, 125);
  EXPECT_TRUE(
      outcome.reported("error make the cell's namespaces: No space left on device | such namespaces are switched "
                       "off: sudo sysctl -w user.max_net_namespaces=15000"))
      << outcome.all();
}

TEST_P(CellRefusal, AWorkingDirectoryThatMayNotBeEnteredIsSaid) {
  if (GetParam() != Who::kUser || ::geteuid() != 0) GTEST_SKIP() << "needs a directory of somebody else";
  Launch wanted = as_usual({"true"});
  wanted.directory.clear();
  wanted.before_drop = [&] {
    if (::mkdir((scratch_ / "closed").c_str(), 0700) != 0 || ::chdir((scratch_ / "closed").c_str()) != 0) ::_exit(95);
  };
  const Outcome outcome = run(wanted);
  EXPECT_EQ(outcome.code, 125) << outcome.all();
  EXPECT_TRUE(outcome.reported("error working directory " + scratch_.path() + "/closed: Permission denied | uid " +
                               std::to_string(user_of(GetParam())) + " may not enter it"))
      << outcome.all();
}

}  // namespace
}  // namespace sallyport::cell_test
