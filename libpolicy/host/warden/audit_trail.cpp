#include "host/warden/audit_trail.hpp"

#include <absl/strings/str_format.h>
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

namespace sallyport {
namespace {

constexpr std::size_t kBatch = 64;

std::uint64_t realtime_ns() {
  timespec now;
  ::clock_gettime(CLOCK_REALTIME, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<std::uint64_t>(now.tv_nsec);
}

absl::StatusOr<Descriptor> open_file(const std::string& path) {
  if (path.empty()) return Descriptor();
  Descriptor file(::open(path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600));
  struct stat info;
  if (file.get() < 0 || ::fstat(file.get(), &info) != 0) {
    const char* why = errno == ELOOP ? "it is a symbolic link" : std::strerror(errno);
    return absl::FailedPreconditionError(absl::StrFormat("the audit file %s cannot be opened: %s", path, why));
  }
  if (!S_ISREG(info.st_mode) && !S_ISFIFO(info.st_mode) && !S_ISCHR(info.st_mode)) {
    return absl::FailedPreconditionError(absl::StrFormat("the audit file %s is not a file, pipe or terminal", path));
  }
  return file;
}

}  // namespace

absl::StatusOr<AuditTrail> AuditTrail::open(const std::string& path, std::shared_ptr<const Snapshot> snapshot,
                                            std::uint64_t client_id, const std::string& cell) {
  absl::StatusOr<Descriptor> file = open_file(path);
  if (!file.ok()) return file.status();
  Descriptor wake(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  Result<AuditRing> ring = AuditRing::create(AuditRing::kDefaultSlots, wake.get());
  if (wake.get() < 0 || !ring.ok()) return absl::ResourceExhaustedError("no memory for the audit ring");
  AuditWriter::Options options;
  options.gateway = cell;
  if (::getrandom(&options.run_seed, sizeof options.run_seed, 0) != sizeof options.run_seed)
    return absl::UnavailableError("no random numbers");
  AuditTrail trail(*std::move(ring), std::move(wake), *std::move(file), options);
  trail.writer_->publish(std::move(snapshot));
  trail.writer_->name_client(client_id, cell);
  trail.ring_.arm();
  return trail;
}

AuditTrail::AuditTrail(AuditRing ring, Descriptor wake, Descriptor file, AuditWriter::Options options)
    : ring_(std::move(ring)),
      wake_(std::move(wake)),
      file_(std::move(file)),
      writer_(std::make_unique<AuditWriter>(std::move(options), file_.get())),
      batch_(kBatch) {}

bool AuditTrail::take() {
  const std::size_t count = ring_.read(batch_);
  for (std::size_t i = 0; i < count; ++i) denied_.add(batch_[i], writer_->add(batch_[i]));
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

void AuditTrail::finish() {
  while (take()) {
  }
  writer_->finish();
}

}  // namespace sallyport
