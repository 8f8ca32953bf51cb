// Channel: messages with descriptors between the warden and one worker, over a SOCK_SEQPACKET pair.
//
// Form     One JSON object a message ("type" says which), at most kMaxMessage octets, with at most kMaxFds descriptors.
// Lifetime Owns its descriptor. The other side's end shows as kClosed: a worker leaves then, a warden restarts the
// worker. Threads  send() from any thread (one packet is atomic); receive() from one. Trust    The warden treats what a
// worker says as hostile: a message that does not parse ends that worker.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

namespace sallyport {

struct Message {
  nlohmann::json body;
  std::vector<int> fds;  // owned by whoever holds the message; close_fds() or take them
  void close_fds();
};

class Channel {
 public:
  static constexpr std::size_t kMaxMessage = 128 * 1024;  // a setup message with 16 plugins' configs has about 8 kB
  static constexpr std::size_t kMaxFds = 64;

  explicit Channel(int fd) noexcept : fd_(fd) {}
  Channel(Channel&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Channel& operator=(Channel&& other) noexcept;
  ~Channel();

  static std::optional<std::pair<Channel, Channel>> pair();

  int fd() const noexcept { return fd_; }

  // False: the other side is gone, or its queue is full (a peer that does not read is as good as gone).
  bool send(const nlohmann::json& body, const std::vector<int>& fds = {}) const;

  enum class Outcome { kMessage, kNothing, kClosed, kBroken };
  // timeout_ms: -1 waits without end, 0 does not wait. kNothing: the time ran out.
  Outcome receive(Message& message, int timeout_ms) const;

 private:
  int fd_;
};

}  // namespace sallyport
