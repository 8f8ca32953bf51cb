// What a reader pays for a policy that may be replaced at any time, and what a decision costs at worst while it is.
#include <benchmark/benchmark.h>
#include <malloc.h>
#include <time.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <memory>
#include <shared_mutex>
#include <thread>

#include "host/worker/policy_versions.hpp"
#include "names.hpp"
#include "suites.hpp"

namespace sallyport::bench {
namespace {

std::shared_ptr<const Snapshot> snapshot_of(const PolicyModel& policy, std::uint64_t generation) {
  struct Owned {
    std::vector<std::byte> bytes;
    std::shared_ptr<const Snapshot> snapshot;
  };
  auto made = compile(policy, generation);
  if (!made.ok()) return nullptr;
  auto owned = std::make_shared<Owned>();
  owned->bytes = *std::move(made);
  auto opened = Snapshot::open(owned->bytes);
  if (!opened.ok()) return nullptr;
  owned->snapshot = *std::move(opened);
  return {owned, owned->snapshot.get()};
}

PolicyModel small_policy() {
  PolicyModel policy;
  policy.rules.resize(1);
  policy.rules[0].action = Action::kAllow;
  policy.rules[0].domains = {*Pattern::parse(".listed.test")};
  return policy;
}

PolicyVersion version_of(std::shared_ptr<const Snapshot> snapshot) {
  PolicyVersion version;
  version.snapshot = std::move(snapshot);
  return version;
}

// Publishes every 2 ms while it lives.
class Writer {
 public:
  explicit Writer(std::function<void(std::uint64_t)> publish)
      : thread_([this, publish = std::move(publish)] {
          for (std::uint64_t generation = 2; !stop_.load(std::memory_order_relaxed); ++generation) {
            publish(generation);
            std::this_thread::sleep_for(std::chrono::milliseconds(2));
          }
        }) {}
  ~Writer() {
    stop_ = true;
    thread_.join();
  }

 private:
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

struct Plain {  // the floor, and unsafe: nobody knows when the old one may go
  void publish(std::shared_ptr<const Snapshot> next) {
    kept.push_back(std::move(next));
    current.store(kept.back().get(), std::memory_order_release);
  }
  struct Reader {
    explicit Reader(Plain& of) : plain(of) {}
    std::uint64_t now() const { return plain.current.load(std::memory_order_acquire)->generation(); }
    Plain& plain;
  };
  std::atomic<const Snapshot*> current{nullptr};
  std::vector<std::shared_ptr<const Snapshot>> kept;
};

struct Ours {
  void publish(std::shared_ptr<const Snapshot> next) { versions.publish(version_of(std::move(next))); }
  struct Reader {
    explicit Reader(Ours& of) : reader(of.versions) {}
    std::uint64_t now() { return reader.now()->snapshot->generation(); }
    PolicyVersions::Reader reader;
  };
  PolicyVersions versions;
};

struct SharedMutex {
  void publish(std::shared_ptr<const Snapshot> next) {
    const std::unique_lock lock(mutex);
    current = std::move(next);
  }
  struct Reader {
    explicit Reader(SharedMutex& of) : shared(of) {}
    std::uint64_t now() const {
      const std::shared_lock lock(shared.mutex);
      return shared.current->generation();
    }
    SharedMutex& shared;
  };
  std::shared_mutex mutex;
  std::shared_ptr<const Snapshot> current;
};

struct AtomicSharedPointer {
  void publish(std::shared_ptr<const Snapshot> next) { current.store(std::move(next)); }
  struct Reader {
    explicit Reader(AtomicSharedPointer& of) : atomic(of) {}
    std::uint64_t now() const { return atomic.current.load()->generation(); }
    AtomicSharedPointer& atomic;
  };
  std::atomic<std::shared_ptr<const Snapshot>> current;
};

template <typename Way>
void add(const std::string& what) {
  for (const int readers : {1, 2}) {
    const std::string name = "publication/" + what + "/readers-" + std::to_string(readers);
    benchmark::RegisterBenchmark(name.c_str(),
                                 [](benchmark::State& state) {
                                   static std::unique_ptr<Way> way;
                                   static std::unique_ptr<Writer> writer;
                                   if (state.thread_index() == 0) {
                                     way = std::make_unique<Way>();
                                     way->publish(snapshot_of(small_policy(), 1));
                                     writer = std::make_unique<Writer>([](std::uint64_t generation) {
                                       way->publish(snapshot_of(small_policy(), generation));
                                     });
                                   }
                                   std::unique_ptr<typename Way::Reader> reader;
                                   for (auto _ : state) {
                                     if (reader == nullptr)
                                       reader = std::make_unique<typename Way::Reader>(*way);  // all are there by now
                                     benchmark::DoNotOptimize(reader->now());
                                   }
                                   reader.reset();
                                   static std::atomic<int> done{0};
                                   if (++done == state.threads()) {
                                     done = 0;
                                     writer.reset();
                                     way.reset();
                                   } else {
                                     while (done.load() != 0) std::this_thread::yield();
                                   }
                                 })
        ->MinTime(0.02)
        ->Threads(readers);
  }
}

double thread_microseconds() {
  ::timespec now = {};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) * 1e6 + static_cast<double>(now.tv_nsec) * 1e-3;
}

// Two lists of a million names in turn, of which the names asked for are on one: a verdict and its generation have to
// be of the same. Counts the longest decision in CPU time of its thread, the clock's own time included.
void reload(benchmark::State& state, std::size_t count) {
  const Names names(count);
  const PolicyModel with = policy_of(names);
  PolicyModel without;
  without.rules = with.rules;
  without.rules[0].action = Action::kDeny;
  std::vector<DomainName> asked;
  for (std::uint64_t i = 0; i < 4096; ++i) asked.push_back(*DomainName::parse(names[mixed(i) % names.size()]));

  PolicyVersions versions;
  versions.publish(version_of(snapshot_of(without, 1)));
  std::atomic<bool> stop{false};
  std::atomic<std::uint64_t> wrong{0};
  struct Account {
    double longest = 0, over = 0, decisions = 0;
  };
  Account quiet[2], busy[2];  // before the first reload, and from there on
  std::atomic<bool> is_quiet{true};
  const auto read = [&](unsigned which) {
    PolicyVersions::Reader reader(versions);
    Query query;
    query.layer = Layer::kTls;
    query.known = kKnowName | kKnowPort;
    query.deferred = kKnowAddress;
    query.port = 443;
    double before = thread_microseconds();
    for (std::size_t i = which * 100; !stop.load(std::memory_order_relaxed); ++i) {
      query.name = &asked[i % asked.size()];
      const Verdict verdict = reader.now()->snapshot->decide(query);
      const double now = thread_microseconds();
      Account& account = (is_quiet.load(std::memory_order_relaxed) ? quiet : busy)[which];
      account.longest = std::max(account.longest, now - before);
      account.over += now - before > 100 ? 1 : 0;
      account.decisions += 1;
      before = now;
      if (verdict.allowed() != (verdict.generation % 2 == 0)) ++wrong;
    }
  };
  std::thread first(read, 0), second(read, 1);
  std::this_thread::sleep_for(std::chrono::seconds(2));  // what the machine itself takes away
  is_quiet = false;
  std::uint64_t generation = 2;
  for (auto _ : state) {
    for (int i = 0; i < 6; ++i, ++generation) {
      versions.publish(version_of(snapshot_of(generation % 2 == 0 ? with : without, generation)));
    }
  }
  stop = true;
  first.join();
  second.join();
  versions.reclaim();
  state.counters["longest-us"] = std::max(busy[0].longest, busy[1].longest);
  state.counters["over-100-us"] = busy[0].over + busy[1].over;
  state.counters["decisions"] = busy[0].decisions + busy[1].decisions;
  state.counters["quiet-longest-us"] = std::max(quiet[0].longest, quiet[1].longest);
  state.counters["quiet-over-100-us"] = quiet[0].over + quiet[1].over;
  state.counters["quiet-decisions"] = quiet[0].decisions + quiet[1].decisions;
  state.counters["wrong"] = static_cast<double>(wrong.load());
  state.counters["retained"] = static_cast<double>(versions.retained());
  if (wrong != 0) state.SkipWithError("a wrong verdict");
}

}  // namespace

void register_publication(const Scale& scale) {
  add<Plain>("plain-load");
  add<Ours>("versions");
  add<SharedMutex>("shared-mutex");
  add<AtomicSharedPointer>("atomic-shared-ptr");
  if (scale.most_names >= 1'000'000) {
    benchmark::RegisterBenchmark("reload/1000000", [](benchmark::State& state) { reload(state, 1'000'000); })
        ->Iterations(1)
        ->Repetitions(1);
  }
}

}  // namespace sallyport::bench
