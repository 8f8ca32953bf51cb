// StatusSocket: how a gateway is asked how it is: one line in, one answer out, and the connection ends.
//
// Form     A Unix socket NAME.sock, for the user who runs the gateway alone (mode 0600). "status" (or nothing): one
// JSON
//          object. "metrics": Prometheus text.
// Bounds   kMostClients at once, kAskDeadline each; an answer is sent as fast as it is read.
// Threads  [main].
#pragma once

#include <absl/status/statusor.h>
#include <poll.h>

#include <chrono>
#include <functional>
#include <list>
#include <optional>
#include <string>
#include <vector>

#include "host/warden/memory_file.hpp"

namespace sallyport {

class StatusSocket {
 public:
  using Clock = std::chrono::steady_clock;
  static constexpr std::size_t kMostClients = 16;
  static constexpr std::chrono::seconds kAskDeadline{5};

  // A socket that a gateway answers at is refused; one that was left behind is replaced.
  static absl::StatusOr<StatusSocket> open(const std::string& path);

  StatusSocket(StatusSocket&& other) noexcept = default;
  StatusSocket& operator=(StatusSocket&& other) noexcept = default;

  // Descriptors to wait on, added to the end of out.
  void add_to(std::vector<pollfd>& out) const;
  // answer(request) gives what is sent.
  void serve(Clock::time_point now, const std::function<std::string(const std::string&)>& answer);
  void remove();  // the file, at the end

 private:
  struct Client {
    Descriptor fd;
    std::string request, reply;
    bool answered = false;
    Clock::time_point since;
  };
  StatusSocket(std::string path, Descriptor fd) : path_(std::move(path)), fd_(std::move(fd)) {}

  std::string path_;
  Descriptor fd_;
  std::list<Client> clients_;
};

// Asks the gateway behind a socket; the answer, or why there is none.
absl::StatusOr<std::string> ask_gateway(const std::string& path, const std::string& request);

// DIR/NAME.sock: DIR is directory, or unset $RUNTIME_DIRECTORY (systemd's), /run/sallyport as root, or
// $XDG_RUNTIME_DIR/sallyport. Empty: none of them.
std::string status_path(const std::string& directory, const std::string& name);
// DIR/NAME.quotas, for what is to outlast a boot: DIR is directory, or unset $STATE_DIRECTORY (systemd's), or that of
// status_path(). Empty: none of them.
std::string quota_path(const std::string& directory, const std::string& name);

}  // namespace sallyport
