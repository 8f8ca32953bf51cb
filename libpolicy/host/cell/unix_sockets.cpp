#include "host/cell/unix_sockets.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <utility>

#include "host/cell/kernel_files.hpp"
#include "host/cell/mount_table.hpp"

namespace sallyport::cell {
namespace {

constexpr std::size_t kDeepest = 128;  // directories in directories: more is a loop of bind mounts

// One search, nearest directories first. Other file systems mounted below are left out: the network is behind some.
class SocketSearch {
 public:
  SocketSearch(std::size_t most_entries, std::chrono::steady_clock::time_point deadline)
      : left_(most_entries), deadline_(deadline) {}

  UnixSockets::Search run(const std::string& directory, const std::string& prefix) {
    std::deque<Waiting> waiting = {{directory, 0}};
    bool first = true;
    while (!waiting.empty() && found_.complete) {
      const Waiting next = std::move(waiting.front());
      waiting.pop_front();
      const int fd = ::open((prefix + next.path).c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
      if (fd < 0) continue;
      struct stat status;
      if (::fstat(fd, &status) != 0) status.st_dev = 0;
      if (std::exchange(first, false)) device_ = status.st_dev;
      if (status.st_dev != device_) {
        ::close(fd);
        continue;
      }
      read(fd, next, waiting);
    }
    return std::move(found_);
  }

 private:
  struct Waiting {
    std::string path;
    std::size_t depth;
  };

  void read(int fd, const Waiting& place, std::deque<Waiting>& waiting) {
    std::unique_ptr<DIR, decltype(&::closedir)> directory(::fdopendir(fd), &::closedir);
    if (!directory) {
      ::close(fd);
      return;
    }
    if (std::chrono::steady_clock::now() > deadline_) found_.complete = false;
    while (const dirent* entry = ::readdir(directory.get())) {
      const std::string_view name = entry->d_name;
      if (name == "." || name == "..") continue;
      if (left_ == 0) found_.complete = false;
      if (!found_.complete) return;
      --left_;
      unsigned char type = entry->d_type;
      if (type == DT_UNKNOWN) {
        struct stat status;
        if (::fstatat(::dirfd(directory.get()), entry->d_name, &status, AT_SYMLINK_NOFOLLOW) != 0) continue;
        type = IFTODT(status.st_mode);
      }
      if (type == DT_SOCK) found_.paths.push_back(join(place.path, name));
      if (type == DT_DIR && place.depth < kDeepest) waiting.push_back({join(place.path, name), place.depth + 1});
    }
  }

  std::size_t left_;
  std::chrono::steady_clock::time_point deadline_;
  dev_t device_ = 0;
  UnixSockets::Search found_;
};

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

UnixSockets::Search UnixSockets::within(const std::string& directory, const std::string& prefix,
                                        std::size_t most_entries) const {
  const auto now = std::chrono::steady_clock::now();
  Search found = relative_ ? SocketSearch(SIZE_MAX, now + std::chrono::hours(1)).run(directory, prefix)
                           : SocketSearch(most_entries, now + kLongest).run(directory, prefix);
  for (const std::string& path : paths_) {
    struct stat status;
    if (is_within(path, directory) && ::lstat((prefix + path).c_str(), &status) == 0 && S_ISSOCK(status.st_mode))
      found.paths.push_back(path);
  }
  std::sort(found.paths.begin(), found.paths.end());
  found.paths.erase(std::unique(found.paths.begin(), found.paths.end()), found.paths.end());
  return found;
}

}  // namespace sallyport::cell
