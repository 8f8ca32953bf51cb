#include "host/warden/supervisor.hpp"

#include <absl/strings/str_format.h>

#include <csignal>

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

// A worker is hostile once it has parsed traffic: what it says reaches a terminal only without control octets.
std::string printable(std::string text) {
  for (char& c : text) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
  }
  return text;
}

}  // namespace

absl::Status Supervisor::start() {
  absl::StatusOr<WorkerProcess> worker = WorkerProcess::start(program_);
  if (!worker.ok()) return worker.status();
  worker_.emplace(*std::move(worker));
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
        const std::string how = worker_->end();
        worker_.reset();
        return absl::UnavailableError(
            absl::StrFormat("the worker %s before it served%s", how, last_crash_.empty() ? "" : ": " + last_crash_));
      }
    }
  }
}

void Supervisor::note(const nlohmann::json& body) {
  if (body["type"] == "crashed") last_crash_ = printable(text_of(body, "text"));
  if (body["type"] == "log") log_(printable(absl::StrFormat("%s: %s", text_of(body, "plugin"), text_of(body, "text"))));
}

void Supervisor::on_channel() {
  Message message;
  for (int i = 0; i < 64 && worker_; ++i) {  // bounded: a flood of messages must not keep the warden from its signals
    const Channel::Outcome outcome = worker_->channel().receive(message, 0);
    if (outcome == Channel::Outcome::kNothing || outcome == Channel::Outcome::kClosed)
      return;  // exit_fd() tells the end
    if (outcome == Channel::Outcome::kBroken) {
      log_("worker: sent what is not a message; it is ended");
      ::kill(worker_->pid(), SIGKILL);
      return;
    }
    message.close_fds();
    note(message.body);
  }
}

bool Supervisor::on_exit(Clock::time_point now, const std::function<void()>& before_restart) {
  on_channel();
  const std::string how = worker_->end();
  worker_.reset();
  before_restart();
  deaths_.push_back(now);
  while (!deaths_.empty() && now - deaths_.front() > kDeathWindow) deaths_.pop_front();
  const std::string why = last_crash_.empty() ? how : absl::StrFormat("%s (%s)", how, last_crash_);
  last_crash_.clear();
  if (deaths_.size() >= kMostDeaths) {
    log_(absl::StrFormat("worker %s, the third time in 60 s; the network stays closed", why));
    return false;
  }
  log_(absl::StrFormat("worker %s; its open connections are gone, a new one takes over", why));
  absl::Status again = start();
  if (again.ok()) again = serve(listeners_);
  if (again.ok()) return true;
  log_(absl::StrFormat("worker cannot be restarted: %s; the network stays closed", again.message()));
  worker_.reset();
  return false;
}

}  // namespace sallyport
