#include "host/attach/attached_network.hpp"

#include <sched.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <functional>
#include <optional>
#include <vector>

#include "host/cell/failure.hpp"
#include "host/cell/messages.hpp"
#include "host/cell/network.hpp"

namespace sallyport {
namespace {

using cell::CellMessage;
using cell::Failure;
using cell::MessageKind;

// What the child did, as far as it goes into a message of the cell's kind.
struct Deed {
  Failure failure;
  CellSockets sockets;
  std::uint32_t changes = 0;
};

[[noreturn]] void answer(int channel, const Deed& deed) {
  if (deed.failure) {
    cell::send_message(channel, MessageKind::kFailed, {deed.failure->reason, deed.failure->remedy});
  } else {
    cell::send_message(channel, MessageKind::kReady, {std::to_string(deed.changes)}, &deed.sockets);
  }
  ::_exit(0);
}

// Runs `deed` in a child inside the namespace.
Deed inside(int network, const std::function<Deed()>& deed) {
  std::array<int, 2> ends;
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) != 0)
    return {cell::failed("socketpair"), {}, 0};
  const pid_t child = ::fork();
  if (child < 0) {
    const Failure failure = cell::failed("fork");
    ::close(ends[0]);
    ::close(ends[1]);
    return {failure, {}, 0};
  }
  if (child == 0) {
    ::close(ends[0]);
    // The few milliseconds are not to be cut in two by a signal for the group: what is begun is finished or undone.
    sigset_t all;
    ::sigfillset(&all);
    ::sigprocmask(SIG_SETMASK, &all, nullptr);
    if (::setns(network, CLONE_NEWNET) != 0)
      answer(ends[1],
             {cell::failed("enter the network namespace", "attach needs CAP_SYS_ADMIN and CAP_NET_ADMIN"), {}, 0});
    answer(ends[1], deed());
  }
  ::close(ends[1]);
  bool closed = false;
  std::optional<CellMessage> message = cell::receive_message(ends[0], true, closed);
  ::close(ends[0]);
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (!message) return {CellError{"the process that entered the network namespace was killed", ""}, {}, 0};
  message->fields.resize(2);
  if (message->kind == MessageKind::kFailed) return {CellError{message->fields[0], message->fields[1]}, {}, 0};
  return {{}, message->sockets, static_cast<std::uint32_t>(message->number(0))};
}

Deed take(const std::string& ula) {
  Deed deed;
  std::vector<std::string> ways_out;
  if ((deed.failure = cell::find_ways_out(ways_out))) return deed;
  if (!ways_out.empty()) {
    std::string names;
    for (const std::string& name : ways_out) names += (names.empty() ? "" : ", ") + name;
    deed.failure = CellError{"the namespace has more than loopback: " + names,
                             "a cell has no way out: start the container with --network none"};
    return deed;
  }
  // What an attachment that was killed had changed is ours to undo.
  std::optional<std::uint32_t> earlier;
  if ((deed.failure = cell::earlier_changes(earlier))) return deed;
  deed.changes = earlier.value_or(0);
  deed.failure = cell::take_network(ula, deed.sockets, deed.changes);
  if (deed.failure) {
    // The failure told is the first one.
    deed.sockets.close();
    (void)cell::give_back_network(ula, deed.changes);
  }
  return deed;
}

}  // namespace

CellResult<AttachedNetwork> attach_network(int network, const std::string& ula) {
  Deed deed = inside(network, [&ula] { return take(ula); });
  if (deed.failure) return *deed.failure;
  return AttachedNetwork{deed.sockets, deed.changes};
}

CellError detach_network(int network, const std::string& ula, std::uint32_t changes) {
  const Deed deed = inside(network, [&] { return Deed{cell::give_back_network(ula, changes), {}, 0}; });
  return deed.failure.value_or(CellError{});
}

}  // namespace sallyport
