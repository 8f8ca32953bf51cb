#include "sni-filter/flow.hpp"

#include <sys/socket.h>

#include <boost/asio/experimental/awaitable_operators.hpp>
#include <cerrno>
#include <cinttypes>
#include <cstdio>

#include "sni-filter/admission.hpp"
#include "support/json.hpp"
#include "support/reason.hpp"
#include "wire/first_flight.hpp"

namespace sallyport::sni {

using namespace boost::asio::experimental::awaitable_operators;
using net::awaitable;
using net::error_code;

namespace {

constexpr std::uint16_t kHttp = 80, kHttps = 443;
constexpr std::uint16_t kTcp = 6;                        // IP protocol number
constexpr std::size_t kMaxFixed = 16;                    // host addresses of one name
constexpr std::size_t kReadOctets = 16 * 1024;           // PERF 5: first octets
constexpr std::chrono::milliseconds kAlertDrain{1'000};  // for the client to read the alert before the close

bool passes(const policy_verdict& verdict) {
  return verdict.verdict == POLICY_ALLOW || verdict.verdict == POLICY_CONTINUE;
}

std::string_view text_of(const std::vector<std::uint8_t>& octets) {
  return {reinterpret_cast<const char*>(octets.data()), octets.size()};
}

}  // namespace

Flow::Flow(const Config& config, const Services& services, Counters& counters, net::tcp::socket client,
           std::uint64_t client_id, std::uint64_t number)
    : config_(config),
      services_(services),
      counters_(counters),
      client_(std::move(client)),
      server_(client_.get_executor()),
      client_id_(client_id),
      number_(number),
      began_(net::Clock::now()),
      relay_(client_, server_, *services.relay),
      hello_deadline_(client_.get_executor()) {
  net::set_no_delay(client_.native_handle());
}

// A flow that ends while its sockets are open was cut off (drain, stop): a reset on both sides says so.
Flow::~Flow() { relay_.fail(); }

policy_query Flow::query(std::uint16_t layer) const {
  policy_query out{};
  out.struct_size = sizeof out;
  out.layer = layer;
  out.proto = kTcp;
  out.client_id = client_id_;
  if (has_port_) {
    out.port = port_;
    out.known |= POLICY_KNOW_PORT;
  }
  if (has_name_) {
    out.name = &name_;
    out.known |= POLICY_KNOW_NAME;
  }
  const policy_addr* address = peer_ ? &*peer_ : literal_ ? &*literal_ : nullptr;
  if (address) {
    out.dest = address;
    out.known |= POLICY_KNOW_ADDRESS;
  } else if (has_name_) {
    out.deferred |= POLICY_KNOW_ADDRESS;
  }
  return out;
}

std::string Flow::detail(std::string_view extra_json) const {
  char flow[40];
  std::snprintf(flow, sizeof flow, "{\"flow\":\"%" PRIx64 "\"", number_);
  std::string out = flow;
  if (!tls_json_.empty()) out += ",\"tls\":" + tls_json_;
  if (!extra_json.empty()) out += "," + std::string(extra_json);
  return out + "}";
}

void Flow::refuse(const policy_verdict& verdict, std::string_view extra_json) {
  ++counters_.denied;
  policy_verdict denied = verdict;
  denied.struct_size = sizeof denied;
  denied.verdict = POLICY_DENY;
  services_.reader->audit(query(POLICY_LAYER_TCP), denied, detail(extra_json));
}

void Flow::reset(std::uint16_t reason, std::string_view extra_json) {
  policy_verdict verdict = verdict_;  // keeps rule and generation of what had let it in so far
  if (!opened_ && !passes(verdict_)) verdict.rule = POLICY_NO_RULE;
  verdict.reason = reason;
  refuse(verdict, extra_json);
  relay_.fail();
}

awaitable<void> Flow::alert(std::uint16_t reason, std::string_view extra_json) {
  policy_verdict verdict = verdict_;
  verdict.reason = reason;
  refuse(verdict, extra_json);
  relay_.end_server();
  // The words that this alert answers with are a fallback too: a peer that is no TLS client just sees the close.
  const std::string record = tls_alert(reason);
  (void)co_await relay_.write_down({reinterpret_cast<const std::uint8_t*>(record.data()), record.size()});
  error_code ignored;
  client_.shutdown(net::tcp::socket::shutdown_send, ignored);
  hello_deadline_.set(kAlertDrain, [this] { relay_.close(); });
  std::vector<std::uint8_t> dropped(4096);
  for (std::size_t n = 1; n > 0;) n = co_await relay_.read_up(dropped);
  hello_deadline_.cancel();
  relay_.close();
}

bool Flow::admit() {
  const std::optional<net::tcp::endpoint> destination = services_.original_destination(client_.native_handle());
  std::optional<policy_addr> address;
  if (destination)
    address = net::canonical(*services_.edge, net::unmapped(destination->address()), destination->port());
  if (!address) {
    reset(POLICY_REASON_DST_NOT_BOUND);  // it came straight to the listener
    return false;
  }
  has_port_ = true;
  port_ = destination->port();
  literal_ = address;
  if (net::unmapped(destination->address()).is_loopback()) {
    reset(POLICY_REASON_DST_NOT_BOUND);  // the workload's own servers are not reached through here
    return false;
  }
  const policy_code code = services_.synthetic->find(services_.reader->raw(), client_id_, &*address, &name_);
  if (code == POLICY_OK) {
    has_name_ = true;
    literal_.reset();
  } else if (code != POLICY_INVALID) {
    reset(POLICY_REASON_DST_NOT_BOUND);
    return false;
  }
  verdict_ = services_.reader->decide(query(POLICY_LAYER_TCP));
  const bool last_layer = !has_name_;  // a literal has nothing left to learn
  if (!passes(verdict_) || (last_layer && verdict_.verdict != POLICY_ALLOW)) {
    refuse(verdict_);
    relay_.fail();
    return false;
  }
  tunnel_any_ = !has_name_ || (verdict_.flags & POLICY_FLAG_TUNNEL_ANY) != 0;
  return true;
}

awaitable<std::vector<policy_addr>> Flow::addresses_of_name() {
  std::vector<policy_addr> out;
  std::array<policy_addr, kMaxFixed> fixed;
  const std::size_t count =
      services_.decision->host_addresses(services_.reader->raw(), client_id_, &name_, fixed.data(), fixed.size());
  std::vector<Address> found;
  if (count == 0) {
    const Result<DomainName> name = DomainName::parse(policy::view(name_));
    if (!name.ok() || name_.labels < 2) co_return out;  // no upstream is asked for a single label
    const auto deadline = net::Clock::now() + config_.connect_timeout;
    if (services_.has_ipv6()) {
      const auto [v6, v4] = co_await (services_.resolve(*name, wire::kTypeAaaa, deadline) &&
                                      services_.resolve(*name, wire::kTypeA, deadline));
      found = v6.addresses;
      found.insert(found.end(), v4.addresses.begin(), v4.addresses.end());
    } else {
      const net::ResolveResult v4 = co_await services_.resolve(*name, wire::kTypeA, deadline);
      found = v4.addresses;
    }
    for (const Address& address : found) {
      const auto canonical = net::canonical(*services_.edge, net::to_asio(address), port_);
      if (canonical) out.push_back(*canonical);
    }
    co_return out;
  }
  for (std::size_t i = 0; i < std::min(count, fixed.size()); ++i) {
    const auto canonical = net::canonical(*services_.edge, net::to_asio(fixed[i]), port_);  // with the port
    if (canonical) out.push_back(*canonical);
  }
  co_return out;
}

awaitable<bool> Flow::connect() {
  std::vector<policy_addr> addresses;
  if (has_name_) {
    addresses = co_await addresses_of_name();
  } else {
    addresses.push_back(*literal_);
  }
  if (relay_.failed()) co_return false;
  if (addresses.empty()) {
    fail_upstream("no address");
    co_return false;
  }
  std::vector<net::tcp::endpoint> v6, v4;
  std::optional<policy_verdict> refusal, permission;
  for (const policy_addr& address : addresses) {
    policy_query asked = query(POLICY_LAYER_DIAL);
    asked.dest = &address;
    asked.known |= POLICY_KNOW_ADDRESS;
    asked.deferred = 0;
    policy_verdict verdict = services_.reader->decide(asked);
    // What was not looked into may only go where the rule that says so leads.
    if (verdict.verdict == POLICY_ALLOW && has_name_ && tunnel_any_ && !(verdict.flags & POLICY_FLAG_TUNNEL_ANY)) {
      verdict.verdict = POLICY_DENY;
      verdict.reason = POLICY_REASON_ADDRESS_DENIED;
    }
    if (verdict.verdict == POLICY_ALLOW) {
      if (!permission) permission = verdict;
      (address.family == POLICY_IPV6 ? v6 : v4).emplace_back(net::to_asio(address), port_);
    } else if (!refusal) {
      refusal = verdict;
      literal_ = address;  // what the record names
    }
  }
  if (!permission) {
    refuse(*refusal);
    relay_.fail();
    co_return false;
  }
  if (has_name_) literal_.reset();
  verdict_ = *permission;
  net::Dialled dialled =
      co_await net::dial(net::interleave(std::move(v6), std::move(v4)), net::Clock::now() + config_.connect_timeout);
  if (relay_.failed()) co_return false;
  if (!dialled.socket) {
    fail_upstream(dialled.error == net::asio::error::timed_out ? "timeout" : dialled.error.message());
    co_return false;
  }
  server_ = std::move(*dialled.socket);
  peer_ = net::canonical(*services_.edge, dialled.peer.address(), dialled.peer.port());
  if (!services_.reader->audit(query(POLICY_LAYER_TCP), verdict_, detail())) {
    relay_.fail();
    co_return false;
  }
  ++counters_.opened;
  opened_ = true;
  co_return true;
}

void Flow::fail_upstream(std::string_view cause) {
  ++counters_.failed;
  policy_verdict verdict = verdict_;
  verdict.reason = POLICY_REASON_UPSTREAM_FAILED;
  services_.reader->audit(query(POLICY_LAYER_TCP), verdict, detail("\"cause\":" + net::json_text(cause)));
  relay_.fail();
}

void Flow::start_hello_deadline() {
  if (std::exchange(deadline_running_, true)) return;
  hello_deadline_.set(config_.hello_timeout, [this] {
    if (kind_ != Kind::kPending) return;
    timed_out_ = true;
    reset(POLICY_REASON_HELLO_TIMEOUT);
  });
}

awaitable<std::size_t> Flow::read_more() {
  const std::size_t before = held_.size();
  held_.resize(before + kReadOctets);
  const std::size_t n = co_await relay_.read_up(std::span(held_).subspan(before));
  held_.resize(before + n);
  if (n > 0) start_hello_deadline();
  co_return n;
}

awaitable<bool> Flow::classify() {
  using wire::FirstFlight;
  FirstFlight flight = FirstFlight::kNeedMore;
  while (flight == FirstFlight::kNeedMore) {
    const std::size_t n = co_await read_more();
    if (n == 0) {
      if (relay_.failed()) co_return false;
      if (held_.empty() && opened_) {  // the client listens and says nothing: its half is over
        kind_ = Kind::kOpaque;
        co_return true;
      }
      if (held_.empty()) {
        relay_.fail();  // came and went; nothing was asked for
        co_return false;
      }
      reset(POLICY_REASON_UNPARSED);
      co_return false;
    }
    flight = wire::first_flight(text_of(held_));
  }
  if (flight == FirstFlight::kTls) {
    const bool good = co_await classify_tls();
    co_return good;
  }
  if (port_ == kHttps) {
    co_await alert(POLICY_REASON_NOT_TLS, {});
    co_return false;
  }
  if (flight == FirstFlight::kHttp || flight == FirstFlight::kHttp2) {
    const bool good = co_await classify_http();
    co_return good;
  }
  if (port_ == kHttp) {
    reset(POLICY_REASON_UNPARSED);
    co_return false;
  }
  hello_deadline_.cancel();
  kind_ = Kind::kOpaque;
  co_return true;
}

awaitable<bool> Flow::classify_tls() {
  wire::ClientHelloReader reader;
  auto state = reader.feed(std::span<const std::uint8_t>(held_));
  while (state == wire::ClientHelloReader::State::kNeedMore) {
    const std::size_t before = held_.size();
    const std::size_t n = co_await read_more();
    if (n == 0) {
      if (!relay_.failed()) reset(POLICY_REASON_TLS_MALFORMED);
      co_return false;
    }
    state = reader.feed(std::span<const std::uint8_t>(held_).subspan(before));
  }
  hello_deadline_.cancel();
  kind_ = Kind::kOpaque;
  if (state == wire::ClientHelloReader::State::kFailed) {
    co_await alert(reason_of(reader.failure()), "\"cause\":" + net::json_text(reader.message()));
    co_return false;
  }
  const wire::ClientHello& hello = reader.hello();
  const std::string sni = hello.sni_state == wire::SniState::kAbsent ? "null" : net::json_text(hello.sni);
  const bool hidden = hello.ech || hello.esni;
  tls_json_ = "{\"sni\":" + sni + ",\"alpn\":" + (hello.alpn_count > 0 ? net::json_text(hello.alpn[0], 32) : "null") +
              ",\"ech\":" + (hidden ? "true}" : "false}");
  policy_name claimed{};
  std::uint16_t reason = check_hello(*services_.edge, hello, name_, config_.allow_grease_ech, &claimed);
  if (reason == POLICY_REASON_OK) co_return true;
  if (reason == POLICY_REASON_SNI_MISMATCH) {
    // A name that policy refuses anyway is told apart from one that belongs to another address (TLS-03).
    policy_query asked = query(POLICY_LAYER_TLS);
    asked.name = &claimed;
    asked.dest = nullptr;
    asked.known = POLICY_KNOW_NAME | POLICY_KNOW_PORT;
    asked.deferred = POLICY_KNOW_ADDRESS;
    if (!passes(services_.reader->decide(asked))) reason = POLICY_REASON_SNI_NOT_ALLOWED;
  }
  co_await alert(reason, {});
  co_return false;
}

awaitable<bool> Flow::classify_http() {
  http_ = std::make_unique<HttpExchange>(
      relay_, client_, server_, std::exchange(held_, {}),
      [this](const wire::HttpRequestHead& head) { return check_request(*services_.edge, head, name_, port_); },
      [this](std::uint16_t reason) {
        kind_ = Kind::kHttp;
        policy_verdict verdict = verdict_;
        verdict.reason = reason;
        refuse(verdict);
      });
  const bool good = co_await http_->first_request();
  if (timed_out_) co_return false;
  hello_deadline_.cancel();
  kind_ = Kind::kHttp;
  co_return good;
}

awaitable<void> Flow::classify_and_signal(bool* good) {
  *good = co_await classify();
  error_code ignored;
  server_.cancel(ignored);  // serve_until_classified() looks again
}

// What a server says first goes to the client while the client's own first octets are still held back.
awaitable<void> Flow::serve_until_classified() {
  std::vector<std::uint8_t> buffer(kReadOctets);
  while (kind_ == Kind::kPending && !relay_.failed() && server_.is_open()) {
    const auto [error] = co_await server_.async_wait(net::tcp::socket::wait_read, net::kAsResult);
    if (error || kind_ != Kind::kPending) co_return;
    const ssize_t n = ::recv(server_.native_handle(), buffer.data(), buffer.size(), MSG_DONTWAIT);
    if (n > 0) {
      (void)co_await relay_.write_down(std::span(buffer).first(static_cast<std::size_t>(n)));
    } else if (n == 0) {
      error_code ignored;
      client_.shutdown(net::tcp::socket::shutdown_send, ignored);
      co_return;
    } else if (errno != EAGAIN && errno != EINTR) {
      relay_.fail();
    }
  }
}

awaitable<void> Flow::carry() {
  if (http_) {
    co_await http_->run(config_.idle_timeout);
    co_return;
  }
  if (!held_.empty()) {
    const bool sent = co_await relay_.write_up(held_);
    held_ = {};
    if (!sent) co_return;
  }
  co_await relay_.run(config_.idle_timeout);
}

awaitable<void> Flow::run() {
  if (!admit()) co_return;
  const bool client_first = (port_ == kHttp || port_ == kHttps) && !tunnel_any_;
  if (client_first) {
    start_hello_deadline();
    const bool good = co_await classify();
    if (!good) co_return;
  }
  const bool connected = co_await connect();
  if (!connected) co_return;
  bool good = true;
  if (!client_first && !tunnel_any_) {
    const auto ended =
        co_await ((classify_and_signal(&good) && serve_until_classified()) || relay_.watch(config_.idle_timeout));
    good = good && ended.index() == 0 && !relay_.failed();
  }
  if (good) co_await carry();
  audit_close();
}

void Flow::audit_close() {
  const auto lived = std::chrono::duration_cast<std::chrono::milliseconds>(net::Clock::now() - began_).count();
  char extra[128];
  std::snprintf(extra, sizeof extra, "\"bytes\":{\"up\":%" PRIu64 ",\"down\":%" PRIu64 "},\"duration_ms\":%lld",
                relay_.counts().up, relay_.counts().down, static_cast<long long>(lived));
  services_.reader->audit_closed(query(POLICY_LAYER_TCP), verdict_, detail(extra));
}

}  // namespace sallyport::sni
