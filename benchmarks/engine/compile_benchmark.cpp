// From a list in memory to a snapshot, and from a snapshot to one that decides.
#include <benchmark/benchmark.h>

#include <map>
#include <memory>

#include "names.hpp"
#include "suites.hpp"

namespace sallyport::bench {
namespace {

struct Made {
  explicit Made(std::size_t count) {
    const Names names(count);
    policy = policy_of(names);
    octets_of_text = names.octets();
  }
  PolicyModel policy;
  std::size_t octets_of_text = 0;
  std::vector<std::byte> bytes;
};

Made& made(std::size_t names) {
  static std::map<std::size_t, std::unique_ptr<Made>> all;
  auto& of = all[names];
  if (of == nullptr) {
    of = std::make_unique<Made>(names);
    if (auto bytes = compile(of->policy, 1); bytes.ok()) of->bytes = *std::move(bytes);
  }
  return *of;
}

}  // namespace

void register_compilation(const Scale& scale) {
  for (const std::size_t names : scale.names()) {
    const std::string size = std::to_string(names);
    benchmark::RegisterBenchmark(("compile/list/" + size).c_str(), [names](benchmark::State& state) {
      const Made& of = made(names);
      if (of.bytes.empty()) return state.SkipWithError("did not compile");
      for (auto _ : state) benchmark::DoNotOptimize(compile(of.policy, 1));
      state.counters["octets-over-text"] =
          static_cast<double>(of.bytes.size() - of.octets_of_text) / static_cast<double>(names);
    })->MinTime(0.001);
    benchmark::RegisterBenchmark(("open/list/" + size).c_str(), [names](benchmark::State& state) {
      const Made& of = made(names);
      for (auto _ : state) {
        const auto opened = Snapshot::open(of.bytes);
        if (!opened.ok()) return state.SkipWithError("did not open");
      }
    })->MinTime(0.001);
  }
}

}  // namespace sallyport::bench
