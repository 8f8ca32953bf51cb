// The words of an explanation: why a rule did not match, where it stands, what is still open (UX, "Why was it denied").
//
// Lifetime Borrows the model, destination and explanation.
// Threads  Pure functions of what it borrows.
#pragma once

#include <string>
#include <vector>

#include "engine/model.hpp"
#include "language/explain_flow.hpp"

namespace sallyport::policyctl {

// What a snapshot knows of the policy that it was compiled from: names, actions and places, but no destinations.
PolicyModel outline_of(const Snapshot& snapshot);

class Explainer {
 public:
  // is_outline: the model is outline_of() a snapshot.
  Explainer(const PolicyModel& model, const Destination& destination, const FlowExplanation& explanation,
            bool is_outline = false)
      : is_outline_(is_outline), model_(model), destination_(destination), explanation_(explanation) {}

  // Why a rule did not match, or what its match still depends on; empty if there is nothing to say.
  std::string why(const Step& step, const RuleTrace& row) const;

  // "policy.yaml:9"; of the default for kNoRuleIndex; "command line" for a rule of --allow.
  std::string where(std::uint32_t rule) const;

  std::vector<std::string> notes() const;

  // On which allow rules that matched all but the port would let it pass.
  std::vector<PortRange> ports_beside() const;

 private:
  std::string name_differs(const RuleModel& rule) const;
  std::string still_open(const RuleModel& rule, const RuleTrace& row) const;
  std::string guard_text(const Step& step, const RuleModel& rule) const;

  const bool is_outline_;
  const PolicyModel& model_;
  const Destination& destination_;
  const FlowExplanation& explanation_;
};

}  // namespace sallyport::policyctl
