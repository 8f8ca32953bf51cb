// What the command sees and changes: everything is there, little is real, and no socket of the host answers.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>

#include "cell_lab.hpp"

namespace sallyport::cell_test {
namespace {

using testing::HasSubstr;
using testing::Not;

class CellFiles : public testing::TestWithParam<Who> {
 protected:
  Launch as_usual(std::vector<std::string> command) {
    return {.who = GetParam(), .directory = work_, .command = std::move(command), .home = home_};
  }
  void SetUp() override {
    scratch_.make_directory("home/project");
    scratch_.write("home/.bashrc", "mine\n");
    scratch_.write("home/.ssh/id", "secret\n");
    home_ = scratch_ / "home";
    work_ = scratch_ / "home/project";
  }

  Scratch scratch_{GetParam()};
  std::string home_;
  std::string work_;
};

INSTANTIATE_TEST_SUITE_P(As, CellFiles, testing::ValuesIn(everybody()), name_of);

// Connects (or sends) to each path given; prints what could be reached.
constexpr const char* kReach = R"(
import socket, sys
for path in sys.argv[1:]:
  for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET):
    try: socket.socket(socket.AF_UNIX, kind).connect(path); print('reached', path)
    except OSError: pass
print('tried', len(sys.argv) - 1)
)";

TEST_P(CellFiles, NoSocketOfTheHostAnswers) {  // CEL-05
  std::vector<int> open;
  std::vector<std::string> paths;
  const auto add = [&](const std::string& path, int type) {
    open.push_back(listen_at(path, type));
    paths.push_back(path);
  };
  Scratch tmp(GetParam(), "/tmp");
  add(scratch_ / "home/agent.sock", SOCK_STREAM);           // $HOME
  add(scratch_ / "home/project/docker.sock", SOCK_STREAM);  // the working directory, which is real
  add(scratch_ / "home/project/journal.sock", SOCK_DGRAM);
  add(tmp / "x11", SOCK_STREAM);
  add(scratch_ / "elsewhere", SOCK_DGRAM);
  Scratch run_directory(GetParam(), ::geteuid() == 0 ? "/run" : "/tmp");
  add(run_directory / "bus", SOCK_STREAM);
  Scratch lib_directory(GetParam(), ::geteuid() == 0 ? "/var/lib" : "/var/tmp");
  add(lib_directory / "service", SOCK_STREAM);
  // One whose name in /proc/net/unix is relative.
  const int here = ::open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
  ASSERT_EQ(::chdir(work_.c_str()), 0);
  open.push_back(listen_at("relative.sock", SOCK_STREAM));
  paths.push_back(work_ + "/relative.sock");
  ASSERT_EQ(::fchdir(here), 0);
  ::close(here);

  std::vector<std::string> command = python(kReach);
  command.insert(command.end(), paths.begin(), paths.end());
  const Outcome outcome = run(as_usual(command));
  EXPECT_EQ(outcome.output, "tried 8\n") << outcome.all();

  Launch bound = as_usual(command);  // ... unless it is opened knowingly
  bound.options = {"--bind", paths[1], "--bind", run_directory.path()};
  const Outcome opened = run(bound);
  EXPECT_EQ(opened.output, "reached " + paths[1] + "\nreached " + paths[5] + "\ntried 8\n") << opened.all();
  EXPECT_TRUE(opened.reported("note --bind " + paths[1])) << opened.all();
  for (int fd : open) ::close(fd);
}

// A container's socket: its name is in another network namespace's list.
TEST_P(CellFiles, NoSocketOfAnotherNetworkNamespaceAnswers) {  // CEL-05
  if (::geteuid() != 0) GTEST_SKIP() << "needs root to make a network namespace";
  scratch_.make_directory("home/project/a/b/c");
  const std::string path = work_ + "/a/b/c/container.sock";
  std::array<int, 2> bound;
  ASSERT_EQ(::pipe(bound.data()), 0);
  Outside container(Who::kRoot, [&] {
    if (::unshare(CLONE_NEWNET) != 0) ::_exit(95);
    listen_at(path, SOCK_STREAM);
    if (::write(bound[1], "x", 1) == 1) ::pause();
  });
  char octet = 0;
  ASSERT_EQ(::read(bound[0], &octet, 1), 1);
  for (int fd : bound) ::close(fd);
  std::vector<std::string> command = python(kReach);
  command.push_back(path);
  const Outcome outcome = run(as_usual(command));
  EXPECT_EQ(outcome.output, "tried 1\n") << outcome.all();
  EXPECT_FALSE(outcome.reported("note " + work_ + " is large")) << outcome.all();
}

TEST_P(CellFiles, ALargeDirectoryIsSaidNotToBeSearchedWhole) {
  for (int i = 0; i < 20'001; ++i) {
    const int fd = ::open((work_ + "/" + std::to_string(i)).c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    ASSERT_GE(fd, 0);
    ::close(fd);
  }
  EXPECT_TRUE(run(as_usual({"true"})).reported("note " + work_ + " is large"));
}

TEST_P(CellFiles, AbstractSocketsAreTheCellsOwn) {
  const std::string name = "sallyport-test-" + std::to_string(::getpid());
  std::string address = std::string(1, '\0') + name;
  sockaddr storage[8]{};
  storage[0].sa_family = AF_UNIX;
  address.copy(reinterpret_cast<char*>(storage) + 2, address.size());
  const int server = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  ASSERT_EQ(::bind(server, storage, static_cast<socklen_t>(2 + address.size())), 0);
  ASSERT_EQ(::listen(server, 1), 0);
  const Outcome outcome = run(as_usual(python("import socket\ntry: socket.socket(socket.AF_UNIX).connect('\\0" + name +
                                              "'); print('reached')\nexcept OSError as e: print('refused')")));
  EXPECT_EQ(outcome.output, "refused\n");
  ::close(server);
}

TEST_P(CellFiles, SocketsOfItsOwnWork) {
  const Outcome outcome = run(as_usual(python(R"(
import os, socket
for path in ('own.sock', '/tmp/own.sock', os.environ['HOME'] + '/own.sock', '/run/x.sock' if os.access('/run', os.W_OK) else '/tmp/y'):
  s = socket.socket(socket.AF_UNIX); s.bind(path); s.listen(); c = socket.socket(socket.AF_UNIX); c.connect(path); print('ok')
)")));
  EXPECT_EQ(outcome.output, "ok\nok\nok\nok\n") << outcome.all();
}

TEST_P(CellFiles, OnlyTheWorkingDirectoryIsReal) {  // CEL-06b
  scratch_.write("home/project/code.c", "old\n");
  const Outcome outcome = run(as_usual(shell(R"(
echo new > code.c; mkdir -p sub/dir; echo x > sub/dir/file
echo changed > $HOME/.bashrc; rm -rf $HOME/.ssh; echo evil > $HOME/.profile
echo x > /tmp/t; echo x > /var/tmp/t
{ echo x > /etc/cron.d/evil; echo x > /usr/local/bin/evil; } 2>/dev/null
cat $HOME/.bashrc; ls -A $HOME
)")));
  EXPECT_THAT(outcome.output, HasSubstr("changed\n.bashrc\n.profile\nproject\n"))
      << outcome.all();  // within, it looks done
  EXPECT_EQ(scratch_.read("home/project/code.c"), "new\n");
  EXPECT_EQ(scratch_.read("home/project/sub/dir/file"), "x\n");
  EXPECT_EQ(scratch_.read("home/.bashrc"), "mine\n");
  EXPECT_EQ(scratch_.read("home/.ssh/id"), "secret\n");
  for (const char* path : {"/var/tmp/t", "/etc/cron.d/evil", "/usr/local/bin/evil", "/tmp/t"})
    EXPECT_NE(::access(path, F_OK), 0) << path;
  EXPECT_NE(::access((home_ + "/.profile").c_str(), F_OK), 0);
  struct stat status;
  ASSERT_EQ(::stat((work_ + "/sub").c_str(), &status), 0);
  EXPECT_EQ(status.st_uid, user_of(GetParam()));
}

TEST_P(CellFiles, GitEditorAndPolicyFilesAreReadOnlyAndStayInPlace) {  // CEL-06b
  scratch_.write("home/project/.git/HEAD", "ref: refs/heads/main\n");
  scratch_.write("home/project/.git/config", "[core]\n");
  scratch_.write("home/project/.git/hooks/pre-commit", "#!/bin/sh\n");
  scratch_.write("home/project/.git/modules/lib/z/HEAD", "x\n");
  scratch_.write("home/project/.git/modules/lib/z/config", "[core]\n");
  scratch_.write("home/project/.git/modules/lib/z/hooks/pre-push", "#!/bin/sh\n");
  scratch_.write("home/project/sub/.git", "gitdir: ../.git/modules/lib/z\n");
  scratch_.write("home/project/.vscode/tasks.json", "{}\n");
  scratch_.write("home/project/.envrc", "export A=1\n");
  scratch_.write("home/project/conf/site/policy.yaml", "version: 1\n");
  Launch wanted = as_usual(shell(R"(
for file in .git/config .git/hooks/pre-commit .git/hooks/post-commit .git/modules/lib/z/config .git/modules/lib/z/hooks/x sub/.git \
            .vscode/tasks.json .vscode/settings.json .envrc conf/site/policy.yaml; do
  (echo evil > $file) 2>/dev/null && echo "wrote $file"
  rm -f $file 2>/dev/null && [ ! -e $file ] && [ $file != .git/hooks/post-commit ] && [ $file != .vscode/settings.json ] && [ $file != .git/modules/lib/z/hooks/x ] && echo "removed $file"
done
for directory in .git .git/hooks .git/modules .git/modules/lib .git/modules/lib/z conf conf/site .vscode; do
  mv $directory moved 2>/dev/null; [ -e $directory ] || echo "moved $directory"
  rm -rf moved
done
ln conf/site/policy.yaml alias 2>/dev/null && echo linked
echo evil > replacement; mv -f replacement conf/site/policy.yaml 2>/dev/null && echo replaced
umount conf/site/policy.yaml 2>/dev/null && echo unmounted
mount -o remount,rw,bind conf/site/policy.yaml 2>/dev/null && echo remounted
echo ok > .git/index && echo ok > conf/site/other && echo index written
)"));
  wanted.options = {"--protect", scratch_ / "home/project/conf/site/policy.yaml"};
  const Outcome outcome = run(wanted);
  EXPECT_EQ(outcome.output, "index written\n") << outcome.all();
  EXPECT_EQ(scratch_.read("home/project/.git/config"), "[core]\n");
  EXPECT_EQ(scratch_.read("home/project/.git/hooks/pre-commit"), "#!/bin/sh\n");
  EXPECT_EQ(scratch_.read("home/project/sub/.git"), "gitdir: ../.git/modules/lib/z\n");
  EXPECT_EQ(scratch_.read("home/project/conf/site/policy.yaml"), "version: 1\n");
  EXPECT_EQ(scratch_.read("home/project/.git/index"), "ok\n");
}

TEST_P(CellFiles, RootOfANestedNamespaceUncoversNothing) {  // CEL-06b with CEL-08
  scratch_.write("home/project/.git/HEAD", "ref: refs/heads/main\n");
  scratch_.write("home/project/.git/config", "[core]\n");
  scratch_.write("home/project/.git/hooks/pre-commit", "#!/bin/sh\n");
  const int host = listen_at(work_ + "/docker.sock", SOCK_STREAM);
  const Outcome outcome = run(as_usual(shell(R"sh(
unshare -Urm sh -c '
  umount .git/hooks; umount .git; umount docker.sock; umount -l .; umount -R /tmp
  mount -o remount,bind,rw .git/hooks; mount --make-private .git/hooks
  mount --bind . /mnt; mount --rbind . /opt; umount -R /opt/.git; umount /opt/docker.sock
  mount -t overlay -o lowerdir=.,userxattr overlay /srv
  for root in . /mnt /opt; do (echo evil > $root/.git/hooks/pre-commit; echo evil > $root/.git/config); mv $root/.git $root/moved; done
  for path in docker.sock /mnt/docker.sock /opt/docker.sock /srv/docker.sock; do
    /usr/bin/python3 -c "import socket,sys; socket.socket(socket.AF_UNIX).connect(sys.argv[1]); print(1234)" $path
  done' 2>/dev/null
echo end)sh")));
  ::close(host);
  EXPECT_EQ(outcome.output, "end\n") << outcome.all();
  EXPECT_EQ(scratch_.read("home/project/.git/config"), "[core]\n");
  EXPECT_EQ(scratch_.read("home/project/.git/hooks/pre-commit"), "#!/bin/sh\n");
}

TEST_P(CellFiles, AMissingHooksDirectoryStaysMissing) {
  scratch_.write("home/project/.git/HEAD", "ref: refs/heads/main\n");
  const Outcome outcome =
      run(as_usual(shell("(mkdir -p .git/hooks; echo evil > .git/hooks/pre-commit; echo evil > .git/config) "
                         "2>/dev/null; ls -A .git/hooks; cat .git/config")));
  EXPECT_EQ(outcome.output, "") << outcome.all();
  EXPECT_NE(::access((work_ + "/.git/hooks").c_str(), F_OK), 0);  // the user's tree is as it was
  EXPECT_NE(::access((work_ + "/.git/config").c_str(), F_OK), 0);
}

TEST_P(CellFiles, HomeAsWorkingDirectoryIsThrownAway) {
  Launch wanted = as_usual(shell("echo x > file && cat file"));
  wanted.directory = home_;
  const Outcome outcome = run(wanted);
  EXPECT_EQ(outcome.output, "x\n");
  EXPECT_TRUE(outcome.reported("note working directory is $HOME: writes are thrown away")) << outcome.all();
  EXPECT_NE(::access((home_ + "/file").c_str(), F_OK), 0);
  wanted.directory = scratch_.path();
  EXPECT_TRUE(run(wanted).reported("note working directory is above $HOME: writes are thrown away"));
}

TEST_P(CellFiles, WriteOpensOneMoreDirectory) {
  scratch_.make_directory("home/out");
  Launch wanted = as_usual(shell("echo x > $HOME/out/file; echo y > $HOME/other"));
  wanted.options = {"--write", home_ + "/out"};
  const Outcome outcome = run(wanted);
  EXPECT_EQ(outcome.code, 0);
  EXPECT_EQ(scratch_.read("home/out/file"), "x\n");
  EXPECT_NE(::access((home_ + "/other").c_str(), F_OK), 0);
}

TEST_P(CellFiles, PrivateDirectoriesAreBoundBackWhereNeeded) {
  Scratch tmp(GetParam(), "/tmp");
  tmp.write("venv/bin/tool", "#!/bin/sh\necho tool ran; cat ${0%/bin/tool}/lib/data\n");
  tmp.write("venv/lib/data", "beside it\n");
  ::chmod((tmp / "venv/bin/tool").c_str(), 0755);
  tmp.make_directory("work");
  tmp.make_directory("unseen");
  Launch wanted{.who = GetParam(),
                .directory = tmp / "work",
                .command = {"tool"},
                .environment = {"PATH=" + (tmp / "venv/bin") + ":/usr/bin:/bin"}};
  EXPECT_EQ(run(wanted).output, "tool ran\nbeside it\n");
  wanted.command = {tmp / "venv/bin/tool"};
  EXPECT_EQ(run(wanted).output, "tool ran\nbeside it\n");
  wanted.environment.clear();
  wanted.command = shell("echo real > file; ls -A " + tmp.path());
  EXPECT_EQ(run(wanted).output, "work\n");
  EXPECT_EQ(tmp.read("work/file"), "real\n");
}

// An overlay on an overlay on an overlay is one too many for the kernel: below such a root no file can be overlaid.
void enter_a_root_that_cant_be_overlaid() {
  const auto must = [](bool done) {
    if (!done) ::_exit(95);
  };
  must(::unshare(CLONE_NEWNS) == 0 && ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0);
  must(::mount("tmpfs", "/mnt", "tmpfs", 0, nullptr) == 0);
  std::string lower = "/";
  for (const std::string level : {"/mnt/1", "/mnt/2"}) {
    for (const char* part : {"", "/u", "/w", "/m"}) must(::mkdir((level + part).c_str(), 0755) == 0);
    const std::string options = "lowerdir=" + lower + ",upperdir=" + level + "/u,workdir=" + level + "/w";
    lower = level + "/m";
    must(::mount("overlay", lower.c_str(), "overlay", 0, options.c_str()) == 0);
  }
  for (const std::string kernel : {"/proc", "/sys", "/dev", "/var/tmp"})
    must(::mount(kernel.c_str(), (lower + kernel).c_str(), nullptr, MS_BIND | MS_REC, nullptr) == 0);
  must(::chdir(lower.c_str()) == 0 && ::syscall(SYS_pivot_root, ".", ".") == 0 && ::umount2(".", MNT_DETACH) == 0 &&
       ::chdir("/") == 0);
}

TEST_P(CellFiles, WithoutOverlaysFilesAreReadOnlyAndUnixSocketsRefused) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root to make a root file system that can't be overlaid";
  // The scratch directory lies below /var/tmp, which the cell has of its own, so the working directory is bound back:
  // real.
  const int host = listen_at(scratch_ / "home/project/docker.sock", SOCK_STREAM);
  Launch wanted = as_usual(shell(R"(
echo real > file; echo x > /etc/x; echo x > /usr/x; echo x > /tmp/x && cat /etc/resolv.conf && tail -1 /etc/nsswitch.conf
/usr/bin/python3 - <<'EOF'
import socket
def attempt(name, *arguments):
  try: name(*arguments); print('made')
  except OSError as e: print(e.strerror)
attempt(socket.socket, socket.AF_UNIX, socket.SOCK_STREAM); attempt(socket.socketpair, socket.AF_UNIX, socket.SOCK_DGRAM)
attempt(socket.socketpair, socket.AF_UNIX, socket.SOCK_STREAM); attempt(socket.socket, socket.AF_INET)
EOF
)"));
  wanted.home = "/nonexistent";
  wanted.before_drop = enter_a_root_that_cant_be_overlaid;
  const Outcome outcome = run(wanted);
  ::close(host);
  EXPECT_EQ(scratch_.read("home/project/file"), "real\n") << outcome.all();
  EXPECT_THAT(outcome.output, HasSubstr("/etc/x: Read-only file system")) << outcome.all();
  EXPECT_THAT(outcome.output, HasSubstr("/usr/x: Read-only file system"));
  EXPECT_THAT(outcome.output, HasSubstr("nameserver 198.18.0.1\nhosts: files dns\n"));
  EXPECT_THAT(
      outcome.output,
      HasSubstr("Address family not supported by protocol\nAddress family not supported by protocol\nmade\nmade\n"));
  EXPECT_TRUE(outcome.reported("note no overlay file system to be had")) << outcome.all();
  EXPECT_TRUE(outcome.reported("note /usr could not be overlaid: read-only"));
}

TEST_P(CellFiles, AMountBelowHomeAndAForeignProcChangeNothing) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root to mount something";
  scratch_.make_directory("home/mounted");
  scratch_.make_directory("home/project/chroot/proc");
  Launch wanted = as_usual(shell(R"(
echo changed > $HOME/.bashrc; cat $HOME/.bashrc; echo new > $HOME/new; rm $HOME/.ssh/id && ls -A $HOME | tr '\n' ' '
echo x > $HOME/mounted/file; cat $HOME/mounted/file; ls -A chroot/proc
)"));
  wanted.before_drop = [&] {
    if (::unshare(CLONE_NEWNS) != 0 || ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
        ::mount("tmpfs", (home_ + "/mounted").c_str(), "tmpfs", 0, "mode=777") != 0 ||
        ::mount("proc", (work_ + "/chroot/proc").c_str(), "proc", 0, nullptr) != 0)
      ::_exit(95);
  };
  const Outcome outcome = run(wanted);
  EXPECT_EQ(outcome.output, "changed\n.bashrc .ssh mounted new project x\n") << outcome.all();
  EXPECT_EQ(scratch_.read("home/.bashrc"), "mine\n");
  EXPECT_EQ(scratch_.read("home/.ssh/id"), "secret\n");
  EXPECT_EQ(scratch_.read("home/new"), "");
}

TEST_P(CellFiles, AGitDirectoryElsewhereIsSaid) {
  scratch_.write("home/project/.git/HEAD", "ref: refs/heads/main\n");
  scratch_.make_directory("home/project/sub");
  Launch wanted = as_usual({"true"});
  EXPECT_FALSE(run(wanted).reported("note the git repository"));
  wanted.directory = work_ + "/sub";
  EXPECT_TRUE(run(wanted).reported("note the git repository here is kept in " + work_ + "/.git, outside"));
}

TEST_P(CellFiles, AGitDirectoryBehindALinkIsProtected) {
  scratch_.write("home/project/repository/HEAD", "ref: refs/heads/main\n");
  scratch_.write("home/project/repository/config", "[core]\n");
  ASSERT_EQ(::symlink("repository", (work_ + "/.git").c_str()), 0);
  run(as_usual(shell("echo evil > .git/config; mv repository other; echo x > .git/index")));
  EXPECT_EQ(scratch_.read("home/project/repository/config"), "[core]\n");
  EXPECT_EQ(scratch_.read("home/project/repository/index"), "x\n");
}

TEST_P(CellFiles, OwnEtcAndDevices) {
  const Outcome outcome = run(as_usual(shell(R"(
cat /etc/resolv.conf; grep ^hosts /etc/nsswitch.conf; head -1 /etc/hosts
echo x > /dev/null && head -c 3 /dev/zero | wc -c && [ -c /dev/urandom ] && [ -d /dev/shm ] && [ -c /dev/pts/ptmx ] && echo devices
ls /dev | tr '\n' ' '; id -u; stat -c %a /tmp
)")));
  EXPECT_EQ(outcome.output,
            "nameserver 198.18.0.1\nhosts: files dns\n127.0.0.1 localhost\n3\ndevices\n"
            "core fd full null ptmx pts random shm stderr stdin stdout tty urandom zero " +
                std::to_string(user_of(GetParam())) + "\n1777\n")
      << outcome.all();
}

TEST_P(CellFiles, TheHostsTreeIsGone) {
  const Outcome outcome = run(as_usual(
      shell("ls -d /old /store /mask /masks /new 2>/dev/null; grep -cE ' /(old|store|new)[ /]' /proc/self/mountinfo")));
  EXPECT_EQ(outcome.output, "0\n") << outcome.all();
}

TEST_P(CellFiles, TheKernelsSwitchesCantBeSet) {
  if (GetParam() != Who::kRoot) GTEST_SKIP() << "for uid 0 of the host";
  const Outcome outcome = run(as_usual(shell(R"(
for file in /proc/sys/kernel/core_pattern /proc/sys/kernel/modprobe /proc/sysrq-trigger /sys/kernel/mm/transparent_hugepage/enabled /proc/sys/vm/drop_caches; do
  [ -e $file ] && (echo x > $file) 2>/dev/null && echo "wrote $file"
done
head -c 1 /proc/kcore 2>/dev/null | wc -c; mknod disk b 254 0 2>/dev/null && echo made; ls /dev/vda /dev/sda 2>/dev/null; chown 1:1 . && chown 0:0 . && echo chown works
)")));
  EXPECT_EQ(outcome.output, "0\nchown works\n") << outcome.all();
}

}  // namespace
}  // namespace sallyport::cell_test
