#include "host/warden/audit_trail.hpp"

#include <sys/eventfd.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include <bit>
#include <utility>

#include "host/warden/audit_file.hpp"

namespace sallyport {
namespace {

constexpr std::size_t kBatch = 64;

std::uint64_t realtime_ns() {
  timespec now;
  ::clock_gettime(CLOCK_REALTIME, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<std::uint64_t>(now.tv_nsec);
}

bool fill_random(std::uint64_t& out) { return ::getrandom(&out, sizeof out, 0) == sizeof out; }

}  // namespace

absl::StatusOr<AuditTrail> AuditTrail::open(const std::string& path, std::shared_ptr<const Snapshot> snapshot,
                                            std::uint64_t client_id, const std::string& cell, MatchText match) {
  absl::StatusOr<AuditFile> file = open_audit_file(path);
  if (!file.ok()) return file.status();
  Descriptor wake(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  AuditWriter::Options options;
  options.gateway = cell;
  options.after_half_line = file->ends_within_a_line;
  std::uint64_t ref_seed;  // not the run's own, which the ids show
  if (!fill_random(options.run_seed) || !fill_random(options.fold_seed) || !fill_random(ref_seed))
    return absl::UnavailableError("no random numbers");
  Result<AuditRing> ring = AuditRing::create(AuditRing::kDefaultSlots, wake.get(), ref_seed);
  if (wake.get() < 0 || !ring.ok()) return absl::ResourceExhaustedError("no memory for the audit ring");
  AuditTrail trail(*std::move(ring), std::move(wake), std::move(file->fd), options);
  trail.publish(std::move(snapshot), client_id, cell, std::move(match));
  trail.ring_.arm();
  return trail;
}

void AuditTrail::publish(std::shared_ptr<const Snapshot> snapshot, std::uint64_t client_id, const std::string& cell,
                         MatchText match) {
  const std::uint64_t groups = snapshot->groups_of_cell(cell);
  const std::string group(groups == 0 ? "" : snapshot->group_name(static_cast<unsigned>(std::countr_zero(groups))));
  writer_->publish(std::move(snapshot), std::move(match));
  writer_->name_client(client_id, group);
}

AuditTrail::AuditTrail(AuditRing ring, Descriptor wake, Descriptor file, AuditWriter::Options options)
    : ring_(std::move(ring)),
      wake_(std::move(wake)),
      file_(std::move(file)),
      writer_(std::make_unique<AuditWriter>(std::move(options), file_.get())),
      batch_(kBatch) {}

bool AuditTrail::take() {
  const std::size_t count = ring_.read(batch_);
  for (std::size_t i = 0; i < count; ++i) {
    const std::string ref = writer_->add(batch_[i]);
    denied_.add(batch_[i], ref);
    failed_.add(batch_[i], ref);
  }
  if (const std::uint64_t lost = ring_.lost(); lost > reported_lost_) {
    writer_->add_lost(lost - reported_lost_);
    reported_lost_ = lost;
  }
  return count > 0;
}

void AuditTrail::collect() {
  std::uint64_t unused;
  [[maybe_unused]] const ssize_t drained = ::read(wake_.get(), &unused, sizeof unused);
  bool any = false;
  // Bounded: a worker that writes without end must not keep the warden from its signals.
  for (std::size_t taken = 0; taken < 4 * AuditRing::kDefaultSlots && (take() || !ring_.arm()); taken += kBatch)
    any = true;
  writer_->flush(realtime_ns());
  unfolded_ = any;
}

void AuditTrail::writer_died() {
  do collect();
  while (ring_.skip_unfinished() > 0);
}

AuditLoss AuditTrail::finish() {
  while (take()) {
  }
  writer_->finish();
  AuditLoss loss{.records = writer_->total_lost()};
  if (loss.records > reported_lost_) {
    loss.why = writer_->sink_failure();
  } else if (loss.records > 0) {
    loss.why = "they came faster than they could be taken, or their writer died";
  }
  return loss;
}

}  // namespace sallyport
