// Flow: one captured TCP connection, from its accept to its close.
//
//   admit      original destination -> name (or literal) -> decide()
//   classify   the client's first octets: TLS with that SNI, clear HTTP with that Host, or another protocol
//   connect    our own resolution; every candidate decided and guarded; Happy Eyeballs
//   carry      octets both ways: strict HTTP, or opaque with splice
//
// On ports 80 and 443 classify comes before connect; elsewhere servers may speak first, so connect comes first, and
// what the client says is held back until it is classified.
//
// Threads  The loop's.
#pragma once

#include <policy/ext/draft/synthetic.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <policy/plugin.hpp>
#include <string>
#include <vector>

#include "sni-filter/config.hpp"
#include "sni-filter/http_exchange.hpp"
#include "support/deadline.hpp"
#include "support/dialler.hpp"
#include "support/relay.hpp"
#include "support/sockets.hpp"

namespace sallyport::sni {

// What flows stand on; all outlive them. resolve has the meaning of net::Resolver::resolve.
struct Services {
  const policy_edge_v1* edge = nullptr;
  const policy_decision_v1* decision = nullptr;
  const policy_synthetic_draft1* synthetic = nullptr;
  policy::Reader* reader = nullptr;
  std::function<net::awaitable<net::ResolveResult>(DomainName, std::uint16_t, net::Clock::time_point)> resolve;
  std::function<bool()> has_ipv6;
  std::function<std::optional<net::tcp::endpoint>(int fd)> original_destination = net::original_destination;
  net::RelayResources* relay = nullptr;
};

struct Counters {
  std::uint64_t accepted = 0, opened = 0, denied = 0, failed = 0, shed = 0;
};

class Flow {
 public:
  Flow(const Config& config, const Services& services, Counters& counters, net::tcp::socket client,
       std::uint64_t client_id, std::uint64_t number);
  ~Flow();
  Flow(const Flow&) = delete;
  Flow& operator=(const Flow&) = delete;

  net::awaitable<void> run();

 private:
  enum class Kind : std::uint8_t { kPending = 0, kOpaque, kHttp };

  bool admit();
  net::awaitable<bool> connect();
  net::awaitable<std::vector<policy_addr>> addresses_of_name();
  net::awaitable<bool> classify();
  net::awaitable<bool> classify_tls();
  net::awaitable<bool> classify_http();
  net::awaitable<void> classify_and_signal(bool* good);
  net::awaitable<void> serve_until_classified();
  net::awaitable<std::size_t> read_more();  // appends to held_; 0: the end, the deadline, or a failure
  net::awaitable<void> carry();

  void start_hello_deadline();
  void reset(std::uint16_t reason, std::string_view extra_json = {});  // a refusal of ours: audited, RST
  net::awaitable<void> alert(std::uint16_t reason, std::string_view extra_json);
  void refuse(const policy_verdict& verdict, std::string_view extra_json = {});
  void fail_upstream(std::string_view cause);
  policy_query query(std::uint16_t layer) const;
  std::string detail(std::string_view extra_json = {}) const;
  void audit_close();

  const Config& config_;
  const Services& services_;
  Counters& counters_;
  net::tcp::socket client_, server_;
  std::uint64_t client_id_;
  std::uint64_t number_;
  net::Clock::time_point began_;
  net::Relay relay_;

  std::optional<policy_addr> literal_;  // the destination if it is no synthetic address, or an unknown one
  policy_name name_{};
  bool has_name_ = false;
  bool has_port_ = false;
  std::uint16_t port_ = 0;
  bool tunnel_any_ = false;
  policy_verdict verdict_{};
  std::optional<policy_addr> peer_;  // dialled
  bool opened_ = false;

  std::vector<std::uint8_t> held_;  // of the client, not yet sent on
  Kind kind_ = Kind::kPending;
  std::string tls_json_;  // for the audit, once a hello was read
  std::unique_ptr<HttpExchange> http_;
  net::Deadline hello_deadline_;
  bool deadline_running_ = false, timed_out_ = false;
};

}  // namespace sallyport::sni
