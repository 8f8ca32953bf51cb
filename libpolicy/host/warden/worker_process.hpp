// WorkerProcess: one sallyport-worker in namespaces of its own, host network kept.
//
// Threads  [main]; the caller has one thread, since this clones.
// Lifetime Killed and reaped by the destructor.
// Errors   kFailedPrecondition with reason and remedy where namespaces cannot be had.
#pragma once

#include <absl/status/statusor.h>
#include <sys/types.h>

#include <cstdint>
#include <string>

#include "host/channel/channel.hpp"
#include "host/warden/memory_file.hpp"

namespace sallyport {

class WorkerProcess {
 public:
  // Which walls the kernel builds. kPlain is for a gate in a container, whose engine refuses namespaces to it and is
  // its wall; the worker then lacks a root of its own, and nothing else.
  enum class Jail : std::uint8_t { kNamespaces = 0, kPlain };

  // program: an open descriptor of the worker's checked executable.
  static absl::StatusOr<WorkerProcess> start(int program, Jail jail = Jail::kNamespaces);

  // Whether this process makes namespaces without a user namespace around them: only then does a capability of the
  // worker's mean anything on the host's network.
  static bool may_administer();

  WorkerProcess(WorkerProcess&& other) noexcept;
  WorkerProcess& operator=(WorkerProcess&& other) noexcept;
  ~WorkerProcess();

  const Channel& channel() const noexcept { return channel_; }
  int pidfd() const noexcept { return pidfd_.get(); }  // readable when it has ended
  pid_t pid() const noexcept { return pid_; }

  // After it ended: "killed by signal 9", "exited with status 3". Reaps.
  std::string end();

 private:
  WorkerProcess(pid_t pid, int pidfd, Channel channel) : pid_(pid), pidfd_(pidfd), channel_(std::move(channel)) {}

  pid_t pid_ = -1;
  Descriptor pidfd_;
  Channel channel_;
};

}  // namespace sallyport
