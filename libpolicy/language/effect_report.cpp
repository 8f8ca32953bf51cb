#include "language/effect_report.hpp"

#include <utility>

#include "language/effect.hpp"
#include "language/suggest.hpp"
#include "sallyport/policy/v1/policy.pb.h"

namespace sallyport {
namespace {

using policy::v1::Rule;

std::string action_word(Action action) { return action == Action::kAllow ? "allowed" : "denied"; }

}  // namespace

void report_dead_rules(const PolicyModel& model, const Place* rules, Reporter& reporter) {
  if (rules == nullptr) return;
  for (const DeadRule& dead : find_dead_rules(model)) {
    const RuleModel& rule = model.rules[dead.rule];
    const Place& entry = rules->elements[dead.rule];
    const std::string path = "rules[" + std::to_string(entry.index) + "]";
    const auto place_of = [&](std::uint32_t index) {
      const Place* name = rules->elements[index].field(Rule::kNameFieldNumber);
      return reporter.source().excerpt(name->value);
    };
    if (dead.whole) {
      std::string names;
      for (const std::uint32_t by : dead.by) names += (names.empty() ? "" : ", ") + in_ticks(model.rules[by].name);
      const Span& at_name = entry.field(Rule::kNameFieldNumber)->value;
      Diagnostic& error =
          reporter.error("P021", at_name, path, "rule " + in_ticks(rule.name) + " can never take effect",
                         "all it covers is decided before it by " + names);
      if (dead.by_deny_of_names) {
        error.note =
            "an address carries no name, so it might be any name: a deny rule of names stops it; put this rule first";
      } else {
        error.note = "the first rule that matches decides: put the narrower rule first, or remove this one";
      }
      for (const std::uint32_t by : dead.by) error.related.push_back(place_of(by));
      continue;
    }
    for (const DeadEntry& part : dead.entries) {
      const int field = part.is_domain ? Rule::kDomainsFieldNumber : Rule::kAddressesFieldNumber;
      const Place* list = entry.field(field);
      const std::size_t size = part.is_domain ? rule.domains.size() : rule.addresses.size();
      if (list->elements.size() != size) continue;  // entries listed twice were left out, the places no longer line up
      const Place& value = list->elements[part.index];
      const std::string text = part.is_domain ? rule.domains[part.index].text() : rule.addresses[part.index].text();
      Diagnostic& warning =
          reporter.warning("P042", value.value,
                           path + (part.is_domain ? ".domains[" : ".addresses[") + std::to_string(value.index) + "]",
                           in_ticks(text) + " is already " + action_word(model.rules[part.by].action) + " by " +
                               in_ticks(model.rules[part.by].name),
                           "here it never takes effect: put the narrower rule first, or remove the entry");
      warning.related.push_back(place_of(part.by));
    }
  }
}

}  // namespace sallyport
