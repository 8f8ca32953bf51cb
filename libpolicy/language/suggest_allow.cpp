#include "language/suggest_allow.hpp"

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "engine/decide.hpp"
#include "language/explain_flow.hpp"
#include "language/load.hpp"
#include "names/guard.hpp"

namespace sallyport {
namespace {

// Looked up backwards by every ssh and mail server; a cell answers A and AAAA alone, so no rule makes them useful.
bool is_reverse(const DomainName& name) {
  for (const std::string_view zone : {"in-addr.arpa", "ip6.arpa"}) {
    if (name.is_within(*DomainName::parse(zone))) return true;
  }
  return false;
}

bool lists(const RuleModel& rule, const DomainName& name) {
  const auto matches = [&](const Pattern& pattern) { return pattern.matches(name); };
  if (std::any_of(rule.domains.begin(), rule.domains.end(), matches)) return true;
  // Each once, and rules with resolves_to are few: not worth an index.
  return std::any_of(rule.lists.begin(), rule.lists.end(), [&](const std::shared_ptr<const PatternSet>& set) {
    for (std::size_t i = 0; i < set->size(); ++i) {
      if (name.text().ends_with((*set)[i].name) && matches(set->pattern(i))) return true;
    }
    return false;
  });
}

// The rules that decide where a name leads: no other matters once a rule before them all names the destination. The
// clients stay as they are, so every group of the policy is asked for.
PolicyModel with_fixed_addresses(const PolicyModel& policy, const Destination& destination) {
  PolicyModel model;
  model.source = policy.source;
  model.clients = policy.clients;
  model.own_addresses = policy.own_addresses;
  for (const RuleModel& rule : policy.rules) {
    const bool fixes = destination.name && rule.action == Action::kAllow && !rule.resolves_to.empty() &&
                       lists(rule, *destination.name);
    if (fixes) model.rules.push_back(rule);
  }
  return model;
}

// The first host address that the rules give the name.
std::optional<Address> fixed_address(const PolicyModel& base) {
  for (const RuleModel& rule : base.rules) {
    for (const Prefix& prefix : rule.resolves_to) {
      if (prefix.bits() == (prefix.network().is_v4() ? 32u : 128u)) return prefix.network();
    }
  }
  return std::nullopt;
}

// Whether the first rule of the model lets the destination pass.
bool passes(const PolicyModel& model, const Destination& destination, const std::optional<Address>& resolved) {
  const Result<std::vector<std::byte>> bytes = compile(model, 1);
  if (!bytes.ok()) return false;
  const Result<std::shared_ptr<const Snapshot>> snapshot = Snapshot::open(*bytes);
  if (!snapshot.ok()) return false;
  Reader reader(*snapshot);
  const std::uint64_t groups = model.clients.empty() ? 0 : ~std::uint64_t{0} >> (64 - model.clients.size());
  const FlowExplanation flow = explain_flow(reader, destination, groups, resolved);
  return flow.allowed && !flow.steps.empty() && flow.steps.back().verdict.rule == 0;
}

std::string allow_argument(const Destination& destination, std::uint16_t port) {
  std::string text = destination.name ? std::string(destination.name->text()) : destination.address->text();
  if (destination.address && destination.address->is_v6() && port != 0) text = "[" + text + "]";
  return port == 0 ? text : text + ":" + std::to_string(port);
}

// Tried as a file's text, since that is how it will be read.
std::string rule_keys(const PolicyModel& base, const Destination& destination, const std::optional<Address>& resolved) {
  if (destination.name && destination.name->labels() == 1 && !resolved) {
    // Nobody else knows where it leads: any host address shows that the rule would do.
    static constexpr std::string_view kAnyHost = "10.0.0.1";
    std::string keys = rule_keys(base, destination, *Address::parse(kAnyHost));
    if (const std::size_t at = keys.find(kAnyHost); at != std::string::npos)
      keys.replace(at, kAnyHost.size(), "ITS-ADDRESS");
    return keys;
  }
  const std::optional<Address>& end = destination.address ? destination.address : resolved;
  std::string keys;
  if (destination.name) {
    keys = "domains: [" + std::string(destination.name->text()) + "]";
  } else {
    keys = "addresses: [\"" + destination.address->text() + "\"]";
    if (destination.address->is_v4()) std::erase(keys, '"');
  }
  keys += ", ports: [" + std::to_string(destination.port) + "]";
  if (destination.name && end) {
    const bool v6 = end->is_v6();
    keys += std::string(", resolves_to: [") + (v6 ? "\"" : "") + end->text() + (v6 ? "\"" : "") + "]";
  }
  if (end && classify(*end) == AddressClass::kMetadata) keys += ", allow_metadata: true";
  for (const char* permission : {"", ", allow_public_suffix: true", ", multi_tenant: true"}) {
    const LoadOutcome tried =
        load_policy("version: 1\nrules:\n  - { name: tried, action: allow, " + keys + permission + " }\n", "tried");
    if (!tried.ok()) continue;
    PolicyModel model = base;
    model.rules.insert(model.rules.begin(), tried.model->rules[0]);
    if (passes(model, destination, resolved)) return keys + permission;
  }
  return "";
}

}  // namespace

AllowSuggestion suggest_allow(const PolicyModel& policy, std::string_view destination_text, std::uint16_t port,
                              const std::optional<Address>& resolved) {
  Destination destination;
  if (const Result<Address> address = Address::parse(destination_text); address.ok()) {
    destination.address = *address;
  } else if (Result<DomainName> name = DomainName::parse(destination_text); name.ok()) {
    destination.name = *name;
  }
  if (!destination.name && !destination.address) return {};
  if (destination.name && is_reverse(*destination.name)) return {};
  destination.raw = destination_text;
  destination.port = port == 0 ? std::uint16_t{443} : port;
  const PolicyModel base = with_fixed_addresses(policy, destination);
  const std::string argument = allow_argument(destination, port);
  const LoadOutcome with = model_from_allow({&argument, 1}, &base);
  if (with.ok() && passes(*with.model, destination, resolved)) return {"--allow " + argument, ""};
  return {"", rule_keys(base, destination, resolved ? resolved : fixed_address(base))};
}

std::string allow_argument_that_helps(const PolicyModel& policy, std::string_view destination, std::uint16_t port) {
  return suggest_allow(policy, destination, port).argument;
}

}  // namespace sallyport
