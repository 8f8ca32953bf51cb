// Connection's exchanges in clear HTTP: a request that was admitted, its origin, and the responses.
//
// A request's body goes up while responses come down: an origin may answer before it has read all. A response that ends
// before its request's body has gone up ends both connections, since the origin may take the rest for a request (CL.0).
#include <strings.h>
#include <sys/socket.h>

#include <boost/asio/experimental/awaitable_operators.hpp>
#include <cerrno>

#include "http-proxy/connection.hpp"
#include "support/admission.hpp"

namespace sallyport::http_proxy {

using namespace boost::asio::experimental::awaitable_operators;
using net::awaitable;
using wire::BodyKind;
using wire::HttpState;

namespace {

constexpr unsigned kMaxInterim = 16;  // 1xx responses to one request; more is a flood (HTP-35)

bool is_idempotent(std::string_view method) {  // RFC 9110 §9.2.2
  return method == "GET" || method == "HEAD" || method == "OPTIONS" || method == "PUT" || method == "DELETE";
}

bool wants_websocket(const wire::HttpRequestHead& head) {
  return head.upgrade_websocket && head.connection_upgrade && !head.upgrade_h2c && head.method == "GET" &&
         head.minor_version == 1 && head.body == BodyKind::kNone;
}

}  // namespace

awaitable<bool> Connection::inside_request_is_fine() {
  const wire::HttpRequestHead& head = request_.head();
  Refusal refusal = check_method(head);
  const std::uint16_t reason = net::check_request(*services_.edge, head, target_.name, target_.port);
  if (!refusal.refused() && reason != POLICY_REASON_OK) refusal = {net::status_of(reason), reason, {}};
  if (refusal.refused()) {
    co_await refuse(refusal);
    co_return false;
  }
  const policy_verdict verdict = services_.reader->decide(query(POLICY_LAYER_HTTP));
  if (verdict.verdict != POLICY_ALLOW) {
    co_await deny(verdict);
    co_return false;
  }
  // What a trial lets pass, or would stop, is told of each request.
  const bool trial = (verdict.flags & POLICY_FLAG_OBSERVED) != 0 || verdict.trials[0] != 0;
  if (trial && !services_.reader->audit(query(POLICY_LAYER_HTTP), verdict, detail())) {
    co_await refuse({503, POLICY_REASON_AUDIT_DROPPED, {}});
    co_return false;
  }
  if (requests_ > 1) {  // the tunnel itself was charged as the first
    met_ = meter_.charge(POLICY_CHARGE_REQUEST, 1);
    if (!met_) {
      co_await refuse(limit_refusal());
      co_return false;
    }
  }
  co_return true;
}

// Ends both directions; what has been said to the client already decides how.
void Connection::abort(Outcome outcome) {
  if (!abort_) abort_ = outcome;
  wake();
}

void Connection::decide_again() {
  if (!exchanging_ || inside_ || !peer_) return;
  policy_query asked = query(POLICY_LAYER_DIAL);
  if (weigh(services_, asked, *peer_).verdict != POLICY_ALLOW) abort(Outcome::kRevoked);
}

awaitable<bool> Connection::forward() {
  const bool can_retry = request_.head().body == BodyKind::kNone && is_idempotent(request_.head().method);
  const std::string key = inside_ ? std::string() : client_key();
  const std::string origin = target_.authority();
  bool reused = false, audited = false;
  for (;;) {
    if (!inside_) {
      std::optional<Upstream> kept;
      if (!audited) kept = shared_.pool->take(key, origin, net::Clock::now());
      if (kept) {  // its address is decided anew, for this request
        const policy_verdict verdict = weigh(services_, query(POLICY_LAYER_HTTP), kept->peer);
        reused = verdict.verdict == POLICY_ALLOW;
        if (reused) {
          server_ = std::move(kept->socket);
          peer_ = kept->peer;
          verdict_ = verdict;
        }
      }
      if (!reused) {
        no_limit();
        Route route = co_await find_route(services_, config_, *shared_.tasks, query(POLICY_LAYER_HTTP), target_);
        if (!route.socket) co_return co_await no_route(route);
        server_ = std::move(*route.socket);
        peer_ = route.peer;
        verdict_ = route.verdict;
        if (is_ourselves()) {
          co_await refuse({403, POLICY_REASON_ADDR_FORBIDDEN, "this proxy itself"});
          co_return false;
        }
      }
      const bool within = co_await within_limits(verdict_);  // of the rule for that address, if it is another
      if (!within) co_return false;
      if (!std::exchange(audited, true) && !audit_allowed()) {
        co_await refuse({503, POLICY_REASON_AUDIT_DROPPED, {}});
        co_return false;
      }
    }
    exchanging_ = true;
    const Outcome outcome = co_await exchange();
    exchanging_ = false;
    if (outcome == Outcome::kUnanswered && reused && can_retry && !timed_out_) {
      // It was closed while it waited for this request. Once: the next is a new one.
      server_.close();
      peer_.reset();
      reused = false;
      continue;
    }
    co_return co_await finish_exchange(outcome);
  }
}

awaitable<Connection::Outcome> Connection::exchange() {
  const wire::HttpRequestHead& head = request_.head();
  abort_.reset();
  broken_.clear();
  pending_.clear();
  from_server_ = {};
  up_ = down_ = 0;
  status_ = 0;
  responded_ = answered_ = keep_server_ = false;
  uploaded_ = head.body == BodyKind::kNone;
  std::string out;
  out.reserve(request_.raw().size() + 128);
  const std::string authority = target_.authority();
  rewrite_request(head,
                  {.path = head.path,
                   .authority = authority,
                   .via = inside_ ? std::string_view() : std::string_view(services_.via),
                   .websocket = wants_websocket(head)},
                  out);
  limit(Phase::kResponse, config_.response_timeout);
  const Io charged = co_await charge(true, out.size());
  if (charged != Io::kOk) co_return charged == Io::kLimit ? Outcome::kLimited : abort_.value_or(Outcome::kGone);
  const Io sent = co_await send(server_, out);
  if (sent == Io::kSinkTimeout) co_return Outcome::kLate;
  if (sent != Io::kOk && uploaded_) co_return Outcome::kUnanswered;
  if (uploaded_) co_return co_await responses();
  limit(Phase::kUpload, config_.body_timeout);
  Outcome outcome = Outcome::kGone;
  upload_result_ = Io::kOk;
  co_await (upload() && respond(&outcome));
  // One time limit for both: it was the body that did not come.
  if (outcome == Outcome::kLate && upload_result_ == Io::kTimeout) outcome = Outcome::kSlow;
  co_return outcome;
}

awaitable<void> Connection::upload() {
  const wire::HttpRequestHead& head = request_.head();
  Body body{.kind = head.body, .length = head.content_length, .up = true};
  body.framing = head.body == BodyKind::kChunked ? Framing::kChunked : Framing::kLength;
  upload_result_ = co_await pass_body(body, &up_);
  if (answered_) co_return;
  switch (upload_result_) {
    case Io::kOk:
      uploaded_ = true;
      if (!responded_) limit(Phase::kResponse, config_.response_timeout);
      break;
    case Io::kSinkError:  // its response may say why
      if (!responded_) limit(Phase::kResponse, config_.body_timeout);
      break;
    case Io::kSinkTimeout:
      abort(Outcome::kLate);
      break;
    case Io::kTimeout:
      abort(Outcome::kSlow);
      break;
    case Io::kEnd:
      abort(Outcome::kGone);
      break;
    case Io::kError:
      abort(broken_.empty() ? Outcome::kGone : Outcome::kBadRequest);
      break;
    case Io::kLimit:
      abort(Outcome::kLimited);
      break;
  }
}

awaitable<void> Connection::respond(Outcome* outcome) {
  *outcome = co_await responses();
  answered_ = true;
  // What is left of the body has nobody who waits for it.
  if (!uploaded_) {
    abort_ = abort_.value_or(Outcome::kClose);
    wake();
  }
}

// The next head into response_. kEnd, kError: none came; broken_ says if it was the head's fault.
awaitable<Connection::Io> Connection::next_response() {
  if (!response_) response_.emplace(wire::HttpLimits{.rebuilt = true});
  response_->reset();
  const wire::ResponseTo to = request_.head().method == "HEAD" ? wire::ResponseTo::kHead : wire::ResponseTo::kOther;
  bool started = false;
  for (;;) {
    if (abort_) co_return Io::kError;
    if (from_server_.empty()) {
      if (!server_.is_open()) co_return Io::kError;
      std::span<std::uint8_t> scratch(*shared_.relay->scratch);
      const ssize_t n = server_.receive(scratch);
      if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
        const Io waited = co_await readable(server_);
        if (waited != Io::kOk) co_return waited;
        continue;
      }
      if (n <= 0) {
        if (started) broken_ = "cut off within a head";
        co_return n == 0 ? Io::kEnd : Io::kError;
      }
      from_server_.keep(scratch.first(static_cast<std::size_t>(n)));
    }
    started = true;
    const HttpState state = response_->feed(from_server_.rest(), to);
    from_server_.take(response_->consumed());
    if (state == HttpState::kFailed) {
      broken_ = wire::to_string(response_->fault());
      co_return Io::kError;
    }
    if (state == HttpState::kDone) co_return Io::kOk;
  }
}

awaitable<Connection::Outcome> Connection::responses() {
  const wire::HttpRequestHead& request = request_.head();
  const bool client_is_10 = request.minor_version == 0, websocket = wants_websocket(request);
  const std::string_view via = inside_ ? std::string_view() : std::string_view(services_.via);
  for (unsigned interim = 0;;) {
    const Io got = co_await next_response();
    if (got != Io::kOk) {
      if (abort_) co_return *abort_;
      if (!broken_.empty()) co_return Outcome::kBroken;
      if (got == Io::kTimeout) co_return Outcome::kLate;
      if (interim == 0) co_return Outcome::kUnanswered;
      broken_ = "no final response";
      co_return Outcome::kBroken;
    }
    const wire::HttpResponseHead& head = response_->head();
    std::string text;
    if (head.status < 200 && head.status != 101) {
      if (++interim > kMaxInterim) {
        broken_ = "too many interim responses";
        co_return Outcome::kBroken;
      }
      if (client_is_10 || (head.status == 100 && !request.expect_continue)) continue;
      rewrite_response(head, {.via = via}, text);
      const Io charged = co_await charge(false, text.size());
      if (charged != Io::kOk) co_return charged == Io::kLimit ? Outcome::kLimited : abort_.value_or(Outcome::kGone);
      const Io sent = co_await send(client_, text);
      if (sent != Io::kOk) co_return Outcome::kGone;
      continue;
    }
    if (head.status == 101) {
      if (!websocket || !head.upgrade_websocket || !head.connection_upgrade) {
        broken_ = "101 to a request that asked for no websocket";
        co_return Outcome::kBroken;
      }
      status_ = 101;
      rewrite_response(head, {.via = via, .websocket = true}, text);
      limit(Phase::kDownload, config_.body_timeout);
      const Io sent = co_await send(client_, text);
      co_return sent == Io::kOk ? Outcome::kSwitched : Outcome::kGone;
    }
    if (head.status == 407) {  // it would make the client tell it the credentials that are for us
      broken_ = "an origin that asks for proxy credentials";
      co_return Outcome::kBroken;
    }
    const wire::HttpField* coding = head.find("transfer-encoding");
    if (coding && (coding->value.size() != 7 || ::strncasecmp(coding->value.data(), "chunked", 7) != 0)) {
      broken_ = "a transfer coding that was not asked for";
      co_return Outcome::kBroken;
    }

    Framing framing = Framing::kNone;
    if (head.body == BodyKind::kLength) framing = Framing::kLength;
    if (head.body == BodyKind::kChunked || head.body == BodyKind::kUntilClose) {
      framing = client_is_10 ? Framing::kClose : Framing::kChunked;
    }
    const bool keep = request.keep_alive && uploaded_ && !shared_.draining && requests_ < config_.max_requests &&
                      framing != Framing::kClose;
    status_ = head.status;
    ++shared_.counters->by_class[std::min(head.status / 100, 5u)];
    rewrite_response(head,
                     {.framing = framing,
                      .via = via,
                      .keep_alive = keep,
                      .client_is_10 = client_is_10,
                      .length_of_none = request.method == "HEAD" || head.status == 304},
                     text);
    const Io charged = co_await charge(false, text.size());
    if (charged != Io::kOk) co_return charged == Io::kLimit ? Outcome::kLimited : abort_.value_or(Outcome::kGone);
    responded_ = true;
    limit(Phase::kDownload, config_.body_timeout);
    pending_ = std::move(text);
    if (framing == Framing::kNone) {
      const Io sent = co_await send(client_, pending_);
      pending_.clear();
      if (sent != Io::kOk) co_return Outcome::kGone;
    } else {
      const Io passed =
          co_await pass_body({.kind = head.body, .length = head.content_length, .framing = framing}, &down_);
      if (passed == Io::kLimit) co_return Outcome::kLimited;
      if (passed != Io::kOk) co_return Outcome::kCut;
    }
    keep_server_ =
        head.keep_alive && head.body != BodyKind::kUntilClose && uploaded_ && from_server_.empty() && !abort_;
    co_return keep&& uploaded_ ? Outcome::kKeep : Outcome::kClose;
  }
}

// True: another request may follow.
awaitable<bool> Connection::finish_exchange(Outcome outcome) {
  const bool timed_out = std::exchange(timed_out_, false);
  // Only the first octets of a response can still be replaced by an answer of ours.
  if (responded_ && outcome != Outcome::kKeep && outcome != Outcome::kClose) {
    std::uint16_t reason = POLICY_REASON_UPSTREAM_FAILED;
    if (timed_out) reason = POLICY_REASON_TIMED_OUT;
    if (outcome == Outcome::kGone) reason = POLICY_REASON_OK;
    if (outcome == Outcome::kCut && !broken_.empty()) reason = POLICY_REASON_FRAMING_AMBIGUOUS;
    if (outcome == Outcome::kRevoked || (abort_ && *abort_ == Outcome::kRevoked)) reason = POLICY_REASON_REVOKED;
    if (outcome == Outcome::kLimited || (abort_ && *abort_ == Outcome::kLimited)) {
      reason = POLICY_REASON_LIMIT_EXCEEDED;
      audit_denied({.reason = reason}, net::limit_cause(met_.exceeded));
    }
    if (reason == POLICY_REASON_FRAMING_AMBIGUOUS) audit_denied({.reason = reason}, "response: " + broken_);
    if (!inside_) audit_closed(up_, down_, reason);
    cut();
    co_return false;
  }
  if (inside_) {
    inside_up_ += up_;
    inside_down_ += down_;
  } else if (outcome != Outcome::kSwitched) {
    audit_closed(up_, down_, POLICY_REASON_OK);
  }
  switch (outcome) {
    case Outcome::kKeep:
    case Outcome::kClose:
      if (!inside_ && keep_server_ && !shared_.draining) {
        shared_.pool->keep(client_key(), target_.authority(), {std::move(server_), *peer_}, net::Clock::now());
        server_ = net::Stream(client_.poller());
      }
      if (inside_ && !keep_server_) outcome = Outcome::kClose;
      if (!inside_) server_.close();
      if (outcome == Outcome::kKeep) co_return true;
      co_await linger();
      co_return false;
    case Outcome::kSwitched:
      co_await switched();
      co_return false;
    case Outcome::kUnanswered:
      if (inside_ && requests_ > 1) {  // as the client would see it without us; it may try again
        cut();
        co_return false;
      }
      co_await fail_upstream(502, "connection_terminated", "response: none");
      co_return false;
    case Outcome::kBroken: {
      status_ = 502;
      const std::string ref =
          audit_denied({.reason = POLICY_REASON_FRAMING_AMBIGUOUS}, "response: " + std::exchange(broken_, {}));
      co_await answer({.status = 502,
                       .reason = POLICY_REASON_FRAMING_AMBIGUOUS,
                       .ref = ref,
                       .head_request = request_.head().method == "HEAD"});
      co_return false;
    }
    case Outcome::kLate:
      co_await fail_upstream(504, "http_response_timeout", "response: timeout");
      co_return false;
    case Outcome::kBadRequest:
      co_await refuse({400, POLICY_REASON_FRAMING_AMBIGUOUS, std::string_view(broken_)});
      co_return false;
    case Outcome::kSlow:
      co_await refuse({408, POLICY_REASON_TIMED_OUT, "the body did not come in time"});
      co_return false;
    case Outcome::kLimited:
      co_await refuse(limit_refusal());
      co_return false;
    case Outcome::kRevoked:
      co_await refuse({403, POLICY_REASON_REVOKED, {}});
      co_return false;
    case Outcome::kCut:
    case Outcome::kGone:
      cut();
      co_return false;
  }
  co_return false;
}

// The origin's 101: octets from here, what came behind it first.
awaitable<void> Connection::switched() {
  opaque_ = true;
  const bool was_inside = std::exchange(inside_, false);
  if (!ticket_.valid() && !open_ticket()) {
    audit_closed(0, 0, POLICY_REASON_REVOKED);
    cut();
    co_return;
  }
  limit(Phase::kTunnel, config_.idle_timeout);
  if (!from_server_.empty()) {
    const bool sent = co_await relay_.write_down(from_server_.rest());
    from_server_ = {};
    if (!sent) co_return;
  }
  if (was_inside) {
    co_await carry();
  } else {
    co_await tunnel({});
  }
}

}  // namespace sallyport::http_proxy
