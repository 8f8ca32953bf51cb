// Series are taken from a hash table without removal: a slot goes from empty to claimed by one compare-and-swap, and to
// ready once its text stands. Whoever meets a claimed slot looks at it some more and then passes it by: its owner died
// or is slow. In the latter case a pair may come to stand twice, which text() adds up.
//
// Road not taken: a lock. The warden defines series too, and must not wait for what a hostile worker can write.
#include "metrics/metrics_table.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <utility>
#include <vector>

#include "metrics/exposition.hpp"

namespace sallyport {
namespace {

constexpr std::uint64_t kMagic = 0x3143'5254'454d'4c53;  // "SLMETRC1"
constexpr int kSeals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
constexpr std::uint32_t kEmpty = 0, kClaimed = 1, kReady = 2;
constexpr int kPatience = 1000;  // looks at a claimed slot, some microseconds: writing 350 octets takes less

std::uint64_t hash_of(std::string_view name, std::string_view labels) {
  std::uint64_t hash = 0xcbf29ce484222325u;  // FNV-1a: names and labels are our own
  for (const std::string_view part : {name, std::string_view("{"), labels}) {
    for (const char c : part) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
  }
  return hash ^ hash >> 32;
}

}  // namespace

struct MetricsTable::Header {
  std::uint64_t magic;
  std::uint32_t series, series_size;
};

struct MetricsTable::Series {
  std::atomic<std::uint32_t> state;
  std::atomic<std::uint32_t> sizes;  // name | labels << 16
  std::atomic<std::uint64_t> value;
  std::array<std::atomic<std::uint64_t>, (kMaxName + 1 + kMaxLabels + 1) / 8> text;  // name, then labels

  void write(std::string_view name, std::string_view labels) noexcept {
    std::array<std::uint64_t, (kMaxName + 1 + kMaxLabels + 1) / 8> words{};
    std::memcpy(words.data(), name.data(), name.size());
    std::memcpy(reinterpret_cast<char*>(words.data()) + name.size(), labels.data(), labels.size());
    for (std::size_t i = 0; i < words.size(); ++i) text[i].store(words[i], std::memory_order_relaxed);
    sizes.store(static_cast<std::uint32_t>(name.size() | labels.size() << 16), std::memory_order_relaxed);
  }
  // False if the sizes make no sense.
  bool read(std::string& name, std::string& labels) const noexcept {
    const std::uint32_t both = sizes.load(std::memory_order_relaxed);
    const std::size_t name_size = both & 0xffff, labels_size = both >> 16;
    if (name_size > kMaxName || labels_size > kMaxLabels) return false;
    std::array<std::uint64_t, (kMaxName + 1 + kMaxLabels + 1) / 8> words;
    for (std::size_t i = 0; i < words.size(); ++i) words[i] = text[i].load(std::memory_order_relaxed);
    const char* from = reinterpret_cast<const char*>(words.data());
    name.assign(from, name_size);
    labels.assign(from + name_size, labels_size);
    return true;
  }
};

MetricsTable::Header& MetricsTable::header() const noexcept { return *reinterpret_cast<Header*>(base_); }

MetricsTable::Series& MetricsTable::at(std::uint32_t id) const noexcept {
  return reinterpret_cast<Series*>(base_ + 64)[id < kMaxSeries ? id : kOverflow];
}

Result<MetricsTable> MetricsTable::attach(int fd) {
  static_assert(sizeof(Header) <= 64 && std::atomic<std::uint64_t>::is_always_lock_free);
  MetricsTable table;
  table.size_ = 64 + kMaxSeries * sizeof(Series);
  void* base = mmap(nullptr, table.size_, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (base == MAP_FAILED) return Error{ErrorCode::kExhausted, "the metrics cannot be mapped", 0};
  table.base_ = static_cast<std::byte*>(base);
  return table;
}

Result<MetricsTable> MetricsTable::create() {
  const int fd = memfd_create("sallyport-metrics", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  const auto size = static_cast<off_t>(64 + kMaxSeries * sizeof(Series));
  if (fd < 0 || ftruncate(fd, size) != 0 || fcntl(fd, F_ADD_SEALS, kSeals) != 0) {
    if (fd >= 0) close(fd);
    return Error{ErrorCode::kExhausted, "no memory file for the metrics", 0};
  }
  Result<MetricsTable> table = attach(fd);
  if (!table.ok()) {
    close(fd);
    return table;
  }
  table->fd_ = fd;
  Series& overflow = table->at(kOverflow);
  overflow.write("sallyport_metric_overflow_total", "");
  overflow.state.store(kReady, std::memory_order_release);
  table->header().series = kMaxSeries;
  table->header().series_size = sizeof(Series);
  table->header().magic = kMagic;
  return table;
}

Result<MetricsTable> MetricsTable::map(int fd) {
  struct stat status{};
  const int seals = fcntl(fd, F_GET_SEALS);
  if (fstat(fd, &status) != 0 || seals < 0 || (seals & kSeals) != kSeals) {
    return Error{ErrorCode::kCorrupt, "not a sealed memory file", 0};
  }
  Header seen;
  if (pread(fd, &seen, sizeof seen, 0) != static_cast<ssize_t>(sizeof seen) || seen.magic != kMagic) {
    return Error{ErrorCode::kCorrupt, "not a table of metrics", 0};
  }
  if (seen.series != kMaxSeries || seen.series_size != sizeof(Series) ||
      status.st_size != static_cast<off_t>(64 + kMaxSeries * sizeof(Series))) {
    return Error{ErrorCode::kUnsupported, "a table of metrics of another version", 0};
  }
  return attach(fd);
}

Result<std::uint32_t> MetricsTable::define(std::string_view name, std::string_view labels) noexcept {
  if (name.size() > kMaxName || labels.size() > kMaxLabels || !is_metric_name(name) || !are_labels(labels)) {
    return Error{ErrorCode::kMalformed, "a metric is sallyport_... with labels key=\"value\"", 0};
  }
  const std::uint64_t hash = hash_of(name, labels);
  std::string known_name, known_labels;
  for (std::uint32_t step = 0; step < kMaxSeries; ++step) {
    const auto id = static_cast<std::uint32_t>((hash + step) % kMaxSeries);
    Series& series = at(id);
    std::uint32_t state = kEmpty;
    if (series.state.compare_exchange_strong(state, kClaimed, std::memory_order_acquire)) {
      series.write(name, labels);
      series.state.store(kReady, std::memory_order_release);
      return id;
    }
    for (int look = 0; state != kReady && look < kPatience; ++look)
      state = series.state.load(std::memory_order_acquire);
    if (state == kReady && series.read(known_name, known_labels) && known_name == name && known_labels == labels)
      return id;
  }
  return Error{ErrorCode::kExhausted, "too many series of metrics", 0};
}

void MetricsTable::add(std::uint32_t id, std::uint64_t amount) noexcept {
  at(id).value.fetch_add(amount, std::memory_order_relaxed);
}

void MetricsTable::set(std::uint32_t id, std::uint64_t value) noexcept {
  at(id).value.store(value, std::memory_order_relaxed);
}

std::uint64_t MetricsTable::value(std::uint32_t id) const noexcept {
  return at(id).value.load(std::memory_order_relaxed);
}

std::string MetricsTable::text() const {
  std::vector<Sample> samples;
  for (std::uint32_t id = 0; id < kMaxSeries; ++id) {
    const Series& series = at(id);
    if (series.state.load(std::memory_order_acquire) != kReady) continue;
    Sample sample;
    if (!series.read(sample.name, sample.labels)) continue;
    sample.value = value(id);
    samples.push_back(std::move(sample));
  }
  return exposition(std::move(samples));
}

std::uint32_t MetricsTable::series() const noexcept {
  std::uint32_t count = 0;
  for (std::uint32_t id = 0; id < kMaxSeries; ++id)
    count += at(id).state.load(std::memory_order_acquire) == kReady ? 1 : 0;
  return count;
}

MetricsTable::MetricsTable(MetricsTable&& other) noexcept { *this = std::move(other); }

MetricsTable& MetricsTable::operator=(MetricsTable&& other) noexcept {
  std::swap(fd_, other.fd_);
  std::swap(base_, other.base_);
  std::swap(size_, other.size_);
  return *this;
}

MetricsTable::~MetricsTable() {
  if (base_ != nullptr) munmap(base_, size_);
  if (fd_ >= 0) close(fd_);
}

}  // namespace sallyport
