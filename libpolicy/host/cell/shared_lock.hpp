// SharedLock: a directory that several runs use at once; the last to leave tidies up.
//
// Form     flock(2) on the directory. A placeholder that is removed while another cell has it mounted takes that cell's
//          mount along, so nobody removes one that somebody else still needs.
// Bounds   Waits kPatience for a run that tidies up. The command can lock what it sees, too: who does not get a lock
// goes
//          without a cell.
#pragma once

#include <optional>
#include <string>

namespace sallyport::cell {

class SharedLock {
 public:
  // Nothing: errno says why; EWOULDBLOCK if somebody keeps it locked.
  static std::optional<SharedLock> take(const std::string& directory);

  SharedLock(SharedLock&& other) noexcept;
  SharedLock& operator=(SharedLock&& other) noexcept;
  ~SharedLock();

  // True if nobody else has it; nobody gets it then until this is gone. False: it is given up.
  bool leave_last();

  // False if the directory has been removed, or is another by now.
  bool is_at(const std::string& directory) const;

 private:
  explicit SharedLock(int fd) : fd_(fd) {}

  int fd_ = -1;
};

}  // namespace sallyport::cell
