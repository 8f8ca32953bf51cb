// RunPolicy: the policy of one run, from its file and --allow arguments to sealed memory.
#pragma once

#include <absl/status/statusor.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "engine/decide.hpp"
#include "host/warden/memory_file.hpp"
#include "host/warden/run.hpp"

namespace sallyport {

struct RunPolicy {
  PolicyModel model;
  std::shared_ptr<const Snapshot> snapshot;
  Descriptor memory;           // what the worker maps
  bool asks_upstream = false;  // some name is looked up outside: a resolver is needed
  std::string description;  // for the banner: "policy.yaml, 3 rules; everything else is denied"; empty: nothing to say
  std::string warnings;     // rendered, for stderr; may be empty
  std::string trial;        // what a trial (mode: observe) of this cell lets pass, and until when; empty: none is on
  std::vector<std::string> files;  // the policy's, as LoadOutcome says
};

// generation: 1, or a later one where a policy follows another. kInvalidArgument: the rendered diagnostics, ready for
// stderr.
absl::StatusOr<RunPolicy> load_run_policy(const RunOptions& options, std::uint64_t generation = 1);

// `policy` as it was read, where these are the host's addresses.
absl::StatusOr<RunPolicy> with_own_addresses(const RunPolicy& policy, std::vector<Address> own,
                                             std::uint64_t generation);

}  // namespace sallyport
