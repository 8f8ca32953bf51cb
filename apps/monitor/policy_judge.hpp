// PolicyJudge: the monitor's questions put to the engine's decide(), outside any gateway.
//
// Lifetime Owns the compiled policy.
// Threads  One at a time.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "engine/decide.hpp"
#include "pcap-monitor/events.hpp"

namespace sallyport::monitor {

class PolicyJudge final : public Judge {
 public:
  static Result<std::unique_ptr<PolicyJudge>> compile(const PolicyModel& model);
  Ruling decide(const Question& question) override;

 private:
  PolicyJudge() = default;
  std::vector<std::byte> bytes_;
  std::shared_ptr<const Snapshot> snapshot_;
};

}  // namespace sallyport::monitor
