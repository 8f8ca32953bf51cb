// The roads not taken: a .git that is read-only as a whole (no commit), one that is thrown away (the work is lost), and
// a look at what was made when the run is over (an editor beside it runs git long before).
#include "host/cell/new_repository.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <memory>

#include "host/cell/git_names.hpp"
#include "host/cell/kernel_files.hpp"
#include "host/cell/mount_table.hpp"

namespace sallyport::cell {
namespace {

struct Entry {
  const char* name;
  bool directory;
};
// What holds work and no program. HEAD is the last: before it is there, .git is no repository.
constexpr std::array<Entry, 12> kMoved = {{{"objects", true},
                                           {"refs", true},
                                           {"packed-refs", false},
                                           {"logs", true},
                                           {"info", true},
                                           {"index", false},
                                           {"shallow", false},
                                           {"description", false},
                                           {"COMMIT_EDITMSG", false},
                                           {"ORIG_HEAD", false},
                                           {"FETCH_HEAD", false},
                                           {"HEAD", false}}};
constexpr std::string_view kOwnConfig =
    "[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = false\n\tlogallrefupdates = true\n";
constexpr int kAttempts = 3;  // another run may remove what was just there
constexpr std::size_t kLargestConfig = 64 * 1024;

bool is_empty(const std::string& path) {
  std::unique_ptr<DIR, decltype(&::closedir)> directory(::opendir(path.c_str()), &::closedir);
  if (!directory) return false;
  while (const dirent* entry = ::readdir(directory.get()))
    if (std::string_view name = entry->d_name; name != "." && name != "..") return false;
  return true;
}

}  // namespace

std::string NewRepository::place_in(const std::string& directory) { return join(directory, ".git/made-in-cell"); }

CellResult<std::optional<NewRepository>> NewRepository::hold(const std::string& directory) {
  if (!is_directory(directory) || !repository_of(directory).empty() || is_git_directory(directory))
    return std::optional<NewRepository>();
  const std::string git = join(directory, ".git");
  if (!exists(git) && is_empty(directory)) return std::optional<NewRepository>();
  const std::string place = place_in(directory);
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    if ((::mkdir(git.c_str(), 0777) != 0 && errno != EEXIST) || (::mkdir(place.c_str(), 0777) != 0 && errno != EEXIST))
      continue;
    std::optional<SharedLock> lock = SharedLock::take(place);
    if (!lock && errno == EWOULDBLOCK)
      return failed("lock " + place, "another program keeps it locked: end that first");
    if (lock && lock->is_at(place)) return std::optional(NewRepository(directory, *std::move(lock)));
  }
  ::rmdir(git.c_str());  // only if it is empty
  return std::optional<NewRepository>();
}

std::string NewRepository::settle() {
  if (!lock_.leave_last()) return {};  // another run ends later
  const std::string place = place_in(directory_);
  std::string note;
  if (exists(join(place, "HEAD"))) {
    note = adopt();
  } else if (::rmdir(place.c_str()) == 0 || errno == ENOENT) {
    ::rmdir(join(directory_, ".git").c_str());  // only if it is empty
  } else {
    note = "the command wrote to " + directory_ + "/.git: it is in " + place;
  }
  return note;
}

std::string NewRepository::adopt() const {
  const std::string place = place_in(directory_);
  const std::string git = join(directory_, ".git");
  const std::string made = "the command made a git repository in " + directory_;
  const std::string config = read_start(join(place, "config"), kLargestConfig).value_or("");
  // Another object format than git's usual one needs settings that would have to be trusted.
  if (exists(join(git, "HEAD")) || config.find("[extensions]") != config.npos)
    return made + ", which could not be taken over: it is in " + place;
  const int file = ::open(join(git, "config").c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0666);
  if (file < 0) return made + ", which could not be taken over: it is in " + place;
  const bool written = ::write(file, kOwnConfig.data(), kOwnConfig.size()) == static_cast<ssize_t>(kOwnConfig.size());
  ::close(file);
  bool complete = written;
  for (const Entry& entry : kMoved) {
    const std::string from = join(place, entry.name);
    struct stat status;
    if (::lstat(from.c_str(), &status) != 0) continue;
    const bool as_expected = entry.directory ? S_ISDIR(status.st_mode) : S_ISREG(status.st_mode);
    // RENAME_NOREPLACE is not needed: .git holds nothing that the command could have put there.
    complete = complete && as_expected && ::rename(from.c_str(), join(git, entry.name).c_str()) == 0;
  }
  if (!complete) return made + ", parts of which could not be taken over: they are in " + place;
  return made + "; its settings and hooks are not in force: look at them in " + place;
}

}  // namespace sallyport::cell
