#include "http-proxy/connection.hpp"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cinttypes>
#include <cstdio>

#include "http-proxy/credentials.hpp"
#include "support/admission.hpp"
#include "support/json.hpp"
#include "support/sockets.hpp"

namespace sallyport::http_proxy {

using net::awaitable;
using wire::HttpState;

namespace {

constexpr std::uint16_t kTcp = 6;                    // IP protocol number
constexpr std::chrono::milliseconds kLinger{1'000};  // for the client to read an answer before the close
constexpr std::size_t kMostDropped = 1024 * 1024;    // octets behind a refusal that are read for it
constexpr std::size_t kMaxPath = 200;                // in the audit

// For a request that was under way when the drain began, its retransmission included. Whoever was accepted a moment
// before, or sends the next request just now, cannot know of the drain; a close would lose what they sent.
constexpr std::chrono::milliseconds kLastRequest{1'000};

bool would_block(int error) { return error == EAGAIN || error == EWOULDBLOCK; }

constexpr std::uint16_t kHttps = 443;

bool passes(const policy_verdict& verdict, bool is_name) {
  return verdict.verdict == POLICY_ALLOW || (is_name && verdict.verdict == POLICY_CONTINUE);
}

}  // namespace

Connection::Connection(const Config& config, const Services& services, Shared& shared, net::Stream socket,
                       const Client& client)
    : config_(config),
      services_(services),
      shared_(shared),
      client_(std::move(socket)),
      server_(client_.poller()),
      relay_(client_, server_, *shared.relay),
      who_(client),
      request_(config.head_limits()) {
  relay_.watch_meter(&meter_);
}

// What still has a socket here was cut off (drain, stop): a reset says so.
Connection::~Connection() { cut(); }

void Connection::limit(Phase phase, std::chrono::milliseconds within) {
  phase_ = phase;
  within_ = within;
  rearm();
}

void Connection::rearm() { shared_.wheel->set(*this, net::Clock::now() + within_); }

void Connection::no_limit() {
  phase_ = Phase::kRoute;
  shared_.wheel->cancel(*this);
}

void Connection::wake() {
  client_.cancel();
  server_.cancel();
  for (net::asio::steady_timer* rest : rests_) {
    if (rest) rest->cancel();
  }
}

void Connection::cut() {
  relay_.fail();
  wake();
}

void Connection::close() {
  server_.close();
  client_.close();
}

void Connection::expired() {
  switch (phase_) {
    case Phase::kRoute:
      return;
    case Phase::kTunnel:
      if (net::Clock::now() < relay_.last_progress() + config_.idle_timeout) {
        shared_.wheel->set(*this, relay_.last_progress() + config_.idle_timeout);
        return;
      }
      timed_out_ = true;
      cut();
      return;
    case Phase::kHello:
      timed_out_ = true;
      audit_denied({.reason = POLICY_REASON_HELLO_TIMEOUT}, {});
      cut();
      return;
    default:
      // What rests is in time by definition.
      if (net::Clock::now() < rests_until_ + within_) {
        shared_.wheel->set(*this, rests_until_ + within_);
        return;
      }
      timed_out_ = true;
      wake();
  }
}

void Connection::drain() {
  if (phase_ == Phase::kIdle && within_ > kLastRequest) limit(Phase::kIdle, kLastRequest);
}

// Nobody will see a request of this tunnel: what was left to requests is decided without them.
bool Connection::settle_requests() {
  requests_hidden_ = true;
  if (verdict_.verdict != POLICY_CONTINUE) return true;
  const policy_verdict settled = services_.reader->decide(query(POLICY_LAYER_DIAL));
  if (settled.verdict == POLICY_ALLOW) return true;
  verdict_ = settled;
  if (verdict_.reason == POLICY_REASON_OK) verdict_.reason = POLICY_REASON_NO_RULE;
  return false;
}

policy_query Connection::query(std::uint16_t layer) const {
  policy_query out{};
  out.struct_size = sizeof out;
  out.layer = layer;
  out.proto = kTcp;
  out.client_id = who_.id;
  out.client = who_.in_cell ? nullptr : &who_.address;
  out.credential = policy::str(user_);
  if (!has_target_) return out;
  out.port = target_.port;
  out.known = POLICY_KNOW_PORT;
  if (target_.is_name) {
    out.name = &target_.name;
    out.known |= POLICY_KNOW_NAME;
  }
  if (peer_ || !target_.is_name) {
    out.dest = peer_ ? &*peer_ : &target_.literal;
    out.known |= POLICY_KNOW_ADDRESS;
  } else {
    out.deferred = POLICY_KNOW_ADDRESS;
  }
  const wire::HttpRequestHead& head = request_.head();
  if (!target_.is_name) return out;  // of an address no rule asks for requests
  if (request_.state() == HttpState::kDone && head.form != wire::TargetForm::kAuthority) {
    net::describe_request(head, out);
  } else if (!requests_hidden_ && target_.port != kHttps) {
    out.deferred |= net::kKnowRequest;  // of clear HTTP, which may be inside the tunnel
  }
  return out;
}

std::string Connection::detail(std::string_view extra_json) const {
  std::string members;
  if (ticket_.valid()) {
    char flow[40];
    std::snprintf(flow, sizeof flow, ",\"flow\":\"%" PRIx64 "\"", ticket_.id());
    members += flow;
  }
  if (!tls_json_.empty()) members += ",\"tls\":" + tls_json_;
  if (!http_json_.empty()) {
    members += ",\"http\":{" + http_json_;
    if (status_ != 0) members += ",\"status\":" + std::to_string(status_);
    members += "}";
  }
  if (!extra_json.empty()) members.append(",").append(extra_json);
  if (members.empty()) return "{}";
  members[0] = '{';
  return members + "}";
}

// A denial of ours or of the policy's; keeps rule and generation of what had let it in so far. Returns the ref.
std::string Connection::audit_denied(policy_verdict verdict, std::string_view cause) {
  ++shared_.counters->denied;
  if (verdict.struct_size == 0) {
    const std::uint16_t reason = verdict.reason;
    verdict = verdict_;
    if (verdict_.verdict == POLICY_DENY) verdict.rule = POLICY_NO_RULE;
    verdict.reason = reason;
    verdict.struct_size = sizeof verdict;
  }
  verdict.verdict = POLICY_DENY;
  std::string_view raw;
  if (!has_target_) {
    // Paths and queries are nobody's business: the line to where they may begin.
    raw = request_.raw();
    raw = raw.substr(0, std::min({raw.find('\r'), raw.find('\n'), raw.find('?'), net::kMaxRaw}));
  }
  const std::string extra = cause.empty() ? std::string() : "\"cause\":" + net::json_text(cause);
  return services_.reader->audit(query(POLICY_LAYER_HTTP), verdict, detail(extra), raw).ref;
}

bool Connection::audit_allowed() {
  ++shared_.counters->allowed;
  return static_cast<bool>(services_.reader->audit(query(POLICY_LAYER_HTTP), verdict_, detail()));
}

void Connection::audit_closed(std::uint64_t up, std::uint64_t down, std::uint16_t reason) {
  shared_.counters->up += up;
  shared_.counters->down += down;
  policy_verdict verdict = verdict_;
  if (reason != POLICY_REASON_OK) verdict.reason = reason;
  const auto lived = std::chrono::duration_cast<std::chrono::milliseconds>(net::Clock::now() - began_).count();
  char extra[128];
  std::snprintf(extra, sizeof extra, "\"bytes\":{\"up\":%" PRIu64 ",\"down\":%" PRIu64 "},\"duration_ms\":%lld", up,
                down, static_cast<long long>(lived));
  services_.reader->audit_closed(query(POLICY_LAYER_HTTP), verdict, detail(extra));
}

std::string Connection::client_key() const {
  std::string key(reinterpret_cast<const char*>(&who_.id), sizeof who_.id);
  key.append(reinterpret_cast<const char*>(who_.address.ip), sizeof who_.address.ip);
  return key.append(user_);
}

// The far end is one of our own listeners: a request would come back for ever.
bool Connection::is_ourselves() const {
  if (!server_.is_open() || !services_.listens || !services_.listens(target_.port)) return false;
  const auto local = net::local_endpoint(server_.native_handle());
  return local && peer_ && local->address() == net::to_asio(*peer_);
}

awaitable<void> Connection::linger() {
  server_.close();
  client_.shutdown_send();
  limit(Phase::kAnswer, kLinger);
  std::size_t dropped = 0;
  while (client_.is_open() && !timed_out_ && dropped < kMostDropped) {
    std::span<std::uint8_t> scratch(*shared_.relay->scratch);
    const ssize_t n = client_.receive(scratch);
    if (n > 0) {
      dropped += static_cast<std::size_t>(n);
    } else if (n < 0 && would_block(errno)) {
      const Io waited = co_await readable(client_);
      if (waited != Io::kOk) break;
    } else {
      break;
    }
  }
  close();
}

awaitable<void> Connection::answer(const Answer& what) {
  ++shared_.counters->by_class[std::min(what.status / 100, 5u)];
  const std::string text = answer_text(what);
  timed_out_ = false;
  limit(Phase::kAnswer, config_.body_timeout);
  const Io sent = co_await send(client_, text);
  if (sent == Io::kOk) {
    co_await linger();
  } else {
    cut();
  }
}

awaitable<void> Connection::refuse(Refusal refusal) {
  status_ = refusal.status;
  const std::string ref = audit_denied({.reason = refusal.reason}, refusal.cause);
  const bool head = request_.state() == HttpState::kDone && request_.head().method == "HEAD";
  co_await answer({.status = refusal.status,
                   .reason = refusal.reason,
                   .ref = ref,
                   .head_request = head,
                   .retry_after = refusal.retry_after});
}

Refusal Connection::limit_refusal() const {
  return {429, POLICY_REASON_LIMIT_EXCEEDED, net::limit_cause(met_.exceeded), net::retry_after(met_.wait_ns)};
}

awaitable<bool> Connection::within_limits(const policy_verdict& verdict) {
  if (meter_.is_open() && rule_ == verdict.rule && generation_ == verdict.generation) co_return true;
  met_ = meter_.open(services_.limits, services_.reader->raw(), query(POLICY_LAYER_HTTP), verdict);
  rule_ = verdict.rule;
  generation_ = verdict.generation;
  if (met_) met_ = meter_.charge(POLICY_CHARGE_REQUEST, 1);
  if (met_) co_return true;
  meter_.close();
  co_await refuse(limit_refusal());
  co_return false;
}

awaitable<void> Connection::deny(const policy_verdict& verdict, std::string_view cause) {
  status_ = 403;
  policy_verdict whole = verdict;
  whole.struct_size = sizeof whole;
  const std::string ref = audit_denied(whole, cause);
  co_await answer(
      {.status = 403, .reason = verdict.reason, .ref = ref, .head_request = request_.head().method == "HEAD"});
}

// Allowed, and the outside did not answer.
awaitable<void> Connection::fail_upstream(unsigned status, std::string_view error, std::string cause) {
  ++shared_.counters->failed;
  status_ = status;
  policy_verdict verdict = verdict_;
  verdict.verdict = POLICY_ALLOW;
  verdict.reason = POLICY_REASON_UPSTREAM_FAILED;
  const std::string ref =
      services_.reader->audit(query(POLICY_LAYER_HTTP), verdict, detail("\"cause\":" + net::json_text(cause))).ref;
  co_await answer({.status = status,
                   .reason = POLICY_REASON_UPSTREAM_FAILED,
                   .ref = ref,
                   .error = error,
                   .head_request = request_.head().method == "HEAD"});
}

// Answers what find_route() says. Always false.
awaitable<bool> Connection::no_route(const Route& route) {
  if (route.refused()) {
    if (route.has_peer) peer_ = route.peer;  // what the record names
    co_await deny(route.verdict, route.cause);
  } else {
    co_await fail_upstream(route.status, route.error, route.cause);
  }
  co_return false;
}

awaitable<bool> Connection::read_head() {
  request_.reset();
  has_target_ = false;
  http_json_.clear();
  status_ = 0;
  timed_out_ = false;
  bool started = !from_client_.empty();
  // A first request is awaited no longer than a head may take: nobody connects to say nothing.
  const bool first = requests_ == 0;
  std::chrono::milliseconds within = first || started ? config_.header_timeout : config_.keepalive_timeout;
  if (shared_.draining && !started) within = std::min(within, kLastRequest);
  limit(started ? Phase::kHead : Phase::kIdle, within);
  for (;;) {
    HttpState state = HttpState::kNeedMore;
    if (!from_client_.empty()) {
      state = request_.feed(from_client_.rest());
      from_client_.take(request_.consumed());
    } else {
      std::span<std::uint8_t> scratch(*shared_.relay->scratch);
      const ssize_t n = client_.receive(scratch);
      if (n < 0 && would_block(errno)) {
        const Io waited = co_await readable(client_);
        if (waited == Io::kOk) continue;
        if (waited == Io::kTimeout && started) {
          co_await refuse({408, POLICY_REASON_TIMED_OUT, "the head did not come in time"});
        } else if (waited == Io::kTimeout && shared_.draining) {
          timed_out_ = false;
          co_await linger();  // a request that comes after all sees the end of the connection, and no reset
        } else {
          close();
        }
        co_return false;
      }
      if (n <= 0) {  // between requests that is the end; within a head nobody is left to answer
        close();
        co_return false;
      }
      if (!started) limit(Phase::kHead, config_.header_timeout);
      started = true;
      const auto got = scratch.first(static_cast<std::size_t>(n));
      state = request_.feed(std::span<const std::uint8_t>(got));
      from_client_.keep(got.subspan(request_.consumed()));
    }
    if (state == HttpState::kFailed) {
      ++shared_.counters->requests;
      co_await refuse(refusal_of(request_.fault(), request_.head()));
      co_return false;
    }
    if (state == HttpState::kDone) break;
  }
  ++requests_;
  ++shared_.counters->requests;
  began_ = net::Clock::now();
  blocked_ = {};
  blocked_octets_ = 0;
  rested_ = {};
  const wire::HttpRequestHead& head = request_.head();
  const std::string_view host = head.form == wire::TargetForm::kAbsolute || head.form == wire::TargetForm::kAuthority
                                    ? head.target_authority.host
                                    : head.host_raw;
  http_json_ = "\"method\":" + net::json_text(head.method, wire::kMaxMethod) + ",\"host\":" + net::json_text(host);
  if (config_.audit_paths && head.form != wire::TargetForm::kAuthority) {
    http_json_ += ",\"path\":" + net::json_text(head.path.substr(0, head.path.find('?')), kMaxPath);
  }
  co_return true;
}

awaitable<bool> Connection::is_known(Login login) {
  const policy_clients_v1* clients = services_.clients;
  if (!clients) co_return false;  // a host without policy.clients/1 knows nobody
  policy_thread* const thread = services_.reader->raw();
  const policy_str user = policy::str(login.user), password = policy::str(login.password);
  if (!services_.verify || clients->struct_size < sizeof *clients)
    co_return clients->verify(thread, &login.peer, user, password) == POLICY_OK;
  policy_code code = clients->recall(thread, &login.peer, user, password);
  if (code == POLICY_NOT_FOUND) {
    no_limit();
    code = co_await services_.verify(std::move(login));
  }
  co_return code == POLICY_OK;
}

awaitable<Refusal> Connection::authenticate() {
  user_.clear();
  if (config_.auth == Auth::kNone) co_return Refusal{};
  const wire::HttpRequestHead& head = request_.head();
  const wire::HttpField* field = head.find("proxy-authorization");
  if (!field) {
    if (config_.auth == Auth::kOptional) co_return Refusal{};
    co_return Refusal{407, POLICY_REASON_AUTH_REQUIRED, {}};
  }
  for (const wire::HttpField* other = field + 1; other != head.fields.data() + head.fields.size(); ++other) {
    if (other->name.size() == field->name.size() && head.find(other->name) == field) {
      co_return Refusal{400, POLICY_REASON_FRAMING_AMBIGUOUS, "two Proxy-Authorization fields"};
    }
  }
  const std::optional<Credentials> given = parse_basic(field->value);
  if (!given) co_return Refusal{407, POLICY_REASON_AUTH_MISMATCH, "no Basic credentials"};
  const bool known = co_await is_known({who_.id, who_.address, given->user, given->password});
  if (!known) co_return Refusal{407, POLICY_REASON_AUTH_MISMATCH, {}};
  user_ = given->user;
  co_return Refusal{};
}

awaitable<bool> Connection::admit() {
  const wire::HttpRequestHead& head = request_.head();
  peer_.reset();
  verdict_ = {};
  target_ = {};
  Refusal refusal = read_target(*services_.edge, head, config_.host_mismatch, target_);
  // Of a target that was read the record has the name, though its Host or method is refused.
  has_target_ = target_.port != 0 && refusal.reason != POLICY_REASON_AUTHORITY_MALFORMED;
  if (!refusal.refused()) refusal = co_await authenticate();
  if (!refusal.refused()) refusal = check_method(head);
  if (!refusal.refused() && has_looped(head, services_.via)) {
    refusal = {508, POLICY_REASON_LOOP_DETECTED, "Via names this proxy"};
  }
  if (refusal.refused()) {
    co_await refuse(refusal);
    co_return false;
  }
  verdict_ = services_.reader->decide(query(POLICY_LAYER_HTTP));
  if (passes(verdict_, target_.is_name)) co_return true;
  co_await deny(verdict_);
  co_return false;
}

awaitable<void> Connection::run() {
  for (;;) {
    const bool got = co_await read_head();
    if (!got) co_return;
    const bool admitted = co_await admit();
    if (!admitted) co_return;
    const bool within = co_await within_limits(verdict_);
    if (!within) co_return;
    if (request_.head().form == wire::TargetForm::kAuthority) {
      co_await connect_request();
      co_return;
    }
    const bool again = co_await forward();
    meter_.close();
    if (!again) co_return;
  }
}

}  // namespace sallyport::http_proxy
