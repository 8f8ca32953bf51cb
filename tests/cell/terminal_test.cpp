// A cell on a terminal, under a shell that does job control (CEL-13).
#include <fcntl.h>
#include <gmock/gmock.h>
#include <grp.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <csignal>
#include <cstdlib>

#include "cell_lab.hpp"

namespace sallyport::cell_test {
namespace {

using testing::HasSubstr;

// A pseudo terminal, a small shell that leads its session, and one foreground job. The shell reports what waitpid(2)
// says.
class Terminal {
 public:
  Terminal(Who who, const std::string& directory, const std::vector<std::string>& command) {
    master_ = ::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    ::grantpt(master_);
    ::unlockpt(master_);
    if (::pipe2(events_.data(), O_CLOEXEC) != 0 || ::pipe2(orders_.data(), O_CLOEXEC) != 0) std::abort();
    std::vector<std::string> job = {cell_run_path(), "--home", "/nonexistent", "--"};
    job.insert(job.end(), command.begin(), command.end());
    shell_ = ::fork();
    if (shell_ == 0) be_a_shell(who, directory, job);
    ::close(events_[1]);
    ::close(orders_[0]);
  }

  ~Terminal() {
    ::close(orders_[1]);
    ::close(master_);
    ::close(events_[0]);
    ::kill(shell_, SIGKILL);
    ::waitpid(shell_, nullptr, 0);
  }

  void type(std::string_view text) { static_cast<void>(::write(master_, text.data(), text.size()) > 0); }
  void resize(unsigned short columns, unsigned short rows) {
    const winsize size{.ws_row = rows, .ws_col = columns};
    ::ioctl(master_, TIOCSWINSZ, &size);
  }
  void foreground() { static_cast<void>(::write(orders_[1], "f", 1) > 0); }

  // What the terminal shows, up to and with `text`; all there is if it does not come within 10 s.
  std::string until(const std::string& text) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
    while (shown_.find(text) == shown_.npos) {
      pollfd waiting{master_, POLLIN, 0};
      if (std::chrono::steady_clock::now() > deadline || ::poll(&waiting, 1, 1000) < 0) break;
      std::array<char, 4096> block;
      if (waiting.revents == 0) continue;
      const ssize_t size = ::read(master_, block.data(), block.size());
      if (size <= 0) break;
      shown_.append(block.data(), static_cast<std::size_t>(size));
    }
    return shown_;
  }

  // "stopped 20", "exited 3", "killed 9"; "nothing" if that does not come within 10 s. `own` says whether the
  // terminal's foreground group was still the job's.
  std::string event() {
    pollfd waiting{events_[0], POLLIN, 0};
    if (::poll(&waiting, 1, 10'000) != 1) return "nothing";
    std::array<char, 64> text{};
    const ssize_t size = ::read(events_[0], text.data(), text.size());
    return {text.data(), size > 0 ? static_cast<std::size_t>(size) : 0};
  }

 private:
  static std::string cell_run_path() {
    std::array<char, 4096> self{};
    const ssize_t size = ::readlink("/proc/self/exe", self.data(), self.size() - 1);
    const std::string path(self.data(), size > 0 ? static_cast<std::size_t>(size) : 0);
    return path.substr(0, path.rfind('/')) + "/cell_run";
  }

  [[noreturn]] void be_a_shell(Who who, const std::string& directory, std::vector<std::string>& job) {
    ::close(orders_[1]);
    ::setsid();
    std::array<char, 128> name{};
    ::ptsname_r(master_, name.data(), name.size());
    const int terminal = ::open(name.data(), O_RDWR);
    ::ioctl(terminal, TIOCSCTTY, 0);
    if (who == Who::kUser && ::geteuid() == 0) {
      const uid_t uid = user_of(who);
      if (::fchown(terminal, uid, uid) != 0 || ::setgroups(0, nullptr) != 0 || ::setresgid(uid, uid, uid) != 0 ||
          ::setresuid(uid, uid, uid) != 0)
        ::_exit(99);
    }
    if (::chdir(directory.c_str()) != 0) ::_exit(98);
    ::signal(SIGTTOU, SIG_IGN);
    const pid_t pid = ::fork();
    if (pid == 0) {
      ::setpgid(0, 0);
      ::tcsetpgrp(terminal, ::getpid());
      ::signal(SIGTTOU, SIG_DFL);
      for (int fd = 0; fd <= 2; ++fd) ::dup2(terminal, fd);
      std::vector<char*> arguments;
      for (std::string& argument : job) arguments.push_back(argument.data());
      arguments.push_back(nullptr);
      ::setenv("PATH", "/usr/bin:/bin", 1);
      ::setenv("TERM", "dumb", 1);
      ::execv(arguments[0], arguments.data());
      ::_exit(97);
    }
    ::setpgid(pid, pid);
    for (;;) {
      int status = 0;
      ::waitpid(pid, &status, WUNTRACED);
      const std::string event = WIFSTOPPED(status)  ? "stopped " + std::to_string(WSTOPSIG(status))
                                : WIFEXITED(status) ? "exited " + std::to_string(WEXITSTATUS(status))
                                                    : "killed " + std::to_string(WTERMSIG(status));
      const bool own = ::tcgetpgrp(terminal) == pid;
      const std::string line = event + (own ? "" : " (terminal taken)");
      static_cast<void>(::write(events_[1], line.data(), line.size()) > 0);
      if (!WIFSTOPPED(status)) ::_exit(0);
      char order = 0;
      if (::read(orders_[0], &order, 1) != 1) ::_exit(0);
      ::tcsetpgrp(terminal, pid);
      ::kill(-pid, SIGCONT);
    }
  }

  int master_ = -1;
  pid_t shell_ = -1;
  std::array<int, 2> events_{};
  std::array<int, 2> orders_{};
  std::string shown_;
};

class CellTerminal : public testing::TestWithParam<Who> {
 protected:
  Scratch scratch_{GetParam()};
};

INSTANTIATE_TEST_SUITE_P(As, CellTerminal, testing::ValuesIn(everybody()), name_of);

TEST_P(CellTerminal, ControlCReachesTheCommandAlone) {
  Terminal terminal(GetParam(), scratch_.path(),
                    shell("trap 'echo trapped; exit 3' INT; echo ready; while :; do sleep 0.05; done"));
  terminal.until("ready");
  terminal.type("\x03");
  EXPECT_EQ(terminal.event(), "exited 3") << terminal.until("trapped");
}

TEST_P(CellTerminal, ControlCEndsACommandThatDoesNotCare) {
  Terminal terminal(GetParam(), scratch_.path(), shell("echo ready; exec sleep 1000"));
  terminal.until("ready");
  terminal.type("\x03");
  EXPECT_EQ(terminal.event(), "exited 130");
}

TEST_P(CellTerminal, ControlZStopsTheJobAndForegroundContinuesIt) {
  Terminal terminal(GetParam(), scratch_.path(), python(R"(
import signal
rounds = 0
def continued(*_):
  global rounds; rounds += 1; print('continued', rounds, flush=True)
signal.signal(signal.SIGCONT, continued)
print('ready', flush=True)
print('read', input(), flush=True)
)"));
  terminal.until("ready");
  for (int round = 1; round <= 3; ++round) {
    terminal.type("\x1a");
    ASSERT_THAT(terminal.event(), testing::StartsWith("stopped ")) << round;
    terminal.foreground();
    terminal.until("continued " + std::to_string(round));
  }
  terminal.type("hello\n");
  EXPECT_EQ(terminal.event(), "exited 0");
  EXPECT_THAT(terminal.until("read hello"), HasSubstr("read hello"));
}

TEST_P(CellTerminal, ACommandThatStopsItselfStopsTheJob) {  // an editor's Ctrl-Z
  Terminal terminal(GetParam(), scratch_.path(), shell("kill -STOP $$; echo continued; exit 4"));
  ASSERT_EQ(terminal.event(), "stopped " + std::to_string(SIGTSTP));
  terminal.foreground();
  EXPECT_EQ(terminal.event(), "exited 4");
  EXPECT_THAT(terminal.until("continued"), HasSubstr("continued"));
}

TEST_P(CellTerminal, WhatTheCommandLeftInTheBackgroundStopsWithIt) {
  // A process of another session counts; while the job is stopped, the count must not move.
  Terminal terminal(GetParam(), scratch_.path(),
                    shell("setsid sh -c 'while :; do echo x >> count; sleep 0.01; done' & "
                          "while ! [ -s count ]; do :; done; kill -STOP $$; n=$(wc -l < count);"
                          "while [ $(wc -l < count) = $n ]; do sleep 0.01; done; exit 4"));
  ASSERT_EQ(terminal.event(), "stopped " + std::to_string(SIGTSTP));
  const std::string before = scratch_.read("count");
  pollfd nothing{-1, 0, 0};
  ::poll(&nothing, 1, 200);  // twenty turns of it
  EXPECT_EQ(scratch_.read("count"), before);
  terminal.foreground();
  EXPECT_EQ(terminal.event(), "exited 4");
}

TEST_P(CellTerminal, ResizeIsSeen) {
  Terminal terminal(GetParam(), scratch_.path(), python(R"(
import os, signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGWINCH])
print('ready', flush=True)
signal.sigwait([signal.SIGWINCH])
print('size %d %d' % os.get_terminal_size(), flush=True)
)"));
  terminal.until("ready");
  terminal.resize(101, 37);
  EXPECT_THAT(terminal.until("size 101 37"), HasSubstr("size 101 37"));
  EXPECT_EQ(terminal.event(), "exited 0");
}

TEST_P(CellTerminal, InjectionIsRefused) {
  Terminal terminal(GetParam(), scratch_.path(), python(R"(
import fcntl, os, termios
for fd in (0, os.open('/dev/tty', os.O_RDWR), os.open('/dev/console', os.O_RDWR)):
  for request in (termios.TIOCSTI, 0x541c):
    try: fcntl.ioctl(fd, request, b'x'); print('injected')
    except OSError as e: print('refused', e.errno)
print('done', os.ttyname(0) if True else '')
)"));
  const std::string shown = terminal.until("done");
  EXPECT_THAT(shown, testing::Not(HasSubstr("injected")));
  EXPECT_THAT(shown, HasSubstr("refused 1\r\nrefused 1\r\nrefused 1\r\nrefused 1\r\nrefused 1\r\nrefused 1\r\n"))
      << shown;
}

TEST_P(CellTerminal, AnInteractiveShellHasJobControlAndGivesTheTerminalBack) {
  Terminal terminal(GetParam(), scratch_.path(), {"/bin/bash", "--norc", "--noprofile", "-i"});
  terminal.type("PS1=; sleep 1000 & kill %1; wait; stty size >/dev/null && echo co''ntrol $-\n");
  EXPECT_THAT(terminal.until("control "), HasSubstr("control "));
  terminal.type("exit 5\n");
  EXPECT_EQ(terminal.event(), "exited 5");
  EXPECT_THAT(terminal.until("exit"), testing::Not(HasSubstr("no job control")));
}

}  // namespace
}  // namespace sallyport::cell_test
