// Flow: one captured TCP connection, from its accept to its close.
//
//   admit      original destination -> name, or literal, or neither yet -> decide()
//   classify   the client's first octets: TLS with that SNI, clear HTTP with that Host, or another protocol
//   choose     our own resolution; every candidate decided and guarded
//   connect    Happy Eyeballs over those candidates
//   carry      octets both ways: strict HTTP, or opaque with splice
//
// On ports 80 and 443 classify comes first; elsewhere servers may speak first, so it comes last, and what the client
// says is held back until it is classified. `tunnel: any` is a rule's word about the candidates it permits, so it holds
// once they are chosen: then those alone are dialled, and classify is left out.
//
// At a gate the name may come from the client alone (classify comes first then, on every port), from the ledger, or
// from both: README.md has the table. What a ticket of policy.flow/1 holds ends at once when a new policy denies it.
//
// Threads  The loop's.
#pragma once

#include <policy/ext/clients.h>
#include <policy/ext/draft/synthetic.h>
#include <policy/ext/flow.h>
#include <policy/ext/ledger.h>

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <policy/plugin.hpp>
#include <set>
#include <string>
#include <vector>

#include "sni-filter/config.hpp"
#include "sni-filter/http_exchange.hpp"
#include "support/deadline.hpp"
#include "support/dialler.hpp"
#include "support/flow_ticket.hpp"
#include "support/relay.hpp"
#include "support/sockets.hpp"

namespace sallyport::sni {

// What flows stand on; all outlive them. resolve has the meaning of net::Resolver::resolve.
struct Services {
  const policy_edge_v1* edge = nullptr;
  const policy_decision_v1* decision = nullptr;
  const policy_synthetic_draft1* synthetic = nullptr;  // in a cell
  const policy_clients_v1* clients = nullptr;          // at a gate, these four; a ledger only where dns keeps one
  const policy_flow_v1* flow = nullptr;
  const policy_ledger_v1* ledger = nullptr;
  const policy_limits_v1* limits = nullptr;
  net::asio::io_context* loop = nullptr;
  std::set<std::string> redirected{};  // listeners that the kernel sends flows to
  policy::Reader* reader = nullptr;
  std::function<net::awaitable<net::ResolveResult>(DomainName, std::uint16_t, net::Clock::time_point)> resolve;
  std::function<bool()> has_ipv6;
  std::function<std::optional<net::tcp::endpoint>(int fd)> original_destination = net::original_destination;
  net::RelayResources* relay = nullptr;
  net::TunnelBudgets* budgets = nullptr;  // of names that only a lookup of ours would bring outside; nullptr: none
  std::function<void(std::string_view text)> alarm{};  // for the operator; with budgets
  bool draining = false;                               // flows end when it suits them
};

struct Counters {
  std::uint64_t accepted = 0, opened = 0, denied = 0, failed = 0, shed = 0, revoked = 0;
  std::uint64_t up = 0, down = 0;  // octets of flows that have ended
  std::uint64_t hello_ok = 0, hello_no_sni = 0, hello_ech = 0, hello_malformed = 0;
};

// Who connected, and where to: what the listener has found out.
struct Arrival {
  std::uint64_t client_id = 0;
  std::optional<policy_addr> client;  // at a gate
  Destination destination = Destination::kSynthetic;
  bool transparent = false;  // TPROXY: the local address is where it was going
  std::uint64_t number = 0;
};

class Flow {
 public:
  Flow(const Config& config, const Services& services, Counters& counters, net::Stream client, Arrival arrival);
  ~Flow();
  Flow(const Flow&) = delete;
  Flow& operator=(const Flow&) = delete;

  net::awaitable<void> run();
  void drain();  // services.draining has become true

 private:
  enum class Kind : std::uint8_t { kPending = 0, kOpaque, kHttp };

  // An address that the policy permits for this flow, and the permitting verdict.
  struct Candidate {
    net::tcp::endpoint endpoint;
    policy_verdict verdict;
  };
  enum Family : std::size_t { kV6 = 0, kV4 = 1 };

  bool admit();
  bool admit_synthetic();
  bool admit_original();
  bool admit_bound();  // by the names that this client was told the address for
  bool admit_by_name();
  bool find_bound();
  bool decide_literal();  // the address itself, by a rule for addresses
  std::optional<net::tcp::endpoint> destination();
  std::uint16_t adopt(const policy_name& claimed);  // the client says where it goes; POLICY_REASON_OK, or why not
  bool is_bound(const policy_name& name) const;
  std::uint16_t check_http(const wire::HttpRequestHead& head);
  void describe(const wire::HttpRequestHead& head);
  void weigh_bound();
  // A name below a wildcard is text of the client's choice, and a lookup carries it outside. True: it must not.
  bool is_held_back(const net::TunnelBudgets::Finding& finding, unsigned parent);
  net::awaitable<bool> choose();         // sets candidates_ and tunnel_any_
  net::awaitable<bool> within_limits();  // one connection more, and one request; false: refused
  net::awaitable<bool> connect();
  net::awaitable<void> resolve();  // both families, or the first that has addresses and a moment more
  net::awaitable<void> fetch(Family family);
  net::awaitable<void> until_enough();
  net::awaitable<void> feed(std::shared_ptr<net::LateCandidates> late);
  void weigh(Family family);
  void weigh(const policy_addr& address);
  std::vector<net::tcp::endpoint> endpoints(bool v6) const;
  bool answered() const { return answers_[kV6].has_value() && answers_[kV4].has_value(); }
  net::awaitable<bool> classify();
  net::awaitable<bool> other_protocol(std::uint16_t reason);  // where only TLS and HTTP may be
  net::awaitable<bool> watch_first_line();
  net::awaitable<bool> classify_tls();
  net::awaitable<bool> classify_http();
  net::awaitable<void> classify_and_signal(bool* good);
  net::awaitable<void> serve_until_classified();
  net::awaitable<std::size_t> read_more();  // appends to held_; 0: the end, the deadline, or a failure
  net::awaitable<void> carry();

  void start_hello_deadline();
  void reset(std::uint16_t reason, std::string_view extra_json = {});  // a refusal of ours: audited, RST
  net::awaitable<void> alert(std::uint16_t reason, std::string_view extra_json);
  std::string refuse(const policy_verdict& verdict, std::string_view extra_json = {});  // returns the ref
  std::string refused_http(const HttpExchange::Refusal& refusal);
  void fail_upstream(std::string_view cause);
  policy_query query(std::uint16_t layer) const;
  std::string detail(std::string_view extra_json = {}) const;
  bool open_ticket();
  bool settle_requests();
  void audit_close();

  const Config& config_;
  const Services& services_;
  Counters& counters_;
  net::Stream client_, server_;
  Arrival arrival_;
  net::Clock::time_point began_;
  net::Relay relay_;

  std::optional<policy_addr> literal_;  // the destination if it is no synthetic address, or an unknown one
  policy_name name_{};
  bool has_name_ = false;
  bool has_port_ = false;
  bool named_by_client_ = false;       // the name, if there is none yet, is what the client says
  bool dials_bound_ = false;           // the address that was told (sought_), not one of our own resolution
  std::optional<policy_addr> sought_;  // of the client's choice: literal_ before the client's first octets decide
  std::vector<policy_name> bound_;     // names that this client was told it for
  std::uint16_t port_ = 0;
  bool tunnel_any_ = false;
  bool inspected_ = false;                                    // classify() was passed before the candidates were chosen
  std::array<std::optional<net::ResolveResult>, 2> answers_;  // by Family, as far as they have come
  net::asio::steady_timer answer_came_;
  std::vector<Candidate> candidates_;
  std::optional<policy_verdict> refusal_;  // of the first address that may not be dialled
  policy_addr refused_{};                  // that address
  policy_verdict verdict_{};
  policy::Meter meter_;
  std::uint32_t rule_ = POLICY_NO_RULE;  // that meter_ is for, and in which policy
  std::uint64_t generation_ = 0;
  std::optional<policy_addr> peer_;  // dialled
  bool opened_ = false, revoked_ = false;
  bool hidden_ = false;  // the hello has an ECH extension (or ESNI): another name may be inside
  // The request at hand, for policy: of clear HTTP with a name. Hidden: the flow carries none that is read.
  std::string method_, path_;
  std::uint32_t request_known_ = 0;  // of net::kKnowRequest
  bool requests_seen_ = false, requests_hidden_ = false;
  std::optional<policy_verdict> request_refusal_;
  net::FlowTicket ticket_;

  std::vector<std::uint8_t> held_;  // of the client, not yet sent on
  Kind kind_ = Kind::kPending;
  std::string tls_json_;   // for the audit, once a hello was read
  std::string http_json_;  // and once a request was
  std::unique_ptr<HttpExchange> http_;
  net::Deadline hello_deadline_;
  bool deadline_running_ = false, timed_out_ = false;
};

}  // namespace sallyport::sni
