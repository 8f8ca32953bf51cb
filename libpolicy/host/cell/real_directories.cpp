// What is real in the view: the working directory, --write and --bind. In the first two, the host's sockets are
// covered, and what runs code outside the cell later (git hooks and settings, editor tasks) or governs the cell is
// read-only.
//
// A mount point can be neither renamed nor removed, so a file is kept in place by binding each directory above it, up
// to the real one, onto itself. A name that does not exist can't be kept that way: for .git/hooks an empty directory is
// made in the user's tree (it is what `git init` makes) and removed at the end if it is still empty. Editor files that
// do not exist can be created by the command: an editor asks before it trusts them, git does not.
#include <dirent.h>
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <memory>

#include "host/cell/files.hpp"
#include "host/cell/mounts.hpp"

namespace sallyport::cell {
namespace {

constexpr std::uint64_t kRealAttributes = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV;
constexpr std::array<const char*, 9> kEditorFiles = {".vscode", ".idea",     ".zed",      ".envrc",       ".husky",
                                                     ".exrc",   ".nvim.lua", ".githooks", ".devcontainer"};
constexpr int kDeepestModule = 8;  // a submodule's submodule's ...

bool exists(const std::string& path) {
  struct stat status;
  return ::lstat(path.c_str(), &status) == 0;
}

bool is_directory(const std::string& path) {
  struct stat status;
  return ::lstat(path.c_str(), &status) == 0 && S_ISDIR(status.st_mode);
}

std::vector<std::string> directories_in(const std::string& path) {
  std::vector<std::string> names;
  std::unique_ptr<DIR, decltype(&::closedir)> directory(::opendir(path.c_str()), &::closedir);
  if (!directory) return names;
  while (const dirent* entry = ::readdir(directory.get()))
    if (std::string_view name = entry->d_name; name != "." && name != ".." && is_directory(join(path, name)))
      names.emplace_back(name);
  return names;
}

// What git runs or obeys in a git directory, all paths as they are in /new.
void add_git_directory(const std::string& git, int depth, std::vector<std::string>& found) {
  for (const char* name : {"hooks", "config", "config.worktree"}) found.push_back(join(git, name));
  for (const std::string& worktree : directories_in(join(git, "worktrees")))
    found.push_back(join(join(git, "worktrees"), worktree) + "/config.worktree");
  if (depth >= kDeepestModule) return;
  // A module's name may have slashes: .git/modules/third_party/zlib.
  std::vector<std::string> waiting = {join(git, "modules")};
  while (!waiting.empty()) {
    const std::string directory = std::move(waiting.back());
    waiting.pop_back();
    for (const std::string& name : directories_in(directory)) {
      const std::string module = join(directory, name);
      if (exists(join(module, "HEAD"))) {
        add_git_directory(module, depth + 1, found);
      } else if (steps_below(git, module).size() < 16) {
        waiting.push_back(module);
      }
    }
  }
}

void add_git(const std::string& root, std::vector<std::string>& found) {
  std::string git = join(root, ".git");
  std::array<char, PATH_MAX> target{};
  if (::readlink(git.c_str(), target.data(), target.size() - 1) > 0 && target[0] != '/')
    git = join(root, target.data());
  if (is_directory(git)) {
    add_git_directory(git, 0, found);
  } else if (exists(git)) {
    found.push_back(git);  // "gitdir: ..." of a worktree or submodule: where it leads decides which hooks run
  }
}

}  // namespace

Failure FileView::make_real(const std::string& path) {
  struct stat status;
  if (::lstat(in_old(path).c_str(), &status) != 0) return failed("open " + path);
  if (!make_mount_point(in_new(path), S_ISDIR(status.st_mode)) ||
      !bind_with(in_old(path), in_new(path), kRealAttributes))
    return failed("open " + path + " for writing", kKernelRemedy);
  for (const std::string& kernels : host_mounts_.kernels_beneath(path)) {
    if (::lstat(in_new(kernels).c_str(), &status) != 0) continue;  // hidden by another mount
    if (!bind_with(S_ISDIR(status.st_mode) ? kMaskDirectory : kMaskFile, in_new(kernels), MOUNT_ATTR_RDONLY))
      return failed("cover " + kernels, kKernelRemedy);
  }
  if (Failure failure = mask_sockets(path)) return failure;
  return protect_within(path);
}

Failure FileView::open_bind(const std::string& path) {
  struct stat status;
  if (::lstat(in_old(path).c_str(), &status) != 0) return failed("--bind " + path);
  if (!make_mount_point(in_new(path), S_ISDIR(status.st_mode)) ||
      !bind_with(in_old(path), in_new(path), kRealAttributes))
    return failed("--bind " + path, kKernelRemedy);
  notes_.push_back("--bind " + path + " is open: its files and every socket in it lead out of the cell");
  return protect_within(path);
}

Failure FileView::protect_within(const std::string& root) {
  // What was pinned below lies under the new mount now.
  const auto hidden = [&](const std::string& path) { return is_within(path, in_new(root)); };
  std::erase_if(pinned_, hidden);
  std::erase_if(read_only_, hidden);
  std::vector<std::string> wanted;
  if (is_directory(in_new(root))) {
    add_git(in_new(root), wanted);
    for (const std::string& name : directories_in(in_new(root))) add_git(in_new(join(root, name)), wanted);
    for (const char* name : kEditorFiles) wanted.push_back(in_new(join(root, name)));
  }
  for (const std::string& path : plan_.protect)
    if (is_within(path, root)) wanted.push_back(in_new(path));
  // Parents first: a bind that comes later would lie above the ones below it.
  std::sort(wanted.begin(), wanted.end());
  for (const std::string& path : wanted) {
    if (!exists(path)) continue;
    if (Failure failure = pin(in_new(root), path)) return failure;
  }
  return {};
}

// `path` read-only, and every directory between `root` and it a mount point.
Failure FileView::pin(const std::string& root, const std::string& path) {
  for (const std::string& step : steps_below(root, path)) {
    if (std::any_of(read_only_.begin(), read_only_.end(),
                    [&](const std::string& held) { return is_within(step, held); }))
      return {};
    struct stat status;
    if (::lstat(step.c_str(), &status) != 0) return failed("protect " + path.substr(4));
    if (S_ISLNK(status.st_mode)) {
      // A link can't be a mount point. What it leads to is protected by its own name, if it is in something real.
      notes_.push_back(path.substr(4) + " is behind a symbolic link: not read-only");
      return {};
    }
    const bool last = step == path;
    const bool pinned = std::find(pinned_.begin(), pinned_.end(), step) != pinned_.end();
    if (!pinned && !bind(step, step)) return failed("protect " + path.substr(4), kKernelRemedy);
    if (!pinned) pinned_.push_back(step);
    if (!last) continue;
    if (!add_mount_attributes(step, MOUNT_ATTR_RDONLY)) return failed("protect " + path.substr(4), kKernelRemedy);
    read_only_.push_back(step);
  }
  if (root == path) {  // a single file that is both opened and protected
    if (!add_mount_attributes(path, MOUNT_ATTR_RDONLY)) return failed("protect " + path.substr(4), kKernelRemedy);
    read_only_.push_back(path);
  }
  return {};
}

Failure FileView::mask_sockets(const std::string& root) {
  for (const std::string& path : plan_.sockets.within(root, "/old")) {
    if (!exists(in_new(path))) continue;
    if (!bind_with(kMaskFile, in_new(path), MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV))
      return failed("cover the socket " + path, kKernelRemedy);
  }
  return {};
}

}  // namespace sallyport::cell
