// The proxy between a client and origins, all on this namespace's loopback. What the resolver says comes from the test;
// origins count connections, requests and octets (the witness).
#pragma once

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "http-proxy/proxy.hpp"
#include "support/audit_check.hpp"
#include "support/fake_host.hpp"
#include "wire/http_chunked.hpp"

namespace sallyport::http_proxy {

using testing_kit::AuditRecord;
using testing_kit::FakeHost;
using testing_kit::SmallPolicy;
using namespace std::chrono_literals;

inline constexpr char kGood[] = "93.184.216.34";  // public, so the guard has nothing against it
inline constexpr char kOther[] = "93.184.216.35";

inline net::tcp::endpoint endpoint(const char* address, std::uint16_t port) {
  return {net::asio::ip::make_address(address), port};
}

// A blocking TCP connection with a time limit on everything.
class Peer {
 public:
  explicit Peer(int fd) : fd_(fd) {
    const timeval patience{10, 0};
    ::setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    ::setsockopt(fd_, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    const int on = 1;
    ::setsockopt(fd_, IPPROTO_TCP, 1 /* TCP_NODELAY */, &on, sizeof on);
  }
  ~Peer() { close(); }
  Peer(Peer&& other) noexcept
      : end(std::move(other.end)), closing(std::move(other.closing)), fd_(std::exchange(other.fd_, -1)) {}

  bool send(std::string_view octets) {
    while (!octets.empty()) {
      const ssize_t n = ::send(fd_, octets.data(), octets.size(), MSG_NOSIGNAL);
      if (n <= 0) {
        reset_ = errno == ECONNRESET || errno == EPIPE;  // the kernel says it once
        return false;
      }
      octets.remove_prefix(static_cast<std::size_t>(n));
    }
    return true;
  }
  std::string receive(std::size_t octets) {
    std::string out(octets, '\0');
    const ssize_t n = ::recv(fd_, out.data(), octets, MSG_WAITALL);
    out.resize(n > 0 ? static_cast<std::size_t>(n) : 0);
    return out;
  }
  // Until the end; sets how it ended.
  std::string receive_all() {
    std::string out;
    char buffer[65536];
    for (;;) {
      const ssize_t n = ::recv(fd_, buffer, sizeof buffer, 0);
      if (n > 0) {
        out.append(buffer, static_cast<std::size_t>(n));
        continue;
      }
      end = n == 0                ? (reset_ ? "reset" : "eof")
            : errno == ECONNRESET ? "reset"
            : errno == EAGAIN     ? "hang"
                                  : std::strerror(errno);
      return out;
    }
  }
  std::string receive_until(std::string_view mark) {
    std::string out;
    char octet;
    while (!out.ends_with(mark) && ::recv(fd_, &octet, 1, 0) == 1) out += octet;
    return out;
  }
  std::string receive_head() { return receive_until("\r\n\r\n"); }
  void shutdown_send() { ::shutdown(fd_, SHUT_WR); }
  void reset() {
    const linger none{1, 0};
    ::setsockopt(fd_, SOL_SOCKET, SO_LINGER, &none, sizeof none);
    close();
  }
  void close() {
    if (fd_ >= 0 && closing) closing();
    if (fd_ >= 0) ::close(std::exchange(fd_, -1));
  }
  int fd() const { return fd_; }

  std::string end;
  std::function<void()> closing;

 private:
  int fd_;
  std::atomic<bool> reset_{false};  // one thread may send while another receives
};

// A server at one address and port; each connection runs the script on a thread.
class Origin {
 public:
  using Script = std::function<void(Peer&)>;

  Origin(const char* address, std::uint16_t port, Script script) : script_(std::move(script)) {
    const net::tcp::endpoint at = endpoint(address, port);
    fd_ = ::socket(at.data()->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const int on = 1;
    ::setsockopt(fd_, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    EXPECT_EQ(::bind(fd_, at.data(), static_cast<socklen_t>(at.size())), 0) << std::strerror(errno);
    EXPECT_EQ(::listen(fd_, 512), 0);
    thread_ = std::thread([this] { accept(); });
  }
  ~Origin() {
    stopping_ = true;
    thread_.join();
    {
      const std::lock_guard lock(mutex_);
      for (const int fd : open_) ::shutdown(fd, SHUT_RDWR);  // the proxy may keep a connection for a next request
    }
    for (std::thread& t : served_) t.join();
    ::close(fd_);
  }
  std::size_t connections() const { return connections_; }

 private:
  void accept() {
    while (!stopping_) {
      pollfd ready{fd_, POLLIN, 0};
      if (::poll(&ready, 1, 10) <= 0) continue;
      const int fd = ::accept4(fd_, nullptr, nullptr, SOCK_CLOEXEC);
      if (fd < 0) continue;
      ++connections_;
      {
        const std::lock_guard lock(mutex_);
        open_.insert(fd);
      }
      served_.emplace_back([this, fd] {
        Peer peer(fd);
        peer.closing = [this, fd] {
          const std::lock_guard lock(mutex_);
          open_.erase(fd);
        };
        script_(peer);
      });
    }
  }
  Script script_;
  int fd_;
  std::atomic<std::size_t> connections_{0};
  std::atomic<bool> stopping_{false};
  std::mutex mutex_;
  std::set<int> open_;
  std::vector<std::thread> served_;
  std::thread thread_;
};

// What origins got, as a strict server of HTTP/1.1 reads it: anything else is "malformed".
class Witness {
 public:
  struct Request {
    std::string head, body;
    std::size_t connection = 0;
  };
  static constexpr char kHello[] = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

  // Answers each request with what `reply` gives for it; "" closes the connection.
  Origin::Script serve(std::function<std::string(const Request&)> reply = [](const Request&) { return kHello; }) {
    return [this, reply](Peer& peer) {
      const std::size_t number = ++connections_;
      std::string input;
      for (;;) {
        Request request{.connection = number};
        if (!read(peer, input, request)) return;
        {
          const std::lock_guard lock(mutex_);
          requests_.push_back(request);
        }
        const std::string answer = reply(request);
        if (answer.empty() || !peer.send(answer)) return;
      }
    };
  }
  // Opaque: says `first`, keeps what comes, and answers `echo` octets.
  Origin::Script record(std::string first = {}, std::string reply = {}, std::size_t reply_after = 1) {
    return [this, first, reply, reply_after](Peer& peer) {
      if (!first.empty()) peer.send(first);
      std::string got;
      if (!reply.empty()) {
        got = peer.receive(reply_after);
        peer.send(reply);
      }
      got += peer.receive_all();
      const std::lock_guard lock(mutex_);
      recorded_.push_back(got);
      ended_.notify_all();
    };
  }
  std::vector<Request> requests() const {
    const std::lock_guard lock(mutex_);
    return requests_;
  }
  std::vector<std::string> wait_recorded(std::size_t connections) {
    std::unique_lock lock(mutex_);
    EXPECT_TRUE(ended_.wait_for(lock, 10s, [&] { return recorded_.size() >= connections; })) << recorded_.size();
    return recorded_;
  }
  bool malformed() const { return malformed_; }

 private:
  bool more(Peer& peer, std::string& input) {
    char buffer[65536];
    const ssize_t n = ::recv(peer.fd(), buffer, sizeof buffer, 0);
    if (n > 0) input.append(buffer, static_cast<std::size_t>(n));
    return n > 0;
  }
  bool read(Peer& peer, std::string& input, Request& out) {
    wire::HttpRequestReader reader;
    for (;;) {
      if (input.empty() && !more(peer, input)) return false;
      const wire::HttpState state = reader.feed(input);
      input.erase(0, reader.consumed());
      if (state == wire::HttpState::kFailed) {
        malformed_ = true;
        return false;
      }
      if (state == wire::HttpState::kDone) break;
    }
    out.head = reader.raw();
    if (reader.head().body == wire::BodyKind::kLength) {
      while (input.size() < reader.head().content_length) {
        if (!more(peer, input)) return false;
      }
      out.body = input.substr(0, reader.head().content_length);
      input.erase(0, out.body.size());
    }
    if (reader.head().body == wire::BodyKind::kChunked) {
      wire::ChunkedReader chunks;
      while (chunks.state() == wire::HttpState::kNeedMore) {
        if (input.empty() && !more(peer, input)) return false;
        std::string_view data;
        chunks.next(input, data);
        out.body += data;
        input.erase(0, chunks.consumed());
      }
      if (chunks.state() == wire::HttpState::kFailed) {
        malformed_ = true;
        return false;
      }
    }
    return true;
  }

  mutable std::mutex mutex_;
  std::condition_variable ended_;
  std::vector<Request> requests_;
  std::vector<std::string> recorded_;
  std::atomic<std::size_t> connections_{0};
  std::atomic<bool> malformed_{false};
};

class ProxyBench : public testing::Test {
 protected:
  // Addresses that a name resolves to; and what else may come of a lookup.
  std::map<std::string, std::vector<std::string>> zone{
      {"api.example.test", {kGood}}, {"pkg.test", {kGood}}, {"evil.test", {kOther}}};
  std::map<std::string, net::ResolveOutcome> failures;
  SmallPolicy policy{{{"api.example.test", {443, 8443, 22}}, {"pkg.test", {80, 443, 8080, 8443}}}, {}, {}, 0};
  Config config;
  bool has_ipv6 = false;

  ProxyBench() { config.connect_timeout = 2s; }

  void start(std::uint64_t listener = 0) {
    if (!host.decide) host.decide = [this](const policy_query& q) { return policy(q); };
    port_ = host.listen_tcp("proxy", listener);
    counts_ = std::make_unique<net::ClientCounts>(config.max_connections, config.max_connections_per_client);
    const policy::Host facade(host.raw(), FakeHost::api());
    const policy::Status started = loop_.start(
        facade,
        [this, facade](policy::Reader& reader) {
          Services services;
          services.edge = FakeHost::edge();
          services.decision = facade.get<policy_decision_v1>(POLICY_DECISION_ID);
          services.clients = facade.get<policy_clients_v1>(POLICY_CLIENTS_ID);
          services.flow = facade.get<policy_flow_v1>(POLICY_FLOW_ID);
          services.reader = &reader;
          services.resolve = [this](DomainName name, std::uint16_t type, net::Clock::time_point) {
            return resolve(name, type);
          };
          services.has_ipv6 = [this] { return has_ipv6; };
          services.listens = [this](std::uint16_t port) { return port == port_; };
          services.counts = counts_.get();
          services.via = "sallyport-00112233";
          proxy_ = std::make_unique<Proxy>(loop_, config, services);
        },
        [this] { proxy_->stop(); });
    ASSERT_TRUE(started.ok()) << started.text;
    listeners_ = std::make_unique<net::Listeners>(loop_);
    ASSERT_TRUE(listeners_
                    ->open(
                        facade, {"proxy"}, [this](net::Listener l) { proxy_->add(std::move(l)); },
                        [this](const std::string& n, std::uint64_t c) { proxy_->remove(n, c); })
                    .ok());
  }
  void TearDown() override {
    if (proxy_) {
      EXPECT_TRUE(ends_within(3s)) << proxy_->connections() << " connections are left";
    }
    loop_.stop();
    if (counts_) EXPECT_EQ(counts_->total(), 0u);
    EXPECT_EQ(host.gate.open_flows(), 0u);
    testing_kit::expect_whole_lines(host);
  }
  // Every connection is over.
  bool ends_within(std::chrono::milliseconds patience) {
    const auto until = std::chrono::steady_clock::now() + patience;
    while (proxy_->connections() > 0) {
      if (std::chrono::steady_clock::now() > until) return false;
      std::this_thread::sleep_for(5ms);
    }
    return true;
  }
  template <typename Condition>
  static bool becomes_true(Condition condition, std::chrono::milliseconds patience = 5s) {
    const auto until = std::chrono::steady_clock::now() + patience;
    while (!condition()) {
      if (std::chrono::steady_clock::now() > until) return false;
      std::this_thread::sleep_for(5ms);
    }
    return true;
  }

  Peer connect() {
    const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const net::tcp::endpoint at = endpoint("127.0.0.1", port_);
    EXPECT_EQ(::connect(fd, at.data(), static_cast<socklen_t>(at.size())), 0) << std::strerror(errno);
    return Peer(fd);
  }
  // Sends it, and gives all that comes back; the connection must end by itself.
  std::string ask(std::string_view octets) {
    Peer client = connect();
    client.send(octets);
    std::string got = client.receive_all();
    EXPECT_TRUE(client.end == "eof" || client.end == "reset") << client.end;
    return got;
  }
  // An open tunnel: past the 200.
  Peer tunnel(const std::string& authority, std::string_view early = {}) {
    Peer client = connect();
    client.send("CONNECT " + authority + " HTTP/1.1\r\nHost: " + authority + "\r\n\r\n" + std::string(early));
    const std::string head = client.receive_head();
    EXPECT_TRUE(head.starts_with("HTTP/1.1 200 ")) << head;
    return client;
  }
  static std::string get(std::string_view url, std::string_view fields = {}) {
    const std::size_t begin = url.find("//") + 2;
    const std::size_t end = std::min(url.find_first_of("/?", begin), url.size());
    return "GET " + std::string(url) + " HTTP/1.1\r\nHost: " + std::string(url.substr(begin, end - begin)) + "\r\n" +
           std::string(fields) + "\r\n";
  }
  static std::string status_of(const std::string& response) {
    return response.size() > 12 && response.starts_with("HTTP/1.1 ") ? response.substr(9, 3) : response;
  }
  static bool refused_with(const std::string& response, std::string_view word) {
    return response.find("Proxy-Status: sallyport; error=") != std::string::npos &&
           response.find("details=\"" + std::string(word)) != std::string::npos &&
           response.find("Connection: close\r\n") != std::string::npos;
  }

  net::awaitable<net::ResolveResult> resolve(DomainName name, std::uint16_t type) {
    net::ResolveResult out;
    ++lookups;
    const std::string text(name.text());
    if (const auto failure = failures.find(text); failure != failures.end()) {
      out.outcome = failure->second;
      co_return out;
    }
    const auto entry = zone.find(text);
    if (entry == zone.end()) {
      out.outcome = net::ResolveOutcome::kNxDomain;
      co_return out;
    }
    for (const std::string& one : entry->second) {
      const Address address = *Address::parse(one);
      if (address.is_v6() == (type == wire::kTypeAaaa)) out.addresses.push_back(address);
    }
    out.outcome = out.addresses.empty() ? net::ResolveOutcome::kNoData : net::ResolveOutcome::kAnswers;
    out.ttl = 60;
    co_return out;
  }

  FakeHost host;
  std::atomic<int> lookups{0};
  std::unique_ptr<net::ClientCounts> counts_;
  net::EventLoop loop_;
  std::unique_ptr<Proxy> proxy_;
  std::unique_ptr<net::Listeners> listeners_;
  std::uint16_t port_ = 0;
};

// A ClientHello in one record; extensions go in front of the SNI.
inline std::string make_hello(std::string_view sni, std::string_view extensions = {}) {
  const auto u16 = [](std::size_t n) {
    return std::string{static_cast<char>(n >> 8 & 0xff), static_cast<char>(n & 0xff)};
  };
  std::string all(extensions);
  if (!sni.empty()) {
    const std::string entry = std::string("\0", 1) + u16(sni.size()) + std::string(sni);
    all += u16(0) + u16(entry.size() + 2) + u16(entry.size()) + entry;
  }
  std::string body = std::string("\x03\x03") + std::string(32, 'r') + std::string("\0", 1) + u16(2) + "\x13\x01" +
                     std::string("\x01\0", 2) + u16(all.size()) + all;
  const std::string message = std::string("\x01\0", 2) + u16(body.size()) + body;
  return std::string("\x16\x03\x01", 3) + u16(message.size()) + message;
}

}  // namespace sallyport::http_proxy
