// MountTable: where the host's mounts are, as this process sees them; and the path arithmetic of the file view.
//
// Form     Absolute canonical paths ("/", "/a/b"), no trailing slash, no symbolic link.
// Source   /proc/self/mountinfo (proc_pid_mountinfo(5)), whose octal escapes are undone.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace sallyport::cell {

// Whole components: "/ab" is not within "/a"; everything is within "/". A path is within itself.
bool is_within(std::string_view path, std::string_view directory);
// "/a" and "b" make "/a/b"; "/" and "b" make "/b".
std::string join(std::string_view directory, std::string_view entry);
std::string parent_of(std::string_view path);
// The paths from below `root` down to `path` itself, in that order: ("/r", "/r/a/b") gives "/r/a", "/r/a/b".
std::vector<std::string> steps_below(std::string_view root, std::string_view path);

class MountTable {
 public:
  // Empty if it can't be read.
  static MountTable of_this_process();
  static MountTable parse(std::string_view mountinfo);

  bool empty() const noexcept { return points_.empty(); }
  bool has(std::string_view path) const;
  bool has_beneath(std::string_view directory) const;
  // The kernel's own (proc, sysfs, cgroup ...), mounted anywhere, such as in a chroot: not to be seen in a cell, which
  // has those of its own namespaces. A name may be mounted over; any mount there counts.
  bool is_kernels(std::string_view path) const;
  std::vector<std::string> kernels_beneath(std::string_view directory) const;
  // The mount points below a directory that are not below one another.
  std::vector<std::string> topmost_beneath(std::string_view directory) const;

 private:
  std::vector<std::string> points_;   // sorted, each once
  std::vector<std::string> kernels_;  // likewise, a part of points_
};

}  // namespace sallyport::cell
