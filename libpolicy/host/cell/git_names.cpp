#include "host/cell/git_names.hpp"

#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <climits>
#include <memory>

#include "host/cell/kernel_files.hpp"
#include "host/cell/mount_table.hpp"

namespace sallyport::cell {
namespace {

constexpr int kDeepestModule = 8;               // a submodule's submodule's ...
constexpr std::size_t kLongestModuleName = 16;  // directories: .git/modules/third_party/zlib

void add_git_directory(const std::string& git, int depth, std::vector<std::string>& found) {
  found.push_back(git);
  if (depth >= kDeepestModule) return;
  std::vector<std::string> waiting = {join(git, "modules")};
  while (!waiting.empty()) {
    const std::string directory = std::move(waiting.back());
    waiting.pop_back();
    for (const std::string& name : directories_in(directory)) {
      const std::string module = join(directory, name);
      if (exists(join(module, "HEAD"))) {
        add_git_directory(module, depth + 1, found);
      } else if (steps_below(git, module).size() < kLongestModuleName) {
        waiting.push_back(module);
      }
    }
  }
}

// The .git of `directory`, through a link to beside it.
std::string dot_git(const std::string& directory) {
  std::string git = join(directory, ".git");
  std::array<char, PATH_MAX> target{};
  if (::readlink(git.c_str(), target.data(), target.size() - 1) > 0 && target[0] != '/' &&
      std::string_view(target.data()).find("..") == std::string_view::npos)
    git = join(directory, target.data());
  return git;
}

std::vector<std::string> places_of(const std::string& root) {
  std::vector<std::string> places = {root};
  for (const std::string& name : directories_in(root)) places.push_back(join(root, name));
  return places;
}

}  // namespace

bool exists(const std::string& path) {
  struct stat status;
  return ::lstat(path.c_str(), &status) == 0;
}

bool is_directory(const std::string& path) {
  struct stat status;
  return ::lstat(path.c_str(), &status) == 0 && S_ISDIR(status.st_mode);
}

std::vector<std::string> directories_in(const std::string& path, std::size_t most) {
  std::vector<std::string> names;
  std::unique_ptr<DIR, decltype(&::closedir)> directory(::opendir(path.c_str()), &::closedir);
  if (!directory) return names;
  while (const dirent* entry = ::readdir(directory.get())) {
    const std::string_view name = entry->d_name;
    if (name == "." || name == ".." || (entry->d_type != DT_DIR && entry->d_type != DT_UNKNOWN)) continue;
    if (entry->d_type == DT_UNKNOWN && !is_directory(join(path, name))) continue;
    if (names.size() >= most) break;
    names.emplace_back(name);
  }
  return names;
}

bool is_git_directory(const std::string& path) {
  if (!is_directory(path) || !exists(join(path, "HEAD"))) return false;
  return exists(join(path, "commondir")) || (exists(join(path, "objects")) && exists(join(path, "refs")));
}

std::vector<std::string> git_directories(const std::string& root) {
  std::vector<std::string> found;
  if (is_git_directory(root)) add_git_directory(root, 0, found);
  for (const std::string& place : places_of(root))
    if (const std::string git = dot_git(place); is_directory(git) && exists(join(git, "HEAD")))
      add_git_directory(git, 0, found);
  return found;
}

std::vector<std::string> names_git_obeys(const std::string& root) {
  std::vector<std::string> names;
  for (const std::string& git : git_directories(root)) {
    for (const char* name : {"hooks", "config", "config.worktree", "commondir"}) names.push_back(join(git, name));
    for (const std::string& worktree : directories_in(join(git, "worktrees")))
      for (const char* name : {"config.worktree", "commondir"})
        names.push_back(join(join(join(git, "worktrees"), worktree), name));
  }
  for (const std::string& place : places_of(root))
    if (const std::string git = dot_git(place); exists(git) && !is_directory(git)) names.push_back(git);
  return names;
}

std::string repository_of(const std::string& directory) {
  for (std::string above = directory;; above = parent_of(above)) {
    const std::string git = join(above, ".git");
    if (exists(git) && (!is_directory(git) || exists(join(git, "HEAD")))) return above;
    if (above == "/") return {};
  }
}

std::string git_directory_behind(const std::string& git) {
  constexpr std::string_view kPrefix = "gitdir: ";
  if (is_directory(git)) return git;
  std::string target = read_start(git, PATH_MAX).value_or("");
  if (!target.starts_with(kPrefix)) return git;
  target.erase(0, kPrefix.size());
  while (target.ends_with('\n') || target.ends_with('\r')) target.pop_back();
  if (!target.starts_with('/')) target = join(parent_of(git), target);
  if (const std::size_t worktrees = target.rfind("/worktrees/"); worktrees != target.npos) target.resize(worktrees);
  return target;
}

}  // namespace sallyport::cell
