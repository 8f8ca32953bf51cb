// What the monitor counts: nothing it could not look at is left out.
#pragma once

#include <cstdint>

namespace sallyport::monitor {

struct Counters {
  std::uint64_t packets = 0, octets = 0;
  std::uint64_t not_ip = 0;                 // ARP and the like
  std::uint64_t malformed = 0;              // headers that break their format
  std::uint64_t truncated = 0;              // cut by snaplen
  std::uint64_t fragments_lost = 0;         // packets that never became whole
  std::uint64_t too_deep = 0;               // tunnels in tunnels
  std::uint64_t unparsed = 0;               // messages of TLS, HTTP, QUIC and DNS that could not be read
  std::uint64_t flows = 0, flows_lost = 0;  // lost: forgotten for want of room
  std::uint64_t tables_lost = 0;            // bindings, decisions, questions and volumes forgotten for want of room
  std::uint64_t streams_lost = 0;           // first messages that were not kept for want of room
  std::uint64_t unwatched = 0;              // flows that no workload began
  std::uint64_t alarms = 0;
  std::uint64_t kernel_dropped = 0;  // by the capture, as the kernel counts

  // Something was not seen whole: "clean" would be a lie.
  bool complete() const noexcept {
    return truncated + fragments_lost + too_deep + flows_lost + tables_lost + streams_lost + kernel_dropped == 0;
  }
};

}  // namespace sallyport::monitor
