// FailureSummary: allowed destinations that could not be reached, for the report at the end of a run. Not policy, but
// what a person in front of a failed command takes for it.
//
// Form     One row for each (destination, what was asked, cause), in the order they were first seen. A name's queries
//          of different types are one row.
// Memory   At most kMaxRows; what comes after that is only counted.
// Threads  One thread at a time.
#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

#include "audit/audit_record.hpp"

namespace sallyport {

class FailureSummary {
 public:
  static constexpr std::size_t kMaxRows = 100;

  struct Row {
    std::string destination;  // as in DenialSummary
    std::string asked;        // "dns", "443"
    std::string cause;        // "no answer from 9.9.9.9:53 within 4.5 s", escaped; "" if the plugin gave none
    std::string ref;          // of the first record
    std::uint64_t count = 0;
  };

  // Records of reason upstream_failed; others are passed over. ref is what AuditWriter::add() returned.
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

}  // namespace sallyport
