// Connection as a tunnel: CONNECT, what its first octets must say, and octets both ways.
//
// 443       the client speaks first, and TLS with the CONNECT host as SNI; nothing else
// others    the server may speak first: what it says goes on while the client's first octets are held back. TLS and
//           clear HTTP must carry the name; anything else goes by name and port (docs/decisions/0013)
//
// `tunnel: any` lifts this; the route says so, since it is the word of the rule that permits the address.
#include <sys/socket.h>

#include <boost/asio/experimental/awaitable_operators.hpp>
#include <cerrno>

#include "http-proxy/connection.hpp"
#include "support/admission.hpp"
#include "support/json.hpp"
#include "wire/client_hello.hpp"
#include "wire/first_flight.hpp"

namespace sallyport::http_proxy {

using namespace boost::asio::experimental::awaitable_operators;
using net::awaitable;

namespace {

constexpr std::uint16_t kHttps = 443;
constexpr std::size_t kReadOctets = 16 * 1024;  // PERF 5: first octets
constexpr std::string_view kEstablished = "HTTP/1.1 200 Connection established\r\n\r\n";

std::string_view text_of(const std::vector<std::uint8_t>& octets) {
  return {reinterpret_cast<const char*>(octets.data()), octets.size()};
}

}  // namespace

// A ticket for server_, so that a later policy ends this flow. False: a newer one denies it already.
bool Connection::open_ticket() {
  const policy_code code = ticket_.open(services_.flow, *services_.reader, *shared_.loop, query(POLICY_LAYER_DIAL),
                                        verdict_, [this](std::uint16_t) {
                                          revoked_ = true;
                                          cut();
                                        });
  if (code != POLICY_OK) return false;
  relay_.watch_ticket(&ticket_);
  ticket_.attach(client_);
  ticket_.attach(server_);
  return true;
}

awaitable<void> Connection::connect_request() {
  no_limit();
  Route route = co_await find_route(services_, config_, *shared_.tasks, query(POLICY_LAYER_HTTP), target_);
  if (!route.socket) {
    (void)co_await no_route(route);
    co_return;
  }
  server_ = std::move(*route.socket);
  peer_ = route.peer;
  verdict_ = route.verdict;
  opaque_ = route.tunnel_any;
  if (opaque_ && !settle_requests()) {
    co_await deny(verdict_);
    co_return;
  }
  if (is_ourselves()) {
    co_await refuse({403, POLICY_REASON_ADDR_FORBIDDEN, "this proxy itself"});
    co_return;
  }
  const bool within = co_await within_limits(verdict_);  // of the rule for that address, if it is another
  if (!within) co_return;
  if (!open_ticket()) {
    co_await refuse({403, POLICY_REASON_REVOKED, {}});
    co_return;
  }
  if (!audit_allowed()) {
    co_await refuse({503, POLICY_REASON_AUDIT_DROPPED, {}});
    ticket_.close(POLICY_REASON_AUDIT_DROPPED);
    co_return;
  }
  co_await tunnel(kEstablished);
}

// first: what is said to the client before.
awaitable<void> Connection::tunnel(std::string_view first) {
  struct Count {
    std::size_t& tunnels;
    explicit Count(std::size_t& t) : tunnels(t) { ++tunnels; }
    ~Count() { --tunnels; }
  };
  const Count count(*shared_.tunnels);
  ++shared_.counters->by_class[first.empty() ? 1 : 2];
  phase_ = Phase::kTunnel;
  within_ = config_.body_timeout;
  const Io sent = co_await send(client_, first);
  bool good = sent == Io::kOk;
  if (good && !opaque_) good = co_await inspect();
  if (good) co_await carry();
  std::uint16_t reason = POLICY_REASON_OK;
  if (!good && verdict_.reason != POLICY_REASON_OK) reason = verdict_.reason;
  if (timed_out_) reason = phase_ == Phase::kHello ? POLICY_REASON_HELLO_TIMEOUT : POLICY_REASON_TIMED_OUT;
  if (relay_.exceeded() != POLICY_LIMIT_NONE) {
    audit_denied({.reason = POLICY_REASON_LIMIT_EXCEEDED}, net::limit_cause(relay_.exceeded()));
    reason = POLICY_REASON_LIMIT_EXCEEDED;
  } else if (inside_ && !met_) {
    reason = POLICY_REASON_LIMIT_EXCEEDED;
  }
  if (revoked_ || !ticket_.live()) reason = POLICY_REASON_REVOKED;
  const std::uint64_t up = relay_.counts().up + inside_up_, down = relay_.counts().down + inside_down_;
  if (ticket_.valid()) {
    shared_.counters->up += up;
    shared_.counters->down += down;
    ticket_.counted(up, down);
    ticket_.close(reason);
  } else {
    audit_closed(up, down, reason);
  }
  cut();  // whatever is left open
}

void Connection::start_hello_limit() {
  if (!std::exchange(hello_limit_set_, true)) limit(Phase::kHello, config_.hello_timeout);
}

awaitable<std::size_t> Connection::read_more() {
  const auto room = std::span(*shared_.relay->scratch).first(kReadOctets);
  const std::size_t n = co_await relay_.read_up(room);
  from_client_.octets.insert(from_client_.octets.end(), room.begin(), room.begin() + static_cast<std::ptrdiff_t>(n));
  if (n > 0) start_hello_limit();
  co_return n;
}

awaitable<bool> Connection::inspect() {
  std::vector<std::uint8_t>& held = from_client_.octets;
  held.erase(held.begin(), held.begin() + static_cast<std::ptrdiff_t>(from_client_.used));
  from_client_.used = 0;
  if (!held.empty() || target_.port == kHttps) start_hello_limit();
  if (target_.port == kHttps) {
    co_return co_await inspect_tls();
  }
  if (!hello_limit_set_) limit(Phase::kTunnel, config_.idle_timeout);
  bool good = false;
  co_await (inspect_and_signal(&good) && serve_until_inspected());
  co_return good && !relay_.failed();
}

// Elsewhere than on 443.
awaitable<void> Connection::inspect_and_signal(bool* good) {
  using wire::FirstFlight;
  const std::vector<std::uint8_t>& held = from_client_.octets;
  FirstFlight flight = wire::first_flight(text_of(held));
  while (flight == FirstFlight::kNeedMore) {
    const std::size_t n = co_await read_more();
    if (n == 0) {
      if (relay_.failed()) co_return;
      // The client listens and says nothing: its half is over.
      *good = held.empty();
      if (!held.empty()) (void)co_await refuse_hello(POLICY_REASON_UNPARSED, {});
      flight = FirstFlight::kOther;
    } else {
      flight = wire::first_flight(text_of(held));
    }
  }
  if (flight == FirstFlight::kTls) {
    *good = co_await inspect_tls();
  } else if (flight == FirstFlight::kHttp) {
    *good = inside_ = true;
  } else if (flight == FirstFlight::kHttp2) {
    *good = co_await refuse_hello(POLICY_REASON_UNPARSED, "clear HTTP/2");
  } else if (flight == FirstFlight::kOtherSoFar) {
    limit(Phase::kTunnel, config_.idle_timeout);
    // Its octets go on from here, so what was left to requests is decided now.
    if (settle_requests()) {
      *good = co_await watch_first_line();
    } else {
      *good = co_await refuse_hello(verdict_.reason, {});
    }
  } else if (!held.empty()) {
    *good = true;
  }
  if (*good && !inside_ && !requests_hidden_ && !settle_requests()) {
    *good = co_await refuse_hello(verdict_.reason, {});
  }
  if (phase_ == Phase::kHello || phase_ == Phase::kTunnel) phase_ = Phase::kRoute;  // decided
  server_.cancel();  // serve_until_inspected() looks again
}

// What a server says first goes to the client while the client's own first octets are still held back.
awaitable<void> Connection::serve_until_inspected() {
  const auto undecided = [this] { return phase_ == Phase::kHello || phase_ == Phase::kTunnel; };
  std::vector<std::uint8_t> buffer(kReadOctets);
  while (undecided() && !relay_.failed() && server_.is_open()) {
    const auto [error] = co_await server_.async_wait(net::Stream::kRead, net::kAsResult);
    if (error || !undecided()) co_return;
    const ssize_t n = server_.receive(buffer);
    if (n > 0) {
      (void)co_await relay_.write_down(std::span(buffer).first(static_cast<std::size_t>(n)));
    } else if (n == 0) {
      client_.shutdown_send();
      co_return;
    } else if (errno != EAGAIN) {
      cut();
    }
  }
}

// Binary octets go on at once, but each is looked at before it does: no version of HTTP ends this first line.
awaitable<bool> Connection::watch_first_line() {
  using wire::FirstFlight;
  std::vector<std::uint8_t>& held = from_client_.octets;
  std::size_t sent = 0;
  for (FirstFlight flight = FirstFlight::kOtherSoFar; flight == FirstFlight::kOtherSoFar;) {
    const bool written = co_await relay_.write_up(std::span(held).subspan(sent));
    if (!written) co_return false;
    sent = held.size();
    const std::size_t n = co_await read_more();
    if (n == 0 && relay_.failed()) co_return false;
    if (n == 0) break;  // its half is over
    flight = wire::first_flight(text_of(held));
    if (flight != FirstFlight::kOtherSoFar && flight != FirstFlight::kOther) {
      audit_denied({.reason = POLICY_REASON_FRAMING_AMBIGUOUS}, {});
      verdict_.reason = POLICY_REASON_FRAMING_AMBIGUOUS;
      cut();
      co_return false;
    }
  }
  held.erase(held.begin(), held.begin() + static_cast<std::ptrdiff_t>(sent));
  co_return true;
}

awaitable<bool> Connection::inspect_tls() {
  using wire::FirstFlight;
  const std::vector<std::uint8_t>& held = from_client_.octets;
  FirstFlight flight = wire::first_flight(text_of(held));
  while (flight == FirstFlight::kNeedMore) {
    const std::size_t n = co_await read_more();
    if (n == 0) {
      if (relay_.failed()) co_return false;
      if (!held.empty()) co_return co_await refuse_hello(POLICY_REASON_NOT_TLS, {});
      relay_.close();  // came and went; nothing was said
      co_return false;
    }
    flight = wire::first_flight(text_of(held));
  }
  if (flight != FirstFlight::kTls) co_return co_await refuse_hello(POLICY_REASON_NOT_TLS, {});
  wire::ClientHelloReader reader;
  auto state = reader.feed(std::span<const std::uint8_t>(held));
  while (state == wire::ClientHelloReader::State::kNeedMore) {
    const std::size_t before = held.size();
    const std::size_t n = co_await read_more();
    if (n == 0) {
      if (relay_.failed()) co_return false;
      co_return co_await refuse_hello(POLICY_REASON_TLS_MALFORMED, {});
    }
    state = reader.feed(std::span<const std::uint8_t>(held).subspan(before));
  }
  if (state == wire::ClientHelloReader::State::kFailed) {
    // It starts as some server's TLS does, so it is that, and malformed.
    const std::uint16_t failure = net::reason_of(reader.failure());
    co_return co_await refuse_hello(
        failure == POLICY_REASON_NOT_TLS ? std::uint16_t{POLICY_REASON_TLS_MALFORMED} : failure, reader.message());
  }
  const wire::ClientHello& hello = reader.hello();
  const std::string sni = hello.sni_state == wire::SniState::kAbsent ? "null" : net::json_text(hello.sni);
  const bool hidden = hello.ech || hello.esni;
  policy_name claimed{};
  const std::uint16_t reason =
      net::check_hello(*services_.edge, hello, target_.name, config_.allow_grease_ech, &claimed);
  if (reason == POLICY_REASON_OK && !hidden) {
    phase_ = Phase::kRoute;  // in time
    co_return true;
  }
  tls_json_ = "{\"sni\":" + sni + ",\"alpn\":" + (hello.alpn_count > 0 ? net::json_text(hello.alpn[0], 32) : "null") +
              ",\"ech\":" + (hidden ? "true}" : "false}");
  if (reason != POLICY_REASON_OK) co_return co_await refuse_hello(reason, {});
  policy_verdict told = verdict_;  // another name may be inside
  told.reason = POLICY_REASON_ECH_PRESENT;
  if (!services_.reader->audit(query(POLICY_LAYER_HTTP), told, detail()))
    co_return co_await refuse_hello(POLICY_REASON_AUDIT_DROPPED, {});
  phase_ = Phase::kRoute;
  co_return true;
}

// Always false. The server has not got an octet, and gets none.
awaitable<bool> Connection::refuse_hello(std::uint16_t reason, std::string_view cause) {
  audit_denied({.reason = reason}, cause);
  verdict_.reason = reason;  // of the closing record
  relay_.end_server();
  const std::string record = net::tls_alert(reason);
  limit(Phase::kAnswer, config_.body_timeout);
  const Io sent = co_await send(client_, record);
  if (sent == Io::kOk) co_await linger();
  timed_out_ = false;
  co_return false;
}

awaitable<void> Connection::carry() {
  limit(Phase::kTunnel, config_.idle_timeout);
  if (inside_) {
    co_await serve_inside();
    co_return;
  }
  if (!from_client_.empty()) {
    const bool sent = co_await relay_.write_up(from_client_.rest());
    if (!sent) co_return;
  }
  from_client_ = {};
  co_await relay_.run();
}

// Clear HTTP in a tunnel: each request as strictly as outside, to this one server.
awaitable<void> Connection::serve_inside() {
  requests_ = 0;
  for (;;) {
    const bool got = co_await read_head();
    if (!got) co_return;
    has_target_ = true;
    const bool fine = co_await inside_request_is_fine();
    if (!fine) co_return;
    const bool again = co_await forward();
    if (!again) co_return;
  }
}

}  // namespace sallyport::http_proxy
