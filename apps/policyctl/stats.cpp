// policyctl stats: what a policy consists of, how large it is, and what of it does nothing.
#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <ostream>

#include "language/survey/policy_survey.hpp"
#include "language/values.hpp"
#include "policyctl/command.hpp"
#include "policyctl/policy_input.hpp"

namespace sallyport::policyctl {
namespace {

constexpr std::size_t kMostShown = 10;

std::string parts(const NameCount& names) {
  return std::to_string(names.exact) + " exact, " + std::to_string(names.below) + " wildcard, " +
         std::to_string(names.both) + " both";
}

std::string per_name(std::size_t octets, std::size_t names) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f", static_cast<double>(octets) / static_cast<double>(names));
  return text;
}

std::string where(const PolicyModel& model, const SourcePosition& position) {
  return model.file_of(position) + ":" + std::to_string(position.line);
}

nlohmann::ordered_json json_of(const NameCount& names) {
  return {{"exact", names.exact}, {"wildcard", names.below}, {"both", names.both}};
}

void print_rules(std::ostream& out, const PolicyModel& model, const char* title,
                 const std::vector<std::uint32_t>& rules, const char* why) {
  for (const std::uint32_t rule : rules) {
    out << title << model.rules[rule].name << "  " << where(model, model.rules[rule].where) << "  " << why << "\n";
  }
}

void print_text(std::ostream& out, const CompiledPolicy& policy, const PolicySurvey& found) {
  const PolicyModel& model = policy.model;
  const std::size_t names = found.written.all() + found.listed.all();
  out << "rules      " << model.rules.size() << "  (" << found.allow_rules << " allow, " << found.deny_rules << " deny"
      << (found.trial_rules > 0 ? ", " + std::to_string(found.trial_rules) + " of them on trial" : "") << ")\n"
      << "names      " << names << "  (" << found.distinct_names << " distinct)\n";
  if (found.written.all() > 0) out << "  written  " << found.written.all() << "  " << parts(found.written) << "\n";
  if (found.listed.all() > 0) out << "  listed   " << found.listed.all() << "  " << parts(found.listed) << "\n";
  out << "addresses  " << counted(found.address_blocks, "block") << "\n"
      << "clients    " << model.clients.size() << "\n"
      << "tests      " << model.tests.size() << "\n"
      << "compiled   " << counted(policy.bytes.size(), "octet");
  if (names > 0) out << ", " << per_name(policy.bytes.size(), names) << " a name";
  out << "\n";
  std::size_t shown = 0;
  for (const PortUse& use : found.ports) {
    if (shown++ == kMostShown) {
      out << "           and " << counted(found.ports.size() - kMostShown, "more range") << "\n";
      break;
    }
    out << (shown == 1 ? "ports      " : "           ") << port_text(use.ports) << "  in "
        << counted(use.allow + use.deny, "rule") << "\n";
  }
  shown = 0;
  for (const RuleSurvey& rule : found.rules) {
    const std::size_t all = rule.written.all() + rule.listed.all();
    if (all == 0 || shown++ == kMostShown) break;
    out << (shown == 1 ? "largest    " : "           ") << model.rules[rule.rule].name << "  "
        << where(model, model.rules[rule.rule].where) << "  " << counted(all, "name") << "\n";
  }
  for (const std::uint32_t client : found.unused_clients)
    out << "unused     client " << model.clients[client].name << "  no rule names it\n";
  print_rules(out, model, "dead       ", found.dead_rules, "earlier rules decide all of its flows");
  print_rules(out, model, "shadowed   ", found.shadowed_rules, "an earlier rule takes some of its flows");
}

nlohmann::ordered_json to_json(const std::string& file, const CompiledPolicy& policy, const PolicySurvey& found) {
  const PolicyModel& model = policy.model;
  nlohmann::ordered_json json{{"schema", "sallyport.stats/1"}, {"file", file}};
  json["rules"] = {{"allow", found.allow_rules}, {"deny", found.deny_rules}, {"on_trial", found.trial_rules}};
  json["names"] = {
      {"written", json_of(found.written)}, {"listed", json_of(found.listed)}, {"distinct", found.distinct_names}};
  json["addresses"] = found.address_blocks;
  json["clients"] = model.clients.size();
  json["tests"] = model.tests.size();
  json["compiled"] = policy.bytes.size();
  json["ports"] = nlohmann::ordered_json::array();
  for (const PortUse& use : found.ports)
    json["ports"].push_back({{"ports", port_text(use.ports)}, {"allow", use.allow}, {"deny", use.deny}});
  const auto rule = [&](std::uint32_t index) {
    return nlohmann::ordered_json{{"rule", model.rules[index].name}, {"where", where(model, model.rules[index].where)}};
  };
  json["by_rule"] = nlohmann::ordered_json::array();
  for (const RuleSurvey& one : found.rules) {
    nlohmann::ordered_json entry = rule(one.rule);
    entry["names"] = one.written.all() + one.listed.all();
    entry["addresses"] = one.addresses;
    json["by_rule"].push_back(std::move(entry));
  }
  json["unused_clients"] = nlohmann::ordered_json::array();
  for (const std::uint32_t client : found.unused_clients) json["unused_clients"].push_back(model.clients[client].name);
  json["dead_rules"] = nlohmann::ordered_json::array();
  for (const std::uint32_t index : found.dead_rules) json["dead_rules"].push_back(rule(index));
  json["shadowed_rules"] = nlohmann::ordered_json::array();
  for (const std::uint32_t index : found.shadowed_rules) json["shadowed_rules"].push_back(rule(index));
  return json;
}

}  // namespace

int stats(const Invocation& invocation, const Terminal& terminal) {
  const std::string format = invocation.get("output", "text");
  if (format != "text" && format != "json")
    return usage_error(terminal, "unknown output format `" + format + "`; write text or json");
  const std::optional<CompiledPolicy> policy = compile_input(invocation.arguments[0], 1, terminal);
  if (!policy) return kInvalidPolicy;
  const PolicySurvey found = survey(policy->model);
  if (format == "json") {
    terminal.out
        << to_json(policy->model.source, *policy, found).dump(2, ' ', false, nlohmann::json::error_handler_t::replace)
        << "\n";
  } else {
    print_text(terminal.out, *policy, found);
  }
  return kYes;
}

}  // namespace sallyport::policyctl
