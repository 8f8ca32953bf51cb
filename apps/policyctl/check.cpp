// policyctl check: every error of every file.
#include <nlohmann/json.hpp>
#include <ostream>

#include "language/load.hpp"
#include "policyctl/command.hpp"
#include "policyctl/policy_input.hpp"

namespace sallyport::policyctl {
namespace {

std::string summary(const std::string& argument, const LoadOutcome& outcome) {
  const std::string file = argument == "-" ? kStandardInput : argument;
  const std::size_t warnings = count_of(outcome.diagnostics, Severity::kWarning);
  if (outcome.ok()) {
    const PolicyModel& model = *outcome.model;
    const std::string otherwise =
        model.default_action == Action::kAllow ? "everything else is allowed" : "everything else is denied";
    return file + ": valid, " + counted(model.rules.size(), "rule") +
           (warnings > 0 ? ", " + counted(warnings, "warning") : "") + "; " +
           (model.rules.empty() && model.default_action == Action::kDeny ? "everything is denied" : otherwise);
  }
  return file + ": " + counted(count_of(outcome.diagnostics, Severity::kError), "error");
}

}  // namespace

int check(const Invocation& invocation, const Terminal& terminal) {
  const std::string format = invocation.get("output", "text");
  if (format != "text" && format != "line" && format != "json" && format != "github" && format != "sarif") {
    return usage_error(terminal, "unknown output format `" + format + "`; write text, line, json, github or sarif");
  }
  int status = kYes;
  Diagnostics all;
  nlohmann::ordered_json report{{"schema", "sallyport.check/1"}, {"files", nlohmann::ordered_json::array()}};
  bool first = true;
  for (const std::string& file : invocation.arguments) {
    const LoadOutcome outcome = load_policy_input(file);
    const bool strict = invocation.has("strict") && count_of(outcome.diagnostics, Severity::kWarning) > 0;
    if (!outcome.ok() || strict) status = kInvalidPolicy;
    if (format == "sarif") {
      all.insert(all.end(), outcome.diagnostics.begin(), outcome.diagnostics.end());
    } else if (format == "json") {
      nlohmann::ordered_json one{{"file", file}, {"valid", outcome.ok()}};
      if (outcome.ok()) one["rules"] = outcome.model->rules.size();
      one["diagnostics"] = nlohmann::ordered_json::parse(render_json(outcome.diagnostics), nullptr, false);
      report["files"].push_back(std::move(one));
    } else if (format == "github") {
      terminal.out << render_github(outcome.diagnostics);
    } else if (format == "line") {
      for (const Diagnostic& diagnostic : outcome.diagnostics) terminal.out << render_line(diagnostic) << "\n";
    } else {
      std::ostream& where = outcome.ok() ? terminal.out : terminal.err;
      const std::string blocks = render(outcome.diagnostics, outcome.ok() ? terminal.out_color : terminal.err_color);
      if (!first) where << "\n";
      where << blocks << (blocks.empty() ? "" : "\n") << summary(file, outcome) << "\n";
    }
    first = false;
  }
  if (format == "sarif") terminal.out << render_sarif(all, SALLYPORT_VERSION);
  if (format == "json") {
    terminal.out << report.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) << "\n";
  }
  return status;
}

}  // namespace sallyport::policyctl
