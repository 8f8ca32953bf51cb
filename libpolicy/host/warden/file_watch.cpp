#include "host/warden/file_watch.hpp"

#include <sys/inotify.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>

namespace sallyport {

FileWatch::FileWatch() : inotify_(::inotify_init1(IN_NONBLOCK | IN_CLOEXEC)) {}

void FileWatch::add(const std::string& path, std::uint32_t events, const std::string& name) {
  const int watch = ::inotify_add_watch(inotify_.get(), path.c_str(), events);
  if (watch >= 0) names_[watch].insert(name);
}

void FileWatch::watch(const std::vector<std::string>& files) {
  files_ = files;
  // Watches of before go: the directories may be others under the same names.
  std::map<int, std::set<std::string>> before;
  before.swap(names_);
  for (const auto& [watch, names] : before) ::inotify_rm_watch(inotify_.get(), watch);
  for (const std::string& file : files) {
    const std::filesystem::path path(file);
    add(path.parent_path().string(), IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVE_SELF | IN_DELETE_SELF | IN_ONLYDIR,
        path.filename().string());
    add(file, IN_CLOSE_WRITE | IN_MASK_ADD, "");
  }
}

void FileWatch::on_readable(Clock::time_point now) {
  alignas(inotify_event) char buffer[16384];
  bool any = false, moved = false;
  for (;;) {
    const ssize_t size = ::read(inotify_.get(), buffer, sizeof buffer);
    if (size <= 0) break;
    for (ssize_t at = 0; at < size;) {
      const auto* event = reinterpret_cast<const inotify_event*>(buffer + at);
      at += static_cast<ssize_t>(sizeof(inotify_event) + event->len);
      if ((event->mask & IN_Q_OVERFLOW) != 0) any = true;
      const auto found = names_.find(event->wd);
      if (found == names_.end()) continue;
      if ((event->mask & (IN_MOVE_SELF | IN_DELETE_SELF)) != 0) any = moved = true;
      const std::string name = event->len > 0 ? event->name : "";
      if ((event->mask & (IN_CLOSE_WRITE | IN_MOVED_TO)) != 0 && found->second.contains(name)) any = true;
    }
  }
  if (moved) watch(std::vector<std::string>(files_));
  if (!any) return;
  if (!first_) first_ = now;
  last_ = now;
}

bool FileWatch::changed(Clock::time_point now) {
  if (!last_ || (now - *last_ < kDebounce && now - *first_ < kLongest)) return false;
  first_.reset();
  last_.reset();
  return true;
}

int FileWatch::next_ms(Clock::time_point now) const {
  if (!last_) return -1;
  const auto rest = std::min(*last_ + kDebounce, *first_ + kLongest) - now;
  return std::max(0, static_cast<int>(std::chrono::ceil<std::chrono::milliseconds>(rest).count()));
}

}  // namespace sallyport
