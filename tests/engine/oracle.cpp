#include "oracle.hpp"

#include <algorithm>
#include <string>

#include "names/guard.hpp"

namespace sallyport::oracle {
namespace {

// No, may, match as numbers, so that AND is min and OR is max.
enum Three { kNever = 0, kPerhaps = 1, kSurely = 2 };

Three yes(bool b) { return b ? kSurely : kNever; }

struct See {
  bool known = false, deferred = false;
  bool invisible() const { return !known && !deferred; }
};

See see(const Query& q, std::uint32_t bit, bool has_value) {
  if (q.known & bit) return {has_value, false};
  return {false, (q.deferred & bit) != 0};
}

bool in_any(const std::vector<Prefix>& prefixes, const Address& address) {
  return std::any_of(prefixes.begin(), prefixes.end(), [&](const Prefix& p) { return contains(p, address); });
}

bool among(const std::vector<PortRange>& ports, const Query& q) {
  return std::any_of(ports.begin(), ports.end(),
                     [&](const PortRange& p) { return p.proto == q.proto && q.port >= p.first && q.port <= p.last; });
}

bool has_domains(const RuleModel& r) { return !r.domains.empty() || !r.lists.empty(); }

bool lists(const RuleModel& r, const DomainName& name) {
  bool listed = std::any_of(r.domains.begin(), r.domains.end(), [&](const Pattern& p) { return matches(p, name); });
  for (const auto& list : r.lists) {
    for (std::size_t i = 0; i < list->size(); ++i) listed = listed || matches(list->pattern(i), name);
  }
  return listed;
}

struct World {
  const PolicyModel& policy;
  const Query& q;
  See name = see(q, kKnowName, q.name != nullptr);
  See address = see(q, kKnowAddress, q.address != nullptr);
  See port = see(q, kKnowPort, true);
  See method = see(q, kKnowMethod, !q.method.empty());
  See path = see(q, kKnowPath, !q.path.empty());

  bool guarded() const {
    if (!address.known) return false;
    if (classify(*q.address) != AddressClass::kPublic) return true;
    return std::find(policy.own_addresses.begin(), policy.own_addresses.end(), *q.address) !=
           policy.own_addresses.end();
  }
  bool metadata() const { return address.known && classify(*q.address) == AddressClass::kMetadata; }

  Three client(const RuleModel& r) const {
    if (r.clients.empty()) return kSurely;
    for (std::size_t i = 0; i < policy.clients.size(); ++i) {
      const bool in_rule = std::find(r.clients.begin(), r.clients.end(), policy.clients[i].name) != r.clients.end();
      if (in_rule && (q.groups >> i & 1) != 0) return kSurely;
    }
    return kNever;
  }

  Three ports(const RuleModel& r) const {
    if (r.ports.empty()) return kSurely;
    if (port.known) return yes(among(r.ports, q));
    if (port.deferred) return kPerhaps;
    return r.action == Action::kAllow ? kNever : kSurely;
  }

  // '*' is any run of characters: tried with each length.
  static bool glob(std::string_view pattern, std::string_view text) {
    if (pattern.empty()) return text.empty();
    if (pattern[0] != '*') return !text.empty() && text[0] == pattern[0] && glob(pattern.substr(1), text.substr(1));
    for (std::size_t n = 0; n <= text.size(); ++n) {
      if (glob(pattern.substr(1), text.substr(n))) return true;
    }
    return false;
  }

  Three request(const RuleModel& r) const {
    Three said = kSurely;
    const auto unseen = [&](const See& what) {
      return what.deferred ? kPerhaps : r.action == Action::kAllow ? kNever : kSurely;
    };
    if (!r.methods.empty()) {
      said = method.known ? yes(std::find(r.methods.begin(), r.methods.end(), q.method) != r.methods.end())
                          : unseen(method);
    }
    if (!r.paths.empty()) {
      const bool any = std::any_of(r.paths.begin(), r.paths.end(), [&](const auto& p) { return glob(p, q.path); });
      said = std::min(said, path.known ? yes(any) : unseen(path));
    }
    return said;
  }

  bool on_trial() const {
    if (q.now == 0) return false;
    if (policy.observe && q.now < policy.observe->until) return true;
    for (std::size_t i = 0; i < policy.clients.size(); ++i) {
      const auto& trial = policy.clients[i].observe;
      if (trial && (q.groups >> i & 1) != 0 && q.now < trial->until) return true;
    }
    return false;
  }

  // The rest is destination. `guard`: whether the guard is on.
  bool lifts(const RuleModel& r, const std::vector<Prefix>& prefixes) const {
    return in_any(prefixes, *q.address) && (!metadata() || r.allow_metadata);
  }

  Three domains(const RuleModel& r, bool guard) const {
    const bool allow = r.action == Action::kAllow;
    if (!has_domains(r)) return kNever;
    Three said = allow ? kNever : kSurely;
    if (name.known) {
      said = yes(lists(r, *q.name));
    } else if (name.deferred) {
      said = kPerhaps;
    }
    if (!r.resolves_to.empty()) {
      Three resolves = allow ? kNever : kSurely;
      if (address.known) {
        resolves = yes(in_any(r.resolves_to, *q.address));
      } else if (address.deferred) {
        resolves = kPerhaps;
      }
      said = std::min(said, resolves);
    }
    if (allow && guard && guarded() && !lifts(r, r.resolves_to)) said = kNever;
    return said;
  }

  Three literal(const RuleModel& r, bool guard) const {
    const bool allow = r.action == Action::kAllow;
    if (r.addresses.empty()) return kNever;
    if (allow && !name.invisible()) return kNever;
    if (allow && guard && guarded() && !lifts(r, r.addresses)) return kNever;
    if (address.known) return yes(in_any(r.addresses, *q.address));
    if (address.deferred) return kPerhaps;
    return allow ? kNever : kSurely;
  }

  Three destination(const RuleModel& r, bool guard) const {
    if (!has_domains(r) && r.addresses.empty()) {
      return r.action == Action::kAllow && guard && guarded() ? kNever : kSurely;
    }
    return std::max(domains(r, guard), literal(r, guard));
  }

  Three rule(const RuleModel& r, bool guard) const {
    return std::min({client(r), destination(r, guard), ports(r), request(r)});
  }
};

Verdict walk(const World& w, bool guard) {
  Verdict v;
  bool perhaps_denied = false;
  std::size_t trials = 0;
  for (std::size_t i = 0; i < w.policy.rules.size(); ++i) {
    const RuleModel& r = w.policy.rules[i];
    const Three said = w.rule(r, guard);
    if (said == kNever) continue;
    if (r.observe) {
      const bool allow = r.action == Action::kAllow;
      if ((allow || said == kSurely) && trials < kMostTrials)
        v.trials[trials++] = static_cast<std::uint32_t>(i + 1) | (allow ? kTrialAllows : 0);
      continue;
    }
    if (r.action == Action::kDeny && said == kPerhaps) {
      perhaps_denied = true;
      continue;
    }
    v.rule = static_cast<std::uint32_t>(i);
    if (r.action == Action::kDeny) {
      v.effect = Effect::kDeny;
      const bool anywhere = !has_domains(r) && r.addresses.empty();
      const bool by_name = anywhere ? w.name.known : w.domains(r, guard) == kSurely;
      v.reason = by_name ? Reason::kNameNotAllowed : Reason::kAddressDenied;
      return v;
    }
    v.effect = said == kSurely && !perhaps_denied ? Effect::kAllow : Effect::kContinue;
    v.reason = Reason::kOk;
    v.flags = r.tunnel_any ? std::uint32_t{kFlagTunnelAny} : 0;
    return v;
  }
  v.rule = kNoRuleIndex;
  if (w.policy.default_action == Action::kAllow && !(guard && w.guarded())) {
    v.effect = perhaps_denied ? Effect::kContinue : Effect::kAllow;
    v.reason = Reason::kOk;
    return v;
  }
  const bool only_port = std::any_of(w.policy.rules.begin(), w.policy.rules.end(), [&](const RuleModel& r) {
    return !r.observe && r.action == Action::kAllow && w.client(r) == kSurely && w.destination(r, false) == kSurely &&
           w.request(r) == kSurely && w.ports(r) == kNever;
  });
  v.effect = Effect::kDeny;
  v.reason = only_port                               ? Reason::kPortDenied
             : w.name.invisible() && w.address.known ? Reason::kIpLiteralDenied
                                                     : Reason::kNoRule;
  return v;
}

}  // namespace

bool matches(const Pattern& pattern, const DomainName& name) {
  const std::string base(pattern.name.text()), text(name.text());
  const std::string tail = "." + base;
  const bool below = text.size() > tail.size() && text.substr(text.size() - tail.size()) == tail;
  switch (pattern.kind) {
    case PatternKind::kExact:
      return text == base;
    case PatternKind::kBelow:
      return below;
    case PatternKind::kExactAndBelow:
      return below || text == base;
  }
  return false;
}

bool contains(const Prefix& prefix, const Address& address) {
  if (prefix.network().is_v4() != address.is_v4()) return false;
  for (unsigned bit = 0; bit < prefix.bits(); ++bit) {
    const unsigned mask = 0x80u >> (bit % 8);
    if ((prefix.network().octets()[bit / 8] & mask) != (address.octets()[bit / 8] & mask)) return false;
  }
  return true;
}

std::vector<std::uint32_t> listed(const PolicyModel& policy, const DomainName& name) {
  std::vector<std::uint32_t> rules;
  for (std::size_t i = 0; i < policy.rules.size(); ++i) {
    if (lists(policy.rules[i], name)) rules.push_back(static_cast<std::uint32_t>(i));
  }
  return rules;
}

// The guard's reason: with the guard switched off the flow would have passed.
Verdict decide(const PolicyModel& policy, const Query& query, std::uint64_t generation) {
  const World world{policy, query};
  Verdict v = walk(world, true);
  if (v.effect == Effect::kDeny && walk(world, false).effect != Effect::kDeny) {
    v.reason = world.metadata() ? Reason::kGuardMetadata : Reason::kAddrForbidden;
  } else if (v.effect == Effect::kDeny && !world.guarded() && world.on_trial()) {
    v.effect = Effect::kAllow;
    v.flags |= kFlagObserved;
  }
  v.generation = generation;
  return v;
}

}  // namespace sallyport::oracle
