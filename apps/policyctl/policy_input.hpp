// The policy that a command is to read: a file that can be trusted, or `-` for standard input.
//
// Threads  One; standard input is read once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/decide.hpp"
#include "language/load.hpp"
#include "policyctl/command.hpp"

namespace sallyport::policyctl {

inline constexpr const char* kStandardInput = "<stdin>";

// Whoever pipes a policy in answers for where it comes from: nothing of a file is checked then. Messages say "<stdin>".
// Trials that have ended by now are told of.
LoadOutcome load_policy_input(const std::string& file);
// The same with the tests of another file ("" for none), all of them left for the caller to run.
LoadOutcome load_policy_to_test(const std::string& file, const std::string& tests_file);

// A policy and what decides by it.
struct CompiledPolicy {
  PolicyModel model;
  Diagnostics warnings;
  std::vector<std::byte> bytes;  // stays where it is: the snapshot borrows it
  std::shared_ptr<const Snapshot> snapshot;
};

// Nothing: it is no valid policy, and why was printed on terminal.err.
std::optional<CompiledPolicy> compile_input(const std::string& file, std::uint64_t generation,
                                            const Terminal& terminal);
std::optional<CompiledPolicy> compiled(PolicyModel model, std::uint64_t generation, const Terminal& terminal);

// A file that `policyctl compile` wrote. Nothing: it can't be used, and why was printed on terminal.err.
std::shared_ptr<const Snapshot> open_snapshot(const std::string& file, const Terminal& terminal);

// The text of any file, trusted or not; of more than `most` octets only so much that it is seen.
struct TextInput {
  std::string text;
  std::string name;     // for messages
  std::string failure;  // empty: it was read
};
TextInput read_text_input(const std::string& file, std::size_t most);

}  // namespace sallyport::policyctl
