#include "host/cell/mount_table.hpp"

#include <algorithm>
#include <array>
#include <optional>

#include "host/cell/kernel_files.hpp"

namespace sallyport::cell {
namespace {

// mountinfo writes space, tab, newline and backslash as \040 and so on.
std::string unescape(std::string_view text) {
  std::string result;
  result.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && i + 3 < text.size()) {
      result += static_cast<char>((text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 + (text[i + 3] - '0'));
      i += 3;
    } else {
      result += text[i];
    }
  }
  return result;
}

// The fifth field of a line: the mount point.
std::string_view mount_point(std::string_view line) {
  for (int field = 0; field < 4; ++field) {
    const std::size_t space = line.find(' ');
    if (space == line.npos) return {};
    line.remove_prefix(space + 1);
  }
  return line.substr(0, line.find(' '));
}

// After " - ": the file system's type.
std::string_view type_of(std::string_view line) {
  const std::size_t dash = line.find(" - ");
  if (dash == line.npos) return {};
  line.remove_prefix(dash + 3);
  return line.substr(0, line.find(' '));
}

constexpr std::array<std::string_view, 18> kKernelTypes = {
    "proc", "sysfs",  "cgroup",      "cgroup2",  "devtmpfs", "devpts", "debugfs", "tracefs", "securityfs",
    "bpf",  "mqueue", "binfmt_misc", "configfs", "efivarfs", "pstore", "fusectl", "nsfs",    "rpc_pipefs"};

void sort_unique(std::vector<std::string>& paths) {
  std::sort(paths.begin(), paths.end());
  paths.erase(std::unique(paths.begin(), paths.end()), paths.end());
}

}  // namespace

bool is_within(std::string_view path, std::string_view directory) {
  if (directory == "/") return path.starts_with('/');
  return path.starts_with(directory) && (path.size() == directory.size() || path[directory.size()] == '/');
}

std::string join(std::string_view directory, std::string_view entry) {
  std::string result(directory);
  if (!result.ends_with('/')) result += '/';
  return result.append(entry);
}

std::string parent_of(std::string_view path) {
  const std::size_t slash = path.rfind('/');
  return slash == 0 || slash == path.npos ? "/" : std::string(path.substr(0, slash));
}

std::vector<std::string> steps_below(std::string_view root, std::string_view path) {
  std::vector<std::string> steps;
  if (!is_within(path, root) || path == root) return steps;
  std::size_t from = root == "/" ? 1 : root.size() + 1;
  while (from <= path.size()) {
    const std::size_t slash = std::min(path.find('/', from), path.size());
    steps.emplace_back(path.substr(0, slash));
    from = slash + 1;
  }
  return steps;
}

MountTable MountTable::of_this_process() {
  const std::optional<std::string> text = read_kernel_file("/proc/self/mountinfo");
  return text ? parse(*text) : MountTable();
}

MountTable MountTable::parse(std::string_view mountinfo) {
  MountTable table;
  while (!mountinfo.empty()) {
    const std::size_t end = std::min(mountinfo.find('\n'), mountinfo.size());
    const std::string_view line = mountinfo.substr(0, end);
    if (const std::string_view point = mount_point(line); point.starts_with('/')) {
      table.points_.push_back(unescape(point));
      if (std::find(kKernelTypes.begin(), kKernelTypes.end(), type_of(line)) != kKernelTypes.end())
        table.kernels_.push_back(table.points_.back());
    }
    mountinfo.remove_prefix(std::min(end + 1, mountinfo.size()));
  }
  sort_unique(table.points_);
  sort_unique(table.kernels_);
  return table;
}

bool MountTable::is_kernels(std::string_view path) const {
  return std::binary_search(kernels_.begin(), kernels_.end(), path);
}

std::vector<std::string> MountTable::kernels_beneath(std::string_view directory) const {
  std::vector<std::string> beneath;
  for (const std::string& point : kernels_)
    if (point != directory && is_within(point, directory)) beneath.push_back(point);
  return beneath;
}

bool MountTable::has(std::string_view path) const { return std::binary_search(points_.begin(), points_.end(), path); }

bool MountTable::has_beneath(std::string_view directory) const {
  return std::any_of(points_.begin(), points_.end(),
                     [&](const std::string& point) { return point != directory && is_within(point, directory); });
}

std::vector<std::string> MountTable::topmost_beneath(std::string_view directory) const {
  std::vector<std::string> beneath;
  for (const std::string& point : points_)
    if (point != directory && is_within(point, directory)) beneath.push_back(point);
  std::vector<std::string> topmost;
  for (const std::string& point : beneath)
    if (std::none_of(beneath.begin(), beneath.end(),
                     [&](const std::string& other) { return other != point && is_within(point, other); }))
      topmost.push_back(point);
  return topmost;
}

}  // namespace sallyport::cell
