// Sallyport's own files, the gateway's configuration, and what attach needs.
#include <absl/strings/str_format.h>
#include <cap-ng.h>

#include <string>

#include "host/attach/docker_engine.hpp"
#include "host/doctor/checks.hpp"
#include "host/warden/beside_program.hpp"
#include "language/trusted_file.hpp"

namespace sallyport::doctor {

bool has_capability(int capability) {
  return ::capng_get_caps_process() == 0 &&
         ::capng_have_capability(CAPNG_EFFECTIVE, static_cast<unsigned>(capability)) == 1;
}

void check_programs(Findings& out) {
  const std::string worker = beside_program("sallyport-worker", "../lib/sallyport/sallyport-worker");
  const std::string plugins = beside_program("../plugins", "../lib/sallyport/plugins");
  constexpr std::uint64_t kMost = 256u << 20;
  for (const std::string& path : {worker, plugins + "/dns.so", plugins + "/sni-filter.so"}) {
    const TrustedFile::Opened opened = TrustedFile::open(path, kMost);
    if (opened.failure)
      return out.fail("serve", "programs", opened.failure->message,
                      opened.failure->repair.empty() ? "install sallyport whole" : opened.failure->repair);
  }
  out.ok("serve", "programs", "worker and plugins are there, and nobody else can write them: " + plugins);
}

void check_configuration(const Examined& examined, const Diagnostics& diagnostics, Findings& out) {
  if (examined.prepared) {
    return out.ok("serve", "configuration",
                  absl::StrFormat("%s is good: %d listeners, %d rules%s", examined.file,
                                  examined.prepared->gateway.listeners.size(), examined.prepared->policy.rules.size(),
                                  examined.runs ? "; the gateway runs" : ""));
  }
  std::string first;
  for (const Diagnostic& diagnostic : diagnostics) {
    if (diagnostic.severity == Severity::kError && first.empty()) first = render_line(diagnostic);
  }
  out.fail("serve", "configuration", first, "sallyport check -c " + examined.file + " shows all of it");
}

void check_attach(Findings& out) {
  std::string missing;
  // What deploy/ gives the container that attaches.
  constexpr std::pair<int, const char*> kNeeded[] = {
      {21, "SYS_ADMIN"}, {19, "SYS_PTRACE"}, {12, "NET_ADMIN"}, {7, "SETUID"}, {6, "SETGID"}};
  for (const auto& [capability, name] : kNeeded) {
    if (!has_capability(capability)) missing += (missing.empty() ? "CAP_" : ", CAP_") + std::string(name);
  }
  if (missing.empty()) {
    out.ok("attach", "privilege", "the namespaces of a container can be entered");
  } else {
    out.warn("attach", "privilege", "no container can be attached from here: " + missing + " is missing",
             "run sallyport attach as root of the host");
  }
}

}  // namespace sallyport::doctor
