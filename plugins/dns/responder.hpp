// Responder: from a query's octets to its answer's. No sockets of its own; what an answer needs from outside it asks of
// the host (who asks, decision, addresses, ledger, audit) and of the resolver, and of the latter only for names that
// policy has allowed.
//
// Two steps, since most answers need nobody: begin() answers, or says that the name must be resolved; finish() does
// that. Every query is decided first, whether its answer is kept here already or not, and decided again after each
// wait.
//
// Memory   begin() allocates nothing, on a refusal or on an answer that is kept.
// Threads  The loop's.
#pragma once

#include <policy/ext/clients.h>
#include <policy/ext/draft/synthetic.h>
#include <policy/ext/ledger.h>
#include <sys/socket.h>

#include <array>
#include <cstdint>
#include <functional>
#include <numeric>
#include <optional>
#include <policy/plugin.hpp>
#include <span>
#include <vector>

#include "dns/config.hpp"
#include "dns/wire_cache.hpp"
#include "dns/words.hpp"
#include "support/sockets.hpp"
#include "wire/dns_message.hpp"
#include "wire/dns_writer.hpp"

namespace sallyport::dns {

// What the responder stands on; all outlive it. resolve has the meaning of net::Resolver::resolve.
struct Services {
  const policy_edge_v1* edge = nullptr;
  const policy_decision_v1* decision = nullptr;
  const policy_clients_v1* clients = nullptr;          // nullptr: cells alone
  const policy_synthetic_draft1* synthetic = nullptr;  // with Answers::kSynthetic
  const policy_ledger_v1* ledger = nullptr;            // with Answers::kReal
  const policy_limits_v1* limits = nullptr;
  policy::Reader* reader = nullptr;
  std::function<net::awaitable<net::ResolveResult>(DomainName, std::uint16_t, net::Clock::time_point)> resolve;
  std::function<net::awaitable<bool>(std::uint64_t seq)> applied;  // every enforcer has it; false: not in time
  std::function<bool()> has_ipv6;                                  // a route to the IPv6 internet
  std::string upstreams;                             // "9.9.9.9:53", for the causes of failures; empty: there is none
  net::TunnelBudgets* budgets = nullptr;             // nullptr: none
  std::function<void(std::string_view text)> alarm;  // for the operator; with budgets
};

enum class Transport : std::uint8_t { kUdp = 0, kTcp };

// Where a query came from.
struct Origin {
  std::uint64_t listener = 0;  // the client id that came with the listener: a cell's, or 0 at a gate
  const sockaddr* peer = nullptr;
  socklen_t peer_size = 0;
};

// An allowed query between begin() and finish(); a copy of all it needs.
struct Pending {
  wire::DnsQuery query;
  policy_name name{};
  policy_verdict verdict{};
  policy_addr client{};  // if has_client
  std::uint64_t client_id = 0;
  bool has_client = false;  // at a gate; a cell's client is its id alone
  std::uint8_t parent = 0;  // labels of the parent whose budgets count; the name's own: none do
  Transport transport = Transport::kUdp;
  net::Clock::time_point began{};
};

struct Counters {
  std::uint64_t queries = 0, allowed = 0, denied = 0, failed = 0, malformed = 0, unknown_clients = 0;
  std::uint64_t cache_hits = 0, bindings = 0, late_enforcers = 0;
  std::array<std::array<std::uint64_t, kRcodes>, 2> replies{};       // by transport and rcode
  std::array<std::uint64_t, net::kTunnelBudgets> tunnel_suspects{};  // alarms, by the budget that was reached
  std::uint64_t suspects() const noexcept {
    return std::accumulate(tunnel_suspects.begin(), tunnel_suspects.end(), std::uint64_t{0});
  }
};

class Responder {
 public:
  // The least room an answer's buffer has: what UDP carries. Over TCP kTcpOctets: sixteen aliases and 64 addresses.
  static constexpr std::size_t kReplyOctets = wire::kDnsMaxUdp;
  static constexpr std::size_t kTcpOctets = 8192;
  using Buffer = std::span<std::uint8_t>;
  using Reply = std::span<const std::uint8_t>;  // from the buffer's start

  static constexpr std::uint32_t kDeniedTtl = 5;   // s; ACCEPTANCE allows 10: a changed policy is seen soon
  static constexpr std::uint32_t kAnswerTtl = 60;  // s at most; the address is ours, asking again is cheap
  static constexpr std::uint32_t kNoticeTtl = 10;  // s at most for an honest NODATA or NXDOMAIN
  static constexpr std::uint32_t kLeastTtl = 30;   // s, of an address: DNS-30
  static constexpr std::uint32_t kLongestTtl = 3600;
  // How long a synthetic address keeps its name. Far over any TTL given, since programs keep addresses for themselves;
  // and counted from the last answer, which may have come from the cache.
  static constexpr std::uint32_t kAssignMs = 3'600'000 + kAnswerTtl * 1000;
  static constexpr std::chrono::milliseconds kResolveLimit{4600};  // a client is told by 5 s (DNS-35)

  // config outlives the responder.
  Responder(Services services, const Config& config);

  enum class Step : std::uint8_t { kSilence = 0, kReply, kResolve };
  Step begin(std::span<const std::uint8_t> message, const Origin& origin, Transport transport,
             net::Clock::time_point now, Buffer buffer, Reply& reply, Pending& pending);

  // The owner keeps buffer and *pending until this ends.
  net::awaitable<Reply> finish(Pending* pending, Buffer buffer);
  // The answer when there is no room to resolve: SERVFAIL at once, rather than silence.
  Reply overloaded(const Pending& pending, Buffer buffer);

  // The id for bounds per client; of a client that this gateway does not know, too.
  std::uint64_t client_of(const Origin& origin);

  const Counters& counters() const noexcept { return counters_; }

 private:
  // How a denial reads on the wire.
  enum class Denial : std::uint8_t { kBlocked, kNoData, kRefused };

  bool identify(const Origin& origin, Pending& pending);
  Reply unknown_client(Pending& pending, Buffer buffer);
  Reply deny(const Pending& pending, const policy_query& asked, policy_verdict verdict, Denial denial, Buffer buffer,
             wire::EdeCode code = wire::EdeCode::kBlocked, std::string_view cause = {});
  // Of a name that policy allows, and whose client is held back below its parent.
  Reply deny_suspect(const Pending& pending, const net::TunnelBudgets::Finding& finding, Buffer buffer);
  void find_parent(Pending& pending) const;
  // False: its rule's `requests` are used up, and nothing is asked outside.
  bool within_limits(const Pending& pending) const;
  // Decides the name again: the policy may have changed while something was awaited.
  bool still_allowed(Pending& pending);
  Reply no_data(const Pending& pending, std::uint32_t ttl, Buffer buffer);
  Reply nx_domain(const Pending& pending, std::uint32_t ttl, Buffer buffer);
  // text is for the client, cause for the audit.
  Reply failure(const Pending& pending, wire::EdeCode code, std::string_view text, std::string_view cause,
                Buffer buffer);
  Reply failure_of(const Pending& pending, net::ResolveOutcome outcome, Buffer buffer);

  // The addresses that may be dialled, in place. None: *refusal is the verdict on the first one and *refused that one.
  std::size_t keep_permitted(const Pending& pending, std::span<policy_addr> addresses, policy_verdict& refusal,
                             policy_addr& refused);
  Reply answer_forbidden(const Pending& pending, const policy_verdict& refusal, const policy_addr& refused,
                         Buffer buffer);
  std::vector<policy_addr> canonical(std::span<const Address> addresses) const;
  // Where nothing real is given out: the gateway's address or a synthetic one, for a name whose addresses may be
  // dialled.
  Reply own_address_reply(const Pending& pending, std::uint32_t ttl, Buffer buffer);
  policy_code record(const Pending& pending, std::span<const policy_binding> bindings, std::uint64_t& seq);
  net::awaitable<Reply> real_reply(Pending* pending, std::vector<policy_addr> addresses,
                                   std::vector<wire::WireName> chain, std::uint32_t ttl, Buffer buffer);
  Reply address_reply(const Pending& pending, std::span<const policy_addr> addresses,
                      std::span<const wire::WireName> chain, std::uint32_t ttl, net::Clock::time_point expires,
                      Buffer buffer);
  Reply fixed_addresses(const Pending& pending, std::span<policy_addr> addresses, Buffer buffer);
  std::size_t host_addresses(const Pending& pending, std::span<policy_addr> out);
  bool gives_family(std::uint16_t type) const;  // with Answers::kGateway
  bool is_forwarded(std::uint16_t type) const;  // SVCB and HTTPS with Svcb::kStrip
  // What the upstream has of these types, for targets that policy allows this client; the owner is the QNAME, whose
  // word stands for its chain.
  Reply services_reply(const Pending& pending, std::vector<net::ServiceRecord> services, std::uint32_t ttl,
                       Buffer buffer);

  Reply kept_reply(const Pending& pending, net::Clock::time_point now, Buffer buffer);
  void keep(const Pending& pending, Reply reply, std::span<const policy_addr> bindings, net::Clock::time_point now,
            net::Clock::time_point expires);
  static WireCache::Key key_of(const Pending& pending);

  policy::Audited audit(const policy_query& asked, const policy_verdict& verdict, std::uint16_t qtype,
                        wire::Rcode rcode, Transport transport, std::string_view raw = {}, std::string_view cause = {});
  policy::Audited write_audit(const policy_query& asked, const policy_verdict& verdict, Transport transport,
                              std::string_view detail, std::string_view raw);
  static policy_query query_of(const Pending& pending);

  // What a record says beside the decision.
  static constexpr std::size_t kDetailOctets =
      96;  // {"dns":{"qtype":"TYPE65535","rcode":"NXDOMAIN","transport":"udp"}}
  struct Detail {
    std::uint16_t qtype = 0;
    wire::Rcode rcode{};
    Transport transport{};
    FixedText<kDetailOctets> text;
  };

  Services services_;
  const Config& config_;
  std::vector<policy_addr> gateway_;  // canonical
  WireCache cache_;
  std::array<Detail, 64> details_;  // by qtype, rcode and transport
  Counters counters_;
};

}  // namespace sallyport::dns
