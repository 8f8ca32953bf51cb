#include "sni-filter/flow.hpp"

#include <sys/socket.h>

#include <boost/asio/experimental/awaitable_operators.hpp>
#include <cerrno>
#include <cinttypes>
#include <cstdio>

#include "support/admission.hpp"
#include "support/json.hpp"
#include "support/reason.hpp"
#include "wire/first_flight.hpp"

namespace sallyport::sni {

using namespace boost::asio::experimental::awaitable_operators;
using net::awaitable;

namespace {

constexpr std::uint16_t kHttp = 80, kHttps = 443;
constexpr std::uint16_t kTcp = 6;                        // IP protocol number
constexpr std::size_t kReadOctets = 16 * 1024;           // PERF 5: first octets
constexpr std::chrono::milliseconds kAlertDrain{1'000};  // for the client to read the alert before the close

bool passes(const policy_verdict& verdict) {
  return verdict.verdict == POLICY_ALLOW || verdict.verdict == POLICY_CONTINUE;
}

// {"method":"GET","host":"api.example.test","status":200}, less what is not known.
std::string http_json(std::string_view method, std::string_view host, unsigned status) {
  std::string members;
  if (!method.empty()) members += ",\"method\":" + net::json_text(method, wire::kMaxMethod);
  if (!host.empty()) members += ",\"host\":" + net::json_text(host);
  if (status != 0) members += ",\"status\":" + std::to_string(status);
  return members.empty() ? "" : "{" + members.substr(1) + "}";
}

std::string_view text_of(const std::vector<std::uint8_t>& octets) {
  return {reinterpret_cast<const char*>(octets.data()), octets.size()};
}

}  // namespace

Flow::Flow(const Config& config, const Services& services, Counters& counters, net::Stream client, Arrival arrival)
    : config_(config),
      services_(services),
      counters_(counters),
      client_(std::move(client)),
      server_(client_.poller()),
      arrival_(arrival),
      began_(net::Clock::now()),
      relay_(client_, server_, *services.relay),
      answer_came_(client_.get_executor()),
      hello_deadline_(client_.get_executor()) {
  net::set_no_delay(client_.native_handle());
  relay_.watch_meter(&meter_);
}

// A flow that ends while its sockets are open was cut off (drain, stop): a reset on both sides says so.
Flow::~Flow() {
  relay_.fail();
  ticket_.counted(relay_.counts().up, relay_.counts().down);
  ticket_.close(POLICY_REASON_OK);
}

void Flow::drain() {
  if (http_) http_->drain();
}

policy_query Flow::query(std::uint16_t layer) const {
  policy_query out{};
  out.struct_size = sizeof out;
  out.layer = layer;
  out.proto = kTcp;
  out.client_id = arrival_.client_id;
  if (arrival_.client) out.client = &*arrival_.client;
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
  if (!has_name_) return out;  // of an address no rule asks for requests
  if (requests_seen_) {
    out.known |= request_known_;
    out.method = policy::str(method_);
    out.path = policy::str(path_);
  } else if (!requests_hidden_ && port_ != kHttps) {
    out.deferred |= net::kKnowRequest;
  }
  return out;
}

// Before anything is carried: what was left to requests is decided without them, where nobody will see one.
bool Flow::settle_requests() {
  if (verdict_.verdict != POLICY_CONTINUE) return true;
  requests_hidden_ = !requests_seen_;
  const policy_verdict settled = services_.reader->decide(query(POLICY_LAYER_DIAL));
  if (settled.verdict == POLICY_ALLOW) {
    verdict_ = settled;
    return true;
  }
  policy_verdict told = settled;
  if (told.reason == POLICY_REASON_OK) told.reason = POLICY_REASON_NO_RULE;
  refuse(told);
  relay_.fail();
  return false;
}

std::string Flow::detail(std::string_view extra_json) const {
  char flow[40];
  std::snprintf(flow, sizeof flow, "{\"flow\":\"%" PRIx64 "\"", ticket_.valid() ? ticket_.id() : arrival_.number);
  std::string out = flow;
  if (!tls_json_.empty()) out += ",\"tls\":" + tls_json_;
  if (!http_json_.empty()) out += ",\"http\":" + http_json_;
  if (!extra_json.empty()) out += "," + std::string(extra_json);
  return out + "}";
}

std::string Flow::refuse(const policy_verdict& verdict, std::string_view extra_json) {
  ++counters_.denied;
  policy_verdict denied = verdict;
  denied.struct_size = sizeof denied;
  denied.verdict = POLICY_DENY;
  policy_query asked = query(POLICY_LAYER_TCP);
  if (!has_name_ && asked.dest == nullptr && sought_) asked.dest = &*sought_;
  return services_.reader->audit(asked, denied, detail(extra_json)).ref;
}

// Of one request, or of the origin; the flow's own record at its close stays with the first request.
std::string Flow::refused_http(const HttpExchange::Refusal& refusal) {
  kind_ = Kind::kHttp;
  policy_verdict verdict = request_refusal_.value_or(verdict_);
  verdict.reason = refusal.reason;
  const wire::HttpRequestHead* head = refusal.request;
  std::string of_this = http_json(head ? head->method : "",
                                  head ? net::claimed_host(*services_.edge, *head, name_, port_) : "", refusal.status);
  of_this.swap(http_json_);
  std::string cause;
  if (!refusal.cause.empty()) {
    cause = "\"cause\":" + net::json_text((head ? "request: " : "response: ") + std::string(refusal.cause));
  }
  std::string ref = refuse(verdict, cause);
  of_this.swap(http_json_);
  return ref;
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
  const std::string record = net::tls_alert(reason);
  (void)co_await relay_.say_down({reinterpret_cast<const std::uint8_t*>(record.data()), record.size()});
  client_.shutdown_send();
  hello_deadline_.set(kAlertDrain, [this] { relay_.close(); });
  std::vector<std::uint8_t> dropped(4096);
  for (std::size_t n = 1; n > 0;) n = co_await relay_.read_up(dropped);
  hello_deadline_.cancel();
  relay_.close();
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
  const auto room = std::span(*services_.relay->scratch).first(kReadOctets);
  const std::size_t n = co_await relay_.read_up(room);
  held_.insert(held_.end(), room.begin(), room.begin() + static_cast<std::ptrdiff_t>(n));
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
    const bool good = co_await other_protocol(POLICY_REASON_NOT_TLS);
    co_return good;
  }
  if (flight == FirstFlight::kHttp || flight == FirstFlight::kHttp2) {
    const bool good = co_await classify_http();
    co_return good;
  }
  if (port_ == kHttp || named_by_client_) {
    const bool good = co_await other_protocol(port_ == kHttp ? POLICY_REASON_UNPARSED : POLICY_REASON_NOT_TLS);
    co_return good;
  }
  hello_deadline_.cancel();
  // Its octets go on from here, so what was left to requests is decided now.
  if (opened_ && !settle_requests()) co_return false;
  if (flight == FirstFlight::kOtherSoFar) {
    const bool good = co_await watch_first_line();
    if (!good) co_return false;
  }
  kind_ = Kind::kOpaque;
  co_return true;
}

// Neither TLS nor HTTP where only they may be, or have to be, since nothing else says a name: unless the address, so
// far unknown, is what a later rule has opened.
awaitable<bool> Flow::other_protocol(std::uint16_t reason) {
  if (has_name_ && verdict_.verdict == POLICY_CONTINUE && candidates_.empty()) {
    hello_deadline_.cancel();
    const bool chosen = co_await choose();
    if (!chosen) co_return false;
    if (tunnel_any_) {
      kind_ = Kind::kOpaque;
      co_return true;
    }
  }
  if (port_ == kHttps) {
    co_await alert(reason, {});
  } else {
    reset(reason);
  }
  co_return false;
}

// Binary octets go on at once, but each is looked at before it does: no version of HTTP ends this first line.
awaitable<bool> Flow::watch_first_line() {
  using wire::FirstFlight;
  std::size_t sent = 0;
  for (FirstFlight flight = FirstFlight::kOtherSoFar; flight == FirstFlight::kOtherSoFar;) {
    const bool written = co_await relay_.write_up(std::span(held_).subspan(sent));
    if (!written) co_return false;
    sent = held_.size();
    const std::size_t n = co_await read_more();
    if (n == 0 && relay_.failed()) co_return false;
    if (n == 0) break;  // its half is over
    flight = wire::first_flight(text_of(held_));
    if (flight != FirstFlight::kOtherSoFar && flight != FirstFlight::kOther) {
      reset(POLICY_REASON_FRAMING_AMBIGUOUS);
      co_return false;
    }
  }
  held_.erase(held_.begin(), held_.begin() + static_cast<std::ptrdiff_t>(sent));
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
  requests_hidden_ = true;
  if (state == wire::ClientHelloReader::State::kFailed) {
    // It starts as some server's TLS does, so it is that, and malformed.
    const std::uint16_t failure = net::reason_of(reader.failure());
    ++counters_.hello_malformed;
    co_await alert(failure == POLICY_REASON_NOT_TLS ? std::uint16_t{POLICY_REASON_TLS_MALFORMED} : failure,
                   "\"cause\":" + net::json_text(reader.message()));
    co_return false;
  }
  const wire::ClientHello& hello = reader.hello();
  const std::string sni = hello.sni_state == wire::SniState::kAbsent ? "null" : net::json_text(hello.sni);
  hidden_ = hello.ech || hello.esni;
  tls_json_ = "{\"sni\":" + sni + ",\"alpn\":" + (hello.alpn_count > 0 ? net::json_text(hello.alpn[0], 32) : "null") +
              ",\"ech\":" + (hidden_ ? "true}" : "false}");
  policy_name claimed{};
  // A name of no length is nobody's: with none known, whatever the hello says is a mismatch, to be adopted.
  std::uint16_t reason = net::check_hello(*services_.edge, hello, name_, config_.allow_grease_ech, &claimed);
  ++(reason == POLICY_REASON_ECH_DENIED      ? counters_.hello_ech
     : reason == POLICY_REASON_SNI_MISSING   ? counters_.hello_no_sni
     : reason == POLICY_REASON_SNI_MALFORMED ? counters_.hello_malformed
                                             : counters_.hello_ok);
  if (reason == POLICY_REASON_SNI_MISMATCH && (named_by_client_ || is_bound(claimed))) {
    reason = adopt(claimed);
    if (reason == POLICY_REASON_NO_RULE || reason == POLICY_REASON_NAME_NOT_ALLOWED)
      reason = POLICY_REASON_SNI_NOT_ALLOWED;
  } else if (reason == POLICY_REASON_SNI_MISMATCH) {
    // A name that policy refuses anyway is told apart from one that belongs to another address (TLS-03).
    policy_query asked = query(POLICY_LAYER_TLS);
    asked.name = &claimed;
    asked.dest = nullptr;
    asked.known = POLICY_KNOW_NAME | POLICY_KNOW_PORT;
    asked.deferred = POLICY_KNOW_ADDRESS;
    if (!passes(services_.reader->decide(asked))) reason = POLICY_REASON_SNI_NOT_ALLOWED;
  }
  if (reason == POLICY_REASON_OK) co_return true;
  co_await alert(reason, {});
  co_return false;
}

awaitable<bool> Flow::classify_http() {
  http_ = std::make_unique<HttpExchange>(
      relay_, client_, server_, std::exchange(held_, {}),
      [this](const wire::HttpRequestHead& head) { return check_http(head); },
      [this](const HttpExchange::Refusal& refusal) { return refused_http(refusal); }, services_.draining);
  const bool good = co_await http_->first_request();
  if (timed_out_) co_return false;
  hello_deadline_.cancel();
  kind_ = Kind::kHttp;
  if (good) http_json_ = http_json(http_->first_method(), http_->first_host(), 0);
  co_return good;
}

awaitable<void> Flow::classify_and_signal(bool* good) {
  *good = co_await classify();
  server_.cancel();  // serve_until_classified() looks again
}

// What a server says first goes to the client while the client's own first octets are still held back.
awaitable<void> Flow::serve_until_classified() {
  std::vector<std::uint8_t> buffer(kReadOctets);
  while (kind_ == Kind::kPending && !relay_.failed() && server_.is_open()) {
    const auto [error] = co_await server_.async_wait(net::Stream::kRead, net::kAsResult);
    if (error || kind_ != Kind::kPending) co_return;
    const ssize_t n = server_.receive(buffer);
    if (n > 0) {
      (void)co_await relay_.write_down(std::span(buffer).first(static_cast<std::size_t>(n)));
    } else if (n == 0) {
      client_.shutdown_send();
      co_return;
    } else if (errno != EAGAIN) {
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
  const bool client_first = named_by_client_ || (has_name_ && (port_ == kHttp || port_ == kHttps));
  if (client_first && !(has_name_ && (verdict_.flags & POLICY_FLAG_TUNNEL_ANY))) {
    start_hello_deadline();
    inspected_ = co_await classify();
    if (!inspected_) co_return;
  }
  if (candidates_.empty()) {
    const bool chosen = co_await choose();
    if (!chosen) co_return;
  }
  if (client_first && !inspected_ && !tunnel_any_) {  // another rule has permitted the address
    start_hello_deadline();
    inspected_ = co_await classify();
    if (!inspected_) co_return;
  }
  const bool within = co_await within_limits();
  if (!within) co_return;
  const bool connected = co_await connect();
  if (!connected) co_return;
  bool good = true;
  if (!inspected_ && !tunnel_any_) {
    const auto ended =
        co_await ((classify_and_signal(&good) && serve_until_classified()) || relay_.watch(config_.idle_timeout));
    good = good && ended.index() == 0 && !relay_.failed();
  }
  if (good && !settle_requests()) good = false;
  if (good) co_await carry();
  audit_close();
}

// So that a later policy ends this flow. False: a newer one denies it already.
bool Flow::open_ticket() {
  if (!services_.flow) return true;
  const policy_code code = ticket_.open(services_.flow, *services_.reader, *services_.loop, query(POLICY_LAYER_DIAL),
                                        verdict_, [this](std::uint16_t) {
                                          revoked_ = true;
                                          relay_.fail();
                                        });
  if (code != POLICY_OK) return false;
  ticket_.attach(client_);
  ticket_.attach(server_);
  relay_.watch_ticket(&ticket_);
  return true;
}

// Before anything is dialled; said in the words of what the client speaks, as far as that is known.
awaitable<bool> Flow::within_limits() {
  if (meter_.is_open() && rule_ == verdict_.rule && generation_ == verdict_.generation) co_return true;
  policy::Charged charged = meter_.open(services_.limits, services_.reader->raw(), query(POLICY_LAYER_TCP), verdict_);
  rule_ = verdict_.rule;
  generation_ = verdict_.generation;
  if (charged) charged = meter_.charge(POLICY_CHARGE_REQUEST, 1);
  if (charged) co_return true;
  meter_.close();
  const std::string_view cause = net::limit_cause(charged.exceeded);
  const std::string cause_json = "\"cause\":" + net::json_text(cause);
  if (http_ && !opened_) {
    http_->retry_after(net::retry_after(charged.wait_ns));
    co_await http_->refuse_first(POLICY_REASON_LIMIT_EXCEEDED, cause);
  } else if (!tls_json_.empty() && !opened_) {
    co_await alert(POLICY_REASON_LIMIT_EXCEEDED, cause_json);
  } else {
    reset(POLICY_REASON_LIMIT_EXCEEDED, cause_json);
  }
  co_return false;
}

// The ticket writes the closing record where there is one.
void Flow::audit_close() {
  const bool limited = relay_.exceeded() != POLICY_LIMIT_NONE;
  if (limited) {
    policy_verdict verdict = verdict_;
    verdict.reason = POLICY_REASON_LIMIT_EXCEEDED;
    refuse(verdict, "\"cause\":" + net::json_text(net::limit_cause(relay_.exceeded())));
    verdict_.reason = POLICY_REASON_LIMIT_EXCEEDED;
  }
  const net::RelayCounts& octets = relay_.counts();
  counters_.up += octets.up;
  counters_.down += octets.down;
  if (ticket_.valid()) {
    revoked_ = revoked_ || !ticket_.live();
    if (revoked_) ++counters_.revoked;
    const bool idle = net::Clock::now() >= relay_.last_progress() + config_.idle_timeout;
    ticket_.counted(octets.up, octets.down);
    ticket_.close(revoked_  ? POLICY_REASON_REVOKED
                  : limited ? POLICY_REASON_LIMIT_EXCEEDED
                  : idle    ? POLICY_REASON_TIMED_OUT
                            : POLICY_REASON_OK);
    return;
  }
  const auto lived = std::chrono::duration_cast<std::chrono::milliseconds>(net::Clock::now() - began_).count();
  if (http_) http_json_ = http_json(http_->first_method(), http_->first_host(), http_->first_status());
  char extra[128];
  std::snprintf(extra, sizeof extra, "\"bytes\":{\"up\":%" PRIu64 ",\"down\":%" PRIu64 "},\"duration_ms\":%lld",
                octets.up, octets.down, static_cast<long long>(lived));
  services_.reader->audit_closed(query(POLICY_LAYER_TCP), verdict_, detail(extra));
}

}  // namespace sallyport::sni
