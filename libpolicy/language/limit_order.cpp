#include "language/limit_order.hpp"

#include <algorithm>

namespace sallyport {
namespace {

bool share_a_port(const RuleModel& a, const RuleModel& b) {
  return a.ports.empty() || b.ports.empty() || std::any_of(a.ports.begin(), a.ports.end(), [&](const PortRange& one) {
           return std::any_of(b.ports.begin(), b.ports.end(), [&](const PortRange& other) {
             return one.proto == other.proto && one.first <= other.last && other.first <= one.last;
           });
         });
}

bool share_a_name(const Pattern& a, const Pattern& b) {
  return a.matches(b.name) || b.matches(a.name) || (a.kind != PatternKind::kExact && b.name.is_within(a.name)) ||
         (b.kind != PatternKind::kExact && a.name.is_within(b.name));
}

bool share_a_destination(const RuleModel& a, const RuleModel& b) {
  constexpr std::size_t kMostPairs = 1'000'000;
  if (!a.addresses.empty() && !b.addresses.empty()) return true;
  if (!a.lists_names() || !b.lists_names()) return false;
  if (!a.lists.empty() || !b.lists.empty() || a.domains.size() > kMostPairs / b.domains.size()) return true;
  return std::any_of(a.domains.begin(), a.domains.end(), [&](const Pattern& one) {
    return std::any_of(b.domains.begin(), b.domains.end(),
                       [&](const Pattern& other) { return share_a_name(one, other); });
  });
}

}  // namespace

std::vector<BypassedLimits> find_bypassed_limits(const PolicyModel& model) {
  std::vector<BypassedLimits> found;
  for (std::uint32_t i = 0; i < model.rules.size(); ++i) {
    const RuleModel& limited = model.rules[i];
    if (!limited.limits.any()) continue;
    for (std::uint32_t earlier = 0; earlier < i; ++earlier) {
      const RuleModel& rule = model.rules[earlier];
      if (rule.action != Action::kAllow || rule.observe || !rule.asks_for_requests()) continue;
      // Of clients nothing is asked: whoever is in two groups is held by the rules of both.
      if (!share_a_port(rule, limited) || !share_a_destination(rule, limited)) continue;
      found.push_back({i, earlier});
      break;
    }
  }
  return found;
}

}  // namespace sallyport
