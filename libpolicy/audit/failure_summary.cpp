#include "audit/failure_summary.hpp"

#include <nlohmann/json.hpp>

#include "audit/denial_summary.hpp"
#include "audit/escape.hpp"

namespace sallyport {

void FailureSummary::add(const AuditRecord& record, const std::string& ref) {
  if (record.kind != AuditKind::kDecision || record.reason != Reason::kUpstreamFailed ||
      record.effective == Effect::kDeny) {
    return;
  }
  ++total_;
  Row row{.destination = destination_of(record),
          .asked = record.layer == Layer::kDns ? "dns" : asked_of(record),
          .ref = ref,
          .count = 1};
  const auto detail = nlohmann::json::parse(record.detail_text(), nullptr, /*allow_exceptions=*/false);
  if (detail.is_object() && detail.contains("cause") && detail["cause"].is_string())
    row.cause = printable_again(detail["cause"].get_ref<const std::string&>(), AuditRecord::kMaxName);
  // '\n' is in none of the parts.
  const std::string key = row.destination + "\n" + row.asked + "\n" + row.cause;
  const auto known = index_.find(key);
  if (known != index_.end()) {
    ++rows_[known->second].count;
    return;
  }
  if (rows_.size() == kMaxRows) return;
  ++destinations_[row.destination];
  index_.emplace(key, rows_.size());
  rows_.push_back(std::move(row));
}

}  // namespace sallyport
