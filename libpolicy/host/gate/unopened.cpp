#include "host/gate/unopened.hpp"

#include <policy/ext/draft/literals.h>

#include <algorithm>
#include <optional>

#include "engine/decide.hpp"
#include "language/suggest.hpp"

namespace sallyport {
namespace {

using Literal = Snapshot::Literal;

bool overlap(const Prefix& prefix, const Address& first, const Address& last) {
  if (prefix.network().is_v4() != first.is_v4()) return false;
  return prefix.contains(first) || (first <= prefix.network() && prefix.network() <= last);
}

bool allows_udp(const RuleModel& rule) {
  return rule.action == Action::kAllow && !rule.addresses.empty() &&
         std::any_of(rule.ports.begin(), rule.ports.end(),
                     [](const PortRange& range) { return range.proto == kProtoUdp; });
}

const ClientModel* client_of(const PolicyModel& policy, const std::string& name) {
  const auto found = std::find_if(policy.clients.begin(), policy.clients.end(),
                                  [&](const ClientModel& client) { return client.name == name; });
  return found == policy.clients.end() ? nullptr : &*found;
}

// Whether anything of the rule is among them.
bool is_opened(const PolicyModel& policy, const RuleModel& rule, const std::vector<Literal>& literals) {
  return std::any_of(literals.begin(), literals.end(), [&](const Literal& one) {
    const bool to = std::any_of(rule.addresses.begin(), rule.addresses.end(),
                                [&](const Prefix& prefix) { return overlap(prefix, one.first, one.last); });
    const bool port = std::any_of(rule.ports.begin(), rule.ports.end(), [&](const PortRange& range) {
      return range.proto == kProtoUdp && range.first <= one.ports.last && one.ports.first <= range.last;
    });
    const bool from = rule.clients.empty() || std::any_of(rule.clients.begin(), rule.clients.end(), [&](const auto& n) {
                        const ClientModel* client = client_of(policy, n);
                        return client != nullptr &&
                               std::any_of(client->addresses.begin(), client->addresses.end(), [&](const Prefix& p) {
                                 return overlap(p, one.client_first, one.client_last);
                               });
                      });
    return to && port && from;
  });
}

std::string said(const RuleModel& rule) {
  return "rule " + in_ticks(rule.name) + " (line " + std::to_string(rule.where.line) + ")";
}

// The rule that speaks before this one, for the first of its clients, addresses and ports.
const RuleModel* denied_by(const PolicyModel& policy, const Snapshot& snapshot, const RuleModel& rule,
                           const std::vector<Prefix>& held) {
  const auto port = std::find_if(rule.ports.begin(), rule.ports.end(),
                                 [](const PortRange& range) { return range.proto == kProtoUdp; });
  for (const Prefix& to : rule.addresses) {
    for (const Prefix& network : held) {
      if (network.network().is_v4() != to.network().is_v4()) continue;
      std::vector<Prefix> senders;
      for (const std::string& name : rule.clients) {
        const ClientModel* client = client_of(policy, name);
        if (client == nullptr || !client->credentials.empty()) continue;
        for (const Prefix& prefix : client->addresses) {
          if (network.contains(prefix)) senders.push_back(prefix);
          if (prefix.contains(network)) senders.push_back(network);
        }
      }
      if (rule.clients.empty()) senders.push_back(network);
      for (const Prefix& from : senders) {
        Query query;
        query.layer = Layer::kDial;
        query.proto = kProtoUdp;
        query.port = port->first;
        query.known = kKnowAddress | kKnowPort;
        query.address = &to.network();
        query.groups = snapshot.groups_of_address(from.network());
        const Verdict verdict = snapshot.decide(query);
        if (!verdict.allowed() && verdict.rule < policy.rules.size()) return &policy.rules[verdict.rule];
      }
    }
  }
  return nullptr;
}

}  // namespace

std::vector<UnopenedRule> unopened_rules(const Prepared& prepared) {
  const PolicyModel& policy = prepared.policy;
  std::vector<UnopenedRule> out;
  if (std::none_of(policy.rules.begin(), policy.rules.end(), allows_udp)) return out;
  std::vector<Prefix> held;
  for (const NetworkModel& network : prepared.gateway.networks)
    held.insert(held.end(), network.addresses.begin(), network.addresses.end());

  std::vector<Literal> literals;
  bool too_many = false;
  const Result<std::vector<std::byte>> bytes = compile(policy, 1);
  if (!bytes.ok()) return out;  // said elsewhere
  const Result<std::shared_ptr<const Snapshot>> snapshot = Snapshot::open(*bytes);
  if (!snapshot.ok()) return out;
  for (const Prefix& network : prepared.enforcers > 0 ? held : std::vector<Prefix>()) {
    const auto found = (*snapshot)->literals(network, kProtoUdp, POLICY_LITERALS_MOST);
    too_many |= !found;
    if (found) literals.insert(literals.end(), found->begin(), found->end());
  }
  for (const RuleModel& rule : policy.rules) {
    if (!allows_udp(rule) || is_opened(policy, rule, literals)) continue;
    UnopenedRule unopened{&rule, said(rule) + " allows UDP to an address, which nothing here lets through", ""};
    if (prepared.enforcers == 0 || held.empty()) {
      unopened.remedy = "nftables opens it, for the addresses of `networks`";
    } else if (too_many) {
      unopened.why += ": with the others it makes more than " + std::to_string(POLICY_LITERALS_MOST) + " ranges";
      unopened.remedy = "write fewer or wider blocks of addresses";
    } else if (const RuleModel* other = denied_by(policy, **snapshot, rule, held)) {
      unopened.why += ": " + said(*other) + " denies what has no name";
      unopened.remedy = "write " + in_ticks(rule.name) + " before " + in_ticks(other->name) +
                        ", or name the destination in `domains`";
    } else {
      unopened.why += ": none of its clients sends from an address of `networks`";
      unopened.remedy = "users with credentials and cells have the proxy; write the clients' `addresses`";
    }
    out.push_back(std::move(unopened));
  }
  return out;
}

}  // namespace sallyport
