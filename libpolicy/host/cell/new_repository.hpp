// NewRepository: the name .git of a real directory that belongs to no repository.
//
// Form     The command may make a repository there, and does so in .git/made-in-cell, which it sees as .git. Outside,
// .git
//          is none meanwhile. At the end what it committed moves up into .git, beside settings of our own; the settings
//          and hooks it made stay behind, where git does not look.
// Lifetime Runs in one directory share what they make; the last to end moves it.
// Source   docs/decisions/0009-placeholders-for-names-that-must-stay-taken.md
#pragma once

#include <optional>
#include <string>
#include <utility>

#include "host/cell/failure.hpp"
#include "host/cell/shared_lock.hpp"

namespace sallyport::cell {

class NewRepository {
 public:
  // Nothing: there is a repository, the directory is empty (`git clone URL .` wants it so), or it can't be written.
  // A failure: others keep the place locked.
  static CellResult<std::optional<NewRepository>> hold(const std::string& directory);

  const std::string& directory() const noexcept { return directory_; }
  // What the command sees as .git.
  static std::string place_in(const std::string& directory);

  // When nothing of the cell is left. The note for the person; empty: no repository was made, and .git is gone again.
  std::string settle();

 private:
  NewRepository(std::string directory, SharedLock lock) : directory_(std::move(directory)), lock_(std::move(lock)) {}
  std::string adopt() const;

  std::string directory_;
  SharedLock lock_;  // of the place
};

}  // namespace sallyport::cell
