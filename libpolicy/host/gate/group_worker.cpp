#include "host/gate/group_worker.hpp"

#include <absl/strings/str_format.h>
#include <poll.h>

#include <csignal>

#include "audit/escape.hpp"

namespace sallyport {
namespace {

using nlohmann::json;

constexpr std::string_view kEndedWell = "exited with status 0";
constexpr unsigned kMostLines = 100;       // of log in a minute: its words cost the warden, whoever chose them
constexpr std::size_t kMostHealth = 4096;  // octets of one plugin's
constexpr std::size_t kMostPlugins = 16;

std::string text_of(const json& body, const char* key) {
  const auto found = body.find(key);
  return found != body.end() && found->is_string() ? found->get<std::string>().substr(0, 1024) : std::string();
}

std::uint64_t number_of(const json& body, const char* key) {
  const auto found = body.find(key);
  return found != body.end() && found->is_number_unsigned() ? found->get<std::uint64_t>() : 0;
}

}  // namespace

absl::StatusOr<std::unique_ptr<GroupWorker>> GroupWorker::start(int program, WorkerProcess::Jail jail,
                                                                const json& setup, const std::vector<int>& fds,
                                                                std::uint64_t generation, Log log) {
  absl::StatusOr<WorkerProcess> process = WorkerProcess::start(program, jail);
  if (!process.ok()) return process.status();
  std::unique_ptr<GroupWorker> worker(new GroupWorker(*std::move(process), generation, std::move(log)));
  if (!worker->process_.channel().send(setup, fds)) return absl::InternalError("the worker's setup is too large");
  worker->process_.channel().send({{"type", "start"}});
  return worker;
}

GroupWorker::GroupWorker(WorkerProcess process, std::uint64_t generation, Log log)
    : process_(std::move(process)),
      log_(std::move(log)),
      generation_(generation),
      offered_(generation),
      started_(Clock::now()) {}

void GroupWorker::send_listener(const std::string& name, int fd) {
  if (!process_.channel().send({{"type", "listener"}, {"name", name}, {"client", 0}}, {fd}))
    kill("does not read what it is told");
}

void GroupWorker::send_unlisten(const std::string& name) {
  if (!process_.channel().send({{"type", "unlisten"}, {"name", name}, {"client", 0}}))
    kill("does not read what it is told");
}

void GroupWorker::publish(std::uint64_t generation, int snapshot, const json& sources, const json& credentials) {
  offered_ = generation;
  published_ = Clock::now();
  const json body = {
      {"type", "publish"}, {"generation", generation}, {"sources", sources}, {"credentials", credentials}};
  if (!process_.channel().send(body, {snapshot})) kill("does not read what it is told");
}

void GroupWorker::drain(std::chrono::milliseconds deadline) {
  if (state_ == State::kDraining) return;
  state_ = State::kDraining;
  drain_end_ = Clock::now() + deadline + kDrainGrace;
  if (!process_.channel().send({{"type", "drain"}, {"deadline_ms", deadline.count()}}))
    kill("does not read what it is told");
}

void GroupWorker::stop() {
  state_ = State::kDraining;
  drain_end_ = Clock::now() + kDrainGrace;
  process_.channel().send({{"type", "stop"}});
}

void GroupWorker::kill(std::string_view why) {
  if (!why.empty()) last_crash_ = why;
  ::kill(process_.pid(), SIGKILL);
}

void GroupWorker::say(std::string_view text) {
  const Clock::time_point now = Clock::now();
  if (now - lines_since_ > std::chrono::minutes(1)) {
    lines_since_ = now;
    lines_ = 0;
  }
  if (lines_ < kMostLines) log_(text);
  if (++lines_ == kMostLines) log_("worker: has said enough; its further words of this minute are dropped");
}

void GroupWorker::note(const json& body) {
  const std::string type = body["type"];
  if (type == "serving") {
    if (state_ == State::kStarting) state_ = State::kServing;
  } else if (type == "failed") {
    refusal_ = printable(text_of(body, "text"));
  } else if (type == "published") {
    if (number_of(body, "generation") == offered_) generation_ = offered_;
  } else if (type == "failed_publish") {
    kill("could not take generation " + std::to_string(offered_) + ": " + printable(text_of(body, "text")));
  } else if (type == "draining") {
    flows_left_ = number_of(body, "flows_left");
  } else if (type == "pong") {
    unanswered_ = {};
    const auto health = body.find("health");
    if (health == body.end() || !health->is_object()) return;
    for (const auto& [plugin, value] : health->items()) {
      const bool bounded =
          plugin.size() <= 31 && value.is_object() && (health_.size() < kMostPlugins || health_.contains(plugin));
      if (bounded && value.dump(-1, ' ', true, json::error_handler_t::replace).size() <= kMostHealth)
        health_[plugin] = value;
    }
  } else if (type == "crashed") {
    last_crash_ = printable(text_of(body, "text"));
  } else if (type == "log") {
    say(absl::StrFormat("%s: %s", printable(text_of(body, "plugin")), printable(text_of(body, "text"))));
  }
}

void GroupWorker::on_channel() {
  Message message;
  for (int i = 0; i < 64; ++i) {  // bounded: a flood of messages must not keep the warden from its signals
    switch (process_.channel().receive(message, 0)) {
      case Channel::Outcome::kNothing:
        return;
      case Channel::Outcome::kClosed:
        return kill("");  // dead already, or useless: exit_fd() tells
      case Channel::Outcome::kBroken:
        return kill("sent what is not a message");
      case Channel::Outcome::kMessage:
        message.close_fds();
        note(message.body);
    }
  }
}

void GroupWorker::tick(Clock::time_point now) {
  if (state_ == State::kStarting && now - started_ > kServeDeadline) return kill("did not start in time");
  if (state_ == State::kDraining && now > drain_end_) return kill("did not end in time");
  if (generation_ != offered_ && now - published_ > kPublishDeadline) {
    published_ = now;
    return kill("did not take generation " + std::to_string(offered_) + " in time");
  }
  if (state_ != State::kServing) return;
  // After a stop of this process the time since the last ping says nothing of the worker: the wait starts anew.
  const bool waiting = unanswered_ != Clock::time_point{};
  if (waiting && now - pinged_ > 2 * kPingInterval) unanswered_ = now;
  if (waiting && now - unanswered_ > kAnswerDeadline) {
    unanswered_ = {};
    return kill("did not answer for 3 s");
  }
  if (now - pinged_ < kPingInterval) return;
  if (!waiting) unanswered_ = now;
  pinged_ = now;
  process_.channel().send({{"type", "ping"}});
}

bool GroupWorker::has_ended() const {
  pollfd ended{process_.pidfd(), POLLIN, 0};
  return ::poll(&ended, 1, 0) == 1;
}

std::string GroupWorker::end() {
  on_channel();  // what it still had to say
  ::kill(process_.pid(), SIGKILL);
  const std::string how = process_.end();
  if (!refusal_.empty()) return refusal_;
  // It had ended as it should before it could read what it was told last.
  if (state_ == State::kDraining && how == kEndedWell) return how;
  return last_crash_.empty() ? how : absl::StrFormat("%s (%s)", how, last_crash_);
}

}  // namespace sallyport
