// sallyport-monitor: a capture held against a policy. The whole of it but main().
//
// Status   0: nothing to report; 1: alarms; 2: the command line or the file; 3: the policy; 4: no alarm, and not
// everything
//          could be seen, so that it is not called clean.
// Threads  One.
#pragma once

#include <ostream>
#include <string>
#include <vector>

namespace sallyport::monitor {

int run_monitor(const std::vector<std::string>& arguments, std::ostream& out, std::ostream& err);

}  // namespace sallyport::monitor
