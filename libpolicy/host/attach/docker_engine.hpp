// What attach asks the Docker engine: which process a container is, and how its network was made.
//
// Form     GET /containers/NAME/json over the engine's Unix socket, as HTTP/1.0: the answer is one body and then the
// end. Bounds   10 s and 4 MB; an engine that hangs is an error. Errors   One line, and what helps.
#pragma once

#include <absl/status/statusor.h>
#include <sys/types.h>

#include <string>
#include <string_view>

namespace sallyport {

struct Container {
  std::string id;            // 64 hexadecimal digits
  std::string name;          // without the slash
  std::string network_mode;  // "none", "bridge", "container:ID"
  std::string started_at;    // of this life of the container
  pid_t pid = 0;             // of its first process, as the host numbers it
};

// DOCKER_HOST if it is unix://PATH, else /var/run/docker.sock. Other engines are elsewhere, with their processes.
absl::StatusOr<std::string> engine_socket();

// What the engine answers to GET PATH, head and body.
absl::StatusOr<std::string> ask_engine(const std::string& engine, const std::string& path);

// A running one; paused counts.
absl::StatusOr<Container> find_container(const std::string& engine, const std::string& name_or_id);

// The answer of an engine, head and body. Public for tests.
absl::StatusOr<Container> parse_container(std::string_view answer, std::string_view name_or_id);

}  // namespace sallyport
