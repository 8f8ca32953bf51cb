#include "host/cell/taken_names.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cerrno>
#include <utility>

#include "host/cell/files.hpp"
#include "host/cell/git_names.hpp"
#include "host/cell/kernel_files.hpp"
#include "host/cell/mount_table.hpp"

namespace sallyport::cell {
namespace {

constexpr std::size_t kWatchedDirectories = 2000;  // a look at each costs microseconds; more are somebody's data
constexpr std::size_t kLargestConfig = 64 * 1024;
constexpr std::string_view kHere = ".\n";  // a commondir that changes nothing

constexpr std::array<const char*, 28> kHomeNames = {".bashrc",          ".bash_profile",
                                                    ".bash_login",      ".bash_logout",
                                                    ".bash_aliases",    ".profile",
                                                    ".zshrc",           ".zshenv",
                                                    ".zprofile",        ".zlogin",
                                                    ".zlogout",         ".kshrc",
                                                    ".cshrc",           ".tcshrc",
                                                    ".login",           ".xprofile",
                                                    ".xsession",        ".xsessionrc",
                                                    ".xinitrc",         ".ssh",
                                                    ".gitconfig",       ".config/git",
                                                    ".config/fish",     ".config/autostart",
                                                    ".config/systemd",  ".config/environment.d",
                                                    ".pam_environment", ".local/share/systemd"};

std::uint64_t inode_of(const std::string& path) {
  struct stat status;
  return ::lstat(path.c_str(), &status) == 0 ? status.st_ino : 0;
}

// 0 as well for a .git that is no repository.
std::uint64_t repository_at(const std::string& git) {
  return is_directory(git) && !exists(join(git, "HEAD")) ? 0 : inode_of(git);
}

bool mentions(const std::string& text, std::string_view lower_case) {
  return std::search(text.begin(), text.end(), lower_case.begin(), lower_case.end(),
                     [](unsigned char a, char b) { return std::tolower(a) == b; }) != text.end();
}

std::string what_appeared(const std::string& path) {
  const std::string name = path.substr(path.rfind('/') + 1);
  if (name == ".git")
    return "a git repository appeared in " + parent_of(path) +
           ": look at its config and hooks before you run git there";
  if (name == "HEAD")
    return "a bare git repository appeared in " + parent_of(path) + ": look at its config before you run git there";
  return path + " appeared: look at it before a program obeys it";
}

}  // namespace

std::vector<std::string> names_that_run_in(const std::string& home) {
  std::vector<std::string> names;
  if (home.empty()) return names;
  for (const char* name : kHomeNames) names.push_back(join(home, name));
  return names;
}

CellResult<TakenNames> TakenNames::take(const std::vector<std::string>& real, const std::string& home) {
  TakenNames taken;
  taken.real_ = real;
  taken.home_ = home;
  taken.before_ = taken.look();
  for (const std::string& root : real) {
    for (const std::string& git : git_directories(root))
      if (Failure failure = taken.take_git(git)) {
        taken.give_back();
        return *std::move(failure);
      }
    CellResult<std::optional<NewRepository>> repository = NewRepository::hold(root);
    if (!repository) {
      taken.give_back();
      return repository.error();
    }
    if (*repository) taken.repositories_.push_back(**std::move(repository));
  }
  return taken;
}

Failure TakenNames::take_git(const std::string& git) {
  std::optional<SharedLock> lock = SharedLock::take(git);
  if (!lock && errno == EWOULDBLOCK) return failed("lock " + git, "another program keeps it locked: end that first");
  if (!lock) return {};  // not readable for the caller, nor for the command
  GitDirectory& taken = git_.emplace_back(GitDirectory{git, *std::move(lock), {}});
  // Another run has placeholders here, or was killed and left them: they are this run's, too, to remove.
  const bool inherited = read_start(join(git, "commondir"), kHere.size() + 1) == kHere;

  const std::string hooks = join(git, "hooks");
  if (::mkdir(hooks.c_str(), 0755) == 0 || inherited) taken.placeholders.push_back({hooks, "", true});
  const auto file = [&](const char* name, std::string_view text) {
    const std::string path = join(git, name);
    const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0644);
    if (fd < 0 && !inherited) return;
    taken.placeholders.push_back({path, std::string(text)});
    if (fd < 0) return;
    static_cast<void>(::write(fd, text.data(), text.size()) == 0);
    ::close(fd);
  };
  file("config", "");
  file("commondir", kHere);
  // Only obeyed where the config says so, and the command can't change that.
  if (mentions(read_start(join(git, "config"), kLargestConfig).value_or(""), "worktreeconfig"))
    file("config.worktree", "");
  return {};
}

std::vector<std::string> TakenNames::new_repositories() const {
  std::vector<std::string> directories;
  for (const NewRepository& repository : repositories_) directories.push_back(repository.directory());
  return directories;
}

std::map<std::string, std::uint64_t> TakenNames::look() const {
  std::map<std::string, std::uint64_t> seen;
  const auto held = [&](const std::string& root) {
    return std::any_of(repositories_.begin(), repositories_.end(),
                       [&](const NewRepository& repository) { return repository.directory() == root; });
  };
  for (const std::string& root : real_) {
    if (!is_directory(root)) continue;
    if (!held(root)) seen[join(root, ".git")] = repository_at(join(root, ".git"));
    seen[join(root, "HEAD")] = is_git_directory(root) ? 1 : 0;  // git replaces HEAD itself
    for (const char* name : kEditorFiles) seen[join(root, name)] = inode_of(join(root, name));
    for (const std::string& name : directories_in(root, kWatchedDirectories)) {
      if (name == ".git") continue;
      const std::string below = join(root, name);
      seen[join(below, ".git")] = repository_at(join(below, ".git"));
      for (const char* file : {".envrc", ".vscode"}) seen[join(below, file)] = inode_of(join(below, file));
    }
    for (const std::string& path : names_that_run_in(home_))
      if (is_within(path, root)) seen[path] = inode_of(path);
  }
  return seen;
}

std::vector<std::string> TakenNames::give_back() {
  std::vector<std::string> notes;
  for (const auto& [path, inode] : look()) {
    const auto before = before_.find(path);
    if (inode != 0 && (before == before_.end() || before->second != inode)) notes.push_back(what_appeared(path));
  }
  for (NewRepository& repository : std::exchange(repositories_, {}))
    if (std::string note = repository.settle(); !note.empty()) notes.push_back(std::move(note));
  for (GitDirectory& git : git_) {
    if (!git.lock.leave_last()) continue;
    // Two runs that start at once may each find the other's placeholders half made: whoever leaves last looks again.
    if (read_start(join(git.path, "commondir"), kHere.size() + 1) == kHere) {
      git.placeholders.push_back({join(git.path, "hooks"), "", true});
      git.placeholders.push_back({join(git.path, "config"), ""});
      git.placeholders.push_back({join(git.path, "commondir"), std::string(kHere)});
    }
    for (const Placeholder& placeholder : git.placeholders) {
      if (placeholder.directory) {
        ::rmdir(placeholder.path.c_str());  // only if it is still empty
      } else if (read_start(placeholder.path, placeholder.text.size() + 1) == placeholder.text) {
        ::unlink(placeholder.path.c_str());
      }
    }
  }
  git_.clear();
  real_.clear();
  return notes;
}

}  // namespace sallyport::cell
