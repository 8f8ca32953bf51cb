#include "language/effect_report.hpp"

#include <algorithm>
#include <unordered_map>
#include <utility>

#include "language/effect.hpp"
#include "language/limit_order.hpp"
#include "language/shadow.hpp"
#include "language/suggest.hpp"
#include "language/values.hpp"
#include "sallyport/policy/v1/policy.pb.h"

namespace sallyport {
namespace {

using policy::v1::Rule;

std::string action_word(Action action) { return action == Action::kAllow ? "allowed" : "denied"; }

std::string entry_text(const RuleModel& rule, bool is_domain, std::uint32_t index) {
  return is_domain ? rule.domains[index].text() : rule.addresses[index].text();
}

// "80 and 443", "8000-8010 and 53/udp", "every TCP port".
std::string ports_text(const std::vector<PortRange>& ports) {
  std::string text;
  for (std::size_t i = 0; i < ports.size(); ++i) {
    const PortRange& range = ports[i];
    std::string one = port_text(range);
    if (range.last == 65535 && range.first <= 1) {
      one = range.proto == kProtoUdp ? "every UDP port" : "every TCP port";
    } else if (one.ends_with("/tcp")) {
      one.resize(one.size() - 4);  // a bare port is TCP
    }
    text += (i == 0 ? "" : i + 1 == ports.size() ? " and " : ", ") + one;
  }
  return text;
}

// "`site` (policy.yaml:3) lets it pass on 80 and 443".
std::string openings_text(const PolicyModel& model, const std::vector<Opening>& openings) {
  std::string text;
  for (const Opening& opening : openings) {
    const RuleModel& by = model.rules[opening.by];
    text += (text.empty() ? "" : ", ") + in_ticks(by.name) + " (" + model.file_of(by.where) + ":" +
            std::to_string(by.where.line) + ") lets it pass on " + ports_text(opening.ports);
  }
  return text;
}

// Names that no `domains` holds came by a preset.
const Place* list_of(const Place& rule, bool is_domain) {
  const Place* list = rule.field(is_domain ? Rule::kDomainsFieldNumber : Rule::kAddressesFieldNumber);
  return list != nullptr ? list : rule.field(Rule::kPresetFieldNumber);
}

// Where an entry was written; what holds it, where entries listed twice were left out and the places no longer line up.
struct EntryPlace {
  const Place* value;
  std::string path;  // ".domains[3]"
};
EntryPlace place_of_entry(const Place& rule, const RuleModel& model, const OpenEntry& open) {
  const Place* list = open.list ? rule.field(Rule::kListsFieldNumber) : list_of(rule, open.is_domain);
  const std::size_t size = open.list        ? model.lists.size()
                           : open.is_domain ? model.domains.size()
                                            : model.addresses.size();
  std::string path = open.list ? ".lists" : open.is_domain ? ".domains" : ".addresses";
  if (list->elements.size() != size) return {list, std::move(path)};
  const Place& value = list->elements[open.list.value_or(open.index)];
  return {&value, path + "[" + std::to_string(value.index) + "]"};
}

Excerpt excerpt_of(const RulePlace& rule) {
  return rule.reporter->source().excerpt(rule.place->field(Rule::kNameFieldNumber)->value);
}

// Entries that are dead as a whole were reported, as `told` says.
void report_shadowed_rules(const PolicyModel& model, std::span<const RulePlace> rules,
                           const std::vector<DeadRule>& told, PatternIndexes& indexes) {
  for (const ShadowedRule& shadowed : find_shadowed_rules(model, indexes)) {
    const auto dead =
        std::find_if(told.begin(), told.end(), [&](const DeadRule& d) { return d.rule == shadowed.rule; });
    if (dead != told.end() && dead->whole) continue;
    const RuleModel& rule = model.rules[shadowed.rule];
    const Place& entry = *rules[shadowed.rule].place;
    Reporter& reporter = *rules[shadowed.rule].reporter;
    // A list of a thousand names below one wildcard is one mistake: one warning for all that are let pass alike.
    struct Group {
      const OpenEntry* first;
      std::string openings;
      std::uint64_t entries = 0;
    };
    std::vector<Group> groups;
    std::unordered_map<std::string, std::size_t> group_of;  // by openings
    for (const OpenEntry& open : shadowed.entries) {
      const auto same = [&](const DeadEntry& d) {
        return !open.list && d.is_domain == open.is_domain && d.index == open.index;
      };
      if (dead != told.end() && std::any_of(dead->entries.begin(), dead->entries.end(), same)) continue;
      std::string text = openings_text(model, open.openings);
      const auto [group, fresh] = group_of.emplace(text, groups.size());
      if (fresh) groups.push_back({&open, std::move(text)});
      groups[group->second].entries += open.stands_for;
    }
    for (const Group& group : groups) {
      const OpenEntry& open = *group.first;
      const EntryPlace written = place_of_entry(entry, rule, open);
      const Place& value = *written.value;
      const std::string path = "rules[" + std::to_string(entry.index) + "]" + written.path;
      std::string what = in_ticks(open.list ? rule.lists[*open.list]->pattern(open.index).text()
                                            : entry_text(rule, open.is_domain, open.index));
      if (group.entries > 1) what += " and " + std::to_string(group.entries - 1) + " more";
      std::string above;
      for (const Opening& opening : open.openings) {
        above += (above.empty() ? "" : " and ") + in_ticks(model.rules[opening.by].name);
      }
      Diagnostic& warning =
          reporter.warning("P042", value.value, path,
                           what + (group.entries > 1 ? " are" : " is") + " denied only in part: " + group.openings,
                           "move rule " + in_ticks(rule.name) + " above " + above);
      warning.note = "the first rule that matches decides";
      for (const Opening& opening : open.openings) warning.related.push_back(excerpt_of(rules[opening.by]));
    }
  }
}

void report_bypassed_limits(const PolicyModel& model, std::span<const RulePlace> rules) {
  for (const BypassedLimits& found : find_bypassed_limits(model)) {
    const Place& entry = *rules[found.rule].place;
    Diagnostic& error = rules[found.rule].reporter->error(
        "P063", entry.field(Rule::kLimitsFieldNumber)->key, "rules[" + std::to_string(entry.index) + "].limits",
        "requests by this rule may come on a connection that " + in_ticks(model.rules[found.by].name) +
            " is charged for",
        "put rule " + in_ticks(model.rules[found.rule].name) + " before it, or give the two other names or ports");
    error.note = "a connection is charged by the first rule that may allow it, which is the one that asks for requests";
    error.related.push_back(excerpt_of(rules[found.by]));
  }
}

}  // namespace

void report_rules_without_effect(const PolicyModel& model, std::span<const RulePlace> rules) {
  report_bypassed_limits(model, rules);
  PatternIndexes indexes;
  const std::vector<DeadRule> all_dead = find_dead_rules(model, indexes);
  report_shadowed_rules(model, rules, all_dead, indexes);
  for (const DeadRule& dead : all_dead) {
    const RuleModel& rule = model.rules[dead.rule];
    const Place& entry = *rules[dead.rule].place;
    Reporter& reporter = *rules[dead.rule].reporter;
    const std::string path = "rules[" + std::to_string(entry.index) + "]";
    const auto place_of = [&](std::uint32_t index) { return excerpt_of(rules[index]); };
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
      const Place* list = list_of(entry, part.is_domain);
      const std::size_t size = part.is_domain ? rule.domains.size() : rule.addresses.size();
      if (list->elements.size() != size) continue;  // entries listed twice were left out, the places no longer line up
      const Place& value = list->elements[part.index];
      const std::string text = entry_text(rule, part.is_domain, part.index);
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
