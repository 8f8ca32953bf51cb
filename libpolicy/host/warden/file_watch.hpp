// FileWatch: says when one of some files may have a new content.
//
// Form     inotify on the files' directories, which sees files that are renamed into place, and on the files
// themselves,
//          which sees those written in place behind a bind mount. Editors save in several steps: a change counts once
//          nothing has happened for kDebounce.
// Errors   A file or directory that is not there, or no inotify to be had, is passed over: SIGHUP works all the same.
// Threads  [main].
#pragma once

#include <chrono>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "host/warden/memory_file.hpp"

namespace sallyport {

class FileWatch {
 public:
  using Clock = std::chrono::steady_clock;
  static constexpr std::chrono::milliseconds kDebounce{50};
  static constexpr std::chrono::milliseconds kLongest{250};  // a file that never rests is read all the same

  FileWatch();

  // Absolute paths. Replaces those before.
  void watch(const std::vector<std::string>& files);

  int fd() const noexcept { return inotify_.get(); }
  void on_readable(Clock::time_point now);
  // True once after a change has come to rest.
  bool changed(Clock::time_point now);
  int next_ms(Clock::time_point now) const;  // until changed() is worth asking; -1: not until something happens

 private:
  void add(const std::string& path, std::uint32_t events, const std::string& name);

  Descriptor inotify_;
  std::vector<std::string> files_;
  std::map<int, std::set<std::string>> names_;  // by watch: of files in it; "" for a file's own watch
  std::optional<Clock::time_point> first_, last_;
};

}  // namespace sallyport
