// proxyload: a closed-loop load of tunnels, and the origin they lead to. One thread each, epoll.
//
//   proxyload origin ADDRESS PORT [BULK_OCTETS]
//     answers the first octets of a connection, then closes; a GET in HTTP
//   proxyload load PROXY_ADDRESS PORT TARGETS_FILE MODE CONNECTIONS SECONDS [RATE [PAUSE_MS]]
//     MODE: connect, refused, direct: a tunnel each; get: pages, up to 50 on a connection; site: the same of the origin
//     itself; dns: the host's address, one query a TCP connection. RATE: how many a second; 0: as fast as they end.
//     PAUSE: between a connection and its first octets, as on a long way
//   proxyload bulk PROXY_ADDRESS PORT TARGET connect|direct OCTETS
//
// A tunnel carries what a TLS client sends first, a ClientHello with the target's name, and gets some octets back: the
// proxies that look at it see what they would in life, and no handshake's cost hides theirs. TARGETS_FILE has a
// host:port a line, taken in order. Prints one JSON object: what was done, and what went wrong, by kind: a connection
// refused, reset, closed before the whole answer, one that got another answer, or none for 5 s. `again`: a kept
// connection that was closed instead of the next page, which a client asks for again (RFC 9112 9.3.1).
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <fstream>
#include <set>
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

std::string page_text() {
  return "HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(kAnswer.size()) + "\r\n\r\n" + std::string(kAnswer);
}

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
          const bool page = n > 4 && std::memcmp(buffer, "GET ", 4) == 0;
          const std::string text = page ? page_text() : std::string(kAnswer);
          const bool sent = n > 0 && ::write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size());
          if (!page || !sent) ::close(fd);
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

enum class Mode { kConnect, kRefused, kDirect, kGet, kSite, kDns };
enum class End { kGood, kRefused, kReset, kCut, kWrong, kStuck, kAgain, kIdle };

constexpr unsigned kPages = 50;  // on a connection

struct Session {
  enum class State { kConnecting, kReply, kAnswer } state = State::kConnecting;
  std::size_t target = 0, number = 0;
  unsigned pages = 0;
  std::string received;
  Clock::time_point began;
};

struct Target {
  std::string request, hello, page, own_page, query;
};

// RFC 1035 4.1, 4.2.2: an A query with its length.
std::string dns_query(const std::string& name) {
  std::string message("\x4c\x44\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00", 12);
  for (std::size_t at = 0; at < name.size();) {
    const std::size_t dot = std::min(name.find('.', at), name.size());
    message.push_back(static_cast<char>(dot - at));
    message.append(name, at, dot - at);
    at = dot + 1;
  }
  message += std::string("\x00\x00\x01\x00\x01", 5);
  std::string framed;
  put16(framed, message.size());
  return framed + message;
}

Target make_target(const std::string& line) {
  const std::string host = line.substr(0, line.rfind(':'));
  return {"CONNECT " + line + " HTTP/1.1\r\nHost: " + line + "\r\n\r\n", client_hello(host),
          "GET http://" + line + "/ HTTP/1.1\r\nHost: " + line + "\r\n\r\n",
          "GET / HTTP/1.1\r\nHost: " + line + "\r\n\r\n", dns_query(host)};
}

Mode mode_of(std::string_view word) {
  if (word == "connect") return Mode::kConnect;
  if (word == "refused") return Mode::kRefused;
  if (word == "direct") return Mode::kDirect;
  if (word == "get") return Mode::kGet;
  if (word == "site") return Mode::kSite;
  if (word == "dns") return Mode::kDns;
  fail("mode");
}

class Load {
 public:
  Load(sockaddr_in proxy, Mode mode, std::vector<Target> targets, std::chrono::milliseconds pause)
      : proxy_(proxy), mode_(mode), targets_(std::move(targets)), pause_(pause) {}

  void run(std::size_t connections, double seconds, double rate) {
    const auto began = Clock::now();
    const auto end = began + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
    for (auto now = began; now < end || idle_.size() < sessions_.size(); now = Clock::now()) {
      const double elapsed = std::chrono::duration<double>(now - began).count();
      while (now < end && (rate == 0 || static_cast<double>(started_) < rate * elapsed)) {
        if (sessions_.size() < connections) {
          begin();
        } else if (!idle_.empty()) {
          next_page();
        } else {
          break;
        }
      }
      epoll_event events[256];
      const int count = ::epoll_wait(epoll_, events, 256, rate == 0 && pauses_.empty() ? 1000 : 2);
      for (int i = 0; i < count; ++i) step(events[i].data.fd);
      end_pauses(Clock::now());
      if (now - looked_ >= std::chrono::seconds(1)) end_stuck(now);
    }
    const double taken = std::chrono::duration<double>(Clock::now() - began).count();
    const auto count = [this](End how) { return ends_[static_cast<std::size_t>(how)]; };
    const std::size_t errors =
        count(End::kRefused) + count(End::kReset) + count(End::kCut) + count(End::kWrong) + count(End::kStuck);
    std::printf(
        "{\"done\": %zu, \"connections\": %zu, \"errors\": %zu, \"refused\": %zu, \"reset\": %zu, \"cut\": %zu, "
        "\"wrong\": %zu, \"stuck\": %zu, \"again\": %zu, \"seconds\": %.3f, \"mean_ms\": %.3f}\n",
        done_, connections_, errors, count(End::kRefused), count(End::kReset), count(End::kCut), count(End::kWrong),
        count(End::kStuck), count(End::kAgain), taken, done_ ? latency_ * 1e3 / static_cast<double>(done_) : 0.0);
  }

 private:
  void end_stuck(Clock::time_point now) {
    looked_ = now;
    std::vector<int> stuck;
    for (const auto& [fd, session] : sessions_) {
      if (now - session.began > std::chrono::seconds(5) && idle_.count(fd) == 0) stuck.push_back(fd);
    }
    for (const int fd : stuck) end(fd, End::kStuck);
  }
  void end_pauses(Clock::time_point now) {
    for (; !pauses_.empty() && pauses_.front().until <= now; pauses_.pop_front()) {
      const auto found = sessions_.find(pauses_.front().fd);
      if (found != sessions_.end() && found->second.number == pauses_.front().number)
        send(found->first, first_words(targets_[found->second.target]));
    }
  }
  void next_page() {
    auto next = idle_.upper_bound(last_idle_);  // in turn, so that each of them waits between two pages
    if (next == idle_.end()) next = idle_.begin();
    const int fd = last_idle_ = *next;
    idle_.erase(next);
    ++started_;
    Session& session = sessions_[fd];
    session.received.clear();
    session.began = Clock::now();
    send(fd, first_words(targets_[session.target]));
  }
  void begin() {
    const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (fd < 0) fail("socket");
    const int on = 1;
    ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    const int status = ::connect(fd, reinterpret_cast<const sockaddr*>(&proxy_), sizeof proxy_);
    const int error = status == 0 ? 0 : errno;
    if (error != 0 && error != EINPROGRESS && error != ECONNREFUSED) fail("connect");
    ++connections_;
    ++started_;
    Session& session = sessions_[fd];
    session.number = next_;
    session.target = next_++ % targets_.size();
    session.began = Clock::now();
    if (error == ECONNREFUSED) return end(fd, End::kRefused);
    watch(epoll_, fd, EPOLLOUT);
  }
  static End end_of(int error) { return error == ECONNREFUSED ? End::kRefused : error == 0 ? End::kCut : End::kReset; }
  void send(int fd, const std::string& octets) {
    const ssize_t n = ::write(fd, octets.data(), octets.size());
    if (n != static_cast<ssize_t>(octets.size())) end(fd, end_of(n < 0 ? errno : 0));
  }
  void one_done(Session& session) {
    latency_ += std::chrono::duration<double>(Clock::now() - session.began).count();
    ++done_;
  }
  void end(int fd, End how) {
    const auto found = sessions_.find(fd);
    if (found == sessions_.end()) return;
    if (how == End::kGood) one_done(found->second);
    ++ends_[static_cast<std::size_t>(how)];
    sessions_.erase(found);
    ::close(fd);
  }
  const std::string& first_words(const Target& target) const {
    return mode_ == Mode::kDirect ? target.hello
           : mode_ == Mode::kGet  ? target.page
           : mode_ == Mode::kSite ? target.own_page
           : mode_ == Mode::kDns  ? target.query
                                  : target.request;
  }
  // Reads what has come. False: the connection has ended.
  bool more(int fd, Session& session) {
    char buffer[16384];
    const ssize_t n = ::read(fd, buffer, sizeof buffer);
    if (n > 0) session.received.append(buffer, static_cast<std::size_t>(n));
    if (n < 0 && errno == EAGAIN) return true;
    error_ = n < 0 ? errno : 0;
    return n > 0;
  }
  void page(int fd, Session& session, bool open) {
    if (idle_.erase(fd) > 0) return end(fd, End::kIdle);  // nothing was asked for
    const std::string& got = session.received;
    const std::size_t body = got.find("\r\n\r\n");
    if (body == std::string::npos || got.size() < body + 4 + kAnswer.size()) {
      if (open) return;
      return end(fd, session.pages > 0 && got.empty() && error_ == 0 ? End::kAgain : end_of(error_));
    }
    if (got.compare(8, 5, " 200 ") != 0 || got.compare(body + 4, std::string::npos, kAnswer) != 0)
      return end(fd, End::kWrong);
    const bool last = !open || ++session.pages == kPages || got.find("\r\nConnection: close\r\n") < body + 2;
    if (last) return end(fd, End::kGood);
    one_done(session);
    idle_.insert(fd);
  }
  // RFC 1035 4.1.1: a response without an error, with an answer.
  void reply(int fd, Session& session, bool open) {
    const auto octet = [&session](std::size_t at) { return static_cast<unsigned char>(session.received[at]); };
    if (session.received.size() < 2 || session.received.size() < 2u + (octet(0) << 8 | octet(1))) {
      if (!open) end(fd, end_of(error_));
      return;
    }
    const bool good = session.received.size() > 14 && (octet(4) & 0x80) != 0 && (octet(5) & 15) == 0 && octet(9) > 0;
    end(fd, good ? End::kGood : End::kWrong);
  }
  void step(int fd) {
    const auto found = sessions_.find(fd);
    if (found == sessions_.end()) return;
    Session& session = found->second;
    const Target& target = targets_[session.target];
    if (session.state == Session::State::kConnecting) {
      session.state = mode_ == Mode::kDirect ? Session::State::kAnswer : Session::State::kReply;
      int error = 0;
      socklen_t length = sizeof error;
      ::getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length);
      if (error != 0) return end(fd, end_of(error));
      watch(epoll_, fd, EPOLLIN, EPOLL_CTL_MOD);
      if (pause_.count() == 0) return send(fd, first_words(target));
      pauses_.push_back({Clock::now() + pause_, fd, session.number});
      return;
    }
    const bool open = more(fd, session);
    if (mode_ == Mode::kGet || mode_ == Mode::kSite) return page(fd, session, open);
    if (mode_ == Mode::kDns) return reply(fd, session, open);
    if (session.state == Session::State::kReply) {
      if (session.received.find("\r\n\r\n") == std::string::npos) return open ? void() : end(fd, end_of(error_));
      const std::string_view status = std::string_view(session.received).substr(8, 5);
      if (mode_ == Mode::kRefused) return end(fd, status == " 403 " ? End::kGood : End::kWrong);
      if (status != " 200 ") return end(fd, End::kWrong);
      session.received.clear();
      session.state = Session::State::kAnswer;
      return send(fd, target.hello);
    }
    if (open) return;
    end(fd, session.received == kAnswer ? End::kGood : session.received.empty() ? end_of(error_) : End::kWrong);
  }

  sockaddr_in proxy_;
  Mode mode_;
  std::vector<Target> targets_;
  std::chrono::milliseconds pause_;
  int epoll_ = ::epoll_create1(0);
  std::unordered_map<int, Session> sessions_;
  std::set<int> idle_;  // kept connections that nothing is asked on
  int last_idle_ = -1;
  struct Pause {
    Clock::time_point until;
    int fd;
    std::size_t number;
  };
  std::deque<Pause> pauses_;  // in the order of their ends
  Clock::time_point looked_{};
  int error_ = 0;  // of the last read
  std::size_t next_ = 0, started_ = 0, done_ = 0, connections_ = 0;
  std::array<std::size_t, 8> ends_{};
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
  if (what != "load" || argc < 8 || argc > 10) {
    std::fputs("usage: proxyload origin|load|bulk ... (see the source's first lines)\n", stderr);
    return 2;
  }
  std::vector<Target> targets;
  std::ifstream file(argv[4]);
  for (std::string line; std::getline(file, line);) targets.push_back(make_target(line));
  if (targets.empty()) fail("targets");
  const std::chrono::milliseconds pause(argc > 9 ? std::atoi(argv[9]) : 0);
  Load(address_of(argv[2], argv[3]), mode_of(argv[5]), std::move(targets), pause)
      .run(std::strtoull(argv[6], nullptr, 10), std::atof(argv[7]), argc > 8 ? std::atof(argv[8]) : 0);
  return 0;
}
