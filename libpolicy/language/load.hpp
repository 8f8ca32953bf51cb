// Loading a policy: YAML text, a file, or --allow arguments, to the engine's PolicyModel or to every error at once.
//
// Form     proto/sallyport/policy/v1 is the schema; docs/policy-language.md is the manual. At most kMaxPolicyOctets.
// Lifetime Outcomes own all they hold.
// Threads  Any; nothing is shared and nothing is cached.
// Errors   A model is there exactly if no diagnostic is an error; warnings may come with a model.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/model.hpp"
#include "language/diagnostic.hpp"

namespace sallyport {

inline constexpr std::size_t kMaxPolicyOctets = 64u << 20;  // 1,000,000 names are 30 MB; more is a mistake or an attack

struct LoadOptions {
  std::vector<Address> own_addresses;  // the gateway's own, guarded like private ones
  std::int64_t now = 0;   // seconds since 1970-01-01 UTC, to tell of trials that have ended; 0: nothing is told of them
  bool run_tests = true;  // false: `tests` are read and left for the caller to run (language/policy_tests.hpp)
  bool opens_files = false;     // those that the policy names, relative to the folder of its own file
  std::string tests_file = {};  // a file of further `tests`, and of nothing else; empty: none
};

struct LoadOutcome {
  std::optional<PolicyModel> model;
  Diagnostics diagnostics;
  // Every file that was opened or should have been, by its absolute path, the policy itself first: a change of one is a
  // change of the policy.
  std::vector<std::string> files = {};

  bool ok() const noexcept { return model.has_value(); }
};

inline constexpr std::size_t kMostIncludedFiles = 64;
inline constexpr std::size_t kMostIncludeDepth = 8;

// file_name is used in messages and as the model's source alone; it is not opened itself.
LoadOutcome load_policy(std::string_view yaml, std::string_view file_name, const LoadOptions& options = {});

// Opens the file only if nobody but root and the caller could have written it (language/trusted_file.hpp).
LoadOutcome load_policy_file(const std::string& path, const LoadOptions& options = {});

// One allow rule for each argument NAME[:PORT,PORT...], where NAME is a domain pattern (U-labels allowed), an address,
// an [IPv6 address] or a CIDR block; without ports 80 and 443. The rules come before those of `base` (the command line
// beats the file); without one the policy denies all else. Rules from here have no line.
LoadOutcome model_from_allow(std::span<const std::string> arguments, const PolicyModel* base = nullptr,
                             const LoadOptions& options = {});

}  // namespace sallyport
