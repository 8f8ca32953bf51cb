#include "host/warden/supervisor.hpp"

#include <absl/strings/str_format.h>
#include <poll.h>

#include <csignal>
#include <utility>

#include "audit/escape.hpp"

namespace sallyport {
namespace {

using namespace std::chrono_literals;

constexpr auto kServeDeadline = 10s;  // loading takes 10 ms; a machine under load gets a thousand times that
constexpr std::size_t kMostDeaths = 3;
constexpr auto kDeathWindow = 60s;

std::string text_of(const nlohmann::json& body, const char* key) {
  const auto found = body.find(key);
  return found != body.end() && found->is_string() ? found->get<std::string>().substr(0, 1024) : std::string();
}

constexpr unsigned kMostLines = 100;  // of one worker: its words cost the warden and the terminal, whoever chose them

}  // namespace

absl::Status Supervisor::start() {
  absl::StatusOr<WorkerProcess> worker = WorkerProcess::start(program_);
  if (!worker.ok()) return worker.status();
  worker_.emplace(*std::move(worker));
  unanswered_ = {};
  lines_ = 0;
  if (!worker_->channel().send(setup_.body, setup_.fds))
    return absl::UnavailableError("the worker ended before it was set up");
  return absl::OkStatus();
}

absl::Status Supervisor::serve(std::vector<ListenerSetup> listeners) {
  listeners_ = std::move(listeners);
  for (const ListenerSetup& listener : listeners_) {
    const nlohmann::json body = {{"type", "listener"}, {"name", listener.name}, {"client", listener.client_id}};
    if (!worker_->channel().send(body, {listener.fd})) break;  // why is in what it said, or in how it ended
  }
  worker_->channel().send({{"type", "start"}});
  return await_serving();
}

absl::Status Supervisor::await_serving() {
  const Clock::time_point deadline = Clock::now() + kServeDeadline;
  Message message;
  for (;;) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now()).count();
    if (left <= 0) return absl::DeadlineExceededError("the worker did not start in time");
    switch (worker_->channel().receive(message, static_cast<int>(left))) {
      case Channel::Outcome::kNothing:
        break;
      case Channel::Outcome::kMessage:
        message.close_fds();
        if (message.body["type"] == "serving") return absl::OkStatus();
        if (message.body["type"] == "failed")
          return absl::FailedPreconditionError(printable(text_of(message.body, "text")));
        note(message.body);
        break;
      case Channel::Outcome::kBroken:
      case Channel::Outcome::kClosed: {
        ::kill(worker_->pid(), SIGKILL);  // what has closed its channel may live on
        const std::string how = worker_->end();
        worker_.reset();
        return absl::UnavailableError(
            absl::StrFormat("%s before it served%s", how, last_crash_.empty() ? "" : ": " + last_crash_));
      }
    }
  }
}

absl::Status Supervisor::publish(std::uint64_t generation, int snapshot_fd) {
  const int before = std::exchange(setup_.fds.front(), snapshot_fd);
  if (!worker_ || !worker_->channel().send({{"type", "publish"}, {"generation", generation}}, {snapshot_fd}))
    return absl::OkStatus();  // it has ended, or will be found to have: the next one has the new policy
  absl::Status published = await_published(generation);
  if (!published.ok()) setup_.fds.front() = before;
  return published;
}

absl::Status Supervisor::await_published(std::uint64_t generation) {
  const Clock::time_point deadline = Clock::now() + kAnswerDeadline;
  Message message;
  for (;;) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now()).count();
    const Channel::Outcome outcome =
        left > 0 ? worker_->channel().receive(message, static_cast<int>(left)) : Channel::Outcome::kBroken;
    if (outcome == Channel::Outcome::kBroken || outcome == Channel::Outcome::kClosed) {
      kill("did not take over a new policy");
      return absl::OkStatus();
    }
    if (outcome == Channel::Outcome::kNothing) continue;
    message.close_fds();
    const bool meant = message.body.value("generation", std::uint64_t{0}) == generation;
    if (message.body["type"] == "published" && meant) return absl::OkStatus();
    if (message.body["type"] == "failed_publish" && meant)
      return absl::FailedPreconditionError(printable(text_of(message.body, "text")));
    note(message.body);
  }
}

// A worker is hostile once it has parsed traffic: its words reach the terminal as printable ASCII, and not without end.
void Supervisor::note(const nlohmann::json& body) {
  if (body["type"] == "pong") unanswered_ = {};
  if (body["type"] == "crashed") last_crash_ = printable(text_of(body, "text"));
  if (body["type"] != "log") return;
  if (lines_ < kMostLines)
    log_(absl::StrFormat("%s: %s", printable(text_of(body, "plugin")), printable(text_of(body, "text"))));
  if (++lines_ == kMostLines) log_("worker: has said enough; its further words are dropped");
}

void Supervisor::kill(std::string_view why) {
  last_crash_ = why;
  ::kill(worker_->pid(), SIGKILL);  // exit_fd() tells the end
}

void Supervisor::on_channel() {
  Message message;
  for (int i = 0; i < 64 && worker_; ++i) {  // bounded: a flood of messages must not keep the warden from its signals
    switch (worker_->channel().receive(message, 0)) {
      case Channel::Outcome::kNothing:
        return;
      case Channel::Outcome::kClosed:
        ::kill(worker_->pid(), SIGKILL);  // dead already, or useless: exit_fd() tells
        return;
      case Channel::Outcome::kBroken:
        return kill("sent what is not a message");
      case Channel::Outcome::kMessage:
        message.close_fds();
        note(message.body);
    }
  }
}

void Supervisor::finish() {
  constexpr int kStopDeadlineMs = 500;  // plugins stop in a few ms
  if (!worker_) return;
  worker_->channel().send({{"type", "stop"}});
  pollfd ended{worker_->pidfd(), POLLIN, 0};
  ::poll(&ended, 1, kStopDeadlineMs);
  worker_.reset();
}

void Supervisor::tick(Clock::time_point now) {
  if (!worker_) return;
  on_channel();  // an answer may wait there, after a stop of this process
  if (!worker_) return;
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
  worker_->channel().send({{"type", "ping"}});
}

bool Supervisor::on_exit(Clock::time_point now, const std::function<void()>& before_restart) {
  on_channel();
  ::kill(worker_->pid(), SIGKILL);
  const std::string how = worker_->end();
  worker_.reset();
  before_restart();
  std::string why = last_crash_.empty() ? how : absl::StrFormat("%s (%s)", how, last_crash_);
  last_crash_.clear();
  for (;;) {
    deaths_.push_back(now);
    while (!deaths_.empty() && now - deaths_.front() > kDeathWindow) deaths_.pop_front();
    if (deaths_.size() >= kMostDeaths) {
      log_(absl::StrFormat("worker %s, the third time in 60 s; the network stays closed", why));
      return false;
    }
    log_(absl::StrFormat("worker %s; its open connections are gone, a new one takes over", why));
    absl::Status again = start();
    if (again.ok()) again = serve(listeners_);
    if (again.ok()) return true;
    worker_.reset();
    why = std::string(again.message());
    if (!absl::IsUnavailable(again)) break;  // refused in words: it would be refused again
  }
  log_(absl::StrFormat("worker cannot be restarted: %s; the network stays closed", why));
  return false;
}

}  // namespace sallyport
