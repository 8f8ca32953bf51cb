// What the cell tests share: a directory that is gone afterwards, and cell_run as a process.
//
// Form     Each test runs as the user the tests run as, and if that is root also as an unprivileged uid of its own.
#pragma once

#include <gtest/gtest.h>
#include <sys/types.h>
#include <unistd.h>

#include <functional>
#include <string>
#include <vector>

namespace sallyport::cell_test {

enum class Who { kUser, kRoot };

// The rows of a suite that runs as every kind of user there is.
inline std::vector<Who> everybody() {
  return ::geteuid() == 0 ? std::vector{Who::kUser, Who::kRoot} : std::vector{Who::kUser};
}
inline std::string name_of(const testing::TestParamInfo<Who>& row) { return row.param == Who::kUser ? "User" : "Root"; }

// A fresh directory, owned by the uid the cells run as.
class Scratch {
 public:
  Scratch(Who who, const std::string& where = "/var/tmp");
  ~Scratch();
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  const std::string& path() const { return path_; }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }
  // With the directories on the way, owned as the scratch directory is.
  void write(const std::string& name, const std::string& text) const;
  void make_directory(const std::string& name) const;
  std::string read(const std::string& name) const;

 private:
  Who who_;
  std::string path_;
};

struct Launch {
  Who who = Who::kUser;
  std::string directory;             // working directory
  std::vector<std::string> options;  // of cell_run, without --report
  std::vector<std::string> command;
  std::vector<std::string> environment;  // added to PATH and HOME
  std::string home = "/nonexistent";
  std::string input;                  // standard input
  std::function<void()> before_drop;  // in the child, before the uid change
  std::function<void()> before_exec;  // in the child, after the uid change
};

struct Outcome {
  int code = -1;                    // exit code, or -signal
  std::string output;               // standard output and error of the command
  std::vector<std::string> report;  // lines of cell_run's report

  bool reported(const std::string& start) const;  // a line that starts so
  int count(const std::string& start) const;
  std::string all() const;  // for failure messages
};

uid_t user_of(Who who);
Outcome run(const Launch& wanted);

// A process of the given kind of user, outside of any cell; ended by the destructor.
class Outside {
 public:
  Outside(Who who, const std::function<void()>& body);
  ~Outside();
  pid_t pid() const { return pid_; }
  void join();  // waits for its own end

 private:
  pid_t pid_;
};

// A listening Unix socket at `path`, made by this process, accepting nothing; the descriptor.
int listen_at(const std::string& path, int type);

// python3 -c SCRIPT, which prints what it finds.
std::vector<std::string> python(const std::string& script);
std::vector<std::string> shell(const std::string& script);

}  // namespace sallyport::cell_test
