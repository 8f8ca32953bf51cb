// The path-name Unix sockets of the host: those inside a real directory of the cell are covered.
//
// Form     Taken in the host's network namespace, before the cell is made: /proc/net/unix knows one namespace.
// Gap      A socket that a process of another network namespace, or any process later, puts into a real directory.
// Source   unix(7), proc_net(5)
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace sallyport::cell {

class UnixSockets {
 public:
  static UnixSockets of_this_host();
  static UnixSockets parse(std::string_view proc_net_unix);

  // The paths of sockets within `directory` (canonical). `prefix` is where the directory's tree is seen now ("/old"): a
  // socket bound by a relative name has no path in the list, so the directory is searched when there is one.
  std::vector<std::string> within(const std::string& directory, const std::string& prefix) const;

  bool has_relative_names() const noexcept { return relative_; }

 private:
  std::vector<std::string> paths_;  // absolute
  bool relative_ = false;
};

}  // namespace sallyport::cell
