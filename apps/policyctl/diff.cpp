// policyctl diff: which flows one policy decides otherwise than another.
#include <algorithm>
#include <nlohmann/json.hpp>
#include <ostream>

#include "language/compare/policy_diff.hpp"
#include "language/values.hpp"
#include "policyctl/command.hpp"
#include "policyctl/policy_input.hpp"

namespace sallyport::policyctl {
namespace {

constexpr std::size_t kMostShown = 50;  // of each kind; -o json has all
constexpr std::size_t kMostPorts = 6;

struct Words {
  Change change;
  const char* heading;
  const char* word;
};
constexpr Words kWords[] = {
    {Change::kOpens, "would pass now", "opens"},
    {Change::kStops, "would stop", "stops"},
    {Change::kLoosens, "would carry any bytes now", "loosens"},
    {Change::kTightens, "would no longer carry any bytes", "tightens"},
};

std::string host_of(const FlowChange& change) {
  if (change.name) return std::string(change.name->text());
  return change.address->is_v6() ? "[" + change.address->text() + "]" : change.address->text();
}

std::string flow_of(const FlowChange& change) {
  std::string text = host_of(change) + ":" + std::to_string(change.port) + (change.proto == kProtoUdp ? "/udp" : "");
  if (!change.path.empty())
    text = change.method + " http://" + host_of(change) + ":" + std::to_string(change.port) + change.path;
  if (change.name && change.address) text += " at " + change.address->text();
  return text;
}

std::string who_of(const FlowChange& change) {
  if (change.everyone) return "everyone";
  std::string text;
  for (const std::string& client : change.clients) text += (text.empty() ? "" : ", ") + client;
  if (change.others) text += text.empty() ? "those of no client" : " and those of no client";
  return text;
}

std::string by(const PolicyModel& model, const DiffVerdict& verdict) {
  const bool by_rule = verdict.rule != kNoRuleIndex;
  const SourcePosition& position = by_rule ? model.rules[verdict.rule].where : model.default_where;
  std::string text = by_rule ? "rule " + model.rules[verdict.rule].name : "default";
  if (position.line > 0) text += ", " + model.file_of(position) + ":" + std::to_string(position.line);
  return text;
}

std::string said(const PolicyModel& model, const DiffVerdict& verdict) {
  const std::string reason(to_string(verdict.reason));
  return (verdict.passes ? "" : reason + ", ") + by(model, verdict);
}

std::string ports_of(const FlowChange& change) {
  std::string text;
  for (std::size_t i = 0; i < change.ports.size(); ++i) {
    if (i == kMostPorts) return text + " and others";
    const PortRange& range = change.ports[i];
    const bool all = range.first <= 1 && range.last == 65535;
    text += (i == 0 ? "" : ", ") +
            (all ? std::string("all of ") + (range.proto == kProtoUdp ? "udp" : "tcp") : port_text(range));
  }
  return text;
}

void print_text(std::ostream& out, const PolicyModel& a, const PolicyModel& b, const PolicyDiff& found) {
  for (const Words& words : kWords) {
    const auto is_one = [&](const FlowChange& change) { return change.change == words.change; };
    const auto count = static_cast<std::size_t>(std::count_if(found.changes.begin(), found.changes.end(), is_one));
    if (count == 0) continue;
    out << words.heading << ":\n";
    std::size_t shown = 0;
    for (const FlowChange& change : found.changes) {
      if (!is_one(change)) continue;
      if (shown++ == kMostShown) {
        out << "  and " << count - kMostShown << " more: see -o json\n";
        break;
      }
      out << "  " << flow_of(change) << "  for " << who_of(change) << "  (" << said(b, change.b)
          << "; before: " << said(a, change.a) << ")\n";
      std::string more;
      for (const std::string& name : change.more_names) more += (more.empty() ? "and " : ", ") + name;
      if (change.names > change.more_names.size() + 1)
        more += " and " + counted(change.names - change.more_names.size() - 1, "more name");
      const bool one_port = change.ports.size() == 1 && change.ports[0].first == change.ports[0].last;
      if (!one_port) more += (more.empty() ? "" : "; ") + std::string("on ") + ports_of(change);
      if (!more.empty()) out << "      " << more << "\n";
    }
  }
  for (const std::string& note : found.notes) out << "note: " << note << "\n";
  for (const std::string& left : found.incomplete) out << "not compared: " << left << "\n";
  if (found.same()) {
    out << "no flow changes\n";
  } else {
    out << counted(found.changes.size(), "change");
    for (const Words& words : kWords) {
      const auto count = std::count_if(found.changes.begin(), found.changes.end(),
                                       [&](const FlowChange& change) { return change.change == words.change; });
      if (count > 0) out << ", " << count << " " << words.word;
    }
    out << "\n";
  }
}

nlohmann::ordered_json json_of(const PolicyModel& model, const DiffVerdict& verdict) {
  const bool by_rule = verdict.rule != kNoRuleIndex;
  const SourcePosition& position = by_rule ? model.rules[verdict.rule].where : model.default_where;
  return {{"verdict", verdict.passes ? "allow" : "deny"},
          {"reason", to_string(verdict.reason)},
          {"rule", by_rule ? nlohmann::ordered_json(model.rules[verdict.rule].name) : nlohmann::ordered_json(nullptr)},
          {"where", model.file_of(position) + ":" + std::to_string(position.line)}};
}

nlohmann::ordered_json to_json(const PolicyModel& a, const PolicyModel& b, const PolicyDiff& found) {
  nlohmann::ordered_json json{{"schema", "sallyport.diff/1"},
                              {"a", a.source},
                              {"b", b.source},
                              {"same", found.same()},
                              {"changes", nlohmann::ordered_json::array()},
                              {"notes", found.notes},
                              {"not_compared", found.incomplete}};
  for (const FlowChange& change : found.changes) {
    const auto words = std::find_if(std::begin(kWords), std::end(kWords),
                                    [&](const Words& one) { return one.change == change.change; });
    nlohmann::ordered_json one{{"change", words->word}};
    one["name"] = change.name ? nlohmann::ordered_json(change.name->text()) : nlohmann::ordered_json(nullptr);
    one["addr"] = change.address ? nlohmann::ordered_json(change.address->text()) : nlohmann::ordered_json(nullptr);
    one["port"] = change.port;
    one["proto"] = change.proto == kProtoUdp ? "udp" : "tcp";
    if (!change.path.empty()) {
      one["method"] = change.method;
      one["path"] = change.path;
    }
    one["asker"] = change.asker;
    one["clients"] = change.clients;
    one["others"] = change.others;
    one["everyone"] = change.everyone;
    one["ports"] = nlohmann::ordered_json::array();
    for (const PortRange& range : change.ports) one["ports"].push_back(port_text(range));
    one["names"] = change.names;
    one["more_names"] = change.more_names;
    one["a"] = json_of(a, change.a);
    one["b"] = json_of(b, change.b);
    json["changes"].push_back(std::move(one));
  }
  return json;
}

}  // namespace

int diff(const Invocation& invocation, const Terminal& terminal) {
  const std::string format = invocation.get("output", "text");
  if (format != "text" && format != "json")
    return usage_error(terminal, "unknown output format `" + format + "`; write text or json");
  const std::vector<std::string>& files = invocation.arguments;
  if (files.size() == 1) {
    terminal.err << "policyctl: no gateway to ask for the policy that is live: this version has no control API\n"
                    "           name both files, or: git show HEAD:"
                 << files[0] << " | policyctl diff - " << files[0] << "\n";
    return kUnreachable;
  }
  if (files[0] == "-" && files[1] == "-") return usage_error(terminal, "standard input can be one of the two");
  const std::optional<CompiledPolicy> a = compile_input(files[0], 1, terminal);
  const std::optional<CompiledPolicy> b = compile_input(files[1], 1, terminal);
  if (!a || !b) return kInvalidPolicy;
  const PolicyDiff found = compare(a->model, *a->snapshot, b->model, *b->snapshot);
  if (format == "json") {
    terminal.out << to_json(a->model, b->model, found).dump(2, ' ', false, nlohmann::json::error_handler_t::replace)
                 << "\n";
  } else {
    print_text(terminal.out, a->model, b->model, found);
  }
  return found.same() ? kYes : kNo;
}

}  // namespace sallyport::policyctl
