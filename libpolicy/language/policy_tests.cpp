#include "language/policy_tests.hpp"

#include <algorithm>

#include "language/suggest.hpp"

namespace sallyport {
namespace {

// "allowed by `site` (policy.yaml:9)", "denied by default, no_rule".
std::string told(const PolicyModel& model, const FlowExplanation& explanation) {
  std::string text = explanation.allowed ? "allowed" : "denied";
  const bool asked = !explanation.steps.empty();
  const std::uint32_t rule = asked ? explanation.steps.back().verdict.rule : kNoRuleIndex;
  if (rule < model.rules.size()) {
    const SourcePosition& where = model.rules[rule].where;
    text += " by " + in_ticks(model.rules[rule].name);
    if (where.line > 0) text += " (" + model.file_of(where) + ":" + std::to_string(where.line) + ")";
  } else if (asked) {
    text += " by the default";
    if (model.default_where.line > 0) {
      text += " (" + model.file_of(model.default_where) + ":" + std::to_string(model.default_where.line) + ")";
    }
  }
  if (!explanation.allowed) text += ", " + std::string(to_string(explanation.reason));
  return text;
}

}  // namespace

Asker asker_of(const PolicyModel& model, const Snapshot& snapshot, std::string_view client, std::string_view cell) {
  Asker asker;
  if (!cell.empty()) asker.groups = snapshot.groups_of_cell(cell);
  if (!client.empty()) {
    const auto found = std::find_if(model.clients.begin(), model.clients.end(),
                                    [&](const ClientModel& one) { return one.name == client; });
    if (found == model.clients.end()) return asker;
    asker.groups |= std::uint64_t{1} << (found - model.clients.begin());
    asker.at_gate = cell.empty() && found->cells.empty();
  }
  return asker;
}

std::vector<TestResult> run_tests(const PolicyModel& model, Reader& reader) {
  std::vector<TestResult> results;
  results.reserve(model.tests.size());
  for (const TestModel& test : model.tests) {
    TestResult& result = results.emplace_back();
    Destination destination = read_destination(test.target, std::nullopt, result.malformed);
    if (!result.malformed.empty()) continue;
    const Asker asker = asker_of(model, reader.snapshot(), test.client, test.cell);
    destination.at_gate = asker.at_gate;
    destination.method = test.method;
    result.explanation = explain_flow(reader, destination, asker.groups, test.resolved);
    result.passed = result.explanation.allowed == test.allow;
    result.got = told(model, result.explanation);
  }
  return results;
}

}  // namespace sallyport
