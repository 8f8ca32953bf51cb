// policyctl explain: verdict, reason, and what each rule said (UX, "Why was it denied").
#include <algorithm>
#include <nlohmann/json.hpp>
#include <ostream>

#include "language/explain_flow.hpp"
#include "language/load.hpp"
#include "language/suggest.hpp"
#include "language/suggest_allow.hpp"
#include "language/values.hpp"
#include "policyctl/command.hpp"
#include "policyctl/explain_words.hpp"
#include "policyctl/policy_input.hpp"

namespace sallyport::policyctl {
namespace {

constexpr std::string_view kDefaultCell = "run";  // of sallyport run without --name

struct Colors {
  const char *allow = "", *deny = "", *dim = "", *off = "";
};
constexpr Colors kNoColors{};
constexpr Colors kTerminalColors{"\x1b[1;32m", "\x1b[1;31m", "\x1b[2m", "\x1b[0m"};

std::string_view layer_word(Layer layer) {
  switch (layer) {
    case Layer::kDns:
      return "dns";
    case Layer::kTcp:
      return "tcp";
    case Layer::kTls:
      return "tls";
    case Layer::kHttp:
      return "http";
    case Layer::kDial:
      return "dial";
    case Layer::kNone:
      break;
  }
  return "none";
}

std::string_view outcome_word(Outcome outcome) {
  switch (outcome) {
    case Outcome::kNo:
      return "no";
    case Outcome::kMay:
      return "may";
    case Outcome::kMatch:
      return "yes";
  }
  return "no";
}

std::string destination_text(const Destination& destination) {
  const std::string port = ":" + std::to_string(destination.port);
  if (destination.address) {
    return (destination.address->is_v6() ? "[" + destination.address->text() + "]" : destination.address->text()) +
           port;
  }
  return (destination.name ? std::string(destination.name->text()) : destination.raw) + port;
}

struct Row {
  std::string where, name, outcome, why;
};

void print_rows(std::ostream& out, const std::vector<Row>& rows) {
  std::size_t where = 0, name = 0, outcome = 0;
  for (const Row& row : rows) {
    where = std::max(where, row.where.size());
    name = std::max(name, row.name.size());
    outcome = std::max(outcome, row.outcome.size());
  }
  for (const Row& row : rows) {
    const auto padded = [](std::string text, std::size_t width) {
      text.resize(std::max(width, text.size()), ' ');
      return text;
    };
    std::string line = "  " + padded(row.where, where) + "  " + padded(row.name, name) + "  " +
                       padded(row.outcome, outcome) + "  " + row.why;
    while (line.ends_with(' ')) line.pop_back();
    out << line << "\n";
  }
}

std::string_view default_word(const PolicyModel& model) {
  return model.default_action == Action::kAllow ? "allow" : "deny";
}

void print_text(std::ostream& out, const Colors& colors, const Explainer& explainer, const PolicyModel& model,
                const Destination& destination, const FlowExplanation& explanation, const AllowSuggestion& allow,
                const std::string& client) {
  const char* color = explanation.allowed ? colors.allow : colors.deny;
  out << color
      << (explanation.observed  ? "OBSERVE"
          : explanation.allowed ? "ALLOW"
                                : "DENY")
      << colors.off << " " << to_string(explanation.reason) << "  ";
  if (!destination.malformed.empty()) {
    out << in_ticks(destination.raw) << ": " << destination.malformed << "\n";
    return;
  }
  if (explanation.steps.empty()) {
    out << "udp " << destination_text(destination) << (client.empty() ? "" : "  " + client) << "\n";
    for (const std::string& note : explainer.notes()) out << "note:   " << note << "\n";
    return;
  }
  const Step& last = explanation.steps.back();
  if (last.layer == Layer::kDns) {
    out << "dns A " << destination.name->text();
  } else {
    out << (destination.proto == kProtoUdp ? "udp" : layer_word(last.layer)) << " " << destination_text(destination);
    if (last.address && destination.name) out << " at " << last.address->text();
  }
  if (!client.empty()) out << "  " << client;
  out << "\n";

  std::vector<Row> rows;
  for (const RuleTrace& row : last.trace) {
    rows.push_back({explainer.where(row.rule), model.rules[row.rule].name, std::string(outcome_word(row.outcome)),
                    explainer.why(last, row)});
  }
  if (last.verdict.rule == kNoRuleIndex)
    rows.push_back({explainer.where(kNoRuleIndex), "default", std::string(default_word(model)), ""});
  print_rows(out, rows);
  const std::size_t unasked = model.rules.size() - last.trace.size();
  if (unasked > 0) {
    out << colors.dim << "  " << unasked << (unasked == 1 ? " later rule is" : " later rules are") << " not reached"
        << colors.off << "\n";
  }
  for (const std::string& note : explainer.notes()) out << "note:   " << note << "\n";
  if (!allow.argument.empty()) {
    out << "allow:  sallyport run ";
    if (model.source != "command line") out << "-p " << (model.source == kStandardInput ? "FILE" : model.source) << " ";
    out << allow.argument << " -- ...\n";
  } else if (!allow.rule.empty()) {
    out << "allow:  by a rule of a policy file: " << allow.rule << "\n";
  }
}

// How to let a denied destination pass; nothing where a rule of the policy denies it, or where that would answer
// another question: with no port given, 443 was supposed.
AllowSuggestion suggestion_for(const PolicyModel& model, const Destination& destination,
                               const FlowExplanation& explanation, const std::optional<Address>& resolved) {
  if (explanation.allowed || explanation.steps.empty()) return {};
  const Verdict& verdict = explanation.steps.back().verdict;
  if (verdict.rule != kNoRuleIndex && model.rules[verdict.rule].action == Action::kDeny) return {};
  if (!destination.port_given && !Explainer(model, destination, explanation).ports_beside().empty()) return {};
  const std::string text = destination.name ? std::string(destination.name->text()) : destination.address->text();
  return suggest_allow(model, text, destination.port, resolved);
}

nlohmann::ordered_json to_json(const Explainer& explainer, const PolicyModel& model, const Destination& destination,
                               const FlowExplanation& explanation, const AllowSuggestion& allow,
                               const std::string& client) {
  nlohmann::ordered_json json{
      {"schema", "sallyport.explain/1"},          {"verdict", explanation.allowed ? "allow" : "deny"},
      {"reason", to_string(explanation.reason)},  {"address_open", explanation.address_open},
      {"request_open", explanation.request_open}, {"observed", explanation.observed}};
  json["name"] = destination.name ? nlohmann::ordered_json(destination.name->text()) : nullptr;
  json["addr"] = destination.address ? nlohmann::ordered_json(destination.address->text()) : nullptr;
  json["port"] = destination.port;
  json["proto"] = destination.proto == kProtoUdp ? "udp" : "tcp";
  json["client"] = client.empty() ? nlohmann::ordered_json(nullptr) : nlohmann::ordered_json(client);
  if (!destination.malformed.empty()) json["malformed"] = destination.malformed;
  json["steps"] = nlohmann::ordered_json::array();
  for (const Step& step : explanation.steps) {
    nlohmann::ordered_json one{{"layer", layer_word(step.layer)},
                               {"effect", step.verdict.effect == Effect::kDeny    ? "deny"
                                          : step.verdict.effect == Effect::kAllow ? "allow"
                                                                                  : "continue"},
                               {"reason", to_string(step.verdict.reason)}};
    const bool by_rule = step.verdict.rule != kNoRuleIndex;
    one["rule"] = by_rule ? nlohmann::ordered_json(model.rules[step.verdict.rule].name) : nullptr;
    one["where"] = explainer.where(step.verdict.rule);
    if (by_rule && model.rules[step.verdict.rule].limits.any())
      one["limits"] = limits_text(model.rules[step.verdict.rule].limits);
    if (step.address) one["addr"] = step.address->text();
    one["rules"] = nlohmann::ordered_json::array();
    for (const RuleTrace& row : step.trace) {
      one["rules"].push_back({{"rule", model.rules[row.rule].name},
                              {"where", explainer.where(row.rule)},
                              {"outcome", outcome_word(row.outcome)},
                              {"why", explainer.why(step, row)}});
    }
    json["steps"].push_back(std::move(one));
  }
  json["notes"] = explainer.notes();
  json["allow"] = {{"argument", allow.argument}, {"rule", allow.rule}};
  return json;
}

// The clients that are asked for, as bits; a failure says what was wrong.
struct Groups {
  std::uint64_t bits = 0;
  std::string text, failure;
};

Groups groups_of(const Invocation& invocation, const PolicyModel& model, const Snapshot& snapshot) {
  Groups groups;
  for (const std::string& name : invocation.all("client")) {
    const auto found =
        std::find_if(model.clients.begin(), model.clients.end(), [&](const ClientModel& c) { return c.name == name; });
    if (found == model.clients.end()) {
      std::vector<std::string_view> names;
      for (const ClientModel& client : model.clients) names.push_back(client.name);
      const std::string_view near = nearest(name, std::span<const std::string_view>(names));
      groups.failure =
          "the policy has no client " + in_ticks(name) + (near.empty() ? "" : "; did you mean " + in_ticks(near) + "?");
      return groups;
    }
    groups.bits |= std::uint64_t{1} << (found - model.clients.begin());
    groups.text += (groups.text.empty() ? "" : ", ") + name;
  }
  if (const std::string cell = invocation.get("cell", invocation.has("client") ? "" : kDefaultCell); !cell.empty()) {
    const std::uint64_t bits = snapshot.groups_of_cell(cell);
    groups.bits |= bits;
    std::string members;
    for (unsigned bit = 0; bit < model.clients.size(); ++bit) {
      if ((bits >> bit & 1) != 0) members += (members.empty() ? "" : ", ") + std::string(snapshot.group_name(bit));
    }
    // Who asks matters where the policy tells clients apart, or where the user said it.
    if (!model.clients.empty() || invocation.has("cell")) {
      groups.text += (groups.text.empty() ? "cell " : ", cell ") + cell + (members.empty() ? "" : " (" + members + ")");
    }
  }
  return groups;
}

// Trials end by the clock.
std::int64_t now() { return static_cast<std::int64_t>(std::time(nullptr)); }

}  // namespace

int explain(const Invocation& invocation, const Terminal& terminal) {
  const std::string format = invocation.get("output", "text");
  if (format != "text" && format != "json")
    return usage_error(terminal, "unknown output format `" + format + "`; write text or json");
  if (!invocation.has("policy") && !invocation.has("allow") && !invocation.has("compiled"))
    return usage_error(terminal, "which policy? add -p FILE or --allow NAME");
  if (invocation.has("compiled") && (invocation.has("policy") || invocation.has("allow")))
    return usage_error(terminal, "--compiled is a policy of its own: leave --policy and --allow out");
  if (invocation.all("policy").size() > 1) return usage_error(terminal, "more than one --policy");

  std::optional<std::uint16_t> port;
  if (invocation.has("port")) {
    Parsed<PortRange> parsed = read_port(invocation.get("port"));
    const auto* range = std::get_if<PortRange>(&parsed);
    if (range == nullptr || range->first != range->last)
      return usage_error(terminal, in_ticks(invocation.get("port")) + " is no port");
    if (range->proto != kProtoTcp)
      return usage_error(terminal, "cells carry TCP and their own DNS; write --port " + std::to_string(range->first));
    port = range->first;
  }
  std::string usage;
  Destination destination = read_destination(invocation.arguments[0], port, usage);
  if (!usage.empty()) return usage_error(terminal, usage);
  if (invocation.has("method")) destination.method = invocation.get("method");
  std::optional<Address> resolved;
  if (invocation.has("resolved")) {
    const Result<Address> address = Address::parse(invocation.get("resolved"));
    if (!address.ok())
      return usage_error(terminal,
                         "--resolved " + in_ticks(invocation.get("resolved")) + ": " + address.error().message);
    resolved = *address;
  }

  std::optional<PolicyModel> model;
  const auto invalid = [&](const LoadOutcome& outcome) {
    terminal.err << render(outcome.diagnostics, terminal.err_color);
    return kInvalidPolicy;
  };
  if (invocation.has("policy")) {
    LoadOutcome outcome = load_policy_input(invocation.get("policy"));
    if (!outcome.ok()) return invalid(outcome);
    model = std::move(outcome.model);
  }
  if (invocation.has("allow")) {
    LoadOutcome outcome = model_from_allow(invocation.all("allow"), model ? &*model : nullptr);
    if (!outcome.ok()) return invalid(outcome);
    terminal.err << render(outcome.diagnostics, terminal.err_color);  // no check shows what is wrong with arguments
    model = std::move(outcome.model);
  }

  const bool is_outline = invocation.has("compiled");
  std::optional<CompiledPolicy> policy;
  if (is_outline) {
    std::shared_ptr<const Snapshot> snapshot = open_snapshot(invocation.get("compiled"), terminal);
    if (snapshot != nullptr) policy = CompiledPolicy{outline_of(*snapshot), {}, {}, snapshot};
  } else {
    policy = compiled(*std::move(model), 1, terminal);
  }
  if (!policy) return kInvalidPolicy;
  const Groups groups = groups_of(invocation, policy->model, *policy->snapshot);
  if (!groups.failure.empty()) return usage_error(terminal, groups.failure);
  // Clients that are no cells are a gate's.
  destination.at_gate = invocation.has("client") && !invocation.has("cell") &&
                        std::ranges::none_of(invocation.all("client"), [&](const std::string& name) {
                          const auto found = std::ranges::find(policy->model.clients, name, &ClientModel::name);
                          return !found->cells.empty();
                        });
  Reader reader(policy->snapshot);
  const FlowExplanation explanation = explain_flow(reader, destination, groups.bits, resolved, now());
  const Explainer explainer(policy->model, destination, explanation, is_outline);
  AllowSuggestion allow;
  if (!is_outline) allow = suggestion_for(policy->model, destination, explanation, resolved);
  if (format == "json") {
    terminal.out << to_json(explainer, policy->model, destination, explanation, allow, groups.text)
                        .dump(2, ' ', false, nlohmann::json::error_handler_t::replace)
                 << "\n";
  } else {
    print_text(terminal.out, terminal.out_color ? kTerminalColors : kNoColors, explainer, policy->model, destination,
               explanation, allow, groups.text);
  }
  return explanation.allowed ? kYes : kNo;
}

}  // namespace sallyport::policyctl
