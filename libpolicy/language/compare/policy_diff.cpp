// For each class of names the rules that can matter are few, and of everything else only what these can tell apart is
// asked: ports between their edges, addresses between those of their blocks and the guard's, who belongs to the clients
// that they name. So the work grows with the names, not with names times ports times addresses times clients.
#include "language/compare/policy_diff.hpp"

#include <algorithm>
#include <array>
#include <map>
#include <set>
#include <tuple>
#include <utility>

#include "language/compare/samples.hpp"
#include "language/compare/worlds.hpp"
#include "language/requests.hpp"
#include "language/values.hpp"
#include "names/guard.hpp"
#include "names/request_path.hpp"

namespace sallyport {
namespace {

constexpr std::size_t kMostQuestions = 40'000'000;  // of each policy; some ten seconds
constexpr std::uint16_t kDnsPort = 53;              // of the gateway itself, whatever the rules say
constexpr std::uint16_t kHttpPort = 80;
constexpr std::size_t kMostMoreNames = 3;  // told beside an example

using Rules = std::vector<std::uint32_t>;

struct PortClass {
  std::uint16_t example = 0, proto = kProtoTcp;
  std::vector<PortRange> ports;
};

// Where a flow may end, and what it may ask there.
struct EndClass {
  Address example;
  bool ordinary = false;  // public, and no rule at hand names it
};

struct RequestClass {
  std::string method, path;  // empty: nobody sees it
};

struct Decided {
  bool passes = false, any_bytes = false;
  Verdict verdict;
};

// One way in which flows change: by which rules, and why.
struct Kind {
  Change change = Change::kOpens;
  std::uint32_t rule_a = kNoRuleIndex, rule_b = kNoRuleIndex;
  Reason reason_a = Reason::kNoRule, reason_b = Reason::kNoRule;
  bool passes_a = false, passes_b = false;
  auto operator<=>(const Kind&) const = default;
};

bool is_path(std::string_view text) {
  std::array<char, kMostPathOctets> room;
  const Result<std::string_view> path = canonical_path(text, room);
  return path.ok() && *path == text;
}

bool is_synthetic(const Address& address) { return Prefix::parse("fd53:616c:6c79::/64")->contains(address); }

// A literal destination that leads to nobody but the workload itself, as explain_flow() has it.
bool stays_inside(const Address& address) {
  const AddressClass kind = classify(address);
  return kind == AddressClass::kLoopback || kind == AddressClass::kUnspecified || kind == AddressClass::kBenchmarking ||
         is_synthetic(address);
}

class Comparison {
 public:
  Comparison(const Side& a, const Side& b) : sides_{a, b} {
    askers_ = askers_of(sides_, diff_.incomplete);
    for (std::size_t side = 0; side < 2; ++side) {
      general_[side] = general_rules(sides_[side].model);
      for (const RuleModel& rule : sides_[side].model.rules) {
        resolves_[side].emplace_back(rule.resolves_to);
        addresses_[side].emplace_back(rule.addresses);
        std::uint64_t mask = 0;
        for (const std::string& name : rule.clients) mask |= bit_of(side, name);
        clients_[side].push_back(mask);
      }
    }
  }

  PolicyDiff run() {
    for (const NameClass& names : name_classes(sides_)) {
      if (questions_ > kMostQuestions) {
        diff_.incomplete.push_back("what was left after " + std::to_string(kMostQuestions) + " questions");
        break;
      }
      one_class(names);
    }
    trials();
    limits();
    std::sort(diff_.changes.begin(), diff_.changes.end(), [](const FlowChange& one, const FlowChange& two) {
      return std::tuple(one.change, one.b.passes ? one.b.rule : one.a.rule, one.names == 0, shown(one)) <
             std::tuple(two.change, two.b.passes ? two.b.rule : two.a.rule, two.names == 0, shown(two));
    });
    return std::move(diff_);
  }

 private:
  static std::string shown(const FlowChange& change) {
    return (change.name ? std::string(change.name->text()) : change.address->text()) + " " + change.asker + " " +
           std::to_string(change.port) + change.method + change.path;
  }

  std::uint64_t bit_of(std::size_t side, std::string_view name) const {
    const std::vector<ClientModel>& clients = sides_[side].model.clients;
    for (std::size_t i = 0; i < clients.size(); ++i) {
      if (clients[i].name == name) return std::uint64_t{1} << i;
    }
    return 0;
  }

  // The rules that decide() may ask of a flow of this class.
  Rules relevant(const NameClass& names, std::size_t side) const {
    Rules out;
    if (!names.name) {
      for (std::uint32_t i = 0; i < sides_[side].model.rules.size(); ++i) out.push_back(i);
      return out;
    }
    std::set_union(names.rules[side].begin(), names.rules[side].end(), general_[side].begin(), general_[side].end(),
                   std::back_inserter(out));
    return out;
  }

  template <typename Visit>
  void each_rule(const std::array<Rules, 2>& rules, Visit visit) const {
    for (std::size_t side = 0; side < 2; ++side) {
      for (const std::uint32_t rule : rules[side]) visit(side, rule, sides_[side].model.rules[rule]);
    }
  }

  std::vector<PortClass> port_classes(const std::array<Rules, 2>& rules, bool requests) const {
    std::vector<PortClass> out;
    for (const std::uint16_t proto : {kProtoTcp, kProtoUdp}) {
      std::set<std::uint32_t> edges{1, kDnsPort, kDnsPort + 1, 65536};
      each_rule(rules, [&](std::size_t, std::uint32_t, const RuleModel& rule) {
        for (const PortRange& range : rule.ports) {
          if (range.proto != proto) continue;
          edges.insert(range.first);
          edges.insert(std::uint32_t{range.last} + 1);
        }
      });
      const bool by_request = requests && proto == kProtoTcp;
      if (by_request) {
        edges.insert({kHttpPort, kHttpPort + 1});
        for (std::uint32_t port = 2; port < 65536; ++port) {
          if (clear(port) != clear(port - 1)) edges.insert(port);
        }
      }
      std::map<std::vector<bool>, PortClass> classes;
      for (auto edge = edges.begin(); std::next(edge) != edges.end(); ++edge) {
        const auto first = static_cast<std::uint16_t>(*edge);
        const auto last = static_cast<std::uint16_t>(*std::next(edge) - 1);
        if (first == kDnsPort) continue;
        std::vector<bool> key{by_request && clear(first), by_request && first == kHttpPort};
        each_rule(rules, [&](std::size_t, std::uint32_t, const RuleModel& rule) {
          key.push_back(std::any_of(rule.ports.begin(), rule.ports.end(), [&](const PortRange& range) {
            return range.proto == proto && range.first <= first && first <= range.last;
          }));
        });
        PortClass& found = classes[key];
        found.proto = proto;
        if (!found.ports.empty() && found.ports.back().last + 1 == first) {
          found.ports.back().last = last;
        } else {
          found.ports.push_back({first, last, proto});
        }
        if (found.example == 0) found.example = first;
        for (const std::uint16_t usual : {kHttpPort, std::uint16_t{443}}) {
          if (proto == kProtoTcp && first <= usual && usual <= last) found.example = usual;
        }
      }
      for (auto& [key, one] : classes) out.push_back(std::move(one));
    }
    return out;
  }

  static bool clear(std::uint32_t port) {
    const auto number = static_cast<std::uint16_t>(port);
    return is_clear({number, number, kProtoTcp});
  }

  std::vector<EndClass> address_classes(const std::array<Rules, 2>& rules, bool literal) {
    std::array<Rules, 2> with_blocks;
    each_rule(rules, [&](std::size_t side, std::uint32_t index, const RuleModel& rule) {
      if (!rule.addresses.empty() || !rule.resolves_to.empty()) with_blocks[side].push_back(index);
    });
    const auto known = addresses_of_.find({with_blocks, literal});
    if (known != addresses_of_.end()) return known->second;

    std::vector<Prefix> prefixes = guard_blocks();
    each_rule(with_blocks, [&](std::size_t, std::uint32_t, const RuleModel& rule) {
      prefixes.insert(prefixes.end(), rule.addresses.begin(), rule.addresses.end());
      prefixes.insert(prefixes.end(), rule.resolves_to.begin(), rule.resolves_to.end());
    });
    for (const Side& side : sides_) {
      for (const Address& own : side.model.own_addresses) prefixes.push_back(Prefix::of(own, own.is_v4() ? 32 : 128));
    }
    // Metadata services inside IPv6 forms: guarded more strictly than the forms themselves.
    for (const char* inside : {"64:ff9b::a9fe:a9fe/128", "2002:a9fe:a9fe::/48", "fd53:616c:6c79::/64"}) {
      prefixes.push_back(*Prefix::parse(inside));
    }
    std::map<std::vector<bool>, EndClass> classes;
    std::vector<EndClass> out;
    for (const Address& address : address_samples(prefixes)) {
      if (literal && stays_inside(address)) continue;
      const AddressClass kind = classify(address);
      std::vector<bool> key{is_guarded(kind), kind == AddressClass::kMetadata};
      bool ordinary = kind == AddressClass::kPublic && address.is_v4();
      each_rule(with_blocks, [&](std::size_t side, std::uint32_t rule, const RuleModel&) {
        key.push_back(resolves_[side][rule].contains(address));
        key.push_back(addresses_[side][rule].contains(address));
        ordinary = ordinary && !key[key.size() - 1] && !key[key.size() - 2];
      });
      for (const Side& side : sides_) {
        const auto& own = side.model.own_addresses;
        key.push_back(std::find(own.begin(), own.end(), address) != own.end());
        ordinary = ordinary && !key.back();
      }
      classes.try_emplace(key, EndClass{address, ordinary});
    }
    for (auto& [key, one] : classes) out.push_back(one);
    std::sort(out.begin(), out.end(), [](const auto& a, const auto& b) {
      return a.ordinary != b.ordinary ? a.ordinary : a.example < b.example;
    });
    return addresses_of_[{with_blocks, literal}] = out;
  }

  std::vector<RequestClass> request_classes(const std::array<Rules, 2>& rules) {
    std::vector<std::string> methods, paths;
    each_rule(rules, [&](std::size_t, std::uint32_t, const RuleModel& rule) {
      methods.insert(methods.end(), rule.methods.begin(), rule.methods.end());
      paths.insert(paths.end(), rule.paths.begin(), rule.paths.end());
    });
    if (methods.empty() && paths.empty()) return {};
    std::sort(methods.begin(), methods.end());
    methods.erase(std::unique(methods.begin(), methods.end()), methods.end());
    for (const char* other : {"GET", "POST", "PUT", "DELETE", "HEAD", "PATCH", "OPTIONS", "OTHER"}) {
      if (std::find(methods.begin(), methods.end(), other) != methods.end()) continue;
      methods.emplace_back(other);
      break;
    }
    std::sort(paths.begin(), paths.end());
    paths.erase(std::unique(paths.begin(), paths.end()), paths.end());
    GlobSamples samples = glob_samples(paths, "/", "x", is_path);
    if (!samples.complete) diff_.incomplete.push_back("some combinations of paths");
    if (!paths.empty()) samples.texts.emplace_back("/x/../y");  // servers read it in different ways, so nobody sees it
    std::vector<RequestClass> out;
    for (const std::string& method : methods) {
      for (const std::string& path : samples.texts) out.push_back({method, path});
    }
    return out;
  }

  Decided ask(std::size_t side, const NameClass& names, std::uint64_t groups, const PortClass& port,
              const Address& address, const RequestClass* request) const {
    Query query;
    query.layer = names.name || port.proto == kProtoUdp ? Layer::kDial : Layer::kTcp;
    query.proto = port.proto;
    query.port = port.example;
    query.known = kKnowPort | kKnowAddress;
    query.address = &address;
    query.groups = groups;
    if (names.name) {
      query.known |= kKnowName;
      query.name = &*names.name;
    }
    if (request != nullptr && names.name) {  // of an address nobody reads requests (decision 61)
      query.known |= kKnowMethod;
      query.method = request->method;
      if (is_path(request->path)) {
        query.known |= kKnowPath;
        query.path = request->path;
      }
    }
    Decided out;
    out.verdict = sides_[side].snapshot.decide(query);
    out.passes = out.verdict.effect == Effect::kAllow;
    // The dns of the gateway asks nobody for a single label: it leads where the policy says.
    if (out.passes && names.name && names.name->labels() == 1) {
      std::array<Address, 64> fixed;
      const std::size_t count = sides_[side].snapshot.host_addresses(*names.name, groups, fixed);
      const auto end = fixed.begin() + static_cast<std::ptrdiff_t>(std::min(count, fixed.size()));
      if (std::find(fixed.begin(), end, address) == end) {
        out.passes = false;
        out.verdict = {Effect::kDeny, Reason::kUpstreamFailed, kNoRuleIndex, 0, out.verdict.generation};
      }
    }
    out.any_bytes = out.passes && (out.verdict.flags & kFlagTunnelAny) != 0;
    return out;
  }

  // Somebody of each kind that these rules can tell apart: indexes into askers_.
  std::vector<Rules> asker_classes(const std::array<Rules, 2>& rules) const {
    std::uint64_t mask[2] = {0, 0};
    for (std::size_t side = 0; side < 2; ++side) {
      for (const std::uint32_t rule : rules[side]) mask[side] |= clients_[side][rule];
    }
    std::map<std::pair<std::uint64_t, std::uint64_t>, Rules> classes;
    for (std::uint32_t i = 0; i < askers_.size(); ++i) {
      classes[{askers_[i].groups[0] & mask[0], askers_[i].groups[1] & mask[1]}].push_back(i);
    }
    std::vector<Rules> out;
    for (auto& [key, one] : classes) out.push_back(std::move(one));
    return out;
  }

  void one_class(const NameClass& names) {
    const std::array<Rules, 2> rules = {relevant(names, 0), relevant(names, 1)};
    const std::vector<RequestClass> requests = request_classes(rules);
    const std::vector<PortClass> ports = port_classes(rules, !requests.empty());
    const std::vector<EndClass> addresses = address_classes(rules, !names.name);

    // Ports at which the same happens in the same circumstances (an address and a request), then who it happens to.
    using Circumstances = std::vector<std::pair<std::size_t, std::size_t>>;
    std::map<std::tuple<Kind, Circumstances, std::vector<std::size_t>>, Rules> found;
    for (const Rules& asker : asker_classes(rules)) {
      const WhoAsks& who = askers_[asker.front()];
      const bool any_at_gate =
          std::any_of(asker.begin(), asker.end(), [&](std::uint32_t i) { return !askers_[i].at_gate.empty(); });
      std::map<std::pair<Kind, std::size_t>, Circumstances> by_port;
      for (std::size_t p = 0; p < ports.size(); ++p) {
        if (ports[p].proto == kProtoUdp && !any_at_gate) continue;
        const bool reads = ports[p].proto == kProtoTcp && clear(ports[p].example) && !requests.empty();
        // Index 0 is a flow of which nobody sees a request; what speaks no HTTP on port 80 goes nowhere.
        const std::size_t first = reads && ports[p].example == kHttpPort ? 1 : 0;
        for (std::size_t a = 0; a < addresses.size(); ++a) {
          for (std::size_t r = first; r <= (reads ? requests.size() : 0); ++r) {
            const RequestClass* request = r == 0 ? nullptr : &requests[r - 1];
            ++questions_;
            const Decided one = ask(0, names, who.groups[0], ports[p], addresses[a].example, request);
            const Decided two = ask(1, names, who.groups[1], ports[p], addresses[a].example, request);
            if (one.passes == two.passes && one.any_bytes == two.any_bytes) {
              if (one.passes) limits_between(one.verdict.rule, two.verdict.rule);
              continue;
            }
            Kind kind{Change::kOpens,     one.verdict.rule, two.verdict.rule, one.verdict.reason,
                      two.verdict.reason, one.passes,       two.passes};
            if (one.passes)
              kind.change = !two.passes ? Change::kStops : one.any_bytes ? Change::kTightens : Change::kLoosens;
            by_port[{kind, p}].emplace_back(a, r);
          }
        }
      }
      std::map<std::pair<Kind, Circumstances>, std::vector<std::size_t>> alike;
      for (auto& [key, circumstances] : by_port) alike[{key.first, circumstances}].push_back(key.second);
      for (auto& [key, at] : alike) {
        Rules& who_all = found[{key.first, key.second, at}];
        who_all.insert(who_all.end(), asker.begin(), asker.end());
      }
    }
    for (const auto& [key, who] : found) {
      const auto& [kind, circumstances, at] = key;
      const auto [a, r] = circumstances.front();
      FlowChange change;
      change.change = kind.change;
      change.name = names.name;
      if (!names.name || !addresses[a].ordinary) change.address = addresses[a].example;
      const PortClass* example = &ports[at.front()];
      for (const std::size_t p : at) {
        if (ports[p].example == 443 && ports[p].proto == kProtoTcp) example = &ports[p];
        change.ports.insert(change.ports.end(), ports[p].ports.begin(), ports[p].ports.end());
      }
      change.port = example->example;
      change.proto = example->proto;
      if (r > 0) {
        change.method = requests[r - 1].method;
        change.path = requests[r - 1].path;
      }
      name_askers(change, who);
      change.names = names.names;
      change.more_names = names.more;
      change.a = {kind.passes_a, kind.reason_a, kind.rule_a};
      change.b = {kind.passes_b, kind.reason_b, kind.rule_b};
      add(std::move(change));
    }
  }

  void name_askers(FlowChange& change, const Rules& who) const {
    change.everyone = who.size() == askers_.size();
    const WhoAsks* example = nullptr;
    for (const std::uint32_t i : who) {
      const WhoAsks& one = askers_[i];
      if (example == nullptr || (change.proto == kProtoUdp && example->at_gate.empty())) example = &one;
      change.others = change.others || (one.groups[0] == 0 && one.groups[1] == 0);
      std::vector<std::string> together;
      for (std::size_t side = 0; side < 2; ++side) {
        for (std::size_t bit = 0; bit < sides_[side].model.clients.size(); ++bit) {
          const std::string& client = sides_[side].model.clients[bit].name;
          const bool known = std::find(together.begin(), together.end(), client) != together.end();
          if ((one.groups[side] >> bit & 1) != 0 && !known) together.push_back(client);
        }
      }
      std::string text;
      for (const std::string& client : together) text += (text.empty() ? "" : "+") + client;
      if (!text.empty()) change.clients.push_back(std::move(text));
    }
    std::sort(change.clients.begin(), change.clients.end());
    change.clients.erase(std::unique(change.clients.begin(), change.clients.end()), change.clients.end());
    change.at_gate = change.proto == kProtoUdp || example->text == example->at_gate;
    change.asker = change.at_gate ? example->at_gate : example->text;
    change.groups_a = example->groups[0];
    change.groups_b = example->groups[1];
  }

  // To a change of other names that is the same in all else.
  void add(FlowChange change) {
    const auto same_ports = [](const std::vector<PortRange>& a, const std::vector<PortRange>& b) {
      return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const PortRange& x, const PortRange& y) {
        return x.first == y.first && x.last == y.last && x.proto == y.proto;
      });
    };
    for (FlowChange& known : diff_.changes) {
      if (known.change == change.change && known.name.has_value() == change.name.has_value() && known.name &&
          known.names > 0 && known.address == change.address && known.method == change.method &&
          known.path == change.path && known.clients == change.clients && known.others == change.others &&
          known.everyone == change.everyone && known.a.rule == change.a.rule && known.b.rule == change.b.rule &&
          known.a.reason == change.a.reason && known.b.reason == change.b.reason &&
          same_ports(known.ports, change.ports) && change.names > 0) {
        known.names += change.names;
        known.more_names.emplace_back(change.name->text());
        known.more_names.insert(known.more_names.end(), change.more_names.begin(), change.more_names.end());
        known.more_names.resize(std::min(known.more_names.size(), kMostMoreNames));
        return;
      }
    }
    diff_.changes.push_back(std::move(change));
  }

  void limits_between(std::uint32_t a, std::uint32_t b) {
    if (a != kNoRuleIndex || b != kNoRuleIndex) passing_.insert({a, b});
  }

  static auto rate(const std::optional<RateModel>& rate) {
    return rate ? std::pair(rate->amount, rate->seconds) : std::pair(std::uint64_t{0}, std::uint32_t{0});
  }
  static auto limits_of(const PolicyModel& model, std::uint32_t rule) {
    const LimitsModel none, &limits = rule == kNoRuleIndex ? none : model.rules[rule].limits;
    return std::tuple(rate(limits.requests), limits.connections.value_or(0), rate(limits.bandwidth),
                      rate(limits.upload), rate(limits.download));
  }

  void limits() {
    for (const auto& [a, b] : passing_) {
      if (limits_of(sides_[0].model, a) == limits_of(sides_[1].model, b)) continue;
      const auto called = [](const PolicyModel& model, std::uint32_t rule) {
        const std::string limits = rule == kNoRuleIndex ? std::string() : limits_text(model.rules[rule].limits);
        return (rule == kNoRuleIndex ? std::string("the default") : "rule `" + model.rules[rule].name + "`") + " (" +
               (limits.empty() ? "none" : limits) + ")";
      };
      diff_.notes.push_back("flows that pass by both have other limits: of " + called(sides_[1].model, b) +
                            "; before: of " + called(sides_[0].model, a));
    }
  }

  void trials() {
    const auto until = [](const std::optional<ObserveModel>& trial) { return trial ? trial->until : 0; };
    if (until(sides_[0].model.observe) != until(sides_[1].model.observe))
      diff_.notes.push_back("the trial of the whole policy (mode: observe) begins, ends or has another end");
    std::map<std::string, std::pair<std::int64_t, std::int64_t>> clients;
    for (const ClientModel& client : sides_[0].model.clients) clients[client.name].first = until(client.observe);
    for (const ClientModel& client : sides_[1].model.clients) clients[client.name].second = until(client.observe);
    for (const auto& [name, ends] : clients) {
      if (ends.first != ends.second)
        diff_.notes.push_back("the trial of client `" + name + "` (mode: observe) begins, ends or has another end");
    }
  }

  const std::array<Side, 2> sides_;
  std::vector<WhoAsks> askers_;
  std::array<Rules, 2> general_;
  std::array<std::vector<Blocks>, 2> resolves_, addresses_;
  std::array<std::vector<std::uint64_t>, 2> clients_;  // by rule: the bits of its clients
  std::map<std::pair<std::array<Rules, 2>, bool>, std::vector<EndClass>> addresses_of_;
  std::set<std::pair<std::uint32_t, std::uint32_t>> passing_;
  std::size_t questions_ = 0;
  PolicyDiff diff_;
};

}  // namespace

PolicyDiff compare(const PolicyModel& a, const Snapshot& snapshot_a, const PolicyModel& b, const Snapshot& snapshot_b) {
  return Comparison({a, snapshot_a}, {b, snapshot_b}).run();
}

}  // namespace sallyport
