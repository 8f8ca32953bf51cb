// proxyload: a closed-loop load of tunnels, and the origin they lead to. One thread each, epoll.
//
//   proxyload origin ADDRESS PORT [BULK_OCTETS]     answers the first octets of a connection, then closes
//   proxyload load PROXY_ADDRESS PORT TARGETS_FILE connect|refused|direct CONNECTIONS SECONDS
//   proxyload bulk PROXY_ADDRESS PORT TARGET connect|direct OCTETS
//
// A tunnel carries what a TLS client sends first, a ClientHello with the target's name, and gets some octets back: the
// proxies that look at it see what they would in life, and no handshake's cost hides theirs. TARGETS_FILE has a
// host:port a line, taken in order. Prints one JSON object.
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;

constexpr std::string_view kAnswer = "an answer of the origin, which any client can tell from the words of a proxy\n";

void put16(std::string& out, std::size_t value) {
  out.push_back(static_cast<char>(value >> 8));
  out.push_back(static_cast<char>(value & 0xff));
}

// RFC 8446 §4.1.2, as short as it may be: versions, one suite, SNI, supported_versions.
std::string client_hello(std::string_view name) {
  std::string server_name;
  put16(server_name, name.size() + 3);
  server_name.push_back(0);
  put16(server_name, name.size());
  server_name += name;
  std::string extensions;
  put16(extensions, 0);
  put16(extensions, server_name.size());
  extensions += server_name;
  put16(extensions, 43);
  put16(extensions, 3);
  extensions += std::string("\x02\x03\x04", 3);
  std::string body = std::string("\x03\x03", 2) + std::string(32, 'r');
  body.push_back(0);
  put16(body, 2);
  body += std::string("\x13\x01", 2);
  body += std::string("\x01\x00", 2);
  put16(body, extensions.size());
  body += extensions;
  std::string handshake("\x01\x00", 2);
  put16(handshake, body.size());
  handshake += body;
  std::string record("\x16\x03\x01", 3);
  put16(record, handshake.size());
  return record + handshake;
}

[[noreturn]] void fail(const char* what) {
  std::perror(what);
  std::exit(1);
}

sockaddr_in address_of(const char* address, const char* port) {
  sockaddr_in out{};
  out.sin_family = AF_INET;
  out.sin_port = htons(static_cast<std::uint16_t>(std::atoi(port)));
  if (::inet_pton(AF_INET, address, &out.sin_addr) != 1) fail("address");
  return out;
}

void watch(int epoll, int fd, std::uint32_t events, int operation = EPOLL_CTL_ADD) {
  epoll_event event{};
  event.events = events;
  event.data.fd = fd;
  if (::epoll_ctl(epoll, operation, fd, &event) != 0) fail("epoll_ctl");
}

// ---- the origin

int origin(const char* address, const char* port, std::size_t bulk) {
  const int listener = ::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  const int on = 1;
  ::setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  const sockaddr_in own = address_of(address, port);
  if (::bind(listener, reinterpret_cast<const sockaddr*>(&own), sizeof own) != 0) fail("bind");
  ::listen(listener, 4096);
  const int body = ::memfd_create("body", 0);
  if (::ftruncate(body, 64 << 20) != 0) fail("ftruncate");
  const int epoll = ::epoll_create1(0);
  watch(epoll, listener, EPOLLIN);
  std::unordered_map<int, std::size_t> left;  // of the bulk
  std::puts("up");
  std::fflush(stdout);
  for (;;) {
    epoll_event events[256];
    const int count = ::epoll_wait(epoll, events, 256, -1);
    for (int i = 0; i < count; ++i) {
      const int fd = events[i].data.fd;
      if (fd == listener) {
        int client;
        while ((client = ::accept4(listener, nullptr, nullptr, SOCK_NONBLOCK)) >= 0) {
          ::setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
          watch(epoll, client, EPOLLIN);
        }
        continue;
      }
      char buffer[16384];
      auto bulky = left.find(fd);
      if (bulky == left.end()) {
        const ssize_t n = ::read(fd, buffer, sizeof buffer);
        if (n <= 0 || bulk == 0) {
          if (n > 0) [[maybe_unused]]
            const ssize_t sent = ::write(fd, kAnswer.data(), kAnswer.size());
          ::close(fd);
          continue;
        }
        bulky = left.emplace(fd, bulk).first;
        watch(epoll, fd, EPOLLOUT, EPOLL_CTL_MOD);
      }
      off_t offset = 0;
      const ssize_t sent = ::sendfile(fd, body, &offset, std::min<std::size_t>(bulky->second, 1 << 20));
      if (sent > 0) bulky->second -= static_cast<std::size_t>(sent);
      if ((sent < 0 && errno != EAGAIN) || bulky->second == 0) {
        left.erase(bulky);
        ::close(fd);
      }
    }
  }
}

// ---- the load

enum class Mode { kConnect, kRefused, kDirect };

struct Session {
  enum class State { kConnecting, kReply, kAnswer } state = State::kConnecting;
  std::size_t target = 0;
  std::string received;
  Clock::time_point began;
};

struct Target {
  std::string request, hello;
};

Target make_target(const std::string& line) {
  const std::string host = line.substr(0, line.rfind(':'));
  return {"CONNECT " + line + " HTTP/1.1\r\nHost: " + line + "\r\n\r\n", client_hello(host)};
}

Mode mode_of(std::string_view word) {
  if (word == "connect") return Mode::kConnect;
  if (word == "refused") return Mode::kRefused;
  if (word == "direct") return Mode::kDirect;
  fail("mode");
}

class Load {
 public:
  Load(sockaddr_in proxy, Mode mode, std::vector<Target> targets)
      : proxy_(proxy), mode_(mode), targets_(std::move(targets)) {}

  void run(int connections, double seconds) {
    const auto end = Clock::now() + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
    const auto began = Clock::now();
    for (int i = 0; i < connections; ++i) begin();
    while (!sessions_.empty()) {
      epoll_event events[256];
      const int count = ::epoll_wait(epoll_, events, 256, 5000);
      if (count == 0) break;  // stuck: they are counted as errors
      for (int i = 0; i < count; ++i) step(events[i].data.fd);
      while (Clock::now() < end && sessions_.size() < static_cast<std::size_t>(connections)) begin();
    }
    errors_ += sessions_.size();
    const double taken = std::chrono::duration<double>(Clock::now() - began).count();
    std::printf("{\"done\": %zu, \"errors\": %zu, \"seconds\": %.3f, \"mean_ms\": %.3f}\n", done_, errors_, taken,
                done_ ? latency_ * 1e3 / static_cast<double>(done_) : 0.0);
  }

 private:
  void begin() {
    const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (fd < 0) fail("socket");
    const int on = 1;
    ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (::connect(fd, reinterpret_cast<const sockaddr*>(&proxy_), sizeof proxy_) != 0 && errno != EINPROGRESS)
      fail("connect");
    Session& session = sessions_[fd];
    session.target = next_++ % targets_.size();
    session.began = Clock::now();
    watch(epoll_, fd, EPOLLOUT);
  }
  void send(int fd, const std::string& octets) {
    if (::write(fd, octets.data(), octets.size()) != static_cast<ssize_t>(octets.size())) end(fd, false);
  }
  void end(int fd, bool good) {
    const auto found = sessions_.find(fd);
    if (found == sessions_.end()) return;
    latency_ += std::chrono::duration<double>(Clock::now() - found->second.began).count();
    ++(good ? done_ : errors_);
    sessions_.erase(found);
    ::close(fd);
  }
  void step(int fd) {
    const auto found = sessions_.find(fd);
    if (found == sessions_.end()) return;
    Session& session = found->second;
    const Target& target = targets_[session.target];
    if (session.state == Session::State::kConnecting) {
      session.state = mode_ == Mode::kDirect ? Session::State::kAnswer : Session::State::kReply;
      watch(epoll_, fd, EPOLLIN, EPOLL_CTL_MOD);
      return send(fd, mode_ == Mode::kDirect ? target.hello : target.request);
    }
    char buffer[16384];
    const ssize_t n = ::read(fd, buffer, sizeof buffer);
    if (n > 0) session.received.append(buffer, static_cast<std::size_t>(n));
    if (session.state == Session::State::kReply) {
      if (session.received.find("\r\n\r\n") == std::string::npos) return n <= 0 ? end(fd, false) : void();
      const std::string_view status = std::string_view(session.received).substr(8, 5);
      if (mode_ == Mode::kRefused) return end(fd, status == " 403 ");
      if (status != " 200 ") return end(fd, false);
      session.received.clear();
      session.state = Session::State::kAnswer;
      return send(fd, target.hello);
    }
    if (n <= 0) end(fd, session.received == kAnswer);
  }

  sockaddr_in proxy_;
  Mode mode_;
  std::vector<Target> targets_;
  int epoll_ = ::epoll_create1(0);
  std::unordered_map<int, Session> sessions_;
  std::size_t next_ = 0, done_ = 0, errors_ = 0;
  double latency_ = 0;
};

int bulk(sockaddr_in proxy, const std::string& line, Mode mode, std::size_t octets) {
  const Target target = make_target(line);
  const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
  if (::connect(fd, reinterpret_cast<const sockaddr*>(&proxy), sizeof proxy) != 0) fail("connect");
  static char buffer[1 << 18];
  const auto began = Clock::now();
  if (mode == Mode::kConnect) {
    if (::write(fd, target.request.data(), target.request.size()) < 0) fail("write");
    std::string reply;
    while (reply.find("\r\n\r\n") == std::string::npos) {
      const ssize_t n = ::read(fd, buffer, 1);
      if (n <= 0) fail("read");
      reply += buffer[0];
    }
    if (reply.substr(8, 5) != " 200 ") return std::fprintf(stderr, "%s", reply.c_str()), 1;
  }
  if (::write(fd, target.hello.data(), target.hello.size()) < 0) fail("write");
  std::size_t received = 0;
  ssize_t n;
  while ((n = ::read(fd, buffer, sizeof buffer)) > 0) received += static_cast<std::size_t>(n);
  const double taken = std::chrono::duration<double>(Clock::now() - began).count();
  std::printf("{\"octets\": %zu, \"seconds\": %.3f}\n", received, taken);
  return received == octets ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_IGN);
  const std::string_view what = argc > 1 ? argv[1] : "";
  if (what == "origin" && argc >= 4)
    return origin(argv[2], argv[3], argc > 4 ? std::strtoull(argv[4], nullptr, 10) : 0);
  if (what == "bulk" && argc == 7)
    return bulk(address_of(argv[2], argv[3]), argv[4], mode_of(argv[5]), std::strtoull(argv[6], nullptr, 10));
  if (what != "load" || argc != 8) {
    std::fputs("usage: proxyload origin|load|bulk ... (see the source's first lines)\n", stderr);
    return 2;
  }
  std::vector<Target> targets;
  std::ifstream file(argv[4]);
  for (std::string line; std::getline(file, line);) targets.push_back(make_target(line));
  if (targets.empty()) fail("targets");
  Load(address_of(argv[2], argv[3]), mode_of(argv[5]), std::move(targets)).run(std::atoi(argv[6]), std::atof(argv[7]));
  return 0;
}
