// The second half of the responder: what becomes of an allowed name once its addresses are known.
#include <algorithm>
#include <utility>

#include "dns/replies.hpp"

namespace sallyport::dns {

using net::Clock;
using net::ResolveOutcome;
using wire::DnsReplyWriter;
using wire::EdeCode;
using wire::Rcode;

bool Responder::still_allowed(Pending& pending) {
  pending.verdict = services_.reader->decide(query_of(pending));
  return passes(pending.verdict);
}

bool Responder::gives_family(std::uint16_t type) const {
  const std::uint16_t family = type == wire::kTypeAaaa ? POLICY_IPV6 : POLICY_IPV4;
  return std::any_of(gateway_.begin(), gateway_.end(), [=](const policy_addr& own) { return own.family == family; });
}

bool Responder::is_forwarded(std::uint16_t type) const {
  return config_.svcb == Svcb::kStrip && (type == wire::kTypeSvcb || type == wire::kTypeHttps);
}

std::vector<policy_addr> Responder::canonical(std::span<const Address> addresses) const {
  std::vector<policy_addr> out;
  out.reserve(addresses.size());
  for (const Address& address : addresses) {
    const auto made = net::canonical(*services_.edge, net::to_asio(address), 0);
    if (made) out.push_back(*made);
  }
  return out;
}

std::size_t Responder::keep_permitted(const Pending& pending, std::span<policy_addr> addresses, policy_verdict& refusal,
                                      policy_addr& refused) {
  policy_query asked = query_of(pending);
  asked.known = POLICY_KNOW_NAME | POLICY_KNOW_ADDRESS;
  asked.deferred = kKnowLater;
  std::size_t kept = 0;
  bool first = true;
  for (const policy_addr& address : addresses) {
    asked.dest = &address;
    const policy_verdict verdict = services_.reader->decide(asked);
    if (passes(verdict)) {
      addresses[kept++] = address;
    } else if (std::exchange(first, false)) {
      refusal = verdict;
      refused = address;
    }
  }
  return kept;
}

Responder::Reply Responder::answer_forbidden(const Pending& pending, const policy_verdict& refusal,
                                             const policy_addr& refused, Buffer buffer) {
  policy_query asked = query_of(pending);
  asked.dest = &refused;
  asked.known |= POLICY_KNOW_ADDRESS;
  asked.deferred = kKnowLater;
  policy_verdict verdict = refusal;
  verdict.reason = POLICY_REASON_ANSWER_FORBIDDEN_ADDR;
  return deny(pending, asked, verdict, Denial::kBlocked, buffer);
}

// Without an answer's record there is no answer.
Responder::Reply Responder::address_reply(const Pending& pending, std::span<const policy_addr> addresses,
                                          std::span<const wire::WireName> chain, std::uint32_t ttl,
                                          Clock::time_point expires, Buffer buffer) {
  const wire::DnsQuery& query = pending.query;
  if (!audit(query_of(pending), pending.verdict, query.question->type, Rcode::kNoError, pending.transport))
    return audit_dropped(query, pending.transport, buffer);
  ++counters_.allowed;
  DnsReplyWriter writer(buffer, query, limit_of(query, pending.transport, buffer), Rcode::kNoError);
  for (const wire::WireName& target : chain) writer.add_cname(ttl, target);
  for (const policy_addr& address : addresses) {
    if (address.family == POLICY_IPV6) {
      writer.add_aaaa(ttl, std::span<const std::uint8_t, 16>(address.ip, 16));
    } else {
      writer.add_a(ttl, std::span<const std::uint8_t, 4>(address.ip, 4));
    }
  }
  const Reply reply = writer.finish();
  const bool real = config_.answers == Answers::kReal;
  keep(pending, reply, real ? addresses : std::span<const policy_addr>(), Clock::now(), expires);
  return reply;
}

Responder::Reply Responder::own_address_reply(const Pending& pending, std::uint32_t ttl, Buffer buffer) {
  const bool v6 = pending.query.question->type == wire::kTypeAaaa;
  // The address stays good whatever the upstream's TTL is. What is kept here runs out with that one all the same:
  // whether the name still exists is asked again.
  const Clock::time_point expires = Clock::now() + std::chrono::seconds(std::min(ttl, kAnswerTtl));
  ttl = std::clamp(ttl, kLeastTtl, kAnswerTtl);
  if (config_.answers == Answers::kGateway) {
    std::vector<policy_addr> own;
    for (const policy_addr& address : gateway_)
      if ((address.family == POLICY_IPV6) == v6) own.push_back(address);
    if (own.empty()) return no_data(pending, ttl, buffer);
    return address_reply(pending, own, {}, ttl, expires, buffer);
  }
  policy_addr address{};
  const policy_code code = services_.synthetic->assign(services_.reader->raw(), pending.client_id, &pending.name,
                                                       kAssignMs, v6 ? nullptr : &address, v6 ? &address : nullptr);
  if (code != POLICY_OK) {
    constexpr std::string_view kNoneFree = "no synthetic address is free";
    return failure(pending, EdeCode::kOther, kNoneFree, kNoneFree, buffer);
  }
  return address_reply(pending, {&address, 1}, {}, ttl, expires, buffer);
}

Responder::Reply Responder::fixed_addresses(const Pending& pending, std::span<policy_addr> addresses, Buffer buffer) {
  const std::uint16_t family = pending.query.question->type == wire::kTypeAaaa ? POLICY_IPV6 : POLICY_IPV4;
  std::size_t count = 0;
  for (const policy_addr& address : addresses)
    if (address.family == family) addresses[count++] = address;
  if (count == 0) return no_data(pending, kNoticeTtl, buffer);
  policy_verdict refusal = denied(POLICY_REASON_ANSWER_FORBIDDEN_ADDR);
  policy_addr refused{};
  if (keep_permitted(pending, addresses.first(count), refusal, refused) == 0)
    return answer_forbidden(pending, refusal, refused, buffer);
  return own_address_reply(pending, kAnswerTtl, buffer);
}

Responder::Reply Responder::services_reply(const Pending& pending, std::vector<net::ServiceRecord> services,
                                           std::uint32_t ttl, Buffer buffer) {
  const wire::DnsQuery& query = pending.query;
  std::erase_if(services, [&](const net::ServiceRecord& service) {
    if (service.target.is_root() || service.target == query.question->name) return false;
    policy_name target{};
    if (!name_of(*services_.edge, service.target, target)) return true;
    policy_query asked = query_of(pending);
    asked.name = &target;
    return !passes(services_.reader->decide(asked));
  });
  ttl = std::min(ttl, kAnswerTtl);  // a policy that changes is seen soon
  if (services.empty()) return no_data(pending, ttl, buffer);
  if (!audit(query_of(pending), pending.verdict, query.question->type, Rcode::kNoError, pending.transport))
    return audit_dropped(query, pending.transport, buffer);
  ++counters_.allowed;
  DnsReplyWriter writer(buffer, query, limit_of(query, pending.transport, buffer), Rcode::kNoError);
  for (const net::ServiceRecord& service : services) writer.add_answer(query.question->type, ttl, service.rdata);
  const Reply reply = writer.finish();
  const Clock::time_point now = Clock::now();
  keep(pending, reply, {}, now, now + std::chrono::seconds(ttl));
  return reply;
}

// An upstream may take seconds: by then the address that asked may be another container's.
policy_code Responder::record(const Pending& pending, std::span<const policy_binding> bindings, std::uint64_t& seq) {
  const policy_ledger_v1& ledger = *services_.ledger;
  policy_thread* const thread = services_.reader->raw();
  if (!POLICY_HAS(&ledger, record_asked))
    return ledger.record(thread, bindings.data(), sizeof bindings[0], bindings.size(), &seq);
  const auto age = std::chrono::ceil<std::chrono::milliseconds>(Clock::now() - pending.began).count();
  return ledger.record_asked(thread, bindings.data(), sizeof bindings[0], bindings.size(),
                             static_cast<std::uint32_t>(std::max<std::int64_t>(0, age)), &seq);
}

net::awaitable<Responder::Reply> Responder::real_reply(Pending* pending, std::vector<policy_addr> addresses,
                                                       std::vector<wire::WireName> chain, std::uint32_t ttl,
                                                       Buffer buffer) {
  ttl = std::clamp(ttl, kLeastTtl, kLongestTtl);
  const Clock::time_point expires = Clock::now() + std::chrono::seconds(ttl);
  std::vector<policy_binding> bindings(addresses.size());
  for (std::size_t i = 0; i < addresses.size(); ++i) {
    policy_binding& binding = bindings[i];
    binding.struct_size = sizeof binding;
    binding.ttl_ms = ttl * 1000;
    binding.client_id = pending->client_id;
    if (pending->has_client) binding.client = pending->client;
    binding.addr = addresses[i];
    binding.name = pending->name;
  }
  std::uint64_t seq = 0;
  const policy_code recorded = record(*pending, bindings, seq);
  if (recorded != POLICY_OK) {
    constexpr std::string_view kFull = "the ledger is full", kGone = "whoever asked is no longer there";
    const std::string_view why = recorded == POLICY_NOT_FOUND ? kGone : kFull;
    co_return failure(*pending, EdeCode::kOther, why, why, buffer);
  }
  counters_.bindings += bindings.size();
  const bool applied = co_await services_.applied(seq);
  if (!applied) {
    ++counters_.late_enforcers;
    constexpr std::string_view kLate = "the address is not in force in time";
    co_return failure(*pending, EdeCode::kOther, kLate, "an enforcer did not take the binding in time", buffer);
  }
  const std::uint64_t decided_by = pending->verdict.generation;
  if (!still_allowed(*pending))
    co_return deny(*pending, query_of(*pending), pending->verdict, Denial::kBlocked, buffer);
  if (pending->verdict.generation != decided_by) {  // so may have the word on the addresses
    policy_verdict refusal = denied(POLICY_REASON_ANSWER_FORBIDDEN_ADDR);
    policy_addr refused{};
    addresses.resize(keep_permitted(*pending, addresses, refusal, refused));
    if (addresses.empty()) co_return answer_forbidden(*pending, refusal, refused, buffer);
  }
  co_return address_reply(*pending, addresses, chain, ttl, expires, buffer);
}

Responder::Reply Responder::failure_of(const Pending& pending, ResolveOutcome outcome, Buffer buffer) {
  const std::string& upstreams = services_.upstreams;
  switch (outcome) {
    case ResolveOutcome::kTimeout:
      return failure(pending, EdeCode::kNoReachableAuthority, "no upstream answered in time",
                     "no answer from " + upstreams + " within 4.5 s", buffer);
    case ResolveOutcome::kUnreachable:
      return failure(pending, EdeCode::kNetworkError, "no upstream can be reached",
                     upstreams.empty() ? "there is no resolver" : "cannot reach " + upstreams, buffer);
    case ResolveOutcome::kNoSocket:
      return failure(pending, EdeCode::kNetworkError, "the resolver is out of sockets",
                     "no descriptor or memory is left", buffer);
    default:
      return failure(pending, EdeCode::kNoReachableAuthority, "the upstream failed",
                     "no usable answer from " + upstreams, buffer);
  }
}

bool Responder::within_limits(const Pending& pending) const {
  if (!services_.limits) return true;
  const policy_query asked = query_of(pending);
  return services_.limits->charge(services_.reader->raw(), &asked, &pending.verdict, POLICY_CHARGE_QUESTION, 1,
                                  nullptr) == POLICY_OK;
}

net::awaitable<Responder::Reply> Responder::finish(Pending* pending, Buffer buffer) {
  const std::uint16_t type = pending->query.question->type;
  // Others were asked about since begin(), and host_addresses() knows a client best right after decide().
  if (!still_allowed(*pending))
    co_return deny(*pending, query_of(*pending), pending->verdict, Denial::kBlocked, buffer);
  std::array<policy_addr, kMaxFixed> fixed;
  const std::size_t fixed_count = host_addresses(*pending, fixed);
  net::ResolveResult result;
  std::vector<policy_addr> addresses;
  if (fixed_count > 0) {
    const std::uint16_t family = type == wire::kTypeAaaa ? POLICY_IPV6 : POLICY_IPV4;
    std::copy_if(fixed.begin(), fixed.begin() + fixed_count, std::back_inserter(addresses),
                 [family](const policy_addr& address) { return address.family == family; });
    // Of any other type such a name has nothing.
    result.outcome = addresses.empty() || is_forwarded(type) ? ResolveOutcome::kNoData : ResolveOutcome::kAnswers;
    result.ttl = kAnswerTtl;
  } else {
    const Result<DomainName> name = DomainName::parse(policy::view(pending->name));
    if (!name.ok()) co_return failure(*pending, EdeCode::kOther, "", "", buffer);
    // Of the family that the gateway has no address of, nothing can be given; whether the name exists is asked all the
    // same, by the type that its client asks for beside this one.
    const bool family_missing = config_.answers == Answers::kGateway && !is_forwarded(type) && !gives_family(type);
    const std::uint16_t other = type == wire::kTypeA ? wire::kTypeAaaa : wire::kTypeA;
    if (!within_limits(*pending)) {
      policy_verdict limited = pending->verdict;
      limited.reason = POLICY_REASON_LIMIT_EXCEEDED;
      // Not NXDOMAIN: the name exists, and whoever asks must not remember otherwise.
      co_return deny(*pending, query_of(*pending), limited, Denial::kRefused, buffer);
    }
    result = co_await services_.resolve(*name, family_missing ? other : type, Clock::now() + kResolveLimit);
    if (family_missing && result.outcome == ResolveOutcome::kAnswers) result.outcome = ResolveOutcome::kNoData;
    if (!still_allowed(*pending))
      co_return deny(*pending, query_of(*pending), pending->verdict, Denial::kBlocked, buffer);
    if (result.outcome == ResolveOutcome::kAnswers) addresses = canonical(result.addresses);
  }
  if (result.outcome == ResolveOutcome::kNoData) co_return no_data(*pending, result.ttl, buffer);
  if (result.outcome == ResolveOutcome::kNxDomain) {
    if (services_.budgets != nullptr) {
      const auto finding = services_.budgets->absent(pending->client_id, pending->name, pending->parent, Clock::now());
      if (finding) co_return deny_suspect(*pending, finding, buffer);
    }
    co_return nx_domain(*pending, result.ttl, buffer);
  }
  if (result.outcome != ResolveOutcome::kAnswers) co_return failure_of(*pending, result.outcome, buffer);

  // Text and addresses of an outside's choice: how many octets of them reach the client is counted, and the targets of
  // a chain, which are text alone, do not (iodine answers A queries with them).
  if (pending->parent < pending->name.labels) {
    result.chain.clear();
    std::size_t octets = 0;
    for (const net::ServiceRecord& service : result.services) octets += service.rdata.size();
    if (config_.answers == Answers::kReal) octets += result.addresses.size() * (type == wire::kTypeAaaa ? 16 : 4);
    if (services_.budgets != nullptr && octets > 0) {
      const auto finding =
          services_.budgets->answered(pending->client_id, pending->name, pending->parent, octets, Clock::now());
      if (finding) co_return deny_suspect(*pending, finding, buffer);
    }
  }
  if (is_forwarded(type)) co_return services_reply(*pending, std::move(result.services), result.ttl, buffer);
  policy_verdict refusal = denied(POLICY_REASON_ANSWER_FORBIDDEN_ADDR);
  policy_addr refused{};
  addresses.resize(keep_permitted(*pending, addresses, refusal, refused));
  if (addresses.empty()) co_return answer_forbidden(*pending, refusal, refused, buffer);
  if (config_.answers != Answers::kReal) co_return own_address_reply(*pending, result.ttl, buffer);
  const Reply reply = co_await real_reply(pending, std::move(addresses), std::move(result.chain), result.ttl, buffer);
  co_return reply;
}

}  // namespace sallyport::dns
