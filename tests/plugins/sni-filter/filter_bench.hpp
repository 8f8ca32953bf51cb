// The filter between a client and origins, all on this namespace's loopback. What would come from connection tracking
// comes from the test; origins count connections and octets (the witness).
#pragma once

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>

#include <atomic>
#include <future>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "sni-filter/filter.hpp"
#include "support/audit_check.hpp"
#include "support/fake_host.hpp"

namespace sallyport::sni {

using testing_kit::AuditRecord;
using testing_kit::FakeHost;
using testing_kit::SmallPolicy;

inline constexpr char kGood[] = "93.184.216.34";  // public, so the guard has nothing against it

inline net::tcp::endpoint endpoint(const char* address, std::uint16_t port) {
  return {net::asio::ip::make_address(address), port};
}

inline void set_patience(int fd) {
  const timeval patience{10, 0};
  ::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  ::setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
}

// A blocking TCP connection with a time limit on everything.
class Peer {
 public:
  explicit Peer(int fd) : fd_(fd) { set_patience(fd_); }
  ~Peer() { close(); }
  Peer(Peer&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}

  bool send(std::string_view octets) {
    while (!octets.empty()) {
      const ssize_t n = ::send(fd_, octets.data(), octets.size(), MSG_NOSIGNAL);
      if (n <= 0) {
        reset_ = errno == ECONNRESET || errno == EPIPE;  // the kernel says it once: a later read gives the end alone
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
    while (out.find(mark) == std::string::npos && ::recv(fd_, &octet, 1, 0) == 1) out += octet;
    return out;
  }
  void shutdown_send() { ::shutdown(fd_, SHUT_WR); }
  void close() {
    if (fd_ >= 0) ::close(std::exchange(fd_, -1));
  }
  int fd() const { return fd_; }

  std::string end;

 private:
  int fd_;
  bool reset_ = false;
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
    if (at.address().is_v6()) ::setsockopt(fd_, IPPROTO_IPV6, IPV6_FREEBIND, &on, sizeof on);
    EXPECT_EQ(::bind(fd_, at.data(), static_cast<socklen_t>(at.size())), 0) << std::strerror(errno);
    EXPECT_EQ(::listen(fd_, 128), 0);
    thread_ = std::thread([this] { accept(); });
  }
  ~Origin() {
    stopping_ = true;
    thread_.join();
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
      served_.emplace_back([this, fd] {
        Peer peer(fd);
        script_(peer);
      });
    }
  }
  Script script_;
  int fd_;
  std::atomic<std::size_t> connections_{0};
  std::atomic<bool> stopping_{false};
  std::vector<std::thread> served_;
  std::thread thread_;
};

// Everything an origin got, once the connection has ended.
class Recorder {
 public:
  Origin::Script script(std::string reply = {}, std::size_t reply_after = 1) {
    return [this, reply, reply_after](Peer& peer) {
      std::string got = peer.receive(reply_after);
      if (!reply.empty()) peer.send(reply);
      got += peer.receive_all();
      const std::lock_guard lock(mutex_);
      got_.push_back(got);
      ended_.notify_all();
    };
  }
  // Once that many connections have ended.
  std::vector<std::string> wait(std::size_t connections) {
    std::unique_lock lock(mutex_);
    EXPECT_TRUE(ended_.wait_for(lock, std::chrono::seconds(10), [&] { return got_.size() >= connections; }))
        << got_.size();
    return got_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable ended_;
  std::vector<std::string> got_;
};

class FilterBench : public testing::Test {
 protected:
  // Addresses that a name resolves to.
  std::map<std::string, std::vector<std::string>> zone{{"api.example.test", {kGood}}};
  SmallPolicy policy{{{"api.example.test", {22, 80, 443, 8080, 8443}}}, {}, {}, 0};
  Config config;
  bool has_ipv6 = true;
  std::uint64_t listener_id = 1;             // 0: a gate's
  std::chrono::milliseconds silent_aaaa{0};  // before an AAAA lookup is answered

  void start() {
    host.decide = [this](const policy_query& q) { return policy(q); };
    counts_ = std::make_unique<net::ClientCounts>(config.max_flows, config.max_flows_per_client);
    port_ = host.listen_tcp("tcp", listener_id);
    const policy::Host facade(host.raw(), FakeHost::api());
    const policy::Status started = loop_.start(
        facade,
        [this](policy::Reader& reader) {
          Services services;
          services.edge = FakeHost::edge();
          services.decision =
              static_cast<const policy_decision_v1*>(FakeHost::api()->get(host.raw(), POLICY_DECISION_ID));
          services.synthetic =
              static_cast<const policy_synthetic_draft1*>(FakeHost::api()->get(host.raw(), POLICY_SYNTHETIC_ID));
          services.reader = &reader;
          if (listener_id == 0) {
            services.clients =
                static_cast<const policy_clients_v1*>(FakeHost::api()->get(host.raw(), POLICY_CLIENTS_ID));
            services.flow = static_cast<const policy_flow_v1*>(FakeHost::api()->get(host.raw(), POLICY_FLOW_ID));
            services.ledger = static_cast<const policy_ledger_v1*>(FakeHost::api()->get(host.raw(), POLICY_LEDGER_ID));
          }
          services.resolve = [this](DomainName name, std::uint16_t type, net::Clock::time_point) {
            return resolve(name, type);
          };
          services.has_ipv6 = [this] { return has_ipv6; };
          services.original_destination = [this](int) { return destination_; };
          filter_ = std::make_unique<Filter>(loop_, config, services, *counts_);
        },
        [this] { filter_->close_listeners(); });
    ASSERT_TRUE(started.ok()) << started.text;
    listeners_ = std::make_unique<net::Listeners>(loop_);
    ASSERT_TRUE(listeners_
                    ->open(
                        facade, {"tcp"}, [this](net::Listener l) { filter_->add(std::move(l)); },
                        [this](const std::string& n, std::uint64_t c) { filter_->remove(n, c); })
                    .ok());
  }
  void TearDown() override {
    loop_.stop();
    testing_kit::expect_whole_lines(host);
  }

  // A connection that the workload meant for this endpoint.
  Peer connect_to(std::optional<net::tcp::endpoint> destination) {
    destination_ = destination;
    const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const net::tcp::endpoint at = endpoint("127.0.0.1", port_);
    EXPECT_EQ(::connect(fd, at.data(), static_cast<socklen_t>(at.size())), 0) << std::strerror(errno);
    return Peer(fd);
  }
  // At a gate, through a listener of that kind; the listener is made now.
  Peer connect_at(Destination how, std::optional<net::tcp::endpoint> destination) {
    const std::string name = how == Destination::kName ? "name" : "original";
    config.listeners[name] = how;
    const std::uint16_t port = host.listen_tcp(name, 0);
    EXPECT_TRUE(listeners_
                    ->open(
                        policy::Host(host.raw(), FakeHost::api()), {name},
                        [this](net::Listener l) { filter_->add(std::move(l)); },
                        [this](const std::string& n, std::uint64_t c) { filter_->remove(n, c); })
                    .ok());
    const std::uint16_t before = std::exchange(port_, port);
    Peer out = connect_to(destination);
    port_ = before;
    return out;
  }
  Peer connect(std::uint16_t port, const char* name = "api.example.test") {
    return connect_to(endpoint(FakeHost::text(host.synthetic_v4(name)).c_str(), port));
  }

  net::awaitable<net::ResolveResult> resolve(DomainName name, std::uint16_t type) {
    net::ResolveResult out;
    const auto entry = zone.find(std::string(name.text()));
    if (entry == zone.end()) {
      out.outcome = net::ResolveOutcome::kNxDomain;
      co_return out;
    }
    ++lookups;
    if (type == wire::kTypeAaaa && silent_aaaa.count() > 0) {
      const auto executor = co_await net::asio::this_coro::executor;
      net::asio::steady_timer timer(executor, silent_aaaa);
      (void)co_await timer.async_wait(net::kAsResult);
    }
    for (const std::string& text : entry->second) {
      const Address address = *Address::parse(text);
      if (address.is_v6() == (type == wire::kTypeAaaa)) out.addresses.push_back(address);
    }
    out.outcome = out.addresses.empty() ? net::ResolveOutcome::kNoData : net::ResolveOutcome::kAnswers;
    out.ttl = 60;
    co_return out;
  }

  FakeHost host;
  std::atomic<int> lookups{0};
  std::unique_ptr<net::ClientCounts> counts_;  // outlives the loop and its flows
  net::EventLoop loop_;
  std::unique_ptr<Filter> filter_;
  std::unique_ptr<net::Listeners> listeners_;
  std::optional<net::tcp::endpoint> destination_;  // of the next connection; the loop reads it before it answers
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

}  // namespace sallyport::sni
