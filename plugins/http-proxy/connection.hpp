// Connection: one connection of a client, from its accept to its close.
//
//   read_head   one strict head; what cannot be read in one way only is refused
//   admit       credentials, target, loop, decide()
//   CONNECT     tunnel.cpp: connect, 200, look at the first octets, carry
//   others      exchange.cpp: connect or reuse, rebuild, both bodies by their framing, and the next request
//
// Every refusal is audited, answered with a reason, and ends the connection: what the client has sent behind it is read
// and dropped, never handled.
//
// Time limits  One entry of the thread's wheel; what it means follows from phase_.
// Threads      The loop's.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <policy/plugin.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "http-proxy/answer.hpp"
#include "http-proxy/rewrite.hpp"
#include "http-proxy/route.hpp"
#include "http-proxy/services.hpp"
#include "http-proxy/target.hpp"
#include "http-proxy/timer_wheel.hpp"
#include "http-proxy/upstream_pool.hpp"
#include "support/flow_ticket.hpp"
#include "support/relay.hpp"
#include "support/stream.hpp"
#include "wire/http_chunked.hpp"
#include "wire/http_head.hpp"

namespace sallyport::http_proxy {

struct Counters {
  std::uint64_t accepted = 0, shed = 0, requests = 0, allowed = 0, denied = 0, failed = 0;
  std::uint64_t up = 0, down = 0;
  std::uint64_t by_class[6] = {};  // responses, ours too, by the first digit of their status
};

// What the connections of a thread share, besides Services.
struct Shared {
  net::asio::io_context* loop = nullptr;
  net::TaskScope* tasks = nullptr;
  net::RelayResources* relay = nullptr;
  TimerWheel* wheel = nullptr;
  UpstreamPool* pool = nullptr;
  Counters* counters = nullptr;
  std::size_t* tunnels = nullptr;
  bool draining = false;
};

struct Client {
  std::uint64_t id = 0;
  bool in_cell = false;  // its listener says who it is; the address it comes from is no identity
  policy_addr address{};
};

class Connection final : public TimerWheel::Entry {
 public:
  Connection(const Config& config, const Services& services, Shared& shared, net::Stream socket, const Client& client);
  ~Connection() override;

  net::awaitable<void> run();

  void drain();         // one request more, if it comes at once; else the one at work is the last
  void decide_again();  // a new policy: ends an exchange that it denies. Tunnels have tickets
  bool wants_nothing() const noexcept { return phase_ == Phase::kIdle; }

 private:
  // What is waited for, and so what the end of the time limit means.
  enum class Phase : std::uint8_t {
    kIdle,      // the first octet of a request: a quiet close
    kHead,      // the rest of a head: 408
    kRoute,     // resolver and dialler, which have limits of their own
    kUpload,    // the client's body: 408; or the server to take it: 504
    kResponse,  // the server's head: 504
    kDownload,  // the server's body, or the client to take it: a reset
    kHello,     // the first octets in a tunnel
    kTunnel,    // octets either way
    kAnswer,    // the client to take our answer, and to close
  };
  // What became of reading or writing.
  enum class Io : std::uint8_t {
    kOk,
    kEnd,      // before it was complete
    kError,    // the sender, or what it sent
    kTimeout,  // the sender
    kSinkError,
    kSinkTimeout,
    kLimit,  // of the rule: met_ says which
  };
  // What became of the responses to one request.
  enum class Outcome : std::uint8_t {
    kKeep,        // answered; another request may follow
    kClose,       // answered; the connection ends
    kSwitched,    // 101: opaque from here
    kUnanswered,  // the server closed before an octet of a response
    kBroken,      // the server's response cannot be read: 502
    kLate,        // no response in time: 504
    kCut,         // in the middle of a response, whoever is at fault: the client sees a reset
    kBadRequest,  // the client's body cannot be read: 400
    kSlow,        // the client's body did not come in time: 408
    kGone,        // the client
    kRevoked,     // by a new policy, before the response began
    kLimited,     // more than its rule's limits have left
  };
  // Octets read and not yet used.
  struct Input {
    std::vector<std::uint8_t> octets;
    std::size_t used = 0;
    bool empty() const noexcept { return used == octets.size(); }
    std::span<const std::uint8_t> rest() const noexcept { return std::span(octets).subspan(used); }
    void take(std::size_t n) noexcept {
      used += n;
      if (used == octets.size()) octets.clear(), used = 0;
    }
    void keep(std::span<const std::uint8_t> rest) { octets.assign(rest.begin(), rest.end()), used = 0; }
  };
  // Where a body's octets go on, and how.
  struct Body {
    wire::BodyKind kind = wire::BodyKind::kNone;
    std::uint64_t length = 0;
    bool up = false;
    Framing framing = Framing::kNone;  // on the way out
  };

  void expired() override;

  // connection.cpp
  net::awaitable<bool> read_head();  // false: no request, and all that was to be said has been
  net::awaitable<bool> admit();      // the head's target is target_, allowed by verdict_ so far; false: refused
  net::awaitable<Refusal> authenticate();
  net::awaitable<bool> is_known(Login login);
  net::awaitable<void> refuse(Refusal refusal);  // before decide(): ours
  net::awaitable<void> deny(const policy_verdict& verdict, std::string_view cause = {});
  net::awaitable<void> fail_upstream(unsigned status, std::string_view error, std::string cause);
  net::awaitable<void> answer(const Answer& what);  // and closes
  net::awaitable<bool> no_route(const Route& route);
  net::awaitable<void> linger();
  // The limits of the rule that allows it: one connection more, and one request. False: refused, and answered.
  net::awaitable<bool> within_limits(const policy_verdict& verdict);
  Refusal limit_refusal() const;  // for what met_ says

  policy_query query(std::uint16_t layer) const;
  bool settle_requests();
  std::string detail(std::string_view extra_json = {}) const;
  std::string audit_denied(policy_verdict verdict, std::string_view cause);
  bool audit_allowed();  // false: the audit is full, and nothing may go on
  void audit_closed(std::uint64_t up, std::uint64_t down, std::uint16_t reason);
  std::string client_key() const;
  void limit(Phase phase, std::chrono::milliseconds within);
  void rearm();     // after progress
  void no_limit();  // whoever is at work has limits of its own
  void wake();      // whatever waits looks again
  void cut();       // resets both sides
  void close();     // of the client, as it is
  bool is_ourselves() const;

  // io.cpp
  net::awaitable<Io> send(net::Stream& to, std::string_view octets);
  net::awaitable<Io> send_parts(net::Stream& to, std::string_view head, std::span<const std::uint8_t> data,
                                std::string_view tail);
  net::awaitable<Io> readable(net::Stream& from);
  net::awaitable<Io> pass_body(Body body, std::uint64_t* passed);
  net::awaitable<Io> charge(bool up, std::uint64_t octets);
  net::awaitable<Io> rest(std::chrono::nanoseconds wait, bool up);

  // tunnel.cpp
  net::awaitable<void> connect_request();
  net::awaitable<void> tunnel(std::string_view first);  // over server_, once it is allowed
  net::awaitable<bool> inspect();
  net::awaitable<bool> inspect_tls();
  net::awaitable<bool> watch_first_line();
  net::awaitable<bool> refuse_hello(std::uint16_t reason, std::string_view cause);
  net::awaitable<std::size_t> read_more();
  net::awaitable<void> inspect_and_signal(bool* good);
  net::awaitable<void> serve_until_inspected();
  net::awaitable<void> carry();
  net::awaitable<void> serve_inside();
  bool open_ticket();
  void start_hello_limit();

  // exchange.cpp
  net::awaitable<bool> forward();  // one request; true: another may follow
  net::awaitable<bool> inside_request_is_fine();
  net::awaitable<Outcome> exchange();
  net::awaitable<void> upload();
  net::awaitable<Outcome> responses();
  net::awaitable<void> respond(Outcome* outcome);
  net::awaitable<Io> next_response();
  net::awaitable<bool> finish_exchange(Outcome outcome);
  net::awaitable<void> switched();
  void abort(Outcome outcome);

  const Config& config_;
  const Services& services_;
  Shared& shared_;
  net::Stream client_, server_;
  net::Relay relay_;
  const Client who_;

  Phase phase_ = Phase::kIdle;
  std::chrono::milliseconds within_{0};
  bool timed_out_ = false, revoked_ = false;
  std::uint64_t requests_ = 0;
  Input from_client_, from_server_;
  wire::HttpRequestReader request_;
  std::optional<wire::HttpResponseReader> response_;

  // Of the request at work.
  Target target_;
  bool has_target_ = false;
  std::string user_;
  std::optional<policy_addr> peer_;
  policy_verdict verdict_{};
  policy::Meter meter_;                  // of the exchange or the tunnel; relay_ asks it too
  std::uint32_t rule_ = POLICY_NO_RULE;  // that meter_ is for, and in which policy
  std::uint64_t generation_ = 0;
  policy::Charged met_;  // the limit that was exceeded last
  bool exchanging_ = false;
  net::Clock::time_point began_{};
  std::string http_json_;  // for the audit

  // Of the exchange.
  bool uploaded_ = true, responded_ = false, answered_ = false, keep_server_ = false;
  Io upload_result_ = Io::kOk;
  std::optional<Outcome> abort_;  // why both directions are to end
  std::string pending_;           // a response's head that goes with the first octets of its body
  std::uint64_t up_ = 0, down_ = 0;
  unsigned status_ = 0;
  std::string broken_;                   // why the response is
  std::chrono::nanoseconds blocked_{0};  // how long the client did not take what there was
  std::uint64_t blocked_octets_ = 0;
  std::array<net::asio::steady_timer*, 2> rests_{};  // [up]: the limits let it wait
  net::Clock::time_point rests_until_{};             // the later of both
  std::chrono::nanoseconds rested_{0};               // of the upload

  // Of the tunnel.
  bool inside_ = false;           // requests in a tunnel, to server_ alone
  bool opaque_ = false;           // not looked into: `tunnel: any`
  bool requests_hidden_ = false;  // of the tunnel: it carries no clear HTTP
  std::uint64_t inside_up_ = 0, inside_down_ = 0;
  bool hello_limit_set_ = false;
  std::string tls_json_;
  net::FlowTicket ticket_;
};

}  // namespace sallyport::http_proxy
