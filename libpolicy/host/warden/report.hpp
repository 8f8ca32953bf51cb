// What the user sees of a run besides the command's own output: banner, summary, report. Words are those of UX.md,
// section 2.
#pragma once

#include <string>
#include <vector>

#include "audit/denial_summary.hpp"
#include "host/warden/run.hpp"

namespace sallyport {

// "sallyport: confined (namespace: lo only, no route out); policy: ..." and one line a note.
std::string banner(const std::string& policy, const std::vector<std::string>& notes);

// The denied destinations, empty if there were none and the format is the default summary.
std::string report(const DenialSummary& denied, ReportFormat format);

}  // namespace sallyport
