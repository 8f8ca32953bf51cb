// JsonLines: each event as one line of JSON (docs/monitor.md). Everything that crossed the network is escaped.
//
// Threads  One at a time.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "pcap-monitor/counters.hpp"
#include "pcap-monitor/events.hpp"

namespace sallyport::monitor {

class JsonLines final : public Sink {
 public:
  using Write = std::function<void(std::string_view line)>;  // the line without its end
  explicit JsonLines(Write write) : write_(std::move(write)) {}

  void flow(const FlowEvent& event) override;
  void dns(const DnsEvent& event) override;
  void name(const NameEvent& event) override;
  void unparsed(const UnparsedEvent& event) override;
  void alarm(const Alarm& event) override;
  void summary(const Counters& counters);

 private:
  Write write_;
};

std::string alarm_detail(const Alarm& alarm);         // the detail of an audit record: what was seen, as its "cause"
std::string counters_json(const Counters& counters);  // an object

}  // namespace sallyport::monitor
