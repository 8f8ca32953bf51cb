// A pcap or pcapng file, fed to a monitor packet by packet.
//
// Threads  One at a time.
// Errors   A text: no capture file, or a link type that the monitor does not read. A file that breaks off or is damaged
// in
//          its middle is read up to there.
#pragma once

#include <cstdint>
#include <cstdio>
#include <string>

#include "pcap-monitor/monitor.hpp"

namespace sallyport::monitor {

struct CaptureOutcome {
  std::string error;    // nothing was read
  std::string damaged;  // it was read up to the damage
};

// Takes the file over and closes it.
CaptureOutcome read_capture(std::FILE* file, Monitor& monitor);

}  // namespace sallyport::monitor
