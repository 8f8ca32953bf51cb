// sallyport-monitor: a capture, or what an interface carries, held against a policy. The command line, and --read.
//
// Status   0: nothing to report; 1: alarms; 2: the command line or the file; 3: the policy; 4: no alarm, and not
// everything
//          could be seen, so that it is not called clean. With -i: as `sallyport serve`, 0 after a signal, 125 if it
//          could not start.
// Threads  One.
#pragma once

#include <cstdint>
#include <ostream>
#include <string>
#include <vector>

namespace sallyport::monitor {

// -i: what live.hpp makes a gateway of.
struct LiveSettings {
  std::vector<std::string> interfaces, clients, gateways, resolvers, audit;
  std::string policy, name = "sallyport-monitor", state_directory, plugin_directory;
  std::uint64_t upload = 0;
  bool bindings = true;
};

int run_monitor(const std::vector<std::string>& arguments, std::ostream& out, std::ostream& err,
                int (*live)(const LiveSettings&) = nullptr);

}  // namespace sallyport::monitor
