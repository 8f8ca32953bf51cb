// What the command is: one process tree without privilege, whose life and death pass through unchanged.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <fstream>

#include "cell_lab.hpp"

namespace sallyport::cell_test {
namespace {

using testing::HasSubstr;
using testing::Not;

class CellProcess : public testing::TestWithParam<Who> {
 protected:
  Launch as_usual(std::vector<std::string> command) {
    return {.who = GetParam(), .directory = scratch_.path(), .command = std::move(command)};
  }

  Scratch scratch_{GetParam()};
};

INSTANTIATE_TEST_SUITE_P(As, CellProcess, testing::ValuesIn(everybody()), name_of);

TEST_P(CellProcess, ExitStatusIsPassedOn) {  // CEL-01
  EXPECT_EQ(run(as_usual({"true"})).code, 0);
  EXPECT_EQ(run(as_usual(shell("exit 7"))).code, 7);
  const Outcome killed = run(as_usual(shell("kill -KILL $$")));
  EXPECT_EQ(killed.code, 128 + SIGKILL);
  EXPECT_TRUE(killed.reported("end 3 137 9 0")) << killed.all();
  EXPECT_EQ(run(as_usual(shell("kill -TERM $$"))).code, 128 + SIGTERM);
}

TEST_P(CellProcess, ExecFailuresAre126And127) {  // CEL-01
  scratch_.write("plain", "no program");
  const Outcome refused = run(as_usual({"./plain"}));
  EXPECT_EQ(refused.code, 126);
  EXPECT_TRUE(refused.reported("end 3 126 0 13")) << refused.all();
  const Outcome missing = run(as_usual({"no-such-program"}));
  EXPECT_EQ(missing.code, 127);
  EXPECT_TRUE(missing.reported("end 3 127 0 2")) << missing.all();
  const Outcome own = run(as_usual(shell("exit 127")));
  EXPECT_TRUE(own.reported("end 3 127 0 0")) << own.all();
  EXPECT_EQ(run(as_usual({"/etc"})).code, 126);
}

TEST_P(CellProcess, ATextFileIsRunByTheShell) {
  scratch_.write("script", "echo ran $1\n");
  ::chmod((scratch_ / "script").c_str(), 0755);
  EXPECT_EQ(run(as_usual({"./script", "it"})).output, "ran it\n");
}

TEST_P(CellProcess, OneGigabyteThroughAPipe) {  // CEL-01
  Launch wanted = as_usual(shell("exec cat"));
  std::array<int, 2> source;
  ASSERT_EQ(::pipe2(source.data(), O_CLOEXEC), 0);
  // The sum of a gigabyte of zeros, taken on both sides of the cell.
  Outside writer(GetParam(), [&] {
    ::dup2(source[1], 1);
    ::close(source[0]);
    ::close(source[1]);
    ::execlp("head", "head", "-c", "1G", "/dev/zero", nullptr);
  });
  ::close(source[1]);
  wanted.before_exec = [&] { ::dup2(source[0], 0); };
  wanted.command = shell("cat | cksum");
  EXPECT_EQ(run(wanted).output, "3413741448 1073741824\n");
  ::close(source[0]);
}

TEST_P(CellProcess, InheritedDescriptorsAreClosed) {  // CEL-11
  Launch wanted = as_usual(shell("ls /proc/self/fd; cat <&9"));
  wanted.before_exec = [] {
    const int server = ::socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{.sin_family = AF_INET, .sin_addr = {.s_addr = htonl(INADDR_LOOPBACK)}};
    socklen_t size = sizeof(address);
    ::bind(server, reinterpret_cast<sockaddr*>(&address), sizeof(address));
    ::listen(server, 1);
    ::getsockname(server, reinterpret_cast<sockaddr*>(&address), &size);
    const int client = ::socket(AF_INET, SOCK_STREAM, 0);
    ::connect(client, reinterpret_cast<sockaddr*>(&address), sizeof(address));
    ::dup2(client, 9);
    for (int fd = 100; fd < 110; ++fd) ::dup2(client, fd);
  };
  const Outcome outcome = run(wanted);
  EXPECT_THAT(outcome.output, testing::StartsWith("0\n1\n2\n3\n")) << outcome.all();  // 3 is ls's own
  EXPECT_THAT(outcome.output, HasSubstr("Bad file descriptor"));
  EXPECT_THAT(outcome.output, Not(HasSubstr("\n9\n")));
}

TEST_P(CellProcess, AnInetSocketAsStandardFileIsCopied) {
  std::array<int, 2> relay;  // what came out of the socket at its other end
  ASSERT_EQ(::pipe2(relay.data(), O_CLOEXEC), 0);
  Launch wanted = as_usual(shell(
      "read line; stat -Lc %F /dev/stdin /dev/stdout >&2; echo \"got $line\"; head -c 300000 /dev/zero | tr '\\0' x"));
  wanted.before_exec = [&] {
    const int server = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{.sin_family = AF_INET, .sin_addr = {.s_addr = htonl(INADDR_LOOPBACK)}};
    socklen_t size = sizeof(address);
    ::bind(server, reinterpret_cast<sockaddr*>(&address), sizeof(address));
    ::listen(server, 1);
    ::getsockname(server, reinterpret_cast<sockaddr*>(&address), &size);
    const int client = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ::connect(client, reinterpret_cast<sockaddr*>(&address), sizeof(address));
    const int peer = ::accept4(server, nullptr, nullptr, SOCK_CLOEXEC);
    if (::fork() == 0) {  // the peer at the other end
      ::close(client);
      static_cast<void>(::write(peer, "question\n", 9) == 9);
      std::array<char, 65536> block;
      std::size_t total = 0;
      std::string start;
      for (ssize_t got = 0; (got = ::read(peer, block.data(), block.size())) > 0;
           total += static_cast<std::size_t>(got))
        if (start.size() < 12) start.append(block.data(), static_cast<std::size_t>(got));
      const std::string summary = start.substr(0, 12) + " " + std::to_string(total);
      static_cast<void>(::write(relay[1], summary.data(), summary.size()) > 0);
      ::_exit(0);
    }
    ::dup2(client, 0);
    ::dup2(client, 1);
  };
  const Outcome outcome = run(wanted);
  ::close(relay[1]);
  std::array<char, 64> summary{};
  ASSERT_GT(::read(relay[0], summary.data(), summary.size() - 1), 0) << outcome.all();
  EXPECT_STREQ(summary.data(), "got question 300013");
  EXPECT_EQ(outcome.output, "fifo\nfifo\n") << outcome.all();
  ::close(relay[0]);
}

TEST_P(CellProcess, StandardFilesThatLeadOutAreRefusedOrCopied) {
  Launch wanted = as_usual(shell("stat -Lc %F /dev/stdin"));
  wanted.before_exec = [] { ::dup2(::open("/", O_RDONLY | O_DIRECTORY), 0); };
  const Outcome directory = run(wanted);
  EXPECT_EQ(directory.code, 125);
  EXPECT_TRUE(directory.reported("error descriptor 0 is a directory")) << directory.all();

  wanted.before_exec = [] {
    ::dup2(::socket(AF_UNIX, SOCK_STREAM, 0), 0);
  };  // could be connected to the host's abstract names
  EXPECT_EQ(run(wanted).output, "fifo\n");
  wanted.before_exec = [] {
    std::array<int, 2> pair;
    if (::socketpair(AF_UNIX, SOCK_STREAM, 0, pair.data()) == 0) ::dup2(pair[0], 0);
  };
  EXPECT_EQ(run(wanted).output, "socket\n");
}

TEST_P(CellProcess, WithoutATerminalItsProcessGroupIsItsOwn) {
  Launch wanted = as_usual(shell("kill -KILL 0"));
  wanted.before_exec = [] { ::setsid(); };
  EXPECT_EQ(run(wanted).code, 128 + SIGKILL);  // the cell's end, not the warden's
}

TEST_P(CellProcess, WithoutATerminalTheCommandStopsAlone) {  // or it would stop the audit of what it left running
  Launch wanted = as_usual(python(R"(
import os, signal, socket
if os.fork() == 0:
  while open('/proc/2/stat').read().split(') ')[1][0] != 'T': pass
  socket.setdefaulttimeout(10)
  asked = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
  asked.sendto(b'\0\1\1\0\0\1\0\0\0\0\0\0\5after\4test\0\0\1\0\1', ('192.0.2.53', 53))
  print('served' if asked.recv(512) else '', flush=True)
  os.kill(2, signal.SIGCONT)
  os._exit(0)
os.kill(2, signal.SIGSTOP)
os.wait()
raise SystemExit(3)
)"));
  wanted.before_exec = [] { ::setsid(); };
  const Outcome outcome = run(wanted);
  EXPECT_EQ(outcome.output, "served\n") << outcome.all();
  EXPECT_EQ(outcome.code, 3);
}

TEST_P(CellProcess, AStoppedCommandIsEndedAndContinuedThroughItsWarden) {
  for (const int signal : {SIGTERM, SIGCONT}) {
    std::array<int, 2> pid_pipe;
    ASSERT_EQ(::pipe2(pid_pipe.data(), O_CLOEXEC), 0);
    Launch wanted = as_usual(python(R"(
import os, signal
if os.fork() == 0:
  while open('/proc/2/stat').read().split(') ')[1][0] != 'T': pass
  open('stopped', 'w').close()
  os._exit(0)
os.kill(2, signal.SIGSTOP)
raise SystemExit(3)
)"));
    wanted.before_exec = [&] {
      ::setsid();
      const pid_t self = ::getpid();
      static_cast<void>(::write(pid_pipe[1], &self, sizeof(self)) > 0);
    };
    Outside teller(Who::kRoot, [&] {
      pid_t warden = -1;
      if (::read(pid_pipe[0], &warden, sizeof(warden)) != sizeof(warden)) return;
      while (::access((scratch_ / "stopped").c_str(), F_OK) != 0) ::poll(nullptr, 0, 5);
      ::kill(warden, signal);
    });
    const Outcome outcome = run(wanted);
    EXPECT_EQ(outcome.code, signal == SIGTERM ? 128 + SIGTERM : 3) << outcome.all();
    ::unlink((scratch_ / "stopped").c_str());
    for (int fd : pid_pipe) ::close(fd);
  }
}

TEST_P(CellProcess, TheCallersFileModeMaskIsKept) {
  Launch wanted = as_usual(shell("umask; touch file; stat -c %a file"));
  wanted.before_exec = [] { ::umask(027); };
  EXPECT_EQ(run(wanted).output, "0027\n640\n");
}

TEST_P(CellProcess, ForeignFamiliesAndCallsAreRefused) {  // CEL-06
  const Outcome outcome = run(as_usual(python(R"(
import ctypes, errno, os, socket
libc = ctypes.CDLL(None, use_errno=True)
def call(name, number, *arguments):
  ctypes.set_errno(0)
  result = libc.syscall(number, *[ctypes.c_long(a) for a in arguments])
  print(name, 'ok' if result >= 0 else errno.errorcode[ctypes.get_errno()])
for family in (0, 3, 4, 9, 15, 17, 21, 29, 30, 31, 38, 40, 41, 43, 44, 45): call('family', 41, family, 1, 0)
call('netlink-netfilter', 41, 16, 3, 12); call('netlink-route', 41, 16, 3, 0)
call('high-bits', 41, (1 << 32) | 17, 3, 0); call('high-netlink', 41, 16, 3, 1 << 32)
call('pair', 53, 2, 1, 0, 0)
call('io_uring_setup', 425, 8, 0); call('io_uring_enter', 426, 0); call('keyctl', 250, 0, 0); call('add_key', 248, 0); call('bpf', 321, 0)
call('perf', 298, 0); call('userfaultfd', 323, 0); call('tiocsti', 16, 0, 0x5412, 0); call('tiocsti-high', 16, 0, (1 << 32) | 0x5412, 0)
call('tioclinux', 16, 0, 0x541c, 0)
)")));
  EXPECT_EQ(outcome.code, 0) << outcome.all();
  EXPECT_THAT(outcome.output, Not(HasSubstr("family ok"))) << outcome.output;
  EXPECT_THAT(outcome.output, Not(HasSubstr("family EP")));
  for (const char* line : {"netlink-netfilter EPROTONOSUPPORT", "netlink-route ok", "high-bits EAFNOSUPPORT",
                           "high-netlink EPROTONOSUPPORT", "pair EAFNOSUPPORT", "io_uring_setup ENOSYS",
                           "io_uring_enter ENOSYS", "keyctl EPERM", "add_key EPERM", "bpf EPERM", "perf EPERM",
                           "userfaultfd EPERM", "tiocsti EPERM", "tiocsti-high EPERM", "tioclinux EPERM"})
    EXPECT_THAT(outcome.output, HasSubstr(line));
}

#if defined(__x86_64__)
TEST_P(CellProcess, ForeignAbisAreKilled) {  // CEL-06: getpid by int 0x80 and by the x32 table
  constexpr const char* kRunCode = R"(
import ctypes, mmap, sys
code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
code.write(bytes.fromhex(sys.argv[1]))
ctypes.CFUNCTYPE(ctypes.c_long)(ctypes.addressof(ctypes.c_char.from_buffer(code)))()
print('survived')
)";
  for (const char* code : {"b814000000cd80c3", "b8270000400f05c3"}) {
    std::vector<std::string> command = python(kRunCode);
    command.emplace_back(code);
    const Outcome outcome = run(as_usual(command));
    EXPECT_EQ(outcome.code, 128 + SIGSYS) << code << "\n" << outcome.all();
    EXPECT_THAT(outcome.output, Not(HasSubstr("survived")));
  }
}
#endif

TEST_P(CellProcess, ProcessesOutsideDoNotExist) {  // CEL-07
  Outside bystander(GetParam(), [] { ::pause(); });
  const Outcome outcome = run(as_usual(python(R"(
import ctypes, errno, os
libc = ctypes.CDLL(None, use_errno=True)
def call(name, number, *arguments):
  ctypes.set_errno(0)
  print(name, 'ok' if libc.syscall(number, *arguments) >= 0 else errno.errorcode[ctypes.get_errno()])
target = )" + std::to_string(bystander.pid()) +
                                              R"(
call('kill', 62, target, 9); call('pidfd_open', 434, target, 0); call('ptrace', 101, 16, target, 0, 0)
part = (ctypes.c_void_p * 2)(ctypes.addressof(ctypes.c_int(0)), 4)
call('process_vm_writev', 311, target, part, ctypes.c_long(1), part, ctypes.c_long(1), ctypes.c_long(0))
print('proc', os.path.exists('/proc/%d' % target), sorted(p for p in os.listdir('/proc') if p.isdigit()))
# the cell's first process is ours to see and no more
call('attach-init', 101, 16, 1, 0, 0); call('kill-init', 62, 1, 9)
for name in ['mem', 'environ', 'maps', 'root', 'cwd', 'ns/net'] + ['fd/%d' % n for n in range(30)]:
  try:
    if name[0] in 'rcnf': os.readlink('/proc/1/' + name)
    else: open('/proc/1/' + name, 'rb').read(1)
    print('open', name)
  except OSError as e: pass
print(open('/proc/1/cmdline').read().strip('\0'))
)")));
  for (const char* line : {"kill ESRCH", "pidfd_open ESRCH", "ptrace ESRCH", "process_vm_writev ESRCH",
                           "proc False ['1', '2']", "attach-init EPERM"})
    EXPECT_THAT(outcome.output, HasSubstr(line)) << outcome.all();
  EXPECT_THAT(outcome.output, Not(HasSubstr("\nopen "))) << outcome.all();
  EXPECT_THAT(outcome.output, Not(HasSubstr("kill-init ok\nkilled")));
  EXPECT_THAT(outcome.output, testing::EndsWith("sallyport cell\n"));
  EXPECT_EQ(::kill(bystander.pid(), 0), 0);
}

TEST_P(CellProcess, NestedNamespacesLeadNowhere) {  // CEL-08
  const Outcome outcome = run(as_usual(shell(R"(
unshare -Urn /usr/bin/python3 -c '
import socket
try: socket.create_connection(("8.8.8.8", 80), 3); print("reached")
except OSError as e: print("nested: no route")' || echo unshare failed cleanly
unshare -Urm sh -c 'umount -R /tmp 2>/dev/null && ls -A /tmp; umount -l / 2>/dev/null; ls -d /old /store 2>/dev/null; echo looked' || echo unshare failed cleanly
bwrap --ro-bind / / --proc /proc --dev /dev true && echo bwrap works || echo bwrap failed cleanly
)")));
  EXPECT_EQ(outcome.code, 0);
  EXPECT_THAT(outcome.output, Not(HasSubstr("reached"))) << outcome.all();
  EXPECT_THAT(outcome.output, Not(HasSubstr("/old"))) << outcome.all();
  EXPECT_THAT(outcome.output, testing::AnyOf(HasSubstr("nested: no route"), HasSubstr("unshare failed cleanly")));
  EXPECT_THAT(outcome.output, HasSubstr("bwrap "));
}

TEST_P(CellProcess, ACellInACellWorksOrFailsCleanly) {  // CEL-08
  Launch wanted = as_usual({});
  std::array<char, 4096> self{};
  ASSERT_GT(::readlink("/proc/self/exe", self.data(), self.size() - 1), 0);
  const std::string test = self.data();
  wanted.command = {test.substr(0, test.rfind('/')) + "/cell_run",
                    "--report",
                    scratch_ / "inner",
                    "--home",
                    "/nonexistent",
                    "--",
                    "echo",
                    "inner ran"};
  const Outcome outcome = run(wanted);
  const std::string inner = scratch_.read("inner");
  if (outcome.code == 125) {
    EXPECT_THAT(inner, HasSubstr("error ")) << outcome.all();
  } else {
    EXPECT_EQ(outcome.output, "inner ran\n") << outcome.all() << inner;
  }
}

TEST_P(CellProcess, TheWardensDeathEndsTheCell) {  // CEL-10
  std::array<int, 2> output;
  ASSERT_EQ(::pipe2(output.data(), O_CLOEXEC), 0);
  pid_t warden = -1;
  std::array<int, 2> pid_pipe;
  ASSERT_EQ(::pipe2(pid_pipe.data(), O_CLOEXEC), 0);
  {
    Launch wanted = as_usual(shell("echo up; sleep 1000 & sleep 1000"));
    wanted.before_exec = [&] {
      ::dup2(output[1], 1);
      ::dup2(output[1], 2);
      const pid_t self = ::getpid();
      static_cast<void>(::write(pid_pipe[1], &self, sizeof(self)) > 0);
    };
    Outside runner(Who::kRoot, [&] { run(wanted); });
    ::close(output[1]);
    ASSERT_EQ(::read(pid_pipe[0], &warden, sizeof(warden)), static_cast<ssize_t>(sizeof(warden)));
    std::array<char, 8> block{};
    ASSERT_EQ(::read(output[0], block.data(), block.size()), 3);
    ASSERT_EQ(::kill(warden, SIGKILL), 0);
    // Everything that holds the other end of the pipe is in the cell: its end is theirs.
    pollfd waiting{output[0], POLLIN, 0};
    ASSERT_EQ(::poll(&waiting, 1, 5000), 1) << "something of the cell outlives its warden";
    EXPECT_EQ(::read(output[0], block.data(), block.size()), 0);
    runner.join();  // it removes what it made
  }
  for (int fd : {output[0], pid_pipe[0], pid_pipe[1]}) ::close(fd);
}

TEST_P(CellProcess, WhatTheCommandLeavesBehindEndsWithIt) {
  // The reader sees the end of the output, which a child in the background would hold open.
  const Outcome outcome = run(as_usual(shell("sleep 1000 & (setsid sleep 1000 &) ; echo done")));
  EXPECT_EQ(outcome.output, "done\n");
  EXPECT_EQ(outcome.code, 0);
}

TEST_P(CellProcess, SetuidProgramsGainNothing) {  // CEL-12
  if (::geteuid() != 0) GTEST_SKIP() << "needs root to make a setuid program";
  std::ifstream source("/usr/bin/id", std::ios::binary);
  std::ofstream(scratch_ / "id", std::ios::binary) << source.rdbuf();
  ASSERT_EQ(::chown((scratch_ / "id").c_str(), 0, 0), 0);
  ASSERT_EQ(::chmod((scratch_ / "id").c_str(), 04755), 0);
  const Outcome outcome = run(as_usual(shell("./id -u; grep -E 'CapPrm|CapBnd|NoNewPrivs' /proc/self/status")));
  EXPECT_THAT(outcome.output, testing::StartsWith(std::to_string(user_of(GetParam())) + "\n")) << outcome.all();
  EXPECT_THAT(outcome.output, HasSubstr("NoNewPrivs:\t1"));
  if (GetParam() == Who::kUser) {
    EXPECT_THAT(outcome.output, HasSubstr("CapPrm:\t0000000000000000\nCapBnd:\t0000000000000000"));
  } else {
    EXPECT_THAT(outcome.output, HasSubstr("CapPrm:\t00000000a80405fb"));  // Docker's a80425fb less NET_RAW
  }
}

TEST(CellErrors, NoUserNamespacesIsSaidWithItsRemedy) {  // CEL-20
  Launch wanted{.who = Who::kUser, .directory = "/var/tmp", .command = shell("echo started")};
  wanted.before_exec = [] {
    // A user namespace of our own, so that the switch is thrown for this test alone.
    const std::string uid = std::to_string(::geteuid());
    if (::prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) != 0 || ::unshare(CLONE_NEWUSER) != 0) ::_exit(96);
    std::ofstream("/proc/self/setgroups") << "deny";
    std::ofstream("/proc/self/uid_map") << uid + " " + uid + " 1";
    std::ofstream("/proc/self/gid_map") << uid + " " + uid + " 1";
    std::ofstream("/proc/sys/user/max_user_namespaces") << "0";
  };
  const Outcome outcome = run(wanted);
  EXPECT_EQ(outcome.code, 125) << outcome.all();
  EXPECT_EQ(outcome.output, "");
  EXPECT_TRUE(outcome.reported("error ")) << outcome.all();
  EXPECT_THAT(outcome.all(), HasSubstr("max_user_namespaces"));
}

TEST(CellErrors, NoCommandAndNoDirectory) {
  const Outcome nothing = run({.who = Who::kUser, .directory = "/var/tmp", .command = {}});
  EXPECT_EQ(nothing.code, 125);
  EXPECT_TRUE(nothing.reported("error no command"));
  const Outcome bind =
      run({.who = Who::kUser, .directory = "/var/tmp", .options = {"--bind", "/no/such"}, .command = {"true"}});
  EXPECT_EQ(bind.code, 125);
  EXPECT_TRUE(bind.reported("error --bind /no/such: No such file")) << bind.all();
}

}  // namespace
}  // namespace sallyport::cell_test
