// policyctl import: a policy from the configurations of other tools.
#include "language/import/import.hpp"

#include <sys/stat.h>

#include <ostream>

#include "language/suggest.hpp"
#include "policyctl/command.hpp"
#include "policyctl/output_file.hpp"

namespace sallyport::policyctl {
namespace {

struct KindOption {
  const char* option;
  ImportKind kind;
};
constexpr KindOption kKinds[] = {{"squid", ImportKind::kSquid},     {"dnsmasq", ImportKind::kDnsmasq},
                                 {"hosts", ImportKind::kHosts},     {"adblock", ImportKind::kAdblock},
                                 {"domains", ImportKind::kDomains}, {"rpz", ImportKind::kRpz}};

}  // namespace

int import_command(const Invocation& invocation, const Terminal& terminal) {
  std::vector<ImportSource> sources;
  for (const KindOption& known : kKinds) {
    for (const std::string& file : invocation.all(known.option)) sources.push_back({known.kind, file});
  }
  if (sources.empty()) return usage_error(terminal, "import what? add --squid FILE, --dnsmasq FILE, --hosts FILE ...");
  if (!invocation.has("output")) return usage_error(terminal, "where to? add -o policy.yaml, or -o - to print it");
  const std::string target = invocation.get("output");
  struct stat there{};
  if (target != "-" && !invocation.has("force") && ::lstat(target.c_str(), &there) == 0) {
    return usage_error(terminal, in_ticks(target) + " is there already; --force replaces it");
  }
  const Imported imported = import_policy(sources, target);
  if (!imported.failure.empty()) return usage_error(terminal, imported.failure);
  // What is printed is the policy alone; the report goes beside it.
  std::ostream& report = target == "-" ? terminal.err : terminal.out;
  if (has_errors(imported.diagnostics)) {
    terminal.err << render(imported.diagnostics, terminal.err_color) << "\n"
                 << "policyctl: nothing was written: what was made of the sources is no valid policy\n";
    return kInvalidPolicy;
  }
  if (target == "-") {
    terminal.out << imported.policy;
  } else if (const std::string failure = write_file(target, imported.policy); !failure.empty()) {
    return usage_error(terminal, failure);
  }
  report << import_report(imported, target);
  const bool color = target == "-" ? terminal.err_color : terminal.out_color;
  if (!imported.diagnostics.empty()) report << "\n" << render(imported.diagnostics, color);
  return kYes;
}

}  // namespace sallyport::policyctl
