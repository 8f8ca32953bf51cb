// Any file: read to its end or refused; memory stays within the bounds; what was reported adds up.
#include <policy/abi.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>

#include "monitor/capture_file.hpp"
#include "pcap-monitor/json_lines.hpp"

using namespace sallyport;
using namespace sallyport::monitor;

namespace {

struct AllowSome final : Judge {
  Ruling decide(const Question& question) override {
    if (question.port_known && question.port % 2 == 1) return {POLICY_ALLOW, POLICY_REASON_OK};
    return {};
  }
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  std::FILE* file = ::fmemopen(const_cast<std::uint8_t*>(data), size, "rb");
  if (file == nullptr) return 0;
  Options options;
  options.max_flows = 64;
  options.max_bindings = 64;
  options.stream_octets = 1u << 20;
  options.own = {Address::v4(0x0a320001)};
  options.live = (data[size - 1] & 1) != 0;
  AllowSome judge;
  std::uint64_t lines = 0;
  JsonLines sink([&](std::string_view line) {
    ++lines;
    for (const char c : line) {
      if (static_cast<unsigned char>(c) < 0x20 || static_cast<unsigned char>(c) > 0x7e) std::abort();  // LOG-01
    }
  });
  Monitor monitor(options, judge, sink);
  read_capture(file, monitor);
  if (monitor.open_flows() > options.max_flows || monitor.memory() > (20u << 20)) std::abort();
  monitor.finish();
  if (monitor.open_flows() != 0 || monitor.memory() != 0) std::abort();
  const Counters counters = monitor.counters();
  if (counters.alarms > lines || counters.unwatched > counters.flows) std::abort();
  return 0;
}
