// Responder: from a query's octets to its answer's. No sockets of its own; what an answer needs from outside it asks of
// the host (decision, synthetic addresses, audit) and of the resolver, and of the latter only for names that policy has
// allowed.
//
// Two steps, since most answers need nobody: begin() answers, or says that the name must be resolved; finish() does
// that. Threads  The loop's.
#pragma once

#include <policy/ext/draft/synthetic.h>

#include <cstdint>
#include <functional>
#include <policy/plugin.hpp>
#include <span>

#include "dns/config.hpp"
#include "support/sockets.hpp"
#include "wire/dns_message.hpp"
#include "wire/dns_writer.hpp"

namespace sallyport::dns {

// What the responder stands on; all outlive it. resolve has the meaning of net::Resolver::resolve.
struct Services {
  const policy_edge_v1* edge = nullptr;
  const policy_decision_v1* decision = nullptr;
  const policy_synthetic_draft1* synthetic = nullptr;
  policy::Reader* reader = nullptr;
  std::function<net::awaitable<net::ResolveResult>(DomainName, std::uint16_t, net::Clock::time_point)> resolve;
  std::function<bool()> has_ipv6;  // a route to the IPv6 internet
  std::string upstreams;           // "9.9.9.9:53", for the causes of failures; empty: there is none
};

enum class Transport : std::uint8_t { kUdp = 0, kTcp };

// An allowed query between begin() and finish(); a copy of all it needs.
struct Pending {
  wire::DnsQuery query;
  policy_name name{};
  policy_verdict verdict{};
  std::uint64_t client_id = 0;
  Transport transport = Transport::kUdp;
};

struct Counters {
  std::uint64_t queries = 0, allowed = 0, denied = 0, failed = 0, malformed = 0;
};

class Responder {
 public:
  // The least room an answer's buffer has: replies are small, since a synthetic answer is one record.
  static constexpr std::size_t kReplyOctets = wire::kDnsMaxUdp;
  using Buffer = std::span<std::uint8_t, kReplyOctets>;
  using Reply = std::span<const std::uint8_t>;  // into the buffer

  static constexpr std::uint32_t kDeniedTtl = 5;   // s; ACCEPTANCE allows 10: a changed policy is seen soon
  static constexpr std::uint32_t kAnswerTtl = 60;  // s at most; the address is ours, asking again is cheap
  static constexpr std::uint32_t kNoticeTtl = 10;  // s at most for an honest NODATA or NXDOMAIN
  // How long an address keeps its name. Far over any TTL given, since programs keep addresses for themselves.
  static constexpr std::uint32_t kAssignMs = 3'600'000;
  static constexpr std::chrono::milliseconds kResolveLimit{4600};  // a client is told by 5 s (DNS-35)

  explicit Responder(Services services) : services_(std::move(services)) {}

  enum class Step : std::uint8_t { kSilence = 0, kReply, kResolve };
  Step begin(std::span<const std::uint8_t> message, std::uint64_t client_id, Transport transport, Buffer buffer,
             Reply& reply, Pending& pending);

  // The owner keeps buffer and *pending until this ends.
  net::awaitable<Reply> finish(const Pending* pending, Buffer buffer);
  // The answer when there is no room to resolve: SERVFAIL at once, rather than silence.
  Reply overloaded(const Pending& pending, Buffer buffer);

  const Counters& counters() const noexcept { return counters_; }

 private:
  Reply deny(const wire::DnsQuery& query, const policy_query& asked, policy_verdict verdict, Transport transport,
             wire::Rcode rcode, Buffer buffer);
  Reply no_data(const Pending& pending, std::uint32_t ttl, Buffer buffer);
  // text is for the client, cause for the audit.
  Reply failure(const Pending& pending, wire::EdeCode code, std::string_view text, std::string_view cause,
                Buffer buffer);
  Reply address_reply(const Pending& pending, std::uint32_t ttl, Buffer buffer);
  // Some address may be dialled. Else *refusal is the verdict on the first one and *refused that address.
  bool any_permitted(const Pending& pending, std::span<const policy_addr> addresses, policy_verdict& refusal,
                     policy_addr& refused);
  Reply answer_forbidden(const Pending& pending, const policy_verdict& refusal, const policy_addr& refused,
                         Buffer buffer);
  Reply fixed_addresses(const Pending& pending, std::span<const policy_addr> addresses, Buffer buffer);

  policy::Audited audit(const policy_query& asked, const policy_verdict& verdict, std::uint16_t qtype,
                        wire::Rcode rcode, Transport transport, std::string_view raw = {}, std::string_view cause = {});
  static policy_query query_of(const Pending& pending);

  Services services_;
  Counters counters_;
};

}  // namespace sallyport::dns
