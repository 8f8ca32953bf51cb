// GroupWorker: one worker process of a gateway, from its setup to its end. Nothing here waits: a gateway has several,
// and signals, reloads and the audit go on meanwhile.
//
// States   kStarting -> kServing -> kDraining -> gone. has_ended() after any of them.
// Trust    The worker parses hostile traffic: its words are bounded, reach the log as printable ASCII, and decide
// nothing
//          but what happens to itself.
// Threads  [main].
#pragma once

#include <absl/status/statusor.h>

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "host/warden/worker_process.hpp"

namespace sallyport {

class GroupWorker {
 public:
  using Clock = std::chrono::steady_clock;
  using Log = std::function<void(std::string_view)>;
  enum class State : std::uint8_t { kStarting, kServing, kDraining };

  static constexpr std::chrono::seconds kServeDeadline{10};  // loading takes 10 ms; a machine under load gets more
  static constexpr std::chrono::milliseconds kPingInterval{1000};
  static constexpr std::chrono::milliseconds kAnswerDeadline{3000};  // its main thread only answers
  static constexpr std::chrono::milliseconds kPublishDeadline{5000};
  static constexpr std::chrono::milliseconds kDrainGrace{2000};  // after the deadline that the worker keeps by itself

  // setup: message "setup" (host/worker/worker.hpp) with its descriptors, which are borrowed for the call.
  static absl::StatusOr<std::unique_ptr<GroupWorker>> start(int program, WorkerProcess::Jail jail,
                                                            const nlohmann::json& setup, const std::vector<int>& fds,
                                                            std::uint64_t generation, Log log);

  State state() const noexcept { return state_; }
  pid_t pid() const noexcept { return process_.pid(); }
  int channel_fd() const noexcept { return process_.channel().fd(); }
  int exit_fd() const noexcept { return process_.pidfd(); }

  void send_listener(const std::string& name, int fd);
  void send_unlisten(const std::string& name);
  void publish(std::uint64_t generation, int snapshot, const nlohmann::json& sources,
               const nlohmann::json& credentials);
  void drain(std::chrono::milliseconds deadline);
  void stop();
  void kill(std::string_view why);

  void on_channel();
  void tick(Clock::time_point now);
  bool has_ended() const;
  // After has_ended(): how, in words. Once.
  std::string end();

  std::uint64_t generation() const noexcept { return generation_; }  // which it decides by
  std::uint64_t offered() const noexcept { return offered_; }        // the last it was told of
  const std::string& refusal() const noexcept { return refusal_; }   // why it does not serve, in its words
  std::uint64_t flows_left() const noexcept { return flows_left_; }
  const std::map<std::string, nlohmann::json>& health() const noexcept { return health_; }

 private:
  GroupWorker(WorkerProcess process, std::uint64_t generation, Log log);
  void note(const nlohmann::json& body);
  void say(std::string_view text);

  WorkerProcess process_;
  Log log_;
  State state_ = State::kStarting;
  std::uint64_t generation_ = 0, offered_ = 0;  // offered: by the last publish
  std::string refusal_, last_crash_;
  std::uint64_t flows_left_ = 0;
  std::map<std::string, nlohmann::json> health_;
  Clock::time_point started_, published_{}, drain_end_{};
  Clock::time_point pinged_{}, unanswered_{};  // as in Supervisor
  Clock::time_point lines_since_{};
  unsigned lines_ = 0;
};

}  // namespace sallyport
