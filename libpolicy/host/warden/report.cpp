#include "host/warden/report.hpp"

#include <absl/strings/str_format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

namespace sallyport {
namespace {

std::string counted(std::size_t n, const char* one) { return absl::StrFormat("%d %s%s", n, one, n == 1 ? "" : "s"); }

// The flag that would allow a row; empty if none would (the guard, refused input).
std::string allow_flag(const DenialSummary::Row& row) {
  const bool by_rule = row.reason == "no_rule" || row.reason == "port_denied" || row.reason == "ip_literal_denied";
  if (!by_rule || row.destination == "_other") return "";
  const bool v6 = row.destination.find(':') != std::string::npos;
  const std::string host = v6 && row.port != 0 ? "[" + row.destination + "]" : row.destination;
  const std::string port = row.port == 0 ? "" : absl::StrFormat(":%d", row.port);
  return absl::StrFormat("--allow %s%s", host, port);
}

std::string header(const DenialSummary& denied) {
  return absl::StrFormat("sallyport: %s denied\n", counted(denied.destinations(), "destination"));
}

// getaddrinfo() asks for A and AAAA: one row for the two, as a person thinks of it.
std::vector<DenialSummary::Row> rows_of(const DenialSummary& denied) {
  std::vector<DenialSummary::Row> rows;
  for (const auto& row : denied.rows()) {
    const auto twin = std::find_if(rows.begin(), rows.end(), [&](const auto& seen) {
      const bool pair =
          (seen.asked == "dns A" && row.asked == "dns AAAA") || (seen.asked == "dns AAAA" && row.asked == "dns A");
      return pair && seen.destination == row.destination && seen.reason == row.reason;
    });
    if (twin == rows.end()) {
      rows.push_back(row);
    } else {
      twin->asked = "dns A";
      twin->count = std::max(twin->count, row.count);
    }
  }
  return rows;
}

std::string as_text(const DenialSummary& denied) {
  std::size_t widest = 0;
  const std::vector<DenialSummary::Row> rows = rows_of(denied);
  for (const auto& row : rows) widest = std::max(widest, std::min<std::size_t>(row.destination.size(), 48));
  std::string text = header(denied);
  for (const auto& row : rows) {
    const std::string times = row.count > 1 ? absl::StrFormat("  %dx", row.count) : "";
    const std::string ref = row.ref.empty() ? "" : "  ref " + row.ref;
    const std::string flag = allow_flag(row);
    const std::string hint = flag.empty() ? "" : absl::StrFormat("    allow: sallyport run %s -- ...", flag);
    absl::StrAppendFormat(&text, "  %-*s  %s  %s%s%s%s\n", static_cast<int>(widest), row.destination, row.asked,
                          row.reason, ref, times, hint);
  }
  return text;
}

// A cell of a table: a pipe would end it.
std::string cell(const std::string& text) {
  std::string escaped;
  for (char c : text) escaped += c == '|' ? std::string("\\|") : std::string(1, c);
  return escaped;
}

std::string as_markdown(const DenialSummary& denied) {
  std::string text = absl::StrFormat("### sallyport: %s denied\n", counted(denied.destinations(), "destination"));
  if (denied.rows().empty()) return text;
  text += "\n| destination | asked | reason | count | ref | allow |\n|---|---|---|---:|---|---|\n";
  for (const auto& row : rows_of(denied)) {
    const std::string flag = allow_flag(row);
    absl::StrAppendFormat(&text, "| `%s` | %s | `%s` | %d | %s | %s |\n", cell(row.destination), cell(row.asked),
                          row.reason, row.count, row.ref, flag.empty() ? "" : "`" + cell(flag) + "`");
  }
  return text;
}

std::string as_json(const DenialSummary& denied) {
  nlohmann::ordered_json rows = nlohmann::ordered_json::array();
  for (const auto& row : denied.rows()) {
    rows.push_back({{"destination", row.destination},
                    {"asked", row.asked},
                    {"reason", row.reason},
                    {"count", row.count},
                    {"ref", row.ref},
                    {"allow", allow_flag(row)}});
  }
  const nlohmann::ordered_json whole = {{"schema", "sallyport.report/1"},
                                        {"destinations", denied.destinations()},
                                        {"records", denied.total()},
                                        {"denied", rows}};
  return whole.dump(-1, ' ', true, nlohmann::json::error_handler_t::replace) + "\n";
}

}  // namespace

std::string banner(const std::string& policy, const std::vector<std::string>& notes) {
  std::string text = "sallyport: confined (namespace: lo only, no route out)";
  if (!policy.empty()) text += "; policy: " + policy;
  text += "\n";
  for (const std::string& note : notes) text += "  " + note + "\n";
  return text;
}

std::string report(const DenialSummary& denied, ReportFormat format) {
  switch (format) {
    case ReportFormat::kSummary:
      return denied.rows().empty() ? "" : as_text(denied);
    case ReportFormat::kText:
      return as_text(denied);
    case ReportFormat::kMarkdown:
      return as_markdown(denied);
    case ReportFormat::kJson:
      return as_json(denied);
  }
  return "";
}

}  // namespace sallyport
