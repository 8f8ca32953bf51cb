// sallyport-monitor -i: the pcap-monitor plugin as the whole of a gateway, which enforces nothing.
//
// Threads  [main], with no other thread in the process.
#pragma once

#include "monitor/command.hpp"

namespace sallyport::monitor {

int run_live(const LiveSettings& settings);

}  // namespace sallyport::monitor
