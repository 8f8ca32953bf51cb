// GateAudit: the records of every worker, merged into the audit's sinks and the journal of decisions.
//
// Form     A ring for each worker process, one writer for each sink. The writers get the same records in the same order
//          under one seed, so a line has one id in every sink.
// Clients  At a gate a client is an address; `client.group` is the first of the policy's clients that it belongs to, by
//          the generation that decided.
// Memory   Bounded (AuditWriter). Nothing here waits for a sink.
// Threads  [main].
#pragma once

#include <absl/status/statusor.h>

#include <array>
#include <list>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "audit/audit_ring.hpp"
#include "audit/audit_writer.hpp"
#include "audit/decision_journal.hpp"
#include "host/gate/decision_counts.hpp"
#include "host/warden/memory_file.hpp"
#include "metrics/metrics_table.hpp"

namespace sallyport {

class GateAudit {
 public:
  // Between two looks at a busy ring: at 300,000 records a second a third of it.
  static constexpr int kPauseMs = 2;
  static constexpr std::uint32_t kSlots = AuditRing::kDefaultSlots;

  // sinks: "stdout", "file:PATH". The journal and metrics outlive this.
  static absl::StatusOr<std::unique_ptr<GateAudit>> open(const std::string& gateway,
                                                         const std::vector<std::string>& sinks,
                                                         DecisionJournal& journal, MetricsTable& metrics);

  // The end of a worker's audit: ring_fd goes to the worker.
  struct Source {
    AuditRing ring;
    std::uint64_t reported_lost = 0;
  };
  absl::StatusOr<Source*> add_source();
  // The worker of this source is gone: what it left unfinished is counted as lost.
  void remove_source(Source* source);

  int wake_fd() const noexcept { return wake_.get(); }
  void publish(std::shared_ptr<const Snapshot> snapshot, MatchText match);
  void know_plugin(std::string_view name);
  void collect();
  int next_flush_ms() const noexcept;
  void finish();

  // Opens the files again, after logrotate has renamed them. What cannot be opened stays as it was, and is said.
  absl::Status reopen();

  std::uint64_t lost() const noexcept;
  std::uint64_t records() const noexcept { return records_; }

 private:
  struct Sink {
    std::string spec;
    Descriptor file;  // empty for stdout
    std::unique_ptr<AuditWriter> writer;
    std::uint32_t lost_series = 0, records_series = 0;
    std::uint64_t counted_lost = 0, counted_lines = 0;
  };
  GateAudit(DecisionJournal& journal, MetricsTable& metrics)
      : journal_(journal), metrics_(metrics), counts_(metrics), batch_(kBatch) {}
  // The group of the sender of the last record: senders come in runs.
  struct Sender {
    std::uint64_t generation = 0;
    std::uint8_t family = 0;  // 0: none yet
    std::array<std::uint8_t, 16> address{};
    unsigned group = kNoGroup;
  };
  // Decisions of one kind: what they are counted under, and how many are not counted yet (none at the end of take()).
  struct Kind {
    DecisionCounts::Series series;
    std::uint64_t decisions = 0;
    std::uint64_t generation;
    std::uint32_t rule;
    Effect verdict;
    Reason reason;
    unsigned bit;
    bool is_set = false;
    std::uint8_t plugin_size;
    std::array<char, AuditRecord::kMaxPlugin + 1> plugin;

    bool is_of(const AuditRecord& record, unsigned group) const noexcept;
  };
  static constexpr unsigned kNoGroup = 64;  // beside the 64 clients of a policy
  static constexpr std::size_t kKinds = 64;
  static constexpr std::size_t kBatch = 32;  // records at a time; more leave the processor's nearest cache

  bool take(Source& source);
  void add(AuditRecord& record);
  unsigned group_of(const Snapshot& snapshot, const AuditRecord& record);
  void count(const Snapshot* snapshot, const AuditRecord& record, unsigned group);
  void count_kinds() noexcept;

  DecisionJournal& journal_;
  MetricsTable& metrics_;
  DecisionCounts counts_;
  Descriptor wake_;
  std::uint64_t ref_seed_ = 0;
  std::vector<Sink> sinks_;
  std::list<Source> sources_;
  std::map<std::uint64_t, std::shared_ptr<const Snapshot>> snapshots_;
  std::vector<AuditRecord> batch_;
  Sender sender_;
  std::array<Kind, kKinds> kinds_{};
  std::uint64_t records_ = 0, ring_lost_ = 0;
  std::uint32_t ring_lost_series_ = 0;
  std::uint64_t flushed_ns_ = 0;
  bool busy_ = false;
};

}  // namespace sallyport
