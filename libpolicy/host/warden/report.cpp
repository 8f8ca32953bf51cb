#include "host/warden/report.hpp"

#include <absl/strings/str_format.h>

#include <algorithm>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string_view>

#include "language/suggest_allow.hpp"
#include "names/address.hpp"

namespace sallyport {
namespace {

std::string counted(std::size_t n, const char* one) { return absl::StrFormat("%d %s%s", n, one, n == 1 ? "" : "s"); }

// A row as it is shown: what getaddrinfo() asks twice (A and AAAA) is one thing to a person.
struct Shown {
  DenialSummary::Row row;
  std::string argument;  // "--allow X:P"; empty if none would help
  std::string rule;      // or the keys of a rule that would
};

std::string header(const DenialSummary& denied) {
  return absl::StrFormat("sallyport: %s denied\n", counted(denied.destinations(), "destination"));
}

bool is_twin(const DenialSummary::Row& seen, const DenialSummary::Row& row) {
  const bool pair =
      (seen.asked == "dns A" && row.asked == "dns AAAA") || (seen.asked == "dns AAAA" && row.asked == "dns A");
  return pair && seen.destination == row.destination && seen.reason == row.reason;
}

std::vector<Shown> shown(const DenialSummary& denied, const PolicyModel& policy) {
  constexpr std::size_t kMostSuggestions = 50;  // each compiles two small policies
  std::vector<Shown> rows;
  for (const auto& row : denied.rows()) {
    const auto twin = std::find_if(rows.begin(), rows.end(), [&](const Shown& seen) { return is_twin(seen.row, row); });
    if (twin != rows.end()) {
      twin->row.asked = "dns A";
      twin->row.count = std::max(twin->row.count, row.count);
      continue;
    }
    AllowSuggestion suggestion;
    // What another rule would change; not a lie about the name, broken input, or a rule that says no.
    constexpr std::string_view kByRule[] = {"no_rule",        "port_denied",    "ip_literal_denied",
                                            "addr_forbidden", "guard_metadata", "answer_forbidden_addr"};
    const bool by_rule = std::find(std::begin(kByRule), std::end(kByRule), row.reason) != std::end(kByRule);
    const bool meant = by_rule && (row.is_name || Address::parse(row.destination).ok());
    if (meant && rows.size() < kMostSuggestions) suggestion = suggest_allow(policy, row.destination, row.port);
    rows.push_back({row, suggestion.argument, suggestion.rule});
  }
  return rows;
}

std::string as_text(const DenialSummary& denied, const std::vector<Shown>& rows, const std::string& prefix,
                    const std::string& ending) {
  std::size_t widest = 0;
  for (const Shown& shown : rows) widest = std::max(widest, std::min<std::size_t>(shown.row.destination.size(), 48));
  std::string text = header(denied);
  for (const auto& [row, argument, rule] : rows) {
    const std::string times = row.count > 1 ? absl::StrFormat("  %dx", row.count) : "";
    const std::string ref = row.ref.empty() ? "" : "  ref " + row.ref;
    std::string hint;
    if (!argument.empty()) hint = absl::StrFormat("    allow: %s %s%s", prefix, argument, ending);
    if (!rule.empty()) hint = absl::StrFormat("    allow in a policy: %s", rule);
    const std::string claimed = row.claimed.empty() ? "" : "  claimed " + row.claimed;
    absl::StrAppendFormat(&text, "  %-*s  %s  %s%s%s%s%s\n", static_cast<int>(widest), row.destination, row.asked,
                          row.reason, claimed, ref, times, hint);
  }
  return text;
}

// A cell of a table: a pipe would end it.
std::string cell(const std::string& text) {
  std::string escaped;
  for (char c : text) escaped += c == '|' ? std::string("\\|") : std::string(1, c);
  return escaped;
}

std::string as_markdown(const DenialSummary& denied, const std::vector<Shown>& rows) {
  std::string text = absl::StrFormat("### sallyport: %s denied\n", counted(denied.destinations(), "destination"));
  if (rows.empty()) return text;
  text += "\n| destination | asked | reason | count | ref | allow |\n|---|---|---|---:|---|---|\n";
  for (const auto& [row, argument, rule] : rows) {
    const std::string& remedy = argument.empty() ? rule : argument;
    absl::StrAppendFormat(&text, "| `%s` | %s | `%s` | %d | %s | %s |\n", cell(row.destination), cell(row.asked),
                          row.reason, row.count, row.ref, remedy.empty() ? "" : "`" + cell(remedy) + "`");
  }
  return text;
}

std::string as_json(const DenialSummary& denied, const std::vector<Shown>& rows) {
  using nlohmann::ordered_json;
  ordered_json list = ordered_json::array();
  for (const auto& [row, argument, rule] : rows) {
    list.push_back({{"destination", row.destination},
                    {"asked", row.asked},
                    {"reason", row.reason},
                    {"claimed", row.claimed.empty() ? ordered_json() : ordered_json(row.claimed)},
                    {"count", row.count},
                    {"ref", row.ref},
                    {"allow", argument.empty() ? ordered_json() : ordered_json(argument)},
                    {"rule", rule.empty() ? ordered_json() : ordered_json(rule)}});
  }
  const ordered_json whole = {{"schema", "sallyport.report/1"},
                              {"destinations", denied.destinations()},
                              {"records", denied.total()},
                              {"denied", list}};
  return whole.dump(-1, ' ', true, ordered_json::error_handler_t::replace) + "\n";
}

}  // namespace

std::string banner(const std::string& policy, const std::vector<std::string>& notes) {
  std::string text = "sallyport: confined (namespace: lo only, no route out)";
  if (!policy.empty()) text += "; policy: " + policy;
  text += "\n";
  for (const std::string& note : notes) text += "  " + note + "\n";
  return text;
}

std::string command_prefix(const RunOptions& options) {
  std::string prefix = "sallyport run";
  if (!options.policy_file.empty()) prefix += " -p " + options.policy_file;
  if (options.name != RunOptions().name) prefix += " --name " + options.name;
  for (const std::string& entry : options.allow) prefix += " --allow " + entry;
  constexpr std::size_t kMost = 200;  // a line that a person reads
  return prefix.size() <= kMost ? prefix : "sallyport run ...";
}

std::string failures(const FailureSummary& failed) {
  if (failed.rows().empty()) return "";
  std::string text =
      absl::StrFormat("sallyport: %s failed (not by policy)\n", counted(failed.destinations(), "allowed destination"));
  for (const auto& row : failed.rows()) {
    const std::string cause = row.cause.empty() ? "" : "  " + row.cause;
    const std::string times = row.count > 1 ? absl::StrFormat("  %dx", row.count) : "";
    absl::StrAppendFormat(&text, "  %s  %s  upstream_failed%s  ref %s%s\n", row.destination, row.asked, cause, row.ref,
                          times);
  }
  return text;
}

std::string report(const DenialSummary& denied, const PolicyModel& policy, const std::string& prefix,
                   ReportFormat format, const std::string& ending) {
  if (format == ReportFormat::kSummary && denied.rows().empty()) return "";
  const std::vector<Shown> rows = shown(denied, policy);
  if (format == ReportFormat::kMarkdown) return as_markdown(denied, rows);
  if (format == ReportFormat::kJson) return as_json(denied, rows);
  return as_text(denied, rows, prefix, ending);
}

}  // namespace sallyport
