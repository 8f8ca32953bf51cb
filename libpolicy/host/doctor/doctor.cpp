#include "host/doctor/doctor.hpp"

#include <absl/strings/str_format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "host/doctor/checks.hpp"
#include "host/gate/status_socket.hpp"

namespace sallyport {
namespace {

using doctor::Finding;
using doctor::Level;

constexpr const char* kWords[] = {"ok", "warn", "fail"};
constexpr const char* kColors[] = {"\x1b[32m", "\x1b[1;33m", "\x1b[1;31m"};

const char* word(Level level) { return kWords[static_cast<std::size_t>(level)]; }

void print_text(const std::vector<Finding>& findings) {
  const bool color = ::isatty(1) == 1 && ::getenv("NO_COLOR") == nullptr;
  std::string command;
  for (const Finding& finding : findings) {
    if (finding.command != command) absl::PrintF("%s%s\n", command.empty() ? "" : "\n", finding.command);
    command = finding.command;
    const char* begin = color ? kColors[static_cast<std::size_t>(finding.level)] : "";
    absl::PrintF("  %s%-4s%s  %-17s %s\n", begin, word(finding.level), color ? "\x1b[0m" : "", finding.check,
                 finding.text);
    if (!finding.remedy.empty()) absl::PrintF("%26s= %s\n", "", finding.remedy);
  }
  const auto count = [&](Level level) {
    return std::count_if(findings.begin(), findings.end(), [&](const Finding& f) { return f.level == level; });
  };
  absl::PrintF("\n%d ok, %d warn, %d fail\n", count(Level::kOk), count(Level::kWarn), count(Level::kFail));
}

void print_json(const std::vector<Finding>& findings, bool good) {
  nlohmann::json all = {{"schema", "sallyport.doctor/1"}, {"ok", good}, {"checks", nlohmann::json::array()}};
  for (const Finding& finding : findings) {
    all["checks"].push_back(
        {{"command", finding.command},
         {"check", finding.check},
         {"level", word(finding.level)},
         {"text", finding.text},
         {"remedy", finding.remedy.empty() ? nlohmann::json(nullptr) : nlohmann::json(finding.remedy)}});
  }
  absl::PrintF("%s\n", all.dump(1, ' ', false, nlohmann::json::error_handler_t::replace));
}

}  // namespace

int examine(const DoctorOptions& options) {
  std::fflush(stdout);  // children share it
  doctor::Findings findings;
  doctor::Examined examined;
  examined.file = options.file;
  Diagnostics diagnostics;
  if (!options.file.empty()) {
    PreparedOutcome outcome = prepare_gateway(options.file);
    examined.prepared = std::move(outcome.prepared);
    examined.runs = ask_gateway(status_path(options.state_directory, outcome.name), "status").ok();
    diagnostics = std::move(outcome.diagnostics);
  }
  doctor::check_cell(findings);
  doctor::check_sandbox(findings);
  doctor::check_programs(findings);
  if (!options.file.empty()) doctor::check_configuration(examined, diagnostics, findings);
  doctor::check_kernel_tables(examined, findings);
  doctor::check_capture(examined, findings);
  doctor::check_ports(examined, findings);
  doctor::check_forwarding(findings);
  doctor::check_networks(examined, findings);
  doctor::check_attach(findings);

  const bool good = std::none_of(findings.all().begin(), findings.all().end(),
                                 [](const Finding& finding) { return finding.level == Level::kFail; });
  options.json ? print_json(findings.all(), good) : print_text(findings.all());
  return good ? 0 : 1;
}

}  // namespace sallyport
