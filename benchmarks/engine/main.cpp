// The engine beside its floors and its peers.
//
//   ./dev bench engine                                        to 1e6 names, some minutes
//   SALLYPORT_BENCH_NAMES=10000000 ./dev bench engine         to 1e7 names: gigabytes, by hand
//   build/benchmarks/engine_benchmark --benchmark_filter=RE   some of it
//
// Every time is CPU time of the thread; rounds of all benchmarks are interleaved at random; what is printed is the
// median of at least 7 rounds. Lookups are serial: which name comes next depends on the answer before.
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "report.hpp"
#include "suites.hpp"

int main(int argc, char** argv) {
  using namespace sallyport::bench;
  std::vector<std::string> words(argv, argv + argc);
  words.insert(words.begin() + 1, {"--benchmark_repetitions=7", "--benchmark_enable_random_interleaving=true"});
  std::vector<char*> pointers;
  for (std::string& word : words) pointers.push_back(word.data());
  int count = static_cast<int>(pointers.size());
  benchmark::Initialize(&count, pointers.data());
  if (benchmark::ReportUnrecognizedArguments(count, pointers.data())) return 2;

  const char* most = std::getenv("SALLYPORT_BENCH_NAMES");
  const Scale scale{most != nullptr ? std::strtoull(most, nullptr, 10) : 1'000'000};
  register_lookups(scale);
  register_addresses(scale);
  register_decisions(scale);
  register_publication(scale);
  register_compilation(scale);
  Collector collector;
  benchmark::RunSpecifiedBenchmarks(&collector);
  collector.print_table();
  print_targets(collector);
  for (const std::string& error : collector.errors()) std::printf("ERROR %s\n", error.c_str());
  return collector.errors().empty() ? 0 : 1;
}
