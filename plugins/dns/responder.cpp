#include "dns/responder.hpp"

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>

#include "support/json.hpp"
#include "support/reason.hpp"

namespace sallyport::dns {
namespace {

using net::ResolveOutcome;
using wire::DnsQuery;
using wire::DnsReplyWriter;
using wire::EdeCode;
using wire::QueryOutcome;
using wire::Rcode;

constexpr std::uint32_t kNameAlone = POLICY_KNOW_NAME;
constexpr std::uint16_t kTcp = 6, kUdp = 17;  // IP protocol numbers
constexpr std::size_t kMaxFixed = 16;         // host addresses of one name; a policy names one or two

std::size_t limit_of(const DnsQuery& query, Transport transport) {
  return transport == Transport::kTcp ? Responder::kReplyOctets
                                      : std::min<std::size_t>(query.udp_limit(), Responder::kReplyOctets);
}

std::string_view rcode_word(Rcode rcode) {
  switch (rcode) {
    case Rcode::kNoError:
      return "NOERROR";
    case Rcode::kFormErr:
      return "FORMERR";
    case Rcode::kServFail:
      return "SERVFAIL";
    case Rcode::kNxDomain:
      return "NXDOMAIN";
    case Rcode::kNotImp:
      return "NOTIMP";
    case Rcode::kRefused:
      return "REFUSED";
    case Rcode::kBadVers:
      return "BADVERS";
  }
  return "SERVFAIL";
}

// The mnemonic, or TYPEnnn (RFC 3597).
std::string qtype_word(std::uint16_t type) {
  switch (type) {
    case wire::kTypeA:
      return "A";
    case wire::kTypeNs:
      return "NS";
    case wire::kTypeCname:
      return "CNAME";
    case wire::kTypeSoa:
      return "SOA";
    case wire::kTypePtr:
      return "PTR";
    case wire::kTypeMx:
      return "MX";
    case wire::kTypeTxt:
      return "TXT";
    case wire::kTypeAaaa:
      return "AAAA";
    case wire::kTypeSrv:
      return "SRV";
    case wire::kTypeSvcb:
      return "SVCB";
    case wire::kTypeHttps:
      return "HTTPS";
    case wire::kTypeAny:
      return "ANY";
    case wire::kTypeAxfr:
      return "AXFR";
    case wire::kTypeIxfr:
      return "IXFR";
    default:
      return "TYPE" + std::to_string(type);
  }
}

// The SOA that lets a client remember an absence (RFC 2308). Its zone is the name itself: nothing is said about its
// parents.
void add_negative_soa(DnsReplyWriter& reply, const wire::WireName& owner, std::uint32_t ttl) {
  static const wire::DnsSoa soa = [] {
    wire::DnsSoa made;
    made.mname = *wire::WireName::from_text("sallyport.invalid");
    made.rname = *wire::WireName::from_text("hostmaster.sallyport.invalid");
    made.serial = 1;
    made.refresh = made.retry = made.expire = 3600;
    return made;
  }();
  wire::DnsSoa with_ttl = soa;
  with_ttl.minimum = ttl;
  reply.add_soa(owner, ttl, with_ttl);
}

policy_verdict denied(std::uint16_t reason) {
  policy_verdict verdict{};
  verdict.struct_size = sizeof verdict;
  verdict.verdict = POLICY_DENY;
  verdict.reason = reason;
  verdict.rule = POLICY_NO_RULE;
  return verdict;
}

// The labels as they came, dots between them; one inside a label is "\.".
std::string octets_of(const wire::WireName& name) {
  const auto wire = name.octets();
  std::string out;
  for (std::size_t at = 0; at < wire.size() && wire[at] != 0; at += 1u + wire[at]) {
    if (at > 0) out += '.';
    for (const std::uint8_t octet : wire.subspan(at + 1, wire[at])) {
      if (octet == '.') out += '\\';
      out += static_cast<char>(octet);
    }
  }
  return out.empty() ? "." : out;
}

bool is_transfer(std::uint16_t type) { return type == wire::kTypeAxfr || type == wire::kTypeIxfr; }

}  // namespace

policy_query Responder::query_of(const Pending& pending) {
  policy_query asked{};
  asked.struct_size = sizeof asked;
  asked.layer = POLICY_LAYER_DNS;
  asked.qtype = pending.query.question->type;
  asked.client_id = pending.client_id;
  asked.name = &pending.name;
  asked.known = kNameAlone;
  asked.deferred = POLICY_KNOW_ADDRESS | POLICY_KNOW_PORT;
  return asked;
}

policy::Audited Responder::audit(const policy_query& asked, const policy_verdict& verdict, std::uint16_t qtype,
                                 Rcode rcode, Transport transport, std::string_view raw, std::string_view cause) {
  std::string detail = R"({"dns":{"qtype":")" + qtype_word(qtype) + R"(","rcode":")";
  detail += rcode_word(rcode);
  detail += transport == Transport::kTcp ? R"(","transport":"tcp"})" : R"(","transport":"udp"})";
  if (!cause.empty()) detail += R"(,"cause":)" + net::json_text(cause);
  detail += "}";
  policy_query with_transport = asked;  // decide() is asked about the destination, of which nothing is known yet
  with_transport.proto = transport == Transport::kTcp ? kTcp : kUdp;
  return services_.reader->audit(with_transport, verdict, detail, raw);
}

Responder::Reply Responder::deny(const DnsQuery& query, const policy_query& asked, policy_verdict verdict,
                                 Transport transport, Rcode rcode, Buffer buffer) {
  ++counters_.denied;
  verdict.verdict = POLICY_DENY;
  std::string raw;
  if (!asked.name) raw = octets_of(query.question->name);
  const policy::Audited audited = audit(asked, verdict, query.question->type, rcode, transport, raw);
  DnsReplyWriter reply(buffer, query, limit_of(query, transport), rcode);
  if (rcode != Rcode::kRefused) add_negative_soa(reply, query.question->name, kDeniedTtl);
  std::string text = "blocked by policy: " + std::string(net::reason_word(verdict.reason));
  text += "; this is not a fault, do not retry";
  if (!audited.ref.empty()) text += "; ref " + audited.ref;
  reply.set_error(EdeCode::kBlocked, text);
  return reply.finish();
}

Responder::Step Responder::begin(std::span<const std::uint8_t> message, std::uint64_t client_id, Transport transport,
                                 Buffer buffer, Reply& reply, Pending& pending) {
  pending.query = wire::read_query(message);
  const DnsQuery& query = pending.query;
  if (query.outcome == QueryOutcome::kSilence) return Step::kSilence;
  ++counters_.queries;
  if (query.outcome != QueryOutcome::kQuery) {
    ++counters_.malformed;  // counted, not audited: there is no destination, and noise must not fill the sink
    reply = DnsReplyWriter(buffer, query, limit_of(query, transport), rcode_of(query.outcome)).finish();
    return Step::kReply;
  }
  pending.client_id = client_id;
  pending.transport = transport;
  policy_query asked = query_of(pending);
  const std::uint16_t type = query.question->type;

  const auto wire_name = query.question->name.octets();
  policy_error error{};
  error.struct_size = sizeof error;
  const policy_str raw{reinterpret_cast<const char*>(wire_name.data()), wire_name.size()};
  if (services_.edge->name(raw, POLICY_FORM_WIRE, &pending.name, &error) != POLICY_OK) {
    asked.name = nullptr;
    asked.known = asked.deferred = 0;
    // NXDOMAIN for the root would deny every name below it to a caching client (RFC 8020).
    const Rcode rcode = query.question->name.is_root() || is_transfer(type) ? Rcode::kRefused : Rcode::kNxDomain;
    reply = deny(query, asked, denied(POLICY_REASON_NAME_MALFORMED), transport, rcode, buffer);
    return Step::kReply;
  }
  if (is_transfer(type)) {
    reply = deny(query, asked, denied(POLICY_REASON_QTYPE_DENIED), transport, Rcode::kRefused, buffer);
    return Step::kReply;
  }
  pending.verdict = services_.reader->decide(asked);
  if (pending.verdict.verdict != POLICY_ALLOW && pending.verdict.verdict != POLICY_CONTINUE) {
    reply = deny(query, asked, pending.verdict, transport, Rcode::kNxDomain, buffer);
    return Step::kReply;
  }
  if (type != wire::kTypeA && type != wire::kTypeAaaa) {
    policy_verdict verdict = pending.verdict;  // keeps rule and generation: the name is fine, the type is not
    verdict.reason = POLICY_REASON_QTYPE_DENIED;
    reply = deny(query, asked, verdict, transport, Rcode::kNoError, buffer);
    return Step::kReply;
  }
  std::array<policy_addr, kMaxFixed> fixed;
  const std::size_t count =
      services_.decision->host_addresses(services_.reader->raw(), client_id, &pending.name, fixed.data(), fixed.size());
  if (count > 0) {
    reply = fixed_addresses(pending, {fixed.data(), std::min(count, fixed.size())}, buffer);
    return Step::kReply;
  }
  if (pending.name.labels < 2) {
    // A single label is a name of this host's surroundings; the internet is never asked for one.
    ++counters_.allowed;
    audit(asked, pending.verdict, type, Rcode::kNxDomain, transport);
    DnsReplyWriter writer(buffer, query, limit_of(query, transport), Rcode::kNxDomain);
    add_negative_soa(writer, query.question->name, kDeniedTtl);
    reply = writer.finish();
    return Step::kReply;
  }
  if (type == wire::kTypeAaaa && !services_.has_ipv6()) {
    reply = no_data(pending, kNoticeTtl, buffer);
    return Step::kReply;
  }
  return Step::kResolve;
}

Responder::Reply Responder::no_data(const Pending& pending, std::uint32_t ttl, Buffer buffer) {
  ++counters_.allowed;
  audit(query_of(pending), pending.verdict, pending.query.question->type, Rcode::kNoError, pending.transport);
  DnsReplyWriter reply(buffer, pending.query, limit_of(pending.query, pending.transport), Rcode::kNoError);
  add_negative_soa(reply, pending.query.question->name, std::min(ttl, kNoticeTtl));
  return reply.finish();
}

Responder::Reply Responder::failure(const Pending& pending, EdeCode code, std::string_view text, std::string_view cause,
                                    Buffer buffer) {
  ++counters_.failed;
  policy_verdict verdict = pending.verdict;
  verdict.reason = POLICY_REASON_UPSTREAM_FAILED;
  audit(query_of(pending), verdict, pending.query.question->type, Rcode::kServFail, pending.transport, {}, cause);
  DnsReplyWriter reply(buffer, pending.query, limit_of(pending.query, pending.transport), Rcode::kServFail);
  reply.set_error(code, text);
  return reply.finish();
}

Responder::Reply Responder::overloaded(const Pending& pending, Buffer buffer) {
  return failure(pending, EdeCode::kOther, "too many queries at once", "too many queries at once", buffer);
}

bool Responder::any_permitted(const Pending& pending, std::span<const policy_addr> addresses, policy_verdict& refusal,
                              policy_addr& refused) {
  policy_query asked = query_of(pending);
  asked.known = POLICY_KNOW_NAME | POLICY_KNOW_ADDRESS;
  asked.deferred = POLICY_KNOW_PORT;
  bool first = true;
  for (const policy_addr& address : addresses) {
    asked.dest = &address;
    const policy_verdict verdict = services_.reader->decide(asked);
    if (verdict.verdict == POLICY_ALLOW || verdict.verdict == POLICY_CONTINUE) return true;
    if (std::exchange(first, false)) {
      refusal = verdict;
      refused = address;
    }
  }
  return false;
}

Responder::Reply Responder::answer_forbidden(const Pending& pending, const policy_verdict& refusal,
                                             const policy_addr& refused, Buffer buffer) {
  policy_query asked = query_of(pending);
  asked.dest = &refused;
  asked.known |= POLICY_KNOW_ADDRESS;
  asked.deferred = POLICY_KNOW_PORT;
  policy_verdict verdict = refusal;
  verdict.reason = POLICY_REASON_ANSWER_FORBIDDEN_ADDR;
  return deny(pending.query, asked, verdict, pending.transport, Rcode::kNxDomain, buffer);
}

Responder::Reply Responder::address_reply(const Pending& pending, std::uint32_t ttl, Buffer buffer) {
  const bool v6 = pending.query.question->type == wire::kTypeAaaa;
  policy_addr address{};
  const policy_code code = services_.synthetic->assign(services_.reader->raw(), pending.client_id, &pending.name,
                                                       kAssignMs, v6 ? nullptr : &address, v6 ? &address : nullptr);
  if (code != POLICY_OK) {
    constexpr std::string_view kNoneFree = "no synthetic address is free";
    return failure(pending, EdeCode::kOther, kNoneFree, kNoneFree, buffer);
  }
  if (!audit(query_of(pending), pending.verdict, pending.query.question->type, Rcode::kNoError, pending.transport)) {
    DnsReplyWriter refused(buffer, pending.query, limit_of(pending.query, pending.transport), Rcode::kServFail);
    refused.set_error(EdeCode::kOther, "audit_dropped");
    return refused.finish();
  }
  ++counters_.allowed;
  DnsReplyWriter reply(buffer, pending.query, limit_of(pending.query, pending.transport), Rcode::kNoError);
  const std::uint32_t answer_ttl = std::min(ttl, kAnswerTtl);
  if (v6) {
    reply.add_aaaa(answer_ttl, std::span<const std::uint8_t, 16>(address.ip, 16));
  } else {
    reply.add_a(answer_ttl, std::span<const std::uint8_t, 4>(address.ip, 4));
  }
  return reply.finish();
}

Responder::Reply Responder::fixed_addresses(const Pending& pending, std::span<const policy_addr> addresses,
                                            Buffer buffer) {
  const std::uint16_t family = pending.query.question->type == wire::kTypeAaaa ? POLICY_IPV6 : POLICY_IPV4;
  std::array<policy_addr, kMaxFixed> of_family;
  std::size_t count = 0;
  for (const policy_addr& address : addresses) {
    if (address.family == family) of_family[count++] = address;
  }
  if (count == 0) return no_data(pending, kNoticeTtl, buffer);
  policy_verdict refusal{};
  policy_addr refused{};
  if (!any_permitted(pending, {of_family.data(), count}, refusal, refused)) {
    return answer_forbidden(pending, refusal, refused, buffer);
  }
  return address_reply(pending, kAnswerTtl, buffer);
}

net::awaitable<Responder::Reply> Responder::finish(const Pending* pending, Buffer buffer) {
  const std::uint16_t type = pending->query.question->type;
  const Result<DomainName> name = DomainName::parse(policy::view(pending->name));
  if (!name.ok()) co_return failure(*pending, EdeCode::kOther, "", "", buffer);
  const net::ResolveResult result = co_await services_.resolve(*name, type, net::Clock::now() + kResolveLimit);
  switch (result.outcome) {
    case ResolveOutcome::kAnswers:
      break;
    case ResolveOutcome::kNoData:
      co_return no_data(*pending, result.ttl, buffer);
    case ResolveOutcome::kNxDomain: {
      ++counters_.allowed;
      audit(query_of(*pending), pending->verdict, type, Rcode::kNxDomain, pending->transport);
      DnsReplyWriter reply(buffer, pending->query, limit_of(pending->query, pending->transport), Rcode::kNxDomain);
      add_negative_soa(reply, pending->query.question->name, std::min(result.ttl, kNoticeTtl));
      co_return reply.finish();
    }
    case ResolveOutcome::kTimeout:
      co_return failure(*pending, EdeCode::kNoReachableAuthority, "no upstream answered in time",
                        "no answer from " + services_.upstreams + " within 4.5 s", buffer);
    case ResolveOutcome::kUnreachable:
      co_return failure(*pending, EdeCode::kNetworkError, "no upstream can be reached",
                        services_.upstreams.empty() ? "there is no resolver" : "cannot reach " + services_.upstreams,
                        buffer);
    case ResolveOutcome::kFailed:
      co_return failure(*pending, EdeCode::kNoReachableAuthority, "the upstream failed",
                        "no usable answer from " + services_.upstreams, buffer);
  }
  std::vector<policy_addr> addresses;
  addresses.reserve(result.addresses.size());
  for (const Address& address : result.addresses) {
    const auto canonical = net::canonical(*services_.edge, net::to_asio(address), 0);
    if (canonical) addresses.push_back(*canonical);
  }
  policy_verdict refusal = denied(POLICY_REASON_ANSWER_FORBIDDEN_ADDR);
  policy_addr refused{};
  if (!any_permitted(*pending, addresses, refusal, refused)) {
    co_return answer_forbidden(*pending, refusal, refused, buffer);
  }
  co_return address_reply(*pending, result.ttl, buffer);
}

}  // namespace sallyport::dns
