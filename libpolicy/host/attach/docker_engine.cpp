#include "host/attach/docker_engine.hpp"

#include <absl/strings/str_format.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <nlohmann/json.hpp>

#include "host/warden/memory_file.hpp"

namespace sallyport {
namespace {

using nlohmann::json;
using Clock = std::chrono::steady_clock;

constexpr std::chrono::seconds kDeadline{10};  // an engine under load answers in some 100 ms
constexpr std::size_t kMostOctets = 4u << 20;  // of a container with thousands of mounts and labels

bool is_container_name(std::string_view name) {
  constexpr std::string_view kOctets = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
  return !name.empty() && name.size() <= 255 && name.find_first_not_of(kOctets) == name.npos && name[0] != '.';
}

absl::Status unavailable(const std::string& engine, int error) {
  const char* remedy = error == ENOENT || error == ECONNREFUSED ? "is it running? DOCKER_HOST=unix://PATH names another"
                                                                : "attach by --pid needs no engine";
  return absl::UnavailableError(
      absl::StrFormat("the Docker engine at %s: %s\n%s", engine, std::strerror(error), remedy));
}

bool ready(int fd, short events, Clock::time_point deadline) {
  for (;;) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now()).count();
    pollfd waiting{fd, events, 0};
    const int count = ::poll(&waiting, 1, static_cast<int>(std::max<std::int64_t>(left, 0)));
    if (count > 0) return true;
    if (count == 0 || errno != EINTR) {
      errno = ETIMEDOUT;
      return false;
    }
  }
}

// A member along a path of names; nothing if it is not there or of another type.
const json* member(const json& from, std::initializer_list<const char*> path) {
  const json* at = &from;
  for (const char* name : path) {
    if (!at->is_object()) return nullptr;
    const auto found = at->find(name);
    if (found == at->end()) return nullptr;
    at = &*found;
  }
  return at;
}
std::string text_of(const json& from, std::initializer_list<const char*> path) {
  const json* found = member(from, path);
  return found != nullptr && found->is_string() ? found->get<std::string>() : "";
}

}  // namespace

absl::StatusOr<std::string> engine_socket() {
  const char* variable = ::getenv("DOCKER_HOST");
  if (variable == nullptr || variable[0] == 0) return "/var/run/docker.sock";
  const std::string_view host = variable;
  if (host.starts_with("unix:///")) return std::string(host.substr(7));
  return absl::InvalidArgumentError(absl::StrFormat(
      "DOCKER_HOST is %s: attach needs an engine on this host, whose containers are processes here (unix:///PATH)",
      host));
}

absl::StatusOr<Container> parse_container(std::string_view answer, std::string_view name) {
  const absl::Status strange = absl::InternalError("the Docker engine answered what is no HTTP with JSON in it");
  if (!answer.starts_with("HTTP/1.") || answer.size() < 12 || answer[8] != ' ') return strange;
  const std::string_view status = answer.substr(9, 3);
  const std::size_t head = answer.find("\r\n\r\n");
  if (head == answer.npos) return strange;
  if (status == "404") {
    return absl::NotFoundError(
        absl::StrFormat("the Docker engine knows no container `%s`\ndocker ps lists them", name));
  }
  const json body = json::parse(answer.substr(head + 4), nullptr, /*allow_exceptions=*/false);
  if (status != "200") {
    const std::string message = text_of(body, {"message"});
    return absl::UnavailableError(
        absl::StrFormat("the Docker engine answered %s%s%s", status, message.empty() ? "" : ": ", message));
  }
  if (!body.is_object()) return strange;
  Container container;
  container.id = text_of(body, {"Id"});
  container.name = text_of(body, {"Name"});
  if (container.name.starts_with('/')) container.name.erase(0, 1);
  container.network_mode = text_of(body, {"HostConfig", "NetworkMode"});
  container.started_at = text_of(body, {"State", "StartedAt"});
  const json* pid = member(body, {"State", "Pid"});
  const json* running = member(body, {"State", "Running"});
  if (container.id.empty() || pid == nullptr || !pid->is_number_integer() || running == nullptr ||
      !running->is_boolean()) {
    return strange;
  }
  const auto number = pid->get<std::int64_t>();
  if (!running->get<bool>() || number <= 1 || number > 1 << 30) {
    return absl::FailedPreconditionError(
        absl::StrFormat("the container `%s` is not running\nstart it: docker start %s", name, name));
  }
  container.pid = static_cast<pid_t>(number);
  return container;
}

absl::StatusOr<std::string> ask_engine(const std::string& engine, const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (engine.size() >= sizeof address.sun_path)
    return absl::InvalidArgumentError(absl::StrFormat("the Docker engine's socket %s has too long a path", engine));
  std::memcpy(address.sun_path, engine.c_str(), engine.size() + 1);
  const Descriptor socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (socket.get() < 0) return unavailable(engine, errno);
  if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    return unavailable(engine, errno);

  const auto deadline = Clock::now() + kDeadline;
  const std::string request = "GET " + path + " HTTP/1.0\r\nHost: docker\r\n\r\n";
  if (!ready(socket.get(), POLLOUT, deadline)) return unavailable(engine, errno);
  if (::send(socket.get(), request.data(), request.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(request.size()))
    return unavailable(engine, errno);
  std::string answer;
  std::array<char, 16384> block;
  for (;;) {
    if (!ready(socket.get(), POLLIN, deadline)) return unavailable(engine, errno);
    const ssize_t size = ::recv(socket.get(), block.data(), block.size(), 0);
    if (size < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (size < 0) return unavailable(engine, errno);
    if (size == 0) break;
    answer.append(block.data(), static_cast<std::size_t>(size));
    if (answer.size() > kMostOctets) return absl::InternalError("the Docker engine answers without end");
  }
  return answer;
}

absl::StatusOr<Container> find_container(const std::string& engine, const std::string& name) {
  if (!is_container_name(name)) {
    return absl::InvalidArgumentError(absl::StrFormat("`%s` is no container name or id", name));
  }
  const absl::StatusOr<std::string> answer = ask_engine(engine, "/containers/" + name + "/json");
  if (!answer.ok()) return answer.status();
  return parse_container(*answer, name);
}

}  // namespace sallyport
