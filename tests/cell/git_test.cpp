// Repositories in real directories: work in them is kept, and nothing the command plants runs outside.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>

#include "cell_lab.hpp"

namespace sallyport::cell_test {
namespace {

using testing::HasSubstr;
using testing::Not;

class CellGit : public testing::TestWithParam<Who> {
 protected:
  Launch as_usual(std::vector<std::string> command) {
    return {.who = GetParam(),
            .directory = work_,
            .command = std::move(command),
            .environment = {"GIT_CONFIG_NOSYSTEM=1", "GIT_AUTHOR_NAME=n", "GIT_AUTHOR_EMAIL=a@b.test",
                            "GIT_COMMITTER_NAME=n", "GIT_COMMITTER_EMAIL=a@b.test"},
            .home = home_};
  }
  void SetUp() override {
    scratch_.make_directory("home/project");
    home_ = scratch_ / "home";
    work_ = scratch_ / "home/project";
  }
  // What a shell prints outside of any cell, as the user of the cells.
  std::string outside(const std::string& script) const {
    const std::string out = scratch_ / "outside";
    Outside(GetParam(), [&] {
      const int fd = ::open(out.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644);
      ::dup2(fd, 1);
      ::dup2(fd, 2);
      ::setenv("HOME", home_.c_str(), 1);
      if (::chdir(work_.c_str()) == 0) ::execl("/bin/sh", "sh", "-c", script.c_str(), nullptr);
    }).join();
    return scratch_.read("outside");
  }
  void make_repository() {
    ASSERT_THAT(outside("git init -q . && echo 1 > file && git add file && git -c user.name=n -c user.email=a@b.test "
                        "commit -qm first && git log --format=%s"),
                testing::EndsWith("first\n"));
  }
  // `script` says when by writing to the pipe `ready`, and goes on when `go` can be read.
  Outcome run_and_meanwhile(const std::string& script, const std::function<void()>& body) {
    for (const char* name : {"go", "ready"}) {
      const std::string path = work_ + "/" + name;
      if (::mkfifo(path.c_str(), 0666) != 0 || ::chmod(path.c_str(), 0666) != 0) std::abort();
    }
    Outside meanwhile(GetParam(), [&] {
      std::string line;
      if (::chdir(work_.c_str()) != 0 || !std::getline(std::ifstream("ready"), line)) return;
      const pid_t child = ::fork();
      if (child == 0) {
        body();
        ::_exit(0);
      }
      ::waitpid(child, nullptr, 0);
      std::ofstream("go") << "on\n";
    });
    const Outcome outcome = run(as_usual(shell(script)));
    return outcome;  // whoever still waits for the other side is ended
  }
  bool there(const std::string& name) const { return ::access((work_ + "/" + name).c_str(), F_OK) == 0; }

  Scratch scratch_{GetParam()};
  std::string home_;
  std::string work_;
};

INSTANTIATE_TEST_SUITE_P(As, CellGit, testing::ValuesIn(everybody()), name_of);

// Runs when git looks at a work tree whose settings it obeys.
constexpr const char* kPlant = R"(plant() { git --git-dir=$1 config core.fsmonitor "touch $HOME/project/ran; false"
mkdir -p $1/hooks; printf '#!/bin/sh\ntouch %s/project/ran\n' $HOME > $1/hooks/pre-commit; chmod +x $1/hooks/pre-commit; }
)";

TEST_P(CellGit, WhatIsPlantedWouldRun) {  // the control for all below
  outside(std::string(kPlant) + "git init -q . && plant .git && git status");
  EXPECT_TRUE(there("ran"));
}

TEST_P(CellGit, WorkInANewRepositoryIsKeptAndItsSettingsAreNot) {  // CEL-06b
  scratch_.write("home/project/file", "1\n");
  const Outcome outcome = run(as_usual(shell(std::string(kPlant) + R"(
git init -q . && git add file && git commit -qm made && plant .git && git log --format=%s
echo .. > .git/commondir; mv .git moved 2>/dev/null; rmdir .git 2>/dev/null; ls -A)")));
  EXPECT_THAT(outcome.output, HasSubstr("made\n.git\nfile\n")) << outcome.all();
  EXPECT_TRUE(outcome.reported("closing the command made a git repository in " + work_)) << outcome.all();
  EXPECT_EQ(outside("git status --short && git log --format=%s && git -c user.name=n -c user.email=a@b.test commit -q "
                    "--allow-empty -m next && git fsck && git log --format=%s | head -1"),
            "made\nnext\n");
  EXPECT_FALSE(there("ran"));
  EXPECT_THAT(scratch_.read("home/project/.git/made-in-cell/config"), HasSubstr("fsmonitor"));
  EXPECT_THAT(scratch_.read("home/project/.git/config"), Not(HasSubstr("fsmonitor")));
}

TEST_P(CellGit, ANewRepositoryIsNoneOutsideWhileTheCommandRuns) {
  scratch_.write("home/project/file", "1\n");
  const Outcome outcome = run_and_meanwhile(std::string(kPlant) + "git init -q . && plant .git; echo > ready; cat go",
                                            [&] { ::execl("/bin/sh", "sh", "-c", "git status > seen 2>&1", nullptr); });
  EXPECT_THAT(scratch_.read("home/project/seen"), HasSubstr("not a git repository")) << outcome.all();
  EXPECT_FALSE(there("ran"));
}

TEST_P(CellGit, TheFirstOfTwoRunsToEndLeavesTheOtherItsNames) {
  make_repository();
  outside("rm -r .git/hooks");
  const Outcome outcome = run_and_meanwhile(
      "echo > ready; cat go; ls .git; (mkdir .git/hooks; echo evil > .git/hooks/pre-commit; echo ../evil > "
      ".git/commondir) 2>/dev/null",
      [&] { run(as_usual({"true"})); });
  EXPECT_THAT(outcome.output, HasSubstr("commondir\n")) << outcome.all();
  EXPECT_THAT(outcome.output, HasSubstr("hooks\n")) << outcome.all();
  EXPECT_FALSE(there(".git/hooks"));
  EXPECT_FALSE(there(".git/commondir"));
}

TEST_P(CellGit, TheFirstOfTwoRunsToEndLeavesTheOtherItsNewRepository) {
  scratch_.write("home/project/file", "1\n");
  const Outcome outcome = run_and_meanwhile(
      std::string(kPlant) + "echo > ready; cat go; git init -q . && git add file && git commit -qm late && plant .git",
      [&] { run(as_usual(shell("git init -q . && git commit -q --allow-empty -m early"))); });
  EXPECT_THAT(outside("git status --short; git log --format=%s"), testing::EndsWith("late\nearly\n")) << outcome.all();
  EXPECT_FALSE(there("ran"));
}

TEST_P(CellGit, ALockThatSomebodyKeepsIsSaid) {
  make_repository();
  const int git = ::open((work_ + "/.git").c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  ASSERT_EQ(::flock(git, LOCK_EX | LOCK_NB), 0);
  const Outcome outcome = run(as_usual({"true"}));
  EXPECT_EQ(outcome.code, 125);
  EXPECT_TRUE(outcome.reported("error lock " + work_ + "/.git")) << outcome.all();
  EXPECT_FALSE(there(".git/commondir"));
  ::close(git);
}

TEST_P(CellGit, NothingIsLeftWhereNoRepositoryWasMade) {
  scratch_.write("home/project/file", "1\n");
  const Outcome outcome = run(as_usual({"true"}));
  EXPECT_EQ(outcome.count("closing"), 0) << outcome.all();
  EXPECT_EQ(outside("ls -A"), "file\n");
}

TEST_P(CellGit, APlaceThatAKilledRunLeftIsTakenUpAgain) {
  scratch_.make_directory("home/project/.git/made-in-cell");
  EXPECT_EQ(run(as_usual(shell("git init -q . && git commit -q --allow-empty -m later"))).output, "");
  EXPECT_EQ(outside("git log --format=%s"), "later\n");
}

TEST_P(CellGit, AnEmptyDirectoryStaysEmptyForAClone) {
  const Outcome outcome =
      run(as_usual(shell("git init -q $HOME/origin; git clone -q $HOME/origin . 2>/dev/null; ls -A")));
  EXPECT_EQ(outcome.output, ".git\n") << outcome.all();
  EXPECT_TRUE(outcome.reported("closing a git repository appeared in " + work_)) << outcome.all();
}

TEST_P(CellGit, WhatAppearsIsSaidAtTheEnd) {
  scratch_.write("home/project/src/file", "1\n");
  const Outcome outcome = run(as_usual(shell(
      "git init -q src; git init -q fresh; echo x > .envrc; mkdir .vscode; echo > src/.envrc; cp -r src/.git/* .")));
  for (const std::string& line :
       {"a git repository appeared in " + work_ + "/src", "a git repository appeared in " + work_ + "/fresh",
        "a bare git repository appeared in " + work_, work_ + "/.envrc appeared", work_ + "/.vscode appeared",
        work_ + "/src/.envrc appeared"})
    EXPECT_TRUE(outcome.reported("closing " + line)) << line << "\n" << outcome.all();
  EXPECT_EQ(run(as_usual({"true"})).count("closing"), 0);  // it was there before
}

TEST_P(CellGit, AnotherCommonDirectoryIsNotObeyed) {  // CEL-06b: it moves config and hooks
  make_repository();
  const Outcome outcome = run(as_usual(shell(std::string(kPlant) + R"(
cp -r .git evil; plant evil; (echo ../evil > .git/commondir; rm .git/commondir; mv evil/commondir .git/commondir) 2>/dev/null
echo 2 > file; git commit -qam second && git log --format=%s)")));
  EXPECT_EQ(outcome.output, "second\nfirst\n") << outcome.all();
  EXPECT_THAT(outside("git status --short; git log --format=%s; git fsck"), testing::EndsWith("second\nfirst\n"));
  EXPECT_FALSE(there("ran"));
  EXPECT_FALSE(there(".git/commondir"));  // the user's tree is as it was
}

TEST_P(CellGit, BelowTheTopGitWorksAndWriteKeepsCommits) {
  make_repository();
  scratch_.write("home/project/sub/file", "1\n");
  Launch wanted = as_usual(shell("git add . && git commit -qm below && git log --format=%s"));
  wanted.directory = work_ + "/sub";
  const Outcome thrown = run(wanted);
  EXPECT_EQ(thrown.output, "below\nfirst\n") << thrown.all();
  EXPECT_TRUE(thrown.reported("note the git repository here is kept in " + work_ + "/.git")) << thrown.all();
  EXPECT_EQ(outside("git log --format=%s"), "first\n");

  wanted.options = {"--write", "../.git"};
  wanted.command = shell(std::string(kPlant) +
                         "git add . && git commit -qm below && git log --format=%s; plant ../.git 2>/dev/null");
  const Outcome kept = run(wanted);
  EXPECT_EQ(kept.output, "below\nfirst\n") << kept.all();
  EXPECT_FALSE(kept.reported("note the git repository")) << kept.all();
  EXPECT_EQ(kept.count("closing"), 0) << kept.all();
  EXPECT_EQ(outside("git status --short; git log --format=%s"), "below\nfirst\n");
  EXPECT_FALSE(there("ran"));
}

TEST_P(CellGit, TheUsersWordOnDiscoveryStands) {
  make_repository();
  scratch_.make_directory("home/project/sub");
  Launch wanted = as_usual(shell("echo $GIT_DISCOVERY_ACROSS_FILESYSTEM"));
  EXPECT_EQ(run(wanted).output, "\n");
  wanted.directory = work_ + "/sub";
  EXPECT_EQ(run(wanted).output, "1\n");
  wanted.environment.emplace_back("GIT_DISCOVERY_ACROSS_FILESYSTEM=0");
  EXPECT_EQ(run(wanted).output, "0\n");
}

TEST_P(CellGit, WriteOfHomeLeavesWhatAShellRuns) {
  scratch_.write("home/.bashrc", "mine\n");
  scratch_.write("home/.ssh/id", "secret\n");
  scratch_.write("home/.config/git/config", "[core]\n");
  scratch_.write("home/dotfiles/profile", "mine\n");
  ASSERT_EQ(::symlink("dotfiles/profile", (home_ + "/.profile").c_str()), 0);
  Launch wanted = as_usual(shell(R"(
for file in .bashrc .ssh/id .ssh/authorized_keys .config/git/config .profile; do (echo evil >> $HOME/$file) 2>/dev/null && echo wrote $file; done
mv $HOME/.ssh $HOME/other 2>/dev/null; mv $HOME/.config $HOME/other 2>/dev/null; echo x > $HOME/.config/other; echo x > $HOME/.zshenv; echo x > $HOME/note)"));
  for (const std::string& path : {home_, scratch_.path()}) {
    ::unlink((home_ + "/.zshenv").c_str());
    wanted.options = {"--write", path};
    const Outcome outcome = run(wanted);
    EXPECT_EQ(outcome.output, "") << outcome.all();
    EXPECT_TRUE(outcome.reported("note --write " + path + " opens $HOME")) << outcome.all();
    EXPECT_TRUE(outcome.reported("closing " + home_ + "/.zshenv appeared")) << outcome.all();
  }
  EXPECT_EQ(scratch_.read("home/.bashrc"), "mine\n");
  EXPECT_EQ(scratch_.read("home/.ssh/id"), "secret\n");
  EXPECT_EQ(scratch_.read("home/.config/git/config"), "[core]\n");
  EXPECT_EQ(scratch_.read("home/dotfiles/profile"), "mine\n");
  EXPECT_EQ(scratch_.read("home/.config/other"), "x\n");
  EXPECT_EQ(scratch_.read("home/note"), "x\n");
}

}  // namespace
}  // namespace sallyport::cell_test
