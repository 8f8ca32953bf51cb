// run_cell(): confine one command, from policy to exit status. The whole of `sallyport run` but its command line.
//
// Threads  [main], with no other thread in the process: it clones.
// Errors   Everything that keeps the command from being confined as described: a text on stderr, status 125, the
// command not started.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace sallyport {

enum class ReportFormat : std::uint8_t { kSummary = 0, kText, kMarkdown, kJson };

struct RunOptions {
  std::vector<std::string> command;
  std::string policy_file;            // -p; empty: none
  std::vector<std::string> allow;     // --allow
  std::string name = "run";           // --name: of the cell, for the policy's clients and the audit
  std::string resolver;               // --resolver; empty: the host's
  std::vector<std::string> binds;     // --bind
  std::vector<std::string> writable;  // --write
  std::string audit_file;             // --audit; empty: none
  std::string plugin_directory;       // --plugin-dir; empty: the one beside this program
  ReportFormat report = ReportFormat::kSummary;
  bool keep_environment = false;  // --keep-env
  bool quiet = false;             // -q
};

constexpr int kOwnFailure = 125;

// The exit status: the command's, 128+n on a signal, 126 not executable, 127 not found, 125 own failure.
int run_cell(const RunOptions& options);

}  // namespace sallyport
