#include "policyctl/explain_flow.hpp"

#include <array>
#include <charconv>

#include "language/suggest.hpp"
#include "language/values.hpp"
#include "names/guard.hpp"
#include "names/pattern.hpp"

namespace sallyport::policyctl {
namespace {

constexpr std::size_t kMostFixed = 16;  // as many as the dns plugin would put into one answer

std::optional<std::uint16_t> port_of_scheme(std::string_view scheme) {
  if (scheme == "https" || scheme == "wss") return 443;
  if (scheme == "http" || scheme == "ws") return 80;
  if (scheme == "ssh" || scheme == "git+ssh" || scheme == "sftp") return 22;
  if (scheme == "git") return 9418;
  if (scheme == "postgres" || scheme == "postgresql") return 5432;
  if (scheme == "mysql") return 3306;
  if (scheme == "redis") return 6379;
  return std::nullopt;
}

Layer layer_of(std::uint16_t port) { return port == 443 ? Layer::kTls : port == 80 ? Layer::kHttp : Layer::kTcp; }

Step ask(Reader& reader, Query query) {
  Step step;
  step.layer = query.layer;
  if (query.address != nullptr) step.address = *query.address;
  step.verdict = reader.explain(query, step.trace);
  return step;
}

// An IPv4-mapped address is what an IPv6 socket calls an IPv4 destination: IPv4 packets are what leaves.
Address unmapped(const Address& address) {
  const bool mapped = address.is_v6() && Prefix::parse("::ffff:0.0.0.0/96")->contains(address);
  return mapped ? *embedded_v4(address) : address;
}

// Loopback (0.0.0.0 and :: too) belongs to the workload's own servers; the synthetic ranges mean names that dns gave
// out, never themselves.
bool stays_inside(const Address& address) {
  const AddressClass kind = classify(address);
  return kind == AddressClass::kLoopback || kind == AddressClass::kUnspecified || kind == AddressClass::kBenchmarking ||
         Prefix::parse("fd53:616c:6c79::/64")->contains(address);
}

}  // namespace

Destination read_destination(std::string_view text, std::optional<std::uint16_t> port, std::string& usage) {
  Destination destination;
  const Target target = split_target(text);
  destination.raw = target.host;
  if (target.has_port) {
    Parsed<PortRange> parsed = read_port(target.port);
    const auto* range = std::get_if<PortRange>(&parsed);
    if (range == nullptr || range->first != range->last || range->proto != kProtoTcp) {
      usage = in_ticks(target.port) + " is no port; write " + std::string(target.host) + ":443";
      return destination;
    }
    if (port && *port != range->first) {
      usage = "two ports: " + std::string(target.port) + " in the target, " + std::to_string(*port) + " by --port";
      return destination;
    }
    port = range->first;
  } else if (!target.scheme.empty() && !port) {
    port = port_of_scheme(target.scheme);
    if (!port) {
      usage = "the port of " + in_ticks(target.scheme) + " is not known here; add --port";
      return destination;
    }
  }
  destination.port_given = port.has_value();
  destination.port = port.value_or(443);
  const Result<Address> address = Address::parse(target.host);
  if (address.ok()) {
    destination.address = unmapped(*address);
    return destination;
  }
  Result<DomainName> name = parse_user_name(target.host);
  if (target.bracketed) {
    destination.malformed = address.error().message;
  } else if (name.ok()) {
    destination.name = *name;
  } else {
    destination.malformed = name.error().message;
  }
  return destination;
}

FlowExplanation explain_flow(Reader& reader, const Destination& destination, std::uint64_t groups,
                             const std::optional<Address>& resolved) {
  FlowExplanation explanation;
  const auto end = [&](Step step) {
    explanation.allowed = step.verdict.effect != Effect::kDeny;
    explanation.reason = step.verdict.reason;
    explanation.steps.push_back(std::move(step));
    return explanation;
  };
  Query query;
  query.groups = groups;
  query.proto = kProtoTcp;
  query.port = destination.port;

  if (destination.address) {
    query.layer = Layer::kTcp;
    query.known = kKnowAddress | kKnowPort;
    query.address = &*destination.address;
    Step step = ask(reader, query);
    // A literal has nothing left to learn: what is not allowed now never will be.
    if (step.verdict.effect == Effect::kContinue) step.verdict.effect = Effect::kDeny;
    if (stays_inside(*destination.address) && step.verdict.effect != Effect::kDeny) {
      explanation.inside_the_cell = true;
      step.verdict = {Effect::kDeny, Reason::kDstNotBound, kNoRuleIndex, 0, step.verdict.generation};
    }
    return end(std::move(step));
  }
  if (!destination.name) {
    explanation.reason = Reason::kNameMalformed;
    return explanation;
  }

  query.name = &*destination.name;
  Query asked = query;
  asked.layer = Layer::kDns;
  asked.qtype = 1;  // A
  asked.known = kKnowName;
  asked.deferred = kKnowAddress | kKnowPort;
  Step dns = ask(reader, asked);
  if (dns.verdict.effect == Effect::kDeny) return end(std::move(dns));
  std::array<Address, kMostFixed> fixed;
  std::size_t count = reader.snapshot().host_addresses(*destination.name, groups, fixed);
  count = std::min(count, fixed.size());
  if (resolved) {
    fixed[0] = *resolved;
    count = 1;
  }
  if (count == 0 && destination.name->labels() == 1) {
    explanation.never_resolves = true;
    dns.verdict.effect = Effect::kDeny;
    dns.verdict.reason = Reason::kUpstreamFailed;
    return end(std::move(dns));
  }
  explanation.steps.push_back(std::move(dns));

  asked = query;
  asked.layer = layer_of(destination.port);
  asked.known = kKnowName | kKnowPort;
  asked.deferred = kKnowAddress;
  Step flow = ask(reader, asked);
  if (flow.verdict.effect == Effect::kDeny) return end(std::move(flow));
  if (count == 0) {
    explanation.address_open = true;
    return end(std::move(flow));
  }
  explanation.steps.push_back(std::move(flow));

  asked.layer = Layer::kDial;
  asked.known |= kKnowAddress;
  asked.deferred = 0;
  // Any one of the addresses will do, as for the dialler.
  for (std::size_t i = 0; i < count; ++i) {
    asked.address = &fixed[i];
    Step dial = ask(reader, asked);
    if (dial.verdict.allowed() || i + 1 == count) return end(std::move(dial));
  }
  return explanation;
}

}  // namespace sallyport::policyctl
