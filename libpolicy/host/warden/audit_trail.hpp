// AuditTrail: the warden's end of the audit: takes records out of the ring, writes JSON lines, keeps the summary.
//
// Memory   Bounded (AuditWriter, DenialSummary). Nothing here waits for the sink.
// Threads  [main].
#pragma once

#include <absl/status/statusor.h>

#include <memory>
#include <string>
#include <vector>

#include "audit/audit_ring.hpp"
#include "audit/audit_writer.hpp"
#include "audit/denial_summary.hpp"
#include "audit/failure_summary.hpp"
#include "engine/decide.hpp"
#include "host/warden/memory_file.hpp"

namespace sallyport {

// What the file, or the summaries, lack at the end of a run.
struct AuditLoss {
  std::uint64_t records = 0;
  std::string why;  // one line, lower case unless the system said it: "No space left on device"; "" if nothing is lost
  bool any() const noexcept { return records > 0; }
};

class AuditTrail {
 public:
  // file: appended to, made with mode 0600; refused are a symbolic link, anything but a regular file, pipe or terminal,
  // and a named pipe that nobody reads. If it ends within a line, as one that was cut off does, ours start on the next.
  // Empty: no file, refs and summaries all the same. match: fills in `match`; match_text(model) of the snapshot's
  // model.
  static absl::StatusOr<AuditTrail> open(const std::string& file, std::shared_ptr<const Snapshot> snapshot,
                                         std::uint64_t client_id, const std::string& cell, MatchText match = {});

  // A later policy's names, before a worker decides by it.
  void publish(std::shared_ptr<const Snapshot> snapshot, std::uint64_t client_id, const std::string& cell,
               MatchText match);

  int ring_fd() const noexcept { return ring_.fd(); }
  int wake_fd() const noexcept { return wake_.get(); }

  // Takes what there is; afterwards a new record makes wake_fd() readable.
  void collect();
  // How long the loop may sleep before collect() has something to write; -1: until a record comes.
  int next_flush_ms() const noexcept { return writer_->pending_octets() > 0 || unfolded_ ? 1000 : -1; }
  // Every process that wrote is gone: what it left unfinished is counted as lost.
  void writer_died();
  // At the end of the run.
  AuditLoss finish();

  const DenialSummary& denied() const noexcept { return denied_; }
  const FailureSummary& failed() const noexcept { return failed_; }  // allowed, and not reached

 private:
  AuditTrail(AuditRing ring, Descriptor wake, Descriptor file, AuditWriter::Options options);
  bool take();

  AuditRing ring_;
  Descriptor wake_;
  Descriptor file_;
  std::unique_ptr<AuditWriter> writer_;
  DenialSummary denied_;
  FailureSummary failed_;
  std::vector<AuditRecord> batch_;
  std::uint64_t reported_lost_ = 0;
  bool unfolded_ = false;  // records came since the last quiet second
};

}  // namespace sallyport
