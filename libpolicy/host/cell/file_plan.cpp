// From options to canonical paths: everything that needs the host's tree as the caller sees it.
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>

#include "host/cell/files.hpp"
#include "host/cell/workload.hpp"

namespace sallyport::cell {
namespace {

// A working directory here, or one that holds these, is the system itself: thrown away as $HOME is. Below /usr, /var
// and /run people do work.
constexpr std::array<std::string_view, 8> kSystemTrees = {"/bin", "/boot",  "/dev",  "/etc",
                                                          "/lib", "/lib64", "/proc", "/sys"};
constexpr std::array<std::string_view, 9> kSystemDirectories = {
    "/usr", "/usr/bin", "/usr/sbin", "/usr/lib", "/usr/local", "/var", "/run", "/tmp", "/var/tmp"};

std::optional<std::string> canonical(const std::string& path) {
  char* resolved = ::realpath(path.c_str(), nullptr);
  if (resolved == nullptr) return std::nullopt;
  std::string result = resolved;
  std::free(resolved);
  return result;
}

bool is_directory(const std::string& path) {
  struct stat status;
  return ::stat(path.c_str(), &status) == 0 && S_ISDIR(status.st_mode);
}

// Why the working directory's writes are thrown away; nothing if it is real.
std::optional<std::string> thrown_away(const std::string& directory, const std::string& home) {
  if (!home.empty() && directory == home) return "working directory is $HOME: writes are thrown away";
  if (directory == "/") return "working directory is /: writes are thrown away";
  if (!home.empty() && is_within(home, directory)) return "working directory is above $HOME: writes are thrown away";
  const bool system =
      std::any_of(kSystemTrees.begin(), kSystemTrees.end(),
                  [&](std::string_view tree) { return is_within(directory, tree); }) ||
      std::find(kSystemDirectories.begin(), kSystemDirectories.end(), directory) != kSystemDirectories.end();
  if (system) return "working directory is the system's " + directory + ": writes are thrown away";
  return std::nullopt;
}

// Something below a private directory that the command needs. A bin directory brings its neighbours (lib, pyvenv.cfg).
void add_brought_back(FilePlan& plan, std::string path) {
  if (!is_within_private_directory(path) || is_private_directory(path) || is_within(path, "/proc") ||
      is_within(path, "/sys") || is_within(path, "/dev"))
    return;
  if (path.ends_with("/bin") && !is_private_directory(parent_of(path))) path = parent_of(path);
  plan.brought_back.push_back(std::move(path));
}

void add_command_paths(FilePlan& plan, const CellOptions& options) {
  for (const std::string& directory : search_path(options.environment))
    if (std::optional<std::string> resolved = canonical(directory)) {
      add_brought_back(plan, directory);
      add_brought_back(plan, *resolved);
    }
  for (const std::string& candidate : command_candidates(options.command.front(), options.environment)) {
    const std::string absolute = candidate.starts_with('/') ? candidate : join(options.working_directory, candidate);
    const std::optional<std::string> resolved = canonical(absolute);
    if (!resolved) continue;
    for (const std::string& file : {absolute, *resolved}) {
      const std::string directory = parent_of(file);
      add_brought_back(plan, is_private_directory(directory) ? file : directory);
    }
    break;
  }
}

// A git directory without hooks or config would let the command make them. The names are taken by empty ones.
void take_git_names(FilePlan& plan, const std::string& root) {
  const std::string git = root + "/.git";
  struct stat status;
  if (::lstat(git.c_str(), &status) != 0 || !S_ISDIR(status.st_mode) || ::access((git + "/HEAD").c_str(), F_OK) != 0)
    return;
  const std::string hooks = git + "/hooks";
  if (::mkdir(hooks.c_str(), 0755) == 0) plan.placeholders.push_back(hooks);
  const std::string config = git + "/config";
  const int fd = ::open(config.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0644);
  if (fd < 0) return;
  ::close(fd);
  plan.placeholders.push_back(config);
}

// Where git keeps what a commit writes, if that is thrown away while the files themselves are real.
std::optional<std::string> git_note(const std::string& directory) {
  struct stat status;
  for (std::string above = directory;; above = parent_of(above)) {
    if (::lstat(join(above, ".git").c_str(), &status) != 0) {
      if (above == "/") return std::nullopt;
      continue;
    }
    if (above == directory && S_ISDIR(status.st_mode)) return std::nullopt;
    return "the git directory of " + directory + " lies outside of it: commits are thrown away (--write opens it)";
  }
}

void sort_unique(std::vector<std::string>& paths) {
  std::sort(paths.begin(), paths.end());
  paths.erase(std::unique(paths.begin(), paths.end()), paths.end());
}

}  // namespace

CellResult<FilePlan> plan_files(const CellOptions& options) {
  FilePlan plan;
  plan.sockets = UnixSockets::of_this_host();
  const std::optional<std::string> directory = canonical(options.working_directory);
  if (!directory || !is_directory(*directory))
    return failed("working directory " + options.working_directory, directory ? ENOTDIR : errno,
                  "start sallyport in a directory that exists");
  plan.working_directory = *directory;
  if (!options.home.empty())
    if (std::optional<std::string> home = canonical(options.home); home && is_directory(*home)) plan.home = *home;

  std::vector<std::string> real;
  for (const std::string& path : options.writable) {
    std::optional<std::string> resolved = canonical(path);
    if (!resolved) return failed("--write " + path, "give --write a file or directory that exists");
    if (*resolved == "/")
      return CellError{"--write /: the whole system would be real", "name the directories the command has to write to"};
    real.push_back(*std::move(resolved));
  }
  if (std::optional<std::string> why = thrown_away(plan.working_directory, plan.home)) {
    const bool written = std::any_of(real.begin(), real.end(),
                                     [&](const std::string& path) { return is_within(plan.working_directory, path); });
    plan.working_directory_is_real = written;
    if (!written) plan.notes.push_back(*std::move(why));
    if (!written) add_brought_back(plan, plan.working_directory);
  } else {
    real.push_back(plan.working_directory);
    if (options.writable.empty())
      if (std::optional<std::string> note = git_note(plan.working_directory)) plan.notes.push_back(*std::move(note));
  }
  sort_unique(real);
  for (std::string& path : real)  // one that lies in another is real already
    if (plan.real.empty() || std::none_of(plan.real.begin(), plan.real.end(),
                                          [&](const std::string& held) { return is_within(path, held); }))
      plan.real.push_back(std::move(path));

  for (const std::string& path : options.binds) {
    std::optional<std::string> resolved = canonical(path);
    if (!resolved) return failed("--bind " + path, "give --bind a path that exists");
    if (*resolved == "/")
      return CellError{"--bind /: the whole system would be open", "name the paths the command needs"};
    plan.binds.push_back(*std::move(resolved));
  }
  sort_unique(plan.binds);
  for (const std::string& path : options.protect) {
    std::optional<std::string> resolved = canonical(path);
    if (resolved) plan.protect.push_back(*std::move(resolved));
    // What the name itself is, if it is a link: the link's directory entry can't be pinned, its target can.
    else if (errno != ENOENT)
      return failed("protect " + path);
    else
      return failed("protect " + path, "create it first: a name that does not exist can't be kept read-only");
  }
  sort_unique(plan.protect);

  if (!plan.home.empty()) add_brought_back(plan, plan.home);
  add_command_paths(plan, options);
  sort_unique(plan.brought_back);
  std::vector<std::string> outermost;
  for (std::string& path : plan.brought_back)
    if (std::none_of(outermost.begin(), outermost.end(),
                     [&](const std::string& held) { return is_within(path, held); }))
      outermost.push_back(std::move(path));
  plan.brought_back = std::move(outermost);

  for (int fd = 0; fd <= 2 && plan.terminal.empty(); ++fd) {
    std::array<char, 128> name;
    if (::isatty(fd) == 1 && ::ttyname_r(fd, name.data(), name.size()) == 0) plan.terminal = name.data();
  }
  for (const std::string& path : plan.real) take_git_names(plan, path);
  return plan;
}

}  // namespace sallyport::cell
