#include "dns/responder.hpp"

#include <netinet/in.h>

#include <algorithm>
#include <cstring>

#include "dns/replies.hpp"
#include "support/reason.hpp"

namespace sallyport::dns {
namespace {

using wire::DnsQuery;
using wire::DnsReplyWriter;
using wire::EdeCode;
using wire::QueryOutcome;
using wire::Rcode;

// The labels as they came, dots between them; one inside a label is "\.".
FixedText<2 * wire::WireName::kMaxOctets> octets_of(const wire::WireName& name) {
  FixedText<2 * wire::WireName::kMaxOctets> out;
  const auto wire = name.octets();
  if (name.is_root()) return out << '.';
  for (std::size_t at = 0; at < wire.size() && wire[at] != 0; at += 1u + wire[at]) {
    if (at > 0) out << '.';
    for (const std::uint8_t octet : wire.subspan(at + 1, wire[at])) {
      if (octet == '.') out << '\\';
      out << static_cast<char>(octet);
    }
  }
  return out;
}

bool is_transfer(std::uint16_t type) { return type == wire::kTypeAxfr || type == wire::kTypeIxfr; }

template <std::size_t kRoom>
FixedText<kRoom> detail_of(std::uint16_t qtype, std::size_t rcode, Transport transport, std::string_view cause) {
  FixedText<kRoom> out;
  out << R"({"dns":{"qtype":")" << qtype_word(qtype).view() << R"(","rcode":")" << rcode_word(rcode)
      << (transport == Transport::kTcp ? R"(","transport":"tcp"})" : R"(","transport":"udp"})");
  if (!cause.empty()) out << R"(,"cause":)" << net::json_text(cause);
  return out << '}';
}

// A dual-stack socket shows IPv4 clients as mapped addresses; they are the same clients as on an IPv4 one.
policy_code canonical_peer(const policy_edge_v1& edge, const Origin& origin, policy_addr& out) {
  policy_error error{};
  error.struct_size = sizeof error;
  if (origin.peer->sa_family == AF_INET6) {
    sockaddr_in6 v6;
    std::memcpy(&v6, origin.peer, sizeof v6);
    if (IN6_IS_ADDR_V4MAPPED(&v6.sin6_addr)) {
      sockaddr_in v4{};
      v4.sin_family = AF_INET;
      v4.sin_port = v6.sin6_port;
      std::memcpy(&v4.sin_addr, v6.sin6_addr.s6_addr + 12, sizeof v4.sin_addr);
      return edge.addr(&v4, sizeof v4, &out, &error);
    }
  }
  return edge.addr(origin.peer, origin.peer_size, &out, &error);
}

}  // namespace

Responder::Responder(Services services, const Config& config)
    : services_(std::move(services)), config_(config), cache_(config.cache_entries) {
  gateway_ = canonical(config.gateway_addresses);
}

policy_query Responder::query_of(const Pending& pending) {
  policy_query asked{};
  asked.struct_size = sizeof asked;
  asked.layer = POLICY_LAYER_DNS;
  asked.qtype = pending.query.question->type;
  asked.client_id = pending.client_id;
  asked.client = pending.has_client ? &pending.client : nullptr;
  asked.name = &pending.name;
  asked.known = POLICY_KNOW_NAME;
  asked.deferred = POLICY_KNOW_ADDRESS | kKnowLater;
  return asked;
}

policy::Audited Responder::audit(const policy_query& asked, const policy_verdict& verdict, std::uint16_t qtype,
                                 Rcode rcode, Transport transport, std::string_view raw, std::string_view cause) {
  const std::size_t index = rcode_index(rcode);
  ++counters_.replies[static_cast<std::size_t>(transport)][index];
  if (cause.empty()) {
    // The same few texts for nearly every query.
    const std::size_t spread = qtype % 61u + 9 * index + 31 * static_cast<std::size_t>(transport);
    Detail& known = details_[spread % details_.size()];
    if (known.text.view().empty() || known.qtype != qtype || known.rcode != rcode || known.transport != transport)
      known = {qtype, rcode, transport, detail_of<kDetailOctets>(qtype, index, transport, {})};
    return write_audit(asked, verdict, transport, known.text.view(), raw);
  }
  return write_audit(asked, verdict, transport, detail_of<1024>(qtype, index, transport, cause).view(), raw);
}

policy::Audited Responder::write_audit(const policy_query& asked, const policy_verdict& verdict, Transport transport,
                                       std::string_view detail, std::string_view raw) {
  policy_query with_transport = asked;  // decide() is asked about the destination, of which nothing is known yet
  with_transport.proto = transport == Transport::kTcp ? IPPROTO_TCP : IPPROTO_UDP;
  return services_.reader->audit(with_transport, verdict, detail, raw);
}

bool Responder::identify(const Origin& origin, Pending& pending) {
  pending.client_id = origin.listener;
  pending.has_client = false;
  if (origin.listener != 0 || services_.clients == nullptr) return true;  // without an id decide() denies
  if (canonical_peer(*services_.edge, origin, pending.client) != POLICY_OK) return false;
  pending.has_client = true;
  return services_.clients->identify(services_.reader->raw(), origin.listener, &pending.client, &pending.client_id) ==
         POLICY_OK;
}

std::uint64_t Responder::client_of(const Origin& origin) {
  Pending pending;
  identify(origin, pending);
  return pending.client_id;
}

Responder::Reply Responder::deny(const Pending& pending, const policy_query& asked, policy_verdict verdict,
                                 Denial denial, Buffer buffer, EdeCode code, std::string_view cause) {
  ++counters_.denied;
  verdict.verdict = POLICY_DENY;
  const DnsQuery& query = pending.query;
  const std::uint16_t type = query.question->type;
  const bool zero = denial == Denial::kBlocked && config_.blocked == Blocked::kZero;
  const bool refused =
      denial == Denial::kRefused || (denial == Denial::kBlocked && config_.blocked == Blocked::kRefused);
  const Rcode rcode = refused                             ? Rcode::kRefused
                      : zero || denial == Denial::kNoData ? Rcode::kNoError
                                                          : Rcode::kNxDomain;
  const policy::Audited audited =
      asked.name ? audit(asked, verdict, type, rcode, pending.transport, {}, cause)
                 : audit(asked, verdict, type, rcode, pending.transport, octets_of(query.question->name).view());
  DnsReplyWriter reply(buffer, query, limit_of(query, pending.transport, buffer), rcode);
  if (zero && type == wire::kTypeA) {
    reply.add_a(kDeniedTtl, std::array<std::uint8_t, 4>{});
  } else if (zero && type == wire::kTypeAaaa) {
    reply.add_aaaa(kDeniedTtl, std::array<std::uint8_t, 16>{});
  } else if (!refused) {
    add_negative_soa(reply, kDeniedTtl);
  }
  FixedText<128> text;
  text << "blocked by policy: " << net::reason_word(verdict.reason) << "; this is not a fault, do not retry";
  if (!audited.ref.empty()) text << "; ref " << audited.ref;
  reply.set_error(code, text.view());
  return reply.finish();
}

void Responder::find_parent(Pending& pending) const {
  const std::uint32_t listed =
      net::TunnelBudgets::listed_labels(*services_.decision, services_.reader->raw(), pending.name, pending.verdict);
  pending.parent = static_cast<std::uint8_t>(net::TunnelBudgets::parent_labels(pending.name, listed));
}

Responder::Reply Responder::deny_suspect(const Pending& pending, const net::TunnelBudgets::Finding& finding,
                                         Buffer buffer) {
  const std::string cause = services_.budgets->words(finding, pending.name, pending.parent);
  if (finding.first) {
    ++counters_.tunnel_suspects[static_cast<std::size_t>(finding.reached)];
    services_.alarm(cause);
  }
  policy_verdict verdict = pending.verdict;  // keeps rule and generation: it is the rule's wildcard that is abused
  verdict.reason = POLICY_REASON_TUNNEL_SUSPECT;
  return deny(pending, query_of(pending), verdict, Denial::kBlocked, buffer, EdeCode::kBlocked, cause);
}

Responder::Reply Responder::unknown_client(Pending& pending, Buffer buffer) {
  ++counters_.unknown_clients;
  if (pending.query.outcome != QueryOutcome::kQuery) {
    ++counters_.malformed;
    ++counters_.replies[static_cast<std::size_t>(pending.transport)][rcode_index(Rcode::kRefused)];
    DnsReplyWriter reply(buffer, pending.query, limit_of(pending.query, pending.transport, buffer), Rcode::kRefused);
    reply.set_error(EdeCode::kProhibited);
    return reply.finish();
  }
  policy_query asked = query_of(pending);
  if (!name_of(*services_.edge, pending.query.question->name, pending.name)) {
    asked.name = nullptr;
    asked.known = 0;
  }
  asked.deferred = 0;
  return deny(pending, asked, denied(POLICY_REASON_CLIENT_UNKNOWN), Denial::kRefused, buffer, EdeCode::kProhibited);
}

Responder::Step Responder::begin(std::span<const std::uint8_t> message, const Origin& origin, Transport transport,
                                 net::Clock::time_point now, Buffer buffer, Reply& reply, Pending& pending) {
  pending.query = wire::read_query(message);
  const DnsQuery& query = pending.query;
  if (query.outcome == QueryOutcome::kSilence) return Step::kSilence;
  ++counters_.queries;
  pending.transport = transport;
  pending.began = now;
  if (!identify(origin, pending)) {
    reply = unknown_client(pending, buffer);
    return Step::kReply;
  }
  if (query.outcome != QueryOutcome::kQuery) {
    ++counters_.malformed;  // counted, not audited: there is no destination, and noise must not fill the sink
    const Rcode rcode = rcode_of(query.outcome);
    ++counters_.replies[static_cast<std::size_t>(transport)][rcode_index(rcode)];
    reply = DnsReplyWriter(buffer, query, limit_of(query, transport, buffer), rcode).finish();
    return Step::kReply;
  }
  policy_query asked = query_of(pending);
  const std::uint16_t type = query.question->type;

  if (!name_of(*services_.edge, query.question->name, pending.name)) {
    asked.name = nullptr;
    asked.known = asked.deferred = 0;
    // NXDOMAIN for the root would deny every name below it to a caching client (RFC 8020).
    const bool refused = query.question->name.is_root() || is_transfer(type);
    reply = deny(pending, asked, denied(POLICY_REASON_NAME_MALFORMED), refused ? Denial::kRefused : Denial::kBlocked,
                 buffer);
    return Step::kReply;
  }
  pending.parent = pending.name.labels;
  if (is_transfer(type)) {
    reply = deny(pending, asked, denied(POLICY_REASON_QTYPE_DENIED), Denial::kRefused, buffer);
    return Step::kReply;
  }
  pending.verdict = services_.reader->decide(asked);
  if (!passes(pending.verdict)) {
    reply = deny(pending, asked, pending.verdict, Denial::kBlocked, buffer);
    return Step::kReply;
  }
  if (type != wire::kTypeA && type != wire::kTypeAaaa && !is_forwarded(type)) {
    policy_verdict verdict = pending.verdict;  // keeps rule and generation: the name is fine, the type is not
    verdict.reason = POLICY_REASON_QTYPE_DENIED;
    reply = deny(pending, asked, verdict, Denial::kNoData, buffer);
    return Step::kReply;
  }
  net::TunnelBudgets* const budgets = services_.budgets;
  const bool quiet = budgets == nullptr || budgets->is_quiet(now);
  if (!quiet) {  // what is kept here is held back too
    find_parent(pending);
    if (const auto finding = budgets->is_suspect(pending.client_id, pending.name, pending.parent, now)) {
      reply = deny_suspect(pending, finding, buffer);
      return Step::kReply;
    }
  }
  reply = kept_reply(pending, now, buffer);
  if (!reply.empty()) return Step::kReply;

  std::array<policy_addr, kMaxFixed> fixed;
  const std::size_t count = host_addresses(pending, fixed);
  if (count > 0 && is_forwarded(type)) {
    reply = no_data(pending, kNoticeTtl, buffer);
    return Step::kReply;
  }
  if (count > 0 && config_.answers == Answers::kReal) return Step::kResolve;  // its binding may have to be waited for
  if (count > 0) {
    reply = fixed_addresses(pending, {fixed.data(), count}, buffer);
    return Step::kReply;
  }
  if (pending.name.labels < 2) {
    // A single label is a name of this host's surroundings; the internet is never asked for one.
    reply = nx_domain(pending, kDeniedTtl, buffer);
    return Step::kReply;
  }
  // The gateway dials by whatever family it has, and its own addresses say which the client can reach.
  const bool no_route = config_.answers != Answers::kGateway && type == wire::kTypeAaaa && !services_.has_ipv6();
  const bool switched_off = type == wire::kTypeAaaa && config_.ipv6 == Ipv6::kOff;
  if (no_route || switched_off) {
    reply = no_data(pending, kNoticeTtl, buffer);
    return Step::kReply;
  }
  if (budgets != nullptr) {
    if (quiet) find_parent(pending);
    if (const auto finding = budgets->ask(pending.client_id, pending.name, pending.parent, now)) {
      reply = deny_suspect(pending, finding, buffer);
      return Step::kReply;
    }
  }
  return Step::kResolve;
}

std::size_t Responder::host_addresses(const Pending& pending, std::span<policy_addr> out) {
  return std::min(out.size(), services_.decision->host_addresses(services_.reader->raw(), pending.client_id,
                                                                 &pending.name, out.data(), out.size()));
}

WireCache::Key Responder::key_of(const Pending& pending) {
  const auto& edns = pending.query.edns;
  return {.name = &pending.name,
          .client = pending.has_client ? &pending.client : nullptr,
          .client_id = pending.client_id,
          .generation = pending.verdict.generation,
          .type = pending.query.question->type,
          .has_edns = edns.has_value(),
          .dnssec_ok = edns && edns->dnssec_ok};
}

void Responder::keep(const Pending& pending, Reply reply, std::span<const policy_addr> bindings,
                     net::Clock::time_point now, net::Clock::time_point expires) {
  cache_.store(key_of(pending), reply, bindings, now, expires);
}

// Empty: nothing is kept for this query, or it does not fit the client.
Responder::Reply Responder::kept_reply(const Pending& pending, net::Clock::time_point now, Buffer buffer) {
  const WireCache::Hit hit = cache_.find(key_of(pending), now);
  if (!hit.found() || hit.reply.size() > limit_of(pending.query, pending.transport, buffer)) return {};
  // The address is good for as long as its binding lives, and that may have been pushed out of the ledger.
  for (const policy_addr& address : hit.bindings) {
    policy_binding binding{};
    binding.struct_size = sizeof binding;
    std::size_t room = 1;
    if (services_.ledger->find(services_.reader->raw(), pending.client_id, &address, &binding, sizeof binding, &room) !=
        POLICY_OK) {
      return {};
    }
  }
  const auto rcode = static_cast<Rcode>(hit.reply[3] & 0x0f);
  if (!audit(query_of(pending), pending.verdict, pending.query.question->type, rcode, pending.transport)) {
    return audit_dropped(pending.query, pending.transport, buffer);
  }
  ++counters_.cache_hits;
  ++counters_.allowed;
  return WireCache::write(hit, pending.query, buffer);
}

Responder::Reply Responder::no_data(const Pending& pending, std::uint32_t ttl, Buffer buffer) {
  ++counters_.allowed;
  audit(query_of(pending), pending.verdict, pending.query.question->type, Rcode::kNoError, pending.transport);
  ttl = std::min(ttl, kNoticeTtl);
  DnsReplyWriter writer(buffer, pending.query, limit_of(pending.query, pending.transport, buffer), Rcode::kNoError);
  add_negative_soa(writer, ttl);
  const Reply reply = writer.finish();
  const auto now = net::Clock::now();
  keep(pending, reply, {}, now, now + std::chrono::seconds(ttl));
  return reply;
}

Responder::Reply Responder::nx_domain(const Pending& pending, std::uint32_t ttl, Buffer buffer) {
  ++counters_.allowed;
  audit(query_of(pending), pending.verdict, pending.query.question->type, Rcode::kNxDomain, pending.transport);
  ttl = std::min(ttl, kNoticeTtl);
  DnsReplyWriter writer(buffer, pending.query, limit_of(pending.query, pending.transport, buffer), Rcode::kNxDomain);
  add_negative_soa(writer, ttl);
  const Reply reply = writer.finish();
  const auto now = net::Clock::now();
  keep(pending, reply, {}, now, now + std::chrono::seconds(ttl));
  return reply;
}

Responder::Reply Responder::failure(const Pending& pending, EdeCode code, std::string_view text, std::string_view cause,
                                    Buffer buffer) {
  ++counters_.failed;
  policy_verdict verdict = pending.verdict;
  verdict.reason = POLICY_REASON_UPSTREAM_FAILED;
  audit(query_of(pending), verdict, pending.query.question->type, Rcode::kServFail, pending.transport, {}, cause);
  DnsReplyWriter reply(buffer, pending.query, limit_of(pending.query, pending.transport, buffer), Rcode::kServFail);
  reply.set_error(code, text);
  return reply.finish();
}

Responder::Reply Responder::overloaded(const Pending& pending, Buffer buffer) {
  return failure(pending, EdeCode::kOther, "too many queries at once", "too many queries at once", buffer);
}

}  // namespace sallyport::dns
