#include "host/doctor/child.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>

#include "host/warden/memory_file.hpp"

namespace sallyport::doctor {
namespace {

using Clock = std::chrono::steady_clock;
constexpr std::chrono::seconds kDeadline{5};    // a probe takes some 10 ms
constexpr char kGood = '\0';                    // what a child that has succeeded writes last
constexpr std::size_t kMostOctets = 64u << 20;  // a ruleset with 100,000 elements

struct Said {
  bool good = false;
  std::string text;
};

Said run_child(const std::function<Said()>& probe) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return {false, errno_text("pipe")};
  const Descriptor reading(ends[0]);
  Descriptor writing(ends[1]);
  const pid_t child = ::fork();
  if (child < 0) return {false, errno_text("fork")};
  if (child == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    ::dup2(writing.get(), 2);  // libraries that speak for themselves
    Said said = probe();
    if (said.good) said.text += kGood;
    for (std::string_view left = said.text; !left.empty();) {
      const ssize_t size = ::write(writing.get(), left.data(), left.size());
      if (size <= 0) break;
      left.remove_prefix(static_cast<std::size_t>(size));
    }
    ::_exit(0);
  }
  writing = Descriptor();
  std::string said;
  bool ended = false;
  for (const auto end = Clock::now() + kDeadline; !ended && said.size() < kMostOctets;) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(end - Clock::now()).count();
    pollfd waiting{reading.get(), POLLIN, 0};
    const int ready = left > 0 ? ::poll(&waiting, 1, static_cast<int>(left)) : 0;
    if (ready == 0) break;
    char buffer[65536];
    const ssize_t size = ready > 0 ? ::read(reading.get(), buffer, sizeof buffer) : -1;
    if (size < 0 && errno == EINTR) continue;
    if (size > 0) said.append(buffer, static_cast<std::size_t>(size));
    ended = size <= 0;
  }
  if (!ended) ::kill(child, SIGKILL);
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (!ended) return {false, "it does not end"};
  if (said.ends_with(kGood)) {
    said.pop_back();
    return {true, said};
  }
  while (said.ends_with('\n')) said.pop_back();
  if (!said.empty()) return {false, said};
  return {false, WIFSIGNALED(status) ? "it was killed by signal " + std::to_string(WTERMSIG(status))
                                     : std::string("it said nothing")};
}

}  // namespace

std::string errno_text(const char* what) { return std::string(what) + ": " + std::strerror(errno); }

Fault in_child(const std::function<Fault()>& probe) {
  const Said said = run_child([&] {
    const Fault fault = probe();
    return Said{!fault, fault.value_or("")};
  });
  return said.good ? Fault() : said.text;
}

std::optional<std::string> read_in_child(const std::function<std::optional<std::string>()>& read) {
  Said said = run_child([&] {
    std::optional<std::string> text = read();
    return Said{text.has_value(), text.value_or("")};
  });
  return said.good ? std::optional(std::move(said.text)) : std::nullopt;
}

Fault enter_empty_network() {
  if (::unshare(CLONE_NEWNET) == 0) return std::nullopt;
  if (::unshare(CLONE_NEWUSER | CLONE_NEWNET) == 0) return std::nullopt;
  return errno_text("no network namespace to try in");
}

}  // namespace sallyport::doctor
