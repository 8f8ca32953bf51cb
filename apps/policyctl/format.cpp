// policyctl fmt: policies in their canonical form, comments kept.
#include <algorithm>
#include <ostream>

#include "language/format/format_policy.hpp"
#include "policyctl/command.hpp"
#include "policyctl/output_file.hpp"
#include "policyctl/policy_input.hpp"

namespace sallyport::policyctl {

int fmt(const Invocation& invocation, const Terminal& terminal) {
  const bool check_only = invocation.has("check"), write = invocation.has("write");
  if (check_only && write) return usage_error(terminal, "--check and --write exclude each other");
  if (!check_only && !write && invocation.arguments.size() > 1)
    return usage_error(terminal, "several files are written where they are (-w) or only checked (--check)");
  int status = kYes;
  const auto worst = [&](int other) { status = std::max(status, other); };
  for (const std::string& file : invocation.arguments) {
    if (write && file == "-") return usage_error(terminal, "standard input cannot be written back; leave -w out");
    const TextInput input = read_text_input(file, kMaxPolicyOctets);
    if (!input.failure.empty()) {
      terminal.err << "policyctl: " << input.failure << "\n";
      worst(kInvalidPolicy);
      continue;
    }
    const FormatOutcome outcome = format_policy(input.text, input.name);
    if (!outcome.text) {
      terminal.err << render(outcome.diagnostics, terminal.err_color) << input.name << ": left as it is\n";
      worst(kInvalidPolicy);
      continue;
    }
    if (!check_only && !write) {
      terminal.out << *outcome.text;
      continue;
    }
    if (*outcome.text == input.text) continue;
    terminal.out << input.name << "\n";
    if (check_only) {
      worst(kNo);
    } else if (const std::string failure = write_file(file, *outcome.text); !failure.empty()) {
      terminal.err << "policyctl: " << failure << "\n";
      worst(kInvalidPolicy);
    }
  }
  return status;
}

}  // namespace sallyport::policyctl
