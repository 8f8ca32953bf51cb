#include "audit/denial_summary.hpp"

#include <nlohmann/json.hpp>

#include "audit/audit_writer.hpp"
#include "audit/escape.hpp"

namespace sallyport {

std::string destination_of(const AuditRecord& record) {
  if (record.name_size > 0)
    return printable(record.name_text(), AuditRecord::kMaxName, (record.flags & kAuditTruncated) != 0);
  return record.addr_family != 0 ? record.address().text() : "?";
}

std::string asked_of(const AuditRecord& record) {
  if (record.layer == Layer::kDns) return record.qtype == 0 ? "dns" : "dns " + qtype_text(record.qtype);
  if (record.port == 0) return "";
  return std::to_string(record.port) + (record.proto == kProtoUdp ? "/udp" : "");
}

namespace {

constexpr std::uint16_t kSvcb = 64, kHttps = 65;

bool is_everyday(const AuditRecord& record) {
  return record.layer == Layer::kDns && record.reason == Reason::kQtypeDenied &&
         (record.qtype == kSvcb || record.qtype == kHttps);
}

std::string claimed_of(const AuditRecord& record) {
  const char *part = "tls", *member = "sni";
  switch (record.reason) {
    case Reason::kHostMismatch:
    case Reason::kAuthorityMalformed:
      part = "http";
      member = "host";
      break;
    case Reason::kSniMismatch:
    case Reason::kSniNotAllowed:
    case Reason::kSniMalformed:
      break;
    default:
      return "";
  }
  const auto detail = nlohmann::json::parse(record.detail_text(), nullptr, /*allow_exceptions=*/false);
  if (!detail.is_object() || !detail.contains(part) || !detail[part].is_object()) return "";
  const auto& claimed = detail[part].value(member, nlohmann::json());
  return claimed.is_string() ? printable_again(claimed.get_ref<const std::string&>(), AuditRecord::kMaxName) : "";
}

}  // namespace

void DenialSummary::add(const AuditRecord& record, const std::string& ref) {
  if (record.kind != AuditKind::kDecision || record.effective != Effect::kDeny || is_everyday(record)) return;
  ++total_;
  Row row{.destination = destination_of(record),
          .asked = asked_of(record),
          .reason = std::string(to_string(record.reason)),
          .ref = ref,
          .claimed = claimed_of(record),
          .count = 1,
          .is_name = record.name_size > 0 && (record.flags & kAuditRaw) == 0,
          .port = record.layer == Layer::kDns ? std::uint16_t{0} : record.port};
  // '\n' is in none of the parts.
  const std::string key = row.destination + "\n" + row.asked + "\n" + row.reason + "\n" + row.claimed;
  const auto known = index_.find(key);
  if (known != index_.end()) {
    ++rows_[known->second].count;
    return;
  }
  if (rows_.size() < kMaxRows) {
    ++destinations_[row.destination];
    index_.emplace(key, rows_.size());
    rows_.push_back(std::move(row));
    return;
  }
  if (rows_.size() == kMaxRows) rows_.push_back({.destination = "_other", .ref = ref});
  ++rows_.back().count;
}

}  // namespace sallyport
