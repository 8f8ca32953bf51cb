// policyctl compile: a policy as the snapshot that every process maps.
#include <sys/stat.h>

#include <charconv>
#include <ostream>

#include "language/suggest.hpp"
#include "language/survey/policy_survey.hpp"
#include "policyctl/command.hpp"
#include "policyctl/output_file.hpp"
#include "policyctl/policy_input.hpp"

namespace sallyport::policyctl {

int compile_policy(const Invocation& invocation, const Terminal& terminal) {
  if (!invocation.has("output")) return usage_error(terminal, "where to? add -o policy.snap");
  std::uint64_t generation = 1;
  if (invocation.has("generation")) {
    const std::string text = invocation.get("generation");
    const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), generation);
    if (failure != std::errc{} || end != text.data() + text.size() || generation == 0)
      return usage_error(terminal, in_ticks(text) + " is no generation; write a number from 1 on");
  }
  struct stat from{}, to{};
  if (::stat(invocation.arguments[0].c_str(), &from) == 0 && ::stat(invocation.get("output").c_str(), &to) == 0 &&
      from.st_dev == to.st_dev && from.st_ino == to.st_ino)
    return usage_error(terminal, "the snapshot would replace the policy; name another file");
  const std::optional<CompiledPolicy> policy = compile_input(invocation.arguments[0], generation, terminal);
  if (!policy) return kInvalidPolicy;
  terminal.err << render(policy->warnings, terminal.err_color);
  const std::string path = invocation.get("output");
  const std::string_view bytes(reinterpret_cast<const char*>(policy->bytes.data()), policy->bytes.size());
  if (const std::string failure = write_file(path, bytes); !failure.empty()) {
    terminal.err << "policyctl: " << failure << "\n";
    return kInvalidPolicy;
  }
  const PolicySurvey found = survey(policy->model);
  terminal.out << path << ": generation " << generation << ", " << counted(policy->model.rules.size(), "rule") << ", "
               << counted(found.written.all() + found.listed.all(), "name") << ", " << counted(bytes.size(), "octet")
               << "\n";
  return kYes;
}

}  // namespace sallyport::policyctl
