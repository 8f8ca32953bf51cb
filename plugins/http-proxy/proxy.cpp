#include "http-proxy/proxy.hpp"

#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

#include "support/deadline.hpp"
#include "support/sockets.hpp"

namespace sallyport::http_proxy {

using net::awaitable;
using net::error_code;

namespace {

constexpr std::chrono::milliseconds kSweep{1'000};     // of kept connections to origins
constexpr std::size_t kMostTurnedAway = 64;            // that are given time to read why
constexpr std::chrono::milliseconds kTurnAway{1'000};  // that time

// Fine enough for the shortest limit, and no finer: an idle gateway with open tunnels wakes up this often.
std::chrono::milliseconds tick_of(const Config& config) {
  using std::chrono::milliseconds;
  const milliseconds least = std::min({config.header_timeout, config.body_timeout, config.response_timeout,
                                       config.hello_timeout, config.idle_timeout, config.keepalive_timeout});
  return std::clamp(least / 8, milliseconds(10), milliseconds(250));
}

}  // namespace

std::size_t affordable_connections(std::size_t wanted) {
  // A tunnel has two sockets, and up to four pipe ends when it turns out to be bulk; few are that at once. kSpare
  // covers listeners, lookups and the host's own.
  constexpr rlim_t kSpare = 64, kPerConnection = 4;
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return wanted;
  const rlim_t left = limit.rlim_cur > kSpare ? limit.rlim_cur - kSpare : kPerConnection;
  return std::max<std::size_t>(1, std::min<std::size_t>(wanted, left / kPerConnection));
}

Proxy::Proxy(net::EventLoop& loop, const Config& config, Services services)
    : loop_(loop),
      config_(config),
      poller_(net::Poller::of(loop.context())),
      wheel_(loop.context(), tick_of(config)),
      pool_(config.max_idle_upstreams, config.upstream_idle),
      services_(std::move(services)),
      reserve_(::eventfd(0, EFD_CLOEXEC)) {
  shared_.loop = &loop.context();
  shared_.tasks = &loop.tasks();
  shared_.relay = &relay_;
  shared_.wheel = &wheel_;
  shared_.pool = &pool_;
  shared_.counters = &counters_;
  shared_.tunnels = &tunnels_;
  loop_.tasks().spawn(sweep());
}

Proxy::~Proxy() { close_listeners(); }

void Proxy::add(net::Listener listener) {
  if (!listener.is_stream || shared_.draining) return;
  error_code error;
  auto acceptor = std::make_shared<net::tcp::acceptor>(loop_.context());
  const int fd = listener.fd.get();
  if (acceptor->assign(listener.is_v6 ? net::tcp::v6() : net::tcp::v4(), fd, error)) return;
  listener.fd.release();
  net::set_no_delay(fd);  // what is accepted inherits it
  open_.push_back({listener.name, listener.client_id, listener.is_v6, acceptor});
  loop_.tasks().spawn(accept(acceptor, listener.client_id));
}

void Proxy::remove(const std::string& name, std::uint64_t client_id) {
  std::erase_if(open_, [&](const Open& open) {
    if (open.name != name || open.client_id != client_id) return false;
    close_empty(open);
    return true;
  });
}

void Proxy::close_listeners() {
  error_code ignored;
  for (const Open& open : open_) open.acceptor->close(ignored);
  open_.clear();
}

void Proxy::stop() {
  close_listeners();
  pool_.clear();
  wheel_.stop();
}

void Proxy::drain() {
  shared_.draining = true;
  for (const Open& open : open_) close_empty(open);
  open_.clear();
  pool_.clear();
  for (Connection* connection : connections_) connection->drain();
}

void Proxy::decide_again() {
  for (Connection* connection : connections_) connection->decide_again();
}

awaitable<void> Proxy::sweep() {
  net::asio::steady_timer timer(loop_.context());
  for (;;) {
    timer.expires_after(kSweep);
    const auto [error] = co_await timer.async_wait(net::kAsResult);
    if (error) co_return;
    pool_.sweep(net::Clock::now());
  }
}

bool Proxy::accept_one(net::tcp::acceptor& acceptor, std::uint64_t client_id) {
  sockaddr_storage storage;
  socklen_t size = sizeof storage;
  const int fd =
      ::accept4(acceptor.native_handle(), reinterpret_cast<sockaddr*>(&storage), &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
  if (fd < 0) return false;
  net::tcp::endpoint from;
  std::memcpy(from.data(), &storage, std::min<std::size_t>(size, from.capacity()));
  from.resize(size);
  admit(fd, from, client_id);
  return true;
}

// As net::close_empty().
void Proxy::close_empty(const Open& open) {
  for (unsigned i = 0; i < net::kMostQueued; ++i) {
    if (!accept_one(*open.acceptor, open.client_id) && !net::is_of_one_connection(errno)) break;
  }
  error_code ignored;
  open.acceptor->close(ignored);
}

awaitable<void> Proxy::accept(std::shared_ptr<net::tcp::acceptor> acceptor, std::uint64_t client_id) {
  net::asio::steady_timer pause(loop_.context());
  unsigned burst = 0;
  while (acceptor->is_open()) {
    if (accept_one(*acceptor, client_id)) {
      if (++burst == net::kAcceptBurst) {  // who is served already gets a turn too
        burst = 0;
        co_await net::asio::post(loop_.context(), net::asio::use_awaitable);
      }
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      burst = 0;
      const auto [error] = co_await acceptor->async_wait(net::tcp::acceptor::wait_read, net::kAsResult);
      if (error) co_return;
    } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
      if (errno == EMFILE || errno == ENFILE) shed_without_descriptors(*acceptor);
      pause.expires_after(net::kAcceptPause);
      const auto [error] = co_await pause.async_wait(net::kAsResult);
      if (error) co_return;
    } else if (!net::is_of_one_connection(errno)) {
      co_return;  // EBADF, EINVAL: the listener is gone
    }
  }
}

// Up to a burst of those who wait are told, one after the other, with the one descriptor that was kept for it.
void Proxy::shed_without_descriptors(net::tcp::acceptor& acceptor) {
  if (!reserve_.valid()) reserve_.reset(::eventfd(0, EFD_CLOEXEC));
  reserve_.reset();
  const std::string text = answer_text({.status = 503, .reason = POLICY_REASON_LIMIT_EXCEEDED});
  for (unsigned i = 0; i < net::kAcceptBurst; ++i) {
    const net::UniqueFd fd(::accept4(acceptor.native_handle(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (!fd.valid()) break;
    ++counters_.accepted;
    ++counters_.shed;
    char unread[4096];  // what is left unread at the close would turn it into a reset
    (void)::recv(fd.get(), unread, sizeof unread, MSG_DONTWAIT);
    (void)::send(fd.get(), text.data(), text.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
  }
  reserve_.reset(::eventfd(0, EFD_CLOEXEC));
}

void Proxy::admit(int fd, const net::tcp::endpoint& from, std::uint64_t listener) {
  ++counters_.accepted;
  net::Stream socket(poller_);
  if (!socket.assign(fd)) {
    ::close(fd);
    return;
  }
  Client client{.id = listener, .in_cell = listener != 0};
  const auto address = net::canonical(*services_.edge, net::unmapped(from.address()), from.port());
  if (address) client.address = *address;
  policy_code known = listener != 0 ? POLICY_OK : POLICY_DENIED;
  if (services_.clients && address) {
    known = services_.clients->identify(services_.reader->raw(), listener, &client.address, &client.id);
  }
  const bool is_client = known == POLICY_OK && (address || listener != 0);
  if (is_client) {
    if (std::optional<net::ClientCounts::Place> place = services_.counts->enter(client.id)) {
      loop_.tasks().spawn(serve(std::move(socket), client, *std::move(place)));
      return;
    }
  }
  const std::uint16_t reason = is_client ? POLICY_REASON_LIMIT_EXCEEDED : POLICY_REASON_CLIENT_UNKNOWN;
  ++(is_client ? counters_.shed : counters_.denied);
  policy_query query{};
  query.struct_size = sizeof query;
  query.layer = POLICY_LAYER_HTTP;
  query.proto = IPPROTO_TCP;
  query.client_id = client.id;
  query.client = client.in_cell ? nullptr : &client.address;
  policy_verdict verdict{};
  verdict.struct_size = sizeof verdict;
  verdict.reason = reason;
  verdict.rule = POLICY_NO_RULE;
  std::string ref = services_.reader->audit(query, verdict).ref;
  if (turning_away() < kMostTurnedAway) {
    turning_away_.fetch_add(1, std::memory_order_relaxed);  // here, not in its first step: a drain asks who is left
    loop_.tasks().spawn(turn_away(std::move(socket), is_client ? 503 : 403, reason, std::move(ref)));
  } else {
    net::reset_on_close(socket.native_handle());
  }
}

// Says why, and gives the client a moment to read it before the close; what it sends is dropped.
awaitable<void> Proxy::turn_away(net::Stream socket, unsigned status, std::uint16_t reason, std::string ref) {
  struct Count {
    std::atomic<std::size_t>& count;
    ~Count() { count.fetch_sub(1, std::memory_order_relaxed); }
  };
  const Count count{turning_away_};
  const std::string text = answer_text({.status = status, .reason = reason, .ref = ref});
  (void)::send(socket.native_handle(), text.data(), text.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
  socket.shutdown_send();
  net::Deadline limit(loop_.context().get_executor());
  limit.set(kTurnAway, [&socket] { socket.close(); });
  while (socket.is_open()) {
    const ssize_t n = socket.receive(*relay_.scratch);
    if (n > 0) continue;
    if (n == 0 || (errno != EAGAIN && errno != EWOULDBLOCK)) break;
    const auto [error] = co_await socket.async_wait(net::Stream::kRead, net::kAsResult);
    if (error) break;
  }
  limit.cancel();
}

awaitable<void> Proxy::serve(net::Stream socket, Client client, net::ClientCounts::Place) {
  struct Live {
    std::atomic<std::size_t>& count;
    explicit Live(std::atomic<std::size_t>& c) : count(c) { count.fetch_add(1, std::memory_order_relaxed); }
    ~Live() { count.fetch_sub(1, std::memory_order_relaxed); }
  };
  const Live live(live_);
  Connection connection(config_, services_, shared_, std::move(socket), client);
  struct Listed {
    std::unordered_set<Connection*>& all;
    Connection* one;
    ~Listed() { all.erase(one); }
  };
  connections_.insert(&connection);
  const Listed listed{connections_, &connection};
  co_await connection.run();
}

}  // namespace sallyport::http_proxy
