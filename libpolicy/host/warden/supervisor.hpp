// Supervisor: keeps one worker alive. Everything it needs again (sockets, snapshot, plugin copies, tables) stays with
// the warden, so a crash costs that worker's open flows and nothing else.
//
// Threads  [main].
// Stuck    A worker that does not answer for kAnswerDeadline is ended like one that died.
// Errors   start() and serve() say in words why a plugin or the jail refused. Three deaths in 60 s and it stays down:
// on_exit() says so.
#pragma once

#include <absl/status/status.h>

#include <chrono>
#include <deque>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "host/warden/worker_process.hpp"

namespace sallyport {

struct WorkerSetup {
  nlohmann::json body;   // message "setup", docs in host/worker/worker.hpp
  std::vector<int> fds;  // borrowed; in the order the body promises
};

struct ListenerSetup {
  std::string name;
  int fd = -1;  // borrowed
  std::uint64_t client_id = 0;
};

class Supervisor {
 public:
  using Clock = std::chrono::steady_clock;
  using Log = std::function<void(std::string_view)>;

  Supervisor(int program, WorkerSetup setup, Log log)
      : program_(program), setup_(std::move(setup)), log_(std::move(log)) {}

  absl::Status start();                                      // returns when the worker has been told what to load
  absl::Status serve(std::vector<ListenerSetup> listeners);  // returns when it serves, or says why it cannot

  // A later policy: from then on it is what workers are set up with. Returns when the worker decides by it; one that
  // does not say so in time is ended, and the next one starts with it. An error: the worker refused it, and the old one
  // stays.
  absl::Status publish(std::uint64_t generation, int snapshot_fd);  // borrowed

  // Descriptors to wait on; -1 while there is no worker.
  int channel_fd() const noexcept { return worker_ ? worker_->channel().fd() : -1; }
  int exit_fd() const noexcept { return worker_ ? worker_->pidfd() : -1; }
  pid_t pid() const noexcept { return worker_ ? worker_->pid() : -1; }

  void on_channel();
  // At the end of a run: the plugins stop, which writes what they still had to say of open flows; bounded, then killed.
  void finish();
  // Asks the worker for a sign of life. Call it at least once a kPingInterval.
  void tick(Clock::time_point now);
  static constexpr std::chrono::milliseconds kPingInterval{1000};
  // Its main thread only answers: three times a second's silence is no load, it is a stop.
  static constexpr std::chrono::milliseconds kAnswerDeadline{3000};
  // The worker has ended: before_restart runs (what shared memory holds is taken over there), then a new one serves.
  // False: it stays down.
  bool on_exit(Clock::time_point now, const std::function<void()>& before_restart);

 private:
  absl::Status await_serving();
  absl::Status await_published(std::uint64_t generation);
  void note(const nlohmann::json& body);
  void kill(std::string_view why);

  int program_;
  WorkerSetup setup_;
  Log log_;
  std::vector<ListenerSetup> listeners_;
  std::optional<WorkerProcess> worker_;
  std::deque<Clock::time_point> deaths_;
  std::string last_crash_;
  Clock::time_point pinged_{};      // when the last ping went out
  Clock::time_point unanswered_{};  // since when; zero: answered
  unsigned lines_ = 0;              // of log that this worker has said
};

}  // namespace sallyport
