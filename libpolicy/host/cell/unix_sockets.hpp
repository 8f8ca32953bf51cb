// The path-name Unix sockets of the host: those inside a real directory of the cell are covered.
//
// Form     Taken in the host's network namespace, before the cell is made: /proc/net/unix knows one namespace.
//          Those of others (containers) are found by a search of the directory.
// Bounds   The search ends at kMostEntries or kLongest, unless a socket is bound by a relative name: then it goes on.
// Gap      A socket that the search does not come to, or that any process puts into a real directory later.
// Source   unix(7), proc_net(5)
#pragma once

#include <chrono>
#include <string>
#include <string_view>
#include <vector>

namespace sallyport::cell {

class UnixSockets {
 public:
  static UnixSockets of_this_host();
  static UnixSockets parse(std::string_view proc_net_unix);

  struct Search {
    std::vector<std::string> paths;
    bool complete = true;  // false: a bound was hit
  };
  static constexpr std::size_t kMostEntries = 20'000;       // a large project without its dependencies
  static constexpr std::chrono::milliseconds kLongest{20};  // what nobody notices at the start

  // The sockets within `directory` (canonical). `prefix` is where the directory's tree is seen now ("/old").
  Search within(const std::string& directory, const std::string& prefix, std::size_t most_entries = kMostEntries) const;

  bool has_relative_names() const noexcept { return relative_; }

 private:
  std::vector<std::string> paths_;  // absolute
  bool relative_ = false;
};

}  // namespace sallyport::cell
