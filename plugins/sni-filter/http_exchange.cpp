#include "sni-filter/http_exchange.hpp"

#include <strings.h>

#include <algorithm>
#include <array>
#include <boost/asio/experimental/awaitable_operators.hpp>

#include "support/admission.hpp"
#include "support/reason.hpp"

namespace sallyport::sni {

using namespace boost::asio::experimental::awaitable_operators;
using net::awaitable;
using wire::BodyKind;
using wire::HttpState;

namespace {

std::span<const std::uint8_t> octets_of(std::string_view text) {
  return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
}

// The head without its offer of clear HTTP/2, which could not be read after a switch: Upgrade, HTTP2-Settings, and what
// Connection names of them. They are hop-by-hop (RFC 9110 §7.6.1), so to leave them out is an answer to the offer, and
// the request goes on.
std::string without_h2c(const wire::HttpRequestHead& head, std::string_view raw) {
  std::string out(raw.substr(0, raw.find("\r\n") + 2));
  const auto is_offer = [&](const wire::HttpField& field) {
    constexpr std::array<std::string_view, 3> kNames = {"upgrade", "http2-settings", "connection"};
    return std::any_of(kNames.begin(), kNames.end(), [&](std::string_view name) {
      return field.name.size() == name.size() && ::strncasecmp(field.name.data(), name.data(), name.size()) == 0;
    });
  };
  for (const wire::HttpField& field : head.fields)
    if (!is_offer(field)) out.append(field.name).append(": ").append(field.value).append("\r\n");
  if (head.connection_close) out += "Connection: close\r\n";
  if (head.connection_keep_alive && !head.connection_close) out += "Connection: keep-alive\r\n";
  return out + "\r\n";
}

}  // namespace

HttpExchange::HttpExchange(net::Relay& relay, net::Stream& client, net::Stream& server, std::vector<std::uint8_t> held,
                           Check check, Refused refused, const bool& draining)
    : relay_(relay),
      client_(client),
      server_(server),
      check_(std::move(check)),
      refused_(std::move(refused)),
      from_client_{std::move(held), 0},
      draining_(draining),
      signal_(client.get_executor()),
      drain_(client.get_executor()) {}

awaitable<bool> HttpExchange::fill_up() {
  from_client_.octets.resize(kBufferOctets);
  from_client_.used = 0;
  const std::size_t n = co_await relay_.read_up(from_client_.octets);
  from_client_.octets.resize(n);
  co_return n > 0;
}

awaitable<bool> HttpExchange::fill_down() {
  from_server_.octets.resize(kBufferOctets);
  from_server_.used = 0;
  const std::size_t n = co_await relay_.read_down(from_server_.octets);
  from_server_.octets.resize(n);
  co_return n > 0;
}

awaitable<bool> HttpExchange::fill(bool up) { return up ? fill_up() : fill_down(); }

awaitable<bool> HttpExchange::put(std::span<const std::uint8_t> octets, bool up) {
  return up ? relay_.write_up(octets) : relay_.write_down(octets);
}

awaitable<void> HttpExchange::changed() {
  signal_.expires_at(net::Clock::time_point::max());
  (void)co_await signal_.async_wait(net::kAsResult);
}

// Both sides have what they will get: closes the server, ends the client's stream, and gives it kDrain to read the
// rest, since a close with unread input would reset what is still on its way.
void HttpExchange::finish() {
  if (std::exchange(ended_, true)) return;
  relay_.end_server();
  client_.shutdown_send();
  drain_.set(kDrain, [this] { relay_.close(); });
  signal_.cancel();
}

// Between two requests; a response says itself that it is the last.
void HttpExchange::drain() {
  if (!outstanding_.empty() || ended_ || switched_) return;
  drain_.set(kLastRequest, [this] {
    if (outstanding_.empty() && !switched_) finish();
  });
}

awaitable<void> HttpExchange::refuse(unsigned status, std::uint16_t reason, std::string_view cause) {
  const std::string ref = refused_({reason, status, &request_.head(), cause});
  const bool head = request_.state() == HttpState::kDone && request_.head().method == "HEAD";
  answer_ = net::refusal_response(status, net::reason_word(reason), ref, head,
                                  reason == POLICY_REASON_LIMIT_EXCEEDED ? retry_after_ : 0);
  if (!outstanding_.empty()) co_return;  // down() sends it after those
  (void)co_await relay_.say_down(octets_of(answer_));
  finish();
}

awaitable<void> HttpExchange::refuse_first(std::uint16_t reason, std::string_view cause) {
  co_await refuse(net::status_of(reason), reason, cause);
  co_await drop_rest();
  relay_.close();
}

awaitable<void> HttpExchange::bad_gateway(std::string_view cause) {
  constexpr unsigned kBadGateway = 502;
  const std::string ref = refused_({POLICY_REASON_FRAMING_AMBIGUOUS, kBadGateway, nullptr, cause});
  const std::string answer = net::refusal_response(kBadGateway, net::reason_word(POLICY_REASON_FRAMING_AMBIGUOUS), ref,
                                                   outstanding_.front().to == wire::ResponseTo::kHead);
  (void)co_await relay_.say_down(octets_of(answer));
  finish();
}

awaitable<bool> HttpExchange::read_request() {
  request_.reset();
  bool started = false;
  for (;;) {
    if (from_client_.empty()) {
      const bool more = co_await fill_up();
      if (!more) {
        if (started && !ended_) relay_.fail();  // cut off within a head: nobody can answer that
        co_return false;
      }
    }
    started = true;
    const HttpState state = request_.feed(from_client_.rest());
    from_client_.used += request_.consumed();
    if (state == HttpState::kFailed) {
      co_await refuse(net::status_of(request_.fault()), net::reason_of(request_.fault()),
                      wire::to_string(request_.fault()));
      co_return false;
    }
    if (state == HttpState::kDone) break;
  }
  const std::uint16_t reason = check_(request_.head());
  if (++requests_ == 1) {
    first_method_ = request_.head().method;
    first_host_ = request_.head().host_raw;
  }
  if (reason == POLICY_REASON_OK) co_return true;
  co_await refuse(net::status_of(reason), reason, {});
  co_return false;
}

awaitable<bool> HttpExchange::first_request() {
  const bool good = co_await read_request();
  if (!good && ended_) {
    // Answered: what the client still sends is read and dropped until it closes, or kDrain is over.
    co_await drop_rest();
    relay_.close();
  }
  co_return good;
}

awaitable<void> HttpExchange::drop_rest() {
  for (bool more = true; more;) more = co_await fill_up();
  drain_.cancel();
}

awaitable<bool> HttpExchange::body(BodyKind kind, std::uint64_t length, bool up) {
  Input& input = up ? from_client_ : from_server_;
  if (kind != BodyKind::kLength) length = 0;  // the length of a response to HEAD speaks of no body here
  wire::ChunkedReader chunked;
  while (kind == BodyKind::kChunked || length > 0) {
    if (input.empty()) {
      const bool more = co_await fill(up);
      if (!more) {
        if (!ended_) relay_.fail();  // a body cut short must not look whole
        co_return false;
      }
    }
    std::span<const std::uint8_t> part = input.rest();
    bool last = false;
    if (kind == BodyKind::kChunked) {
      const HttpState state = chunked.feed(part);
      if (state == HttpState::kFailed) {
        refused_(
            {POLICY_REASON_FRAMING_AMBIGUOUS, 0, up ? &request_.head() : nullptr, wire::to_string(chunked.fault())});
        relay_.fail();
        co_return false;
      }
      part = part.first(chunked.consumed());
      last = state == HttpState::kDone;
    } else {
      part = part.first(static_cast<std::size_t>(std::min<std::uint64_t>(part.size(), length)));
      length -= part.size();
    }
    const bool written = co_await put(part, up);
    if (!written) co_return false;
    input.used += part.size();
    if (last) break;
  }
  co_return true;
}

awaitable<void> HttpExchange::requests_up() {
  for (;;) {  // request_ holds a checked head
    const wire::HttpRequestHead& head = request_.head();
    const bool websocket = head.upgrade_websocket && head.connection_upgrade && !head.upgrade_h2c;
    const BodyKind kind = head.body;
    const std::uint64_t length = head.content_length;
    outstanding_.push_back({head.method == "HEAD" ? wire::ResponseTo::kHead : wire::ResponseTo::kOther, websocket,
                            kind == BodyKind::kNone});
    signal_.cancel();
    const std::string rewritten = head.upgrade_h2c ? without_h2c(head, request_.raw()) : std::string();
    const bool sent = co_await put(octets_of(head.upgrade_h2c ? rewritten : request_.raw()), true);
    if (!sent) co_return;
    const bool passed = co_await body(kind, length, true);
    if (!passed) co_return;
    if (!outstanding_.empty()) outstanding_.back().whole = true;
    if (websocket) {
      while (!switched_ && !outstanding_.empty() && !ended_) co_await changed();
      if (switched_) {
        const bool rest = co_await put(from_client_.rest(), true);
        if (rest) (void)co_await relay_.pump_up();
        co_return;
      }
    }
    while (outstanding_.size() >= kMaxOutstanding && !ended_) co_await changed();
    if (ended_) co_return;
    const bool next = co_await read_request();
    if (last_) co_return;  // what came behind the last one is for another connection
    if (!next) break;
  }
  if (answer_.empty() && !ended_ && !relay_.failed()) {  // the client's own end, between two requests
    client_ended_ = true;
    if (outstanding_.empty()) {
      finish();
    } else {
      server_.shutdown_send();
    }
  }
}

awaitable<void> HttpExchange::up() {
  co_await requests_up();
  if (switched_) co_return;
  // Refused, ended, or the client's end: read and drop, so that the close does not reset what the client still has to
  // read.
  if (client_ended_) co_return;
  co_await drop_rest();
}

awaitable<void> HttpExchange::responses_down() {
  unsigned interim = 0;
  bool started = false;
  for (;;) {
    if (from_server_.empty()) {
      const bool more = co_await fill_down();
      if (!more) {
        if (ended_) co_return;
        if (started || !outstanding_.empty()) relay_.fail();
        co_return;
      }
    }
    if (outstanding_.empty()) co_return;  // octets that answer nothing
    started = true;
    const HttpState state = response_.feed(from_server_.rest(), outstanding_.front().to);
    from_server_.used += response_.consumed();
    if (state == HttpState::kNeedMore) continue;
    const wire::HttpResponseHead& head = response_.head();
    if (state == HttpState::kFailed || (head.status == 101 && !outstanding_.front().websocket) ||
        (head.status < 200 && head.status != 101 && ++interim > kMaxInterim)) {
      co_await bad_gateway(state == HttpState::kFailed ? wire::to_string(response_.fault())
                           : head.status == 101        ? "101 to a request that asked for no websocket"
                                                       : "too many interim responses");
      co_return;
    }
    if (first_status_ == 0 && (head.status >= 200 || head.status == 101)) first_status_ = head.status;
    last_ = draining_ && head.status >= 200 && outstanding_.size() == 1 && answer_.empty();
    const std::string_view raw = response_.raw();
    const std::string closing = last_ ? std::string(raw.substr(0, raw.size() - 2)) + "Connection: close\r\n\r\n" : "";
    const bool sent = co_await put(octets_of(last_ ? closing : raw), false);
    if (!sent) co_return;
    started = false;
    if (head.status == 101) {
      switched_ = true;
      signal_.cancel();
      const bool rest = co_await put(from_server_.rest(), false);
      if (rest) (void)co_await relay_.pump_down();
      co_return;
    }
    if (head.status < 200) {
      response_.reset();
      continue;
    }
    interim = 0;
    if (head.body == BodyKind::kUntilClose) {
      const bool rest = co_await put(from_server_.rest(), false);
      if (rest) (void)co_await relay_.pump_down();
      co_return;
    }
    const bool keep_alive = head.keep_alive;
    const bool passed = co_await body(head.body, head.content_length, false);
    if (!passed) co_return;
    const bool whole = outstanding_.front().whole;
    outstanding_.pop_front();
    response_.reset();
    signal_.cancel();
    if (outstanding_.empty() && !answer_.empty()) (void)co_await relay_.say_down(octets_of(answer_));
    if (!keep_alive || !whole || last_ || (outstanding_.empty() && (client_ended_ || !answer_.empty()))) co_return;
    if (draining_) drain();
  }
}

awaitable<void> HttpExchange::down() {
  co_await responses_down();
  if (!switched_) finish();
}

awaitable<void> HttpExchange::run(std::chrono::milliseconds idle) {
  const auto ended = co_await ((up() && down()) || relay_.watch(idle));
  drain_.cancel();
  if (ended.index() == 1) relay_.fail();
  if (!relay_.failed()) relay_.close();
}

}  // namespace sallyport::sni
