// What is real in the view: the working directory, --write and --bind. In the first two, the host's sockets are
// covered, and what runs code outside the cell later (git hooks and settings, editor tasks) or governs the cell is
// read-only.
//
// A mount point can be neither renamed nor removed, so a file is kept in place by binding each directory above it, up
// to the real one, onto itself. A name that does not exist can't be kept that way: TakenNames makes what git would obey
// in the user's tree. Editor files that do not exist can be created by the command, which is said at the end: an editor
// asks before it trusts them, git does not.
#include <sys/mount.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>

#include "host/cell/files.hpp"
#include "host/cell/git_names.hpp"
#include "host/cell/mounts.hpp"

namespace sallyport::cell {
namespace {

constexpr std::uint64_t kRealAttributes = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV;
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
    wanted = names_git_obeys(in_new(root));
    for (const char* name : kEditorFiles) wanted.push_back(in_new(join(root, name)));
  }
  for (const std::string& path : plan_.protect)
    if (is_within(path, root)) wanted.push_back(in_new(path));
  for (const std::string& path : names_that_run_in(plan_.home))
    if (is_within(path, root) && path != root) wanted.push_back(in_new(path));
  // Parents first: a bind that comes later would lie above the ones below it.
  std::sort(wanted.begin(), wanted.end());
  for (const std::string& path : wanted) {
    if (!exists(path)) continue;
    if (Failure failure = pin(in_new(root), path)) return failure;
  }
  const std::vector<std::string>& fresh = plan_.new_repositories;
  if (std::find(fresh.begin(), fresh.end(), root) != fresh.end() &&
      !bind_with(in_old(NewRepository::place_in(root)), in_new(join(root, ".git")), kRealAttributes))
    return failed("protect " + join(root, ".git"), kKernelRemedy);
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
  const UnixSockets::Search sockets = plan_.sockets.within(root, "/old");
  if (!sockets.complete) notes_.push_back(root + " is large: sockets of other containers deep in it are not covered");
  for (const std::string& path : sockets.paths) {
    if (!exists(in_new(path))) continue;
    if (!bind_with(kMaskFile, in_new(path), MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV))
      return failed("cover the socket " + path, kKernelRemedy);
  }
  return {};
}

}  // namespace sallyport::cell
