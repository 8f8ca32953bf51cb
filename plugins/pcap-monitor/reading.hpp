// What the monitor holds of a flow whose first message is not complete yet.
#pragma once

#include "pcap-monitor/monitor.hpp"
#include "wire/client_hello.hpp"

namespace sallyport::monitor {

struct Monitor::Reading {
  StreamHead up, down;                     // down: DNS over TCP only
  std::size_t up_read = 0, down_read = 0;  // octets that readers have had
  wire::ClientHelloReader hello;
  wire::HttpRequestReader request;
  QuicInitials quic;
  std::size_t weighed = 0;  // what the budget was charged

  std::size_t memory() const noexcept {
    return sizeof(Reading) + up.memory() + down.memory() + quic.memory() + up_read;
  }
};

}  // namespace sallyport::monitor
