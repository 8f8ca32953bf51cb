#include "host/gate/gate_audit.hpp"

#include <absl/strings/str_format.h>
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <optional>

#include "host/warden/audit_file.hpp"

namespace sallyport {
namespace {

constexpr std::size_t kKeptGenerations = 4;
constexpr std::uint64_t kFlushNs = 250'000'000;

// Ids under which the writers know the groups of one generation: the host's own ids of addresses are as many as there
// are addresses, and the writers keep every name they were told.
constexpr std::uint64_t kGroups = 65;  // 64 clients of a policy, and none
std::uint64_t group_id(std::uint64_t generation, unsigned bit) {
  return (std::uint64_t{1} << 62) | (generation % kKeptGenerations * kGroups + bit);
}

std::uint64_t realtime_ns() {
  timespec now;
  ::clock_gettime(CLOCK_REALTIME, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<std::uint64_t>(now.tv_nsec);
}

std::uint32_t define(MetricsTable& metrics, std::string_view name, std::string_view labels) {
  const Result<std::uint32_t> id = metrics.define(name, labels);
  return id.ok() ? *id : MetricsTable::kOverflow;
}

}  // namespace

absl::StatusOr<std::unique_ptr<GateAudit>> GateAudit::open(const std::string& gateway,
                                                           const std::vector<std::string>& sinks,
                                                           DecisionJournal& journal, MetricsTable& metrics) {
  std::unique_ptr<GateAudit> audit(new GateAudit(journal, metrics));
  audit->wake_ = Descriptor(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  AuditWriter::Options options;
  options.gateway = gateway;
  options.batched = true;
  const auto fill_random = [](std::uint64_t& out) { return ::getrandom(&out, sizeof out, 0) == sizeof out; };
  if (audit->wake_.get() < 0 || !fill_random(options.run_seed) || !fill_random(options.fold_seed) ||
      !fill_random(audit->ref_seed_))
    return absl::UnavailableError("no random numbers");
  for (const std::string& spec : sinks) {
    Sink sink;
    sink.spec = spec;
    int fd = STDOUT_FILENO;
    if (spec != "stdout") {
      absl::StatusOr<AuditFile> file = open_audit_file(spec.substr(5));
      if (!file.ok()) return file.status();
      sink.file = std::move(file->fd);
      options.after_half_line = file->ends_within_a_line;
      fd = sink.file.get();
    } else {
      options.after_half_line = false;
    }
    sink.writer = std::make_unique<AuditWriter>(options, fd);
    const std::string label = "sink=\"" + std::string(spec == "stdout" ? "stdout" : "file") + "\"";
    sink.records_series = define(metrics, "sallyport_audit_records_total", label);
    sink.lost_series = define(metrics, "sallyport_audit_lost_total", label + ",cause=\"sink\"");
    audit->sinks_.push_back(std::move(sink));
  }
  audit->ring_lost_series_ = define(metrics, "sallyport_audit_lost_total", "sink=\"all\",cause=\"ring\"");
  return audit;
}

absl::StatusOr<GateAudit::Source*> GateAudit::add_source() {
  Result<AuditRing> ring = AuditRing::create(kSlots, wake_.get(), ref_seed_);
  if (!ring.ok())
    return absl::ResourceExhaustedError(absl::StrFormat("no memory for the audit ring: %s", ring.error().message));
  sources_.push_back({*std::move(ring), 0});
  sources_.back().ring.arm();
  return &sources_.back();
}

void GateAudit::remove_source(Source* source) {
  do {
    while (take(*source)) {
    }
  } while (source->ring.skip_unfinished() > 0);
  sources_.remove_if([&](const Source& other) { return &other == source; });
}

void GateAudit::publish(std::shared_ptr<const Snapshot> snapshot, MatchText match) {
  const std::uint64_t generation = snapshot->generation();
  kinds_ = {};
  sender_ = {};
  for (Sink& sink : sinks_) {
    sink.writer->publish(snapshot, match);
    for (unsigned bit = 0; bit < 64; ++bit)
      sink.writer->name_client(group_id(generation, bit), std::string(snapshot->group_name(bit)));
    sink.writer->name_client(group_id(generation, 64), "");
  }
  snapshots_[generation] = std::move(snapshot);
  while (snapshots_.size() > kKeptGenerations) snapshots_.erase(snapshots_.begin());
}

unsigned GateAudit::group_of(const Snapshot& snapshot, const AuditRecord& record) {
  if (sender_.family != record.client_addr_family || sender_.generation != record.generation ||
      sender_.address != record.client_addr) {
    const std::uint64_t groups = snapshot.groups_of_address(record.client_address());
    sender_ = {.generation = record.generation,
               .family = record.client_addr_family,
               .address = record.client_addr,
               .group = groups == 0 ? kNoGroup : static_cast<unsigned>(std::countr_zero(groups))};
  }
  return sender_.group;
}

bool GateAudit::Kind::is_of(const AuditRecord& record, unsigned group) const noexcept {
  return is_set && generation == record.generation && rule == record.rule && verdict == record.verdict &&
         reason == record.reason && bit == group && plugin_size == record.plugin_size &&
         std::memcmp(plugin.data(), record.plugin.data(), plugin_size) == 0;
}

void GateAudit::count(const Snapshot* snapshot, const AuditRecord& record, unsigned group) {
  Kind& kind = kinds_[(static_cast<unsigned>(record.reason) * 5 + static_cast<unsigned>(record.verdict) +
                       record.rule * 7 + group * 3 + record.plugin_size) %
                      kKinds];
  if (kind.is_of(record, group) && record.kind == AuditKind::kDecision) {
    ++kind.decisions;
    return;
  }
  const std::string_view client = group == kNoGroup || snapshot == nullptr ? "" : snapshot->group_name(group);
  const bool known = snapshot != nullptr && record.rule < snapshot->rules();
  const std::string_view rule = record.rule == kNoRuleIndex ? "" : known ? snapshot->rule_name(record.rule) : "_other";
  const std::optional<DecisionCounts::Series> series = counts_.series_of(record, rule, client);
  if (!series) return;
  if (kind.decisions > 0) counts_.add(kind.series, kind.decisions);
  kind = {.series = *series,
          .decisions = 1,
          .generation = record.generation,
          .rule = record.rule,
          .verdict = record.verdict,
          .reason = record.reason,
          .bit = group,
          .is_set = true,
          .plugin_size = record.plugin_size,
          .plugin = {}};
  std::memcpy(kind.plugin.data(), record.plugin.data(), record.plugin_size);
}

void GateAudit::count_kinds() noexcept {
  for (Kind& kind : kinds_) {
    if (kind.decisions == 0) continue;
    counts_.add(kind.series, kind.decisions);
    kind.decisions = 0;
  }
}

void GateAudit::add(AuditRecord& record) {
  ++records_;
  journal_.append(DecisionRecord::of(record));
  const auto found = snapshots_.find(record.generation);
  const Snapshot* const snapshot = found == snapshots_.end() ? nullptr : found->second.get();
  unsigned group = kNoGroup;
  if (snapshot != nullptr && record.client_addr_family != 0) {
    group = group_of(*snapshot, record);
    record.client_id = group_id(record.generation, group);
  }
  count(snapshot, record, group);
}

bool GateAudit::take(Source& source) {
  const std::size_t count = source.ring.read(batch_);
  for (std::size_t i = 0; i < count; ++i) add(batch_[i]);
  for (Sink& sink : sinks_) sink.writer->add_all({batch_.data(), count});
  count_kinds();
  if (const std::uint64_t lost = source.ring.lost(); lost > source.reported_lost) {
    const std::uint64_t fresh = lost - source.reported_lost;
    for (Sink& sink : sinks_) sink.writer->add_lost(fresh);
    metrics_.add(ring_lost_series_, fresh);
    ring_lost_ += fresh;
    source.reported_lost = lost;
  }
  return count > 0;
}

void GateAudit::know_plugin(std::string_view name) {
  counts_.know_plugin(name);
  kinds_ = {};  // what was nobody's may be its now
}

void GateAudit::collect() {
  std::uint64_t unused;
  [[maybe_unused]] const ssize_t drained = ::read(wake_.get(), &unused, sizeof unused);
  bool any = false;
  for (Source& source : sources_) {
    // Bounded: a worker that writes without end must not keep the warden from its signals.
    std::size_t taken = 0;
    while (taken < 2 * kSlots && take(source)) taken += batch_.size();
    // Who is busy is looked at again soon, and wakes nobody for each of its records.
    if (taken > 0 || !source.ring.arm()) any = true;
  }
  const std::uint64_t now = realtime_ns();
  const bool due = now < flushed_ns_ || now - flushed_ns_ >= kFlushNs;  // it walks over everything that is folded
  if (due) flushed_ns_ = now;
  for (Sink& sink : sinks_) {
    if (due) sink.writer->flush(now);
    sink.writer->push();
    metrics_.add(sink.records_series, sink.writer->lines() - sink.counted_lines);
    sink.counted_lines = sink.writer->lines();
    const std::uint64_t lost = std::max(sink.writer->total_lost(), ring_lost_) - ring_lost_;
    if (lost > sink.counted_lost) metrics_.add(sink.lost_series, lost - sink.counted_lost);
    sink.counted_lost = std::max(sink.counted_lost, lost);
  }
  busy_ = any;
}

int GateAudit::next_flush_ms() const noexcept {
  if (busy_) return kPauseMs;
  const bool pending = std::any_of(sinks_.begin(), sinks_.end(), [](const Sink& sink) {
    return sink.writer->pending_octets() > 0 || sink.writer->is_folding();
  });
  return pending ? 1000 : -1;
}

void GateAudit::finish() {
  for (Source& source : sources_) {
    while (take(source)) {
    }
  }
  for (Sink& sink : sinks_) sink.writer->finish();
}

absl::Status GateAudit::reopen() {
  absl::Status status;
  for (Sink& sink : sinks_) {
    if (sink.spec == "stdout") continue;
    sink.writer->flush(realtime_ns());
    absl::StatusOr<AuditFile> file = open_audit_file(sink.spec.substr(5));
    if (!file.ok()) {
      status = file.status();
      continue;
    }
    ::dup3(file->fd.get(), sink.file.get(), O_CLOEXEC);  // the writer keeps its number
  }
  return status;
}

std::uint64_t GateAudit::lost() const noexcept {
  std::uint64_t most = ring_lost_;
  for (const Sink& sink : sinks_) most = std::max(most, sink.writer->total_lost());
  return most;
}

}  // namespace sallyport
