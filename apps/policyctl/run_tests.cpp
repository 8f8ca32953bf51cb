// policyctl test: what a policy's tests, or those of another file, come to.
#include <nlohmann/json.hpp>
#include <ostream>

#include "language/policy_tests.hpp"
#include "policyctl/command.hpp"
#include "policyctl/policy_input.hpp"

namespace sallyport::policyctl {
namespace {

std::string asked(const TestModel& test) {
  std::string text = std::string(test.allow ? "allow " : "deny ") + test.target;
  if (test.method != "GET") text += "  " + test.method;
  if (!test.client.empty()) text += "  " + test.client;
  if (!test.cell.empty()) text += "  cell " + test.cell;
  if (test.resolved) text += "  at " + test.resolved->text();
  return text;
}

std::string xml(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '&') {
      out += "&amp;";
    } else if (c == '<') {
      out += "&lt;";
    } else if (c == '"') {
      out += "&quot;";
    } else if (static_cast<unsigned char>(c) < 0x20) {
      out += ' ';  // XML 1.0 has no way to write these
    } else {
      out += c;
    }
  }
  return out;
}

}  // namespace

int test(const Invocation& invocation, const Terminal& terminal) {
  const std::string format = invocation.get("output", "text");
  if (format != "text" && format != "json" && format != "junit")
    return usage_error(terminal, "unknown output format `" + format + "`; write text, json or junit");
  const std::string& file = invocation.arguments[0];
  // A failing test is an error of the policy (P028); here it is the answer, so the policy is loaded as it stands.
  LoadOutcome outcome = load_policy_to_test(file, invocation.arguments.size() > 1 ? invocation.arguments[1] : "");
  if (!outcome.ok()) {
    terminal.err << render(outcome.diagnostics, terminal.err_color);
    return kInvalidPolicy;
  }
  const std::optional<CompiledPolicy> policy = compiled(*std::move(outcome.model), 1, terminal);
  if (!policy) return kInvalidPolicy;
  const std::vector<TestModel>& tests = policy->model.tests;
  if (tests.empty()) {
    terminal.err << "policyctl: " << policy->model.source << " has no tests\n";
    return kNo;
  }
  Reader reader(policy->snapshot);
  const std::vector<TestResult> results = run_tests(policy->model, reader);
  std::size_t failed = 0;
  for (const TestResult& result : results) failed += result.passed ? 0 : 1;
  nlohmann::ordered_json json{{"schema", "sallyport.test/1"},
                              {"file", policy->model.source},
                              {"failed", failed},
                              {"tests", nlohmann::ordered_json::array()}};
  if (format == "junit") {
    terminal.out << "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n  <testsuite name=\""
                 << xml(policy->model.source) << "\" tests=\"" << tests.size() << "\" failures=\"" << failed << "\">\n";
  }
  for (std::size_t i = 0; i < tests.size(); ++i) {
    const TestModel& one = tests[i];
    const TestResult& result = results[i];
    const std::string where = policy->model.file_of(one.where) + ":" + std::to_string(one.where.line);
    const std::string got = result.malformed.empty() ? result.got : result.malformed;
    if (format == "text") {
      terminal.out << (result.passed ? "ok    " : "FAIL  ") << where << "  " << asked(one)
                   << (result.passed ? "" : "  " + got) << "\n";
    } else if (format == "junit") {
      terminal.out << "    <testcase classname=\"" << xml(where) << "\" name=\"" << xml(asked(one)) << "\"";
      if (result.passed) {
        terminal.out << "/>\n";
      } else {
        terminal.out << "><failure message=\"" << xml(got) << "\"/></testcase>\n";
      }
    } else {
      json["tests"].push_back({{"passed", result.passed},
                               {"where", where},
                               {"expected", one.allow ? "allow" : "deny"},
                               {"target", one.target},
                               {"client", one.client},
                               {"cell", one.cell},
                               {"method", one.method},
                               {"got", got}});
    }
  }
  if (format == "text") {
    terminal.out << policy->model.source << ": " << counted(tests.size(), "test") << ", " << failed << " failed\n";
  } else if (format == "junit") {
    terminal.out << "  </testsuite>\n</testsuites>\n";
  } else {
    terminal.out << json.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) << "\n";
  }
  return failed == 0 ? kYes : kNo;
}

}  // namespace sallyport::policyctl
