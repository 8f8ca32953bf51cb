// HttpExchange: clear HTTP/1 between a client and its origin, read strictly in both directions, never spliced.
//
// Every request's head is checked before an octet of it leaves; bodies are passed on by their framing. A request that
// is refused is answered here, after the responses to those before it, and ends the connection. Only the origin's 101
// to a `websocket` request turns the connection opaque. A response that ends before its request does ends the
// connection too: an origin that has not read the body would take the rest of it for the next request (CL.0).
//
// Threads  The loop's; both directions are coroutines of one flow.
// Source   RFC 9112; RFC 9110 §7.8 (Upgrade); RFC 6455.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <string>
#include <vector>

#include "support/deadline.hpp"
#include "support/relay.hpp"
#include "wire/http_chunked.hpp"
#include "wire/http_head.hpp"

namespace sallyport::sni {

class HttpExchange {
 public:
  // POLICY_REASON_OK, or why the request is refused.
  using Check = std::function<std::uint16_t(const wire::HttpRequestHead&)>;
  struct Refusal {
    std::uint16_t reason = 0;
    unsigned status = 0;                             // of the answer; 0: none could be given
    const wire::HttpRequestHead* request = nullptr;  // for the call; as far as it was read. nullptr: the origin's fault
    std::string_view cause;                          // what broke the format, or empty
  };
  // Called at each refusal, before it is answered; returns the ref that the answer carries.
  using Refused = std::function<std::string(const Refusal&)>;

  // held: what the client has sent so far. draining: the response at work, or the next, is the last one.
  HttpExchange(net::Relay& relay, net::Stream& client, net::Stream& server, std::vector<std::uint8_t> held, Check check,
               Refused refused, const bool& draining);

  // Reads and checks the first request. False: it was refused and answered, or the client is gone; nothing is to be
  // dialled.
  net::awaitable<bool> first_request();

  // The rest, after a first_request() that returned true. Ends with both sides closed.
  net::awaitable<void> run(std::chrono::milliseconds idle);

  // `draining` has become true.
  void drain();

  // Instead of run(): the first request, which was good so far, is answered with a refusal.
  net::awaitable<void> refuse_first(std::uint16_t reason, std::string_view cause);
  // What a refusal by limits says of when to come again, in seconds.
  void retry_after(std::uint64_t seconds) noexcept { retry_after_ = seconds; }

  std::uint64_t requests() const noexcept { return requests_; }
  // Of the first request, for the audit; status is 0 until its response has begun.
  const std::string& first_method() const noexcept { return first_method_; }
  const std::string& first_host() const noexcept { return first_host_; }
  unsigned first_status() const noexcept { return first_status_; }

 private:
  static constexpr std::size_t kBufferOctets = 32 * 1024;
  static constexpr std::size_t kMaxOutstanding = 64;         // pipelined requests; clients send a handful
  static constexpr unsigned kMaxInterim = 64;                // 1xx responses to one request; more is a flood
  static constexpr std::chrono::milliseconds kDrain{1'000};  // for the client to read the answer before the close

  // While it drains: for a request that was on its way, its retransmission included.
  static constexpr std::chrono::milliseconds kLastRequest{1'000};

  // Octets read and not yet used.
  struct Input {
    std::vector<std::uint8_t> octets;
    std::size_t used = 0;
    std::span<const std::uint8_t> rest() const noexcept { return std::span(octets).subspan(used); }
    bool empty() const noexcept { return used == octets.size(); }
  };
  struct Outstanding {
    wire::ResponseTo to = wire::ResponseTo::kOther;
    bool websocket = false;
    bool whole = false;  // its body has been passed on
  };

  net::awaitable<bool> fill_up();
  net::awaitable<bool> fill_down();
  net::awaitable<bool> fill(bool up);
  net::awaitable<bool> read_request();  // false: end of the client, or refused
  net::awaitable<void> drop_rest();     // of the client, until it closes or the drain is over
  net::awaitable<bool> body(wire::BodyKind kind, std::uint64_t length, bool up);
  net::awaitable<bool> put(std::span<const std::uint8_t> octets, bool up);

  net::awaitable<void> up();
  net::awaitable<void> requests_up();
  net::awaitable<void> down();
  net::awaitable<void> responses_down();
  net::awaitable<void> refuse(unsigned status, std::uint16_t reason, std::string_view cause);
  net::awaitable<void> bad_gateway(std::string_view cause);
  net::awaitable<void> changed();
  void finish();

  net::Relay& relay_;
  net::Stream& client_;
  net::Stream& server_;
  Check check_;
  Refused refused_;
  Input from_client_, from_server_;
  wire::HttpRequestReader request_;
  wire::HttpResponseReader response_;
  std::deque<Outstanding> outstanding_;  // requests sent up whose responses have not ended
  std::string answer_;                   // a refusal that waits for the responses before it
  bool switched_ = false;                // the origin's 101 has come: opaque from here
  const bool& draining_;
  bool last_ = false;  // the client has been told that no request may follow
  bool client_ended_ = false;
  bool ended_ = false;  // finish() was called
  std::uint64_t retry_after_ = 0;
  std::uint64_t requests_ = 0;
  std::string first_method_, first_host_;
  unsigned first_status_ = 0;
  net::asio::steady_timer signal_;  // never expires; cancelled at each change
  net::Deadline drain_;
};

}  // namespace sallyport::sni
