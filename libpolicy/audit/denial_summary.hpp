// DenialSummary: what was denied, by destination, for the report at the end of a run.
//
// Form     One row for each (destination, what was asked, reason, what was claimed), in the order they were first seen,
//          with the ref of the first record.
// Left out HTTPS and SVCB queries for an allowed name (qtype_denied): every browser and curl asks them beside A and
//          AAAA and does without. The audit has them.
// Memory   At most kMaxRows; what comes after that counts in one row whose destination is "_other".
// Threads  One thread at a time.
#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

#include "audit/audit_record.hpp"

namespace sallyport {

class DenialSummary {
 public:
  static constexpr std::size_t kMaxRows = 1000;  // nobody reads more; a workload may ask for any number of names

  struct Row {
    std::string destination;  // canonical name, address, or refused input, escaped; "_other" beyond the bound
    std::string asked;        // "dns A", "443", "53/udp", "" if unknown
    std::string reason;       // "no_rule"; "" for _other
    std::string ref;          // of the first record
    std::string claimed;      // the Host or SNI that did not fit the destination, escaped; "" if that is not the reason
    std::uint64_t count = 0;
    bool is_name = false;    // destination is a canonical name: `--allow` may be proposed
    std::uint16_t port = 0;  // 0 for DNS
  };

  // Records that took effect as a refusal; others are passed over. ref is what AuditWriter::add() returned.
  void add(const AuditRecord& record, const std::string& ref);

  const std::vector<Row>& rows() const noexcept { return rows_; }
  std::uint64_t total() const noexcept { return total_; }                     // records
  std::size_t destinations() const noexcept { return destinations_.size(); }  // distinct, among the rows

 private:
  std::vector<Row> rows_;
  std::unordered_map<std::string, std::size_t> index_;
  std::unordered_map<std::string, std::uint64_t> destinations_;
  std::uint64_t total_ = 0;
};

// What the destination of a record is called: canonical name, address, or refused input, escaped; "?" if it has none.
std::string destination_of(const AuditRecord& record);
// "443", "53/udp", "" if unknown; "dns" and the type in the dns layer.
std::string asked_of(const AuditRecord& record);

}  // namespace sallyport
