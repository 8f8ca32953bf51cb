#include "language/survey/policy_survey.hpp"

#include <algorithm>
#include <map>
#include <string_view>
#include <tuple>
#include <unordered_set>

#include "language/effect.hpp"
#include "language/shadow.hpp"

namespace sallyport {
namespace {

void count(NameCount& into, PatternKind kind) {
  switch (kind) {
    case PatternKind::kExact:
      ++into.exact;
      break;
    case PatternKind::kBelow:
      ++into.below;
      break;
    case PatternKind::kExactAndBelow:
      ++into.both;
      break;
  }
}

void add(NameCount& into, const NameCount& more) {
  into.exact += more.exact;
  into.below += more.below;
  into.both += more.both;
}

}  // namespace

PolicySurvey survey(const PolicyModel& model) {
  PolicySurvey out;
  std::unordered_set<std::string_view> distinct;
  std::map<std::tuple<std::uint16_t, std::uint16_t, std::uint16_t>, PortUse> ports;
  std::unordered_set<std::string_view> used;
  for (std::uint32_t i = 0; i < model.rules.size(); ++i) {
    const RuleModel& rule = model.rules[i];
    ++(rule.action == Action::kAllow ? out.allow_rules : out.deny_rules);
    if (rule.observe) ++out.trial_rules;
    RuleSurvey one{i, {}, {}, rule.addresses.size()};
    for (const Pattern& pattern : rule.domains) {
      count(one.written, pattern.kind);
      distinct.insert(pattern.name.text());
    }
    for (const auto& list : rule.lists) {
      for (std::size_t n = 0; n < list->size(); ++n) {
        const PatternSet::Entry entry = (*list)[n];
        count(one.listed, entry.kind);
        distinct.insert(entry.name);
      }
    }
    add(out.written, one.written);
    add(out.listed, one.listed);
    out.address_blocks += rule.addresses.size();
    out.rules.push_back(one);
    for (const PortRange& range : rule.ports) {
      PortUse& use = ports[{range.proto, range.first, range.last}];
      use.ports = range;
      ++(rule.action == Action::kAllow ? use.allow : use.deny);
    }
    used.insert(rule.clients.begin(), rule.clients.end());
  }
  out.distinct_names = distinct.size();
  std::sort(out.rules.begin(), out.rules.end(), [](const RuleSurvey& a, const RuleSurvey& b) {
    const std::size_t of_a = a.written.all() + a.listed.all(), of_b = b.written.all() + b.listed.all();
    return of_a != of_b ? of_a > of_b : a.rule < b.rule;
  });
  for (const auto& [key, use] : ports) out.ports.push_back(use);
  std::sort(out.ports.begin(), out.ports.end(), [](const PortUse& a, const PortUse& b) {
    const auto key = [](const PortUse& use) {
      return std::tuple(-static_cast<std::int64_t>(use.allow + use.deny), use.ports.proto, use.ports.first,
                        use.ports.last);
    };
    return key(a) < key(b);
  });
  for (std::uint32_t i = 0; i < model.clients.size(); ++i) {
    if (!model.clients[i].observe && !used.contains(model.clients[i].name)) out.unused_clients.push_back(i);
  }
  for (const DeadRule& dead : find_dead_rules(model)) {
    if (dead.whole) out.dead_rules.push_back(dead.rule);
  }
  for (const ShadowedRule& shadowed : find_shadowed_rules(model)) out.shadowed_rules.push_back(shadowed.rule);
  return out;
}

}  // namespace sallyport
