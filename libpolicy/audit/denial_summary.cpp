#include "audit/denial_summary.hpp"

#include "audit/audit_writer.hpp"
#include "audit/escape.hpp"

namespace sallyport {
namespace {

std::string destination_of(const AuditRecord& record) {
  if (record.name_size > 0) return printable(record.name_text(), AuditRecord::kMaxName);
  if (record.addr_family == 4) {
    return Address::v4(std::uint32_t{record.addr[0]} << 24 | std::uint32_t{record.addr[1]} << 16 |
                       std::uint32_t{record.addr[2]} << 8 | record.addr[3])
        .text();
  }
  if (record.addr_family == 6) return Address::v6(record.addr).text();
  return "?";
}

std::string asked_of(const AuditRecord& record) {
  if (record.layer == Layer::kDns) return record.qtype == 0 ? "dns" : "dns " + qtype_text(record.qtype);
  if (record.port == 0) return "";
  return std::to_string(record.port) + (record.proto == kProtoUdp ? "/udp" : "");
}

}  // namespace

void DenialSummary::add(const AuditRecord& record, const std::string& ref) {
  if (record.kind != AuditKind::kDecision || record.effective != Effect::kDeny) return;
  ++total_;
  Row row{.destination = destination_of(record),
          .asked = asked_of(record),
          .reason = std::string(to_string(record.reason)),
          .ref = ref,
          .count = 1,
          .is_name = record.name_size > 0 && (record.flags & kAuditRaw) == 0,
          .port = record.layer == Layer::kDns ? std::uint16_t{0} : record.port};
  // '\n' is in none of the parts.
  const std::string key = row.destination + "\n" + row.asked + "\n" + row.reason;
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
