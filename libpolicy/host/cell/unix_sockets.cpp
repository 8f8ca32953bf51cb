#include "host/cell/unix_sockets.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>

#include "host/cell/kernel_files.hpp"
#include "host/cell/mount_table.hpp"

namespace sallyport::cell {
namespace {

constexpr int kDeepest = 128;  // directories in directories: more is a loop of bind mounts

// Sockets below an open directory, which is closed.
void search(int directory_fd, const std::string& path, int depth, std::vector<std::string>& found) {
  std::unique_ptr<DIR, decltype(&::closedir)> directory(::fdopendir(directory_fd), &::closedir);
  if (!directory) {
    ::close(directory_fd);
    return;
  }
  while (const dirent* entry = ::readdir(directory.get())) {
    const std::string_view name = entry->d_name;
    if (name == "." || name == "..") continue;
    unsigned char type = entry->d_type;
    if (type == DT_UNKNOWN) {
      struct stat status;
      if (::fstatat(::dirfd(directory.get()), entry->d_name, &status, AT_SYMLINK_NOFOLLOW) != 0) continue;
      type = IFTODT(status.st_mode);
    }
    if (type == DT_SOCK) found.push_back(join(path, name));
    if (type != DT_DIR || depth >= kDeepest) continue;
    const int below =
        ::openat(::dirfd(directory.get()), entry->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
    if (below >= 0) search(below, join(path, name), depth + 1, found);
  }
}

}  // namespace

UnixSockets UnixSockets::of_this_host() {
  const std::optional<std::string> text = read_kernel_file("/proc/net/unix");
  if (!text) return {};
  UnixSockets sockets = parse(*text);
  // A path is as it was bound; its directory may be reached through a symbolic link.
  std::map<std::string, std::string> canonical;
  for (std::string& path : sockets.paths_) {
    const std::string parent = parent_of(path);
    auto [entry, is_new] = canonical.try_emplace(parent, parent);
    if (is_new) {
      char* resolved = ::realpath(parent.c_str(), nullptr);
      if (resolved != nullptr) entry->second = resolved;
      std::free(resolved);
    }
    path = join(entry->second, std::string_view(path).substr(path.rfind('/') + 1));
  }
  return sockets;
}

UnixSockets UnixSockets::parse(std::string_view text) {
  UnixSockets sockets;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    // Num RefCount Protocol Flags Type St Inode Path
    for (int field = 0; field < 7 && !line.empty(); ++field) {
      line.remove_prefix(std::min(line.find_first_not_of(' '), line.size()));
      line.remove_prefix(std::min(line.find(' '), line.size()));
    }
    if (line.empty()) continue;
    line.remove_prefix(1);
    if (line.empty() || line.front() == '@' || line == "Path") continue;
    if (line.front() == '/') {
      sockets.paths_.emplace_back(line);
    } else {
      sockets.relative_ = true;
    }
  }
  std::sort(sockets.paths_.begin(), sockets.paths_.end());
  sockets.paths_.erase(std::unique(sockets.paths_.begin(), sockets.paths_.end()), sockets.paths_.end());
  return sockets;
}

std::vector<std::string> UnixSockets::within(const std::string& directory, const std::string& prefix) const {
  std::vector<std::string> found;
  for (const std::string& path : paths_) {
    struct stat status;
    if (is_within(path, directory) && ::lstat((prefix + path).c_str(), &status) == 0 && S_ISSOCK(status.st_mode))
      found.push_back(path);
  }
  if (relative_) {
    const int fd = ::open((prefix + directory).c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
    if (fd >= 0) search(fd, directory, 0, found);
  }
  std::sort(found.begin(), found.end());
  found.erase(std::unique(found.begin(), found.end()), found.end());
  return found;
}

}  // namespace sallyport::cell
