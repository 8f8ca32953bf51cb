// What the user sees of a run besides the command's own output: banner, summary, report. Words are those of UX.md,
// section 2.
#pragma once

#include <string>
#include <vector>

#include "audit/denial_summary.hpp"
#include "audit/failure_summary.hpp"
#include "engine/model.hpp"
#include "host/warden/run.hpp"

namespace sallyport {

// "sallyport: confined (namespace: lo only, no route out); policy: ..." and one line a note.
std::string banner(const std::string& policy, const std::vector<std::string>& notes);

// The command line that a suggestion starts with: the policy, name and allowances of this run, which it must keep.
std::string command_prefix(const RunOptions& options);

// The denied destinations, each with the argument that would allow it, if one would (tried, not guessed); empty if
// there were none and the format is the default summary. The suggested line is prefix, the argument, ending.
std::string report(const DenialSummary& denied, const PolicyModel& policy, const std::string& prefix,
                   ReportFormat format, const std::string& ending = " -- ...");

// Allowed destinations that could not be reached; empty if there were none. A person in front of a failed command takes
// them for policy.
std::string failures(const FailureSummary& failed);

}  // namespace sallyport
