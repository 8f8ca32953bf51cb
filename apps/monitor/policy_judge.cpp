#include "monitor/policy_judge.hpp"

#include <ctime>

namespace sallyport::monitor {

Result<std::unique_ptr<PolicyJudge>> PolicyJudge::compile(const PolicyModel& model) {
  Result<std::vector<std::byte>> bytes = sallyport::compile(model, 1);
  if (!bytes.ok()) return bytes.error();
  std::unique_ptr<PolicyJudge> judge(new PolicyJudge);
  judge->bytes_ = std::move(*bytes);
  Result<std::shared_ptr<const Snapshot>> snapshot = Snapshot::open(judge->bytes_);
  if (!snapshot.ok()) return snapshot.error();
  judge->snapshot_ = *snapshot;
  return judge;
}

Ruling PolicyJudge::decide(const Question& question) {
  Query query;
  query.layer = static_cast<Layer>(question.layer);
  query.proto = question.proto;
  query.port = question.port;
  query.name = question.name;
  query.address = question.destination;
  if (question.name != nullptr) query.known |= kKnowName;
  if (question.destination != nullptr) query.known |= kKnowAddress;
  if (question.port_known) query.known |= kKnowPort;
  if (question.later) query.deferred = (kKnowAddress | kKnowPort) & ~query.known;
  if (question.name != nullptr) query.deferred |= kKnowMethod | kKnowPath;  // the enforcers see requests
  query.now = std::time(nullptr);
  if (question.client != nullptr) query.groups = snapshot_->groups_of_address(*question.client);
  const Verdict verdict = snapshot_->decide(query);
  const bool by_request = verdict.effect == Effect::kContinue && !question.later;
  return {static_cast<std::uint16_t>(by_request ? Effect::kAllow : verdict.effect),
          static_cast<std::uint16_t>(verdict.reason), verdict.rule, verdict.flags, verdict.generation};
}

}  // namespace sallyport::monitor
