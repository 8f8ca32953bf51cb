#include "host/warden/run_policy.hpp"

#include <absl/strings/str_format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <ctime>
#include <optional>
#include <utility>

#include "host/warden/own_addresses.hpp"
#include "language/load.hpp"
#include "language/trial.hpp"

namespace sallyport {
namespace {

std::string rendered(const Diagnostics& diagnostics) {
  return render(diagnostics, ::isatty(2) == 1 && ::getenv("NO_COLOR") == nullptr);
}

// A rule whose names are answered from its own resolves_to asks nobody.
bool is_answered_here(const RuleModel& rule) {
  const auto is_host = [](const Prefix& prefix) { return prefix.bits() == (prefix.network().is_v4() ? 32u : 128u); };
  return !rule.resolves_to.empty() && std::all_of(rule.resolves_to.begin(), rule.resolves_to.end(), is_host);
}

bool asks_upstream(const PolicyModel& model) {
  if (model.default_action == Action::kAllow) return true;
  return std::any_of(model.rules.begin(), model.rules.end(), [](const RuleModel& rule) {
    const bool by_address_alone = !rule.lists_names() && !rule.addresses.empty();
    return rule.action == Action::kAllow && !by_address_alone && !is_answered_here(rule);
  });
}

std::string describe(const RunOptions& options, const PolicyModel& model) {
  const bool open = model.default_action == Action::kAllow;
  if (options.policy_file.empty()) return model.rules.empty() ? "none, everything is denied" : "";
  const std::size_t rules = model.rules.size();
  if (rules == 0)
    return options.policy_file + (open ? ", no rules: everything is allowed" : ", no rules: everything is denied");
  return absl::StrFormat("%s, %d rule%s; everything else is %s", options.policy_file, rules, rules == 1 ? "" : "s",
                         open ? "allowed" : "denied");
}

// The snapshot of policy.model, and the memory that it lies in.
absl::Status compile_into(RunPolicy& policy, std::uint64_t generation) {
  const Result<std::vector<std::byte>> bytes = compile(policy.model, generation);
  if (!bytes.ok()) {
    return absl::InternalError(
        absl::StrFormat("sallyport: the policy cannot be compiled: %s\n", bytes.error().message));
  }
  absl::StatusOr<Descriptor> memory = sealed_memory("sallyport-policy", *bytes);
  if (!memory.ok()) return memory.status();
  Result<std::shared_ptr<const Snapshot>> snapshot = Snapshot::map(memory->get());
  if (!snapshot.ok()) {
    return absl::InternalError(
        absl::StrFormat("sallyport: the policy cannot be mapped: %s\n", snapshot.error().message));
  }
  policy.snapshot = *snapshot;
  policy.memory = *std::move(memory);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<RunPolicy> load_run_policy(const RunOptions& options, std::uint64_t generation) {
  const LoadOptions load_options{own_addresses(), std::time(nullptr)};
  LoadOutcome outcome;
  RunPolicy policy;
  if (!options.policy_file.empty()) {
    outcome = load_policy_file(options.policy_file, load_options);
    policy.files = outcome.files;
    if (!outcome.ok()) return absl::InvalidArgumentError(rendered(outcome.diagnostics));
    policy.warnings = rendered(outcome.diagnostics);
  }
  if (!options.allow.empty() || options.policy_file.empty()) {
    const std::optional<PolicyModel> base = std::move(outcome.model);
    outcome = model_from_allow(options.allow, base ? &*base : nullptr, load_options);
    if (!outcome.ok()) return absl::InvalidArgumentError(rendered(outcome.diagnostics));
    policy.warnings += rendered(outcome.diagnostics);
  }
  policy.model = *std::move(outcome.model);

  if (absl::Status compiled = compile_into(policy, generation); !compiled.ok()) return compiled;
  const Snapshot& snapshot = *policy.snapshot;
  const std::int64_t until = snapshot.trial_until(snapshot.groups_of_cell(options.name));
  const bool on_trial = until > load_options.now;
  policy.asks_upstream = asks_upstream(policy.model) || on_trial;
  policy.description = describe(options, policy.model);
  if (on_trial) policy.trial = absl::StrFormat("OBSERVING until %s: %s", time_text(until), kTrialMeans);
  return policy;
}

absl::StatusOr<RunPolicy> with_own_addresses(const RunPolicy& policy, std::vector<Address> own,
                                             std::uint64_t generation) {
  RunPolicy next;
  next.model = policy.model;
  next.model.own_addresses = std::move(own);
  next.asks_upstream = policy.asks_upstream;
  next.description = policy.description;
  next.trial = policy.trial;
  next.files = policy.files;
  next.warnings = policy.warnings;
  if (absl::Status compiled = compile_into(next, generation); !compiled.ok()) return compiled;
  return next;
}

}  // namespace sallyport
