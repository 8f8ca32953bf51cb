// From options to canonical paths: everything that needs the host's tree as the caller sees it.
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>

#include "host/cell/files.hpp"
#include "host/cell/git_names.hpp"
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

CellError directory_error(const std::string& directory, int error) {
  if (error != EACCES)
    return failed("working directory " + directory, error, "start sallyport in a directory that exists");
  return failed("working directory " + directory, error,
                "uid " + std::to_string(::geteuid()) +
                    " may not enter it: start sallyport in a directory of its own, or let it in with chmod");
}

bool is_a_directory(const std::string& path) {
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

// Where git keeps what a commit writes, if that is thrown away while the files themselves are real.
std::optional<std::string> git_note(const FilePlan& plan, const std::string& repository) {
  const std::string dot_git = join(repository, ".git");
  const std::string behind = git_directory_behind(dot_git);
  const std::string git = canonical(behind).value_or(behind);
  if (std::any_of(plan.real.begin(), plan.real.end(), [&](const std::string& real) { return is_within(git, real); }))
    return std::nullopt;
  return "the git repository here is kept in " + git +
         ", outside of the working directory: commits are thrown away (--write " + git + " keeps them)";
}

// What becomes real of $HOME, unless it is the working directory alone.
std::optional<std::string> home_note(const FilePlan& plan) {
  for (const std::string& path : plan.real)
    if (!plan.home.empty() && is_within(plan.home, path))
      return "--write " + path +
             " opens $HOME: all in it is real but shell start-up files, ~/.ssh and git's settings, " +
             "which are read-only";
  return std::nullopt;
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
  if (!directory || !is_a_directory(*directory))
    return directory_error(options.working_directory, directory ? ENOTDIR : errno);
  if (::access(directory->c_str(), X_OK) != 0) return directory_error(*directory, errno);
  plan.working_directory = *directory;
  if (!options.home.empty())
    if (std::optional<std::string> home = canonical(options.home); home && is_a_directory(*home)) plan.home = *home;

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
  }
  sort_unique(real);
  for (std::string& path : real)  // one that lies in another is real already
    if (plan.real.empty() || std::none_of(plan.real.begin(), plan.real.end(),
                                          [&](const std::string& held) { return is_within(path, held); }))
      plan.real.push_back(std::move(path));
  const std::string repository = repository_of(plan.working_directory);
  plan.git_is_above = !repository.empty() && repository != plan.working_directory;
  if (plan.working_directory_is_real && !repository.empty())
    if (std::optional<std::string> note = git_note(plan, repository)) plan.notes.push_back(*std::move(note));
  if (plan.git_is_above) add_brought_back(plan, repository);
  if (std::optional<std::string> note = home_note(plan)) plan.notes.push_back(*std::move(note));

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
  for (const std::string& path : names_that_run_in(plan.home)) {  // what a link there leads to, by its own name
    if (std::none_of(plan.real.begin(), plan.real.end(),
                     [&](const std::string& real) { return is_within(path, real); }))
      continue;
    if (std::optional<std::string> resolved = canonical(path); resolved && *resolved != path)
      plan.protect.push_back(*std::move(resolved));
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
  std::vector<std::string> open = plan.real;
  open.insert(open.end(), plan.binds.begin(), plan.binds.end());
  sort_unique(open);
  CellResult<TakenNames> names = TakenNames::take(open, plan.home);
  if (!names) return names.error();
  plan.names = *std::move(names);
  plan.new_repositories = plan.names.new_repositories();
  return plan;
}

}  // namespace sallyport::cell
