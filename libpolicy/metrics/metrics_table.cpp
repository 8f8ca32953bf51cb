// Series are taken from a hash table without removal: a slot goes from empty to claimed by one compare-and-swap, and to
// ready once its text stands. Whoever meets a claimed slot looks at it some more and then passes it by: its owner died
// or is slow. In the latter case a pair may come to stand twice, which text() adds up.
//
// Road not taken: a lock. The warden defines series too, and must not wait for what a hostile worker can write.
#include "metrics/metrics_table.hpp"

#include <atomic>
#include <cstring>
#include <utility>
#include <vector>

#include "metrics/exposition.hpp"

namespace sallyport {
namespace {

constexpr std::uint64_t kMagic = 0x3143'5254'454d'4c53;  // "SLMETRC1"
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

MetricsTable::Header& MetricsTable::header() const noexcept { return *reinterpret_cast<Header*>(memory_.data()); }

MetricsTable::Series& MetricsTable::at(std::uint32_t id) const noexcept {
  return reinterpret_cast<Series*>(memory_.data() + 64)[id < kMaxSeries ? id : kOverflow];
}

Result<MetricsTable> MetricsTable::create() {
  static_assert(sizeof(Header) <= 64 && std::atomic<std::uint64_t>::is_always_lock_free);
  Result<SharedMemory> memory = SharedMemory::create("sallyport-metrics", 64 + kMaxSeries * sizeof(Series));
  if (!memory.ok()) return memory.error();
  MetricsTable table;
  table.memory_ = *std::move(memory);
  Series& overflow = table.at(kOverflow);
  overflow.write("sallyport_metric_overflow_total", "");
  overflow.state.store(kReady, std::memory_order_release);
  table.header().series = kMaxSeries;
  table.header().series_size = sizeof(Series);
  table.header().magic = kMagic;
  return table;
}

Result<MetricsTable> MetricsTable::map(int fd) {
  Header seen;
  const Result<std::uint64_t> size = SharedMemory::look(fd, std::as_writable_bytes(std::span(&seen, 1)));
  if (!size.ok()) return size.error();
  if (seen.magic != kMagic) return Error{ErrorCode::kCorrupt, "not a table of metrics", 0};
  if (seen.series != kMaxSeries || seen.series_size != sizeof(Series) || *size != 64 + kMaxSeries * sizeof(Series)) {
    return Error{ErrorCode::kUnsupported, "a table of metrics of another version", 0};
  }
  Result<SharedMemory> memory = SharedMemory::map(fd, *size);
  if (!memory.ok()) return memory.error();
  MetricsTable table;
  table.memory_ = *std::move(memory);
  return table;
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

}  // namespace sallyport
