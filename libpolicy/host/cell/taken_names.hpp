// TakenNames: what in real directories decides which programs run later, outside: kept taken while it is missing, and
// looked at when the run is over where that can't be.
//
// Form     Placeholders in the user's tree (an empty .git/hooks and .git/config, a .git/commondir that says ".", the
//          place for a new repository), and a list of what was there. Taken before the cell is made.
// Bounds   kWatchedDirectories of those directly in a real directory.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "host/cell/new_repository.hpp"

namespace sallyport::cell {

class TakenNames {
 public:
  // `home` may be empty. All paths canonical.
  static CellResult<TakenNames> take(const std::vector<std::string>& real, const std::string& home);

  // Those of `real` whose .git is to be NewRepository::place_in() for the command.
  std::vector<std::string> new_repositories() const;

  // When nothing of the cell is left: removes placeholders, and says what appeared. Once.
  std::vector<std::string> give_back();

 private:
  struct Placeholder {
    std::string path;
    std::string text;  // of a file; a directory is empty
    bool directory = false;
  };
  struct GitDirectory {
    std::string path;
    SharedLock lock;
    std::vector<Placeholder> placeholders;
  };

  Failure take_git(const std::string& git);
  // What is at the watched names now: the inode, or 0.
  std::map<std::string, std::uint64_t> look() const;

  std::vector<std::string> real_;
  std::string home_;
  std::vector<GitDirectory> git_;
  std::vector<NewRepository> repositories_;
  std::map<std::string, std::uint64_t> before_;
};

// Below $HOME: what a shell, a session or git runs or obeys. Read-only where $HOME's part is real.
std::vector<std::string> names_that_run_in(const std::string& home);

}  // namespace sallyport::cell
