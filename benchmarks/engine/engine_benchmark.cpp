// decide() beside its floor: the hash of the name, which every layer pays once when it parses.
//
//   ./build/benchmarks/engine_benchmark --benchmark_repetitions=9 --benchmark_report_aggregates_only=true
//
// Names in the policy: "n<i>.d<i mod 977>.test", one rule, ports 443. Queries walk 4,096 names in an order that depends
// on the verdict before ("serial"), so that a miss of the cache costs what it costs.
//   Hit          names of the policy, half of them one label longer
//   Miss         names of other zones, of 2 to 6 labels
//   SiblingMiss  names beside those of the policy: same zone, another first label
#include <benchmark/benchmark.h>

#include <string>
#include <vector>

#include "engine/decide.hpp"

namespace {

using namespace sallyport;

constexpr std::size_t kQueries = 4096;  // a power of two

std::string nth_name(std::size_t i) { return "n" + std::to_string(i) + ".d" + std::to_string(i % 977) + ".test"; }

std::shared_ptr<const Snapshot> snapshot_of(std::size_t names, std::vector<std::byte>& bytes) {
  PolicyModel policy;
  RuleModel rule;
  rule.action = Action::kAllow;
  rule.ports = {{443, 443, kProtoTcp}};
  for (std::size_t i = 0; i < names; ++i) rule.domains.push_back(*Pattern::parse("." + nth_name(i)));
  policy.rules.push_back(std::move(rule));
  auto made = compile(policy, 1);
  if (!made.ok()) return nullptr;
  bytes = *std::move(made);
  auto opened = Snapshot::open(bytes);
  return opened.ok() ? *opened : nullptr;
}

enum Kind { kHit, kMiss, kSiblingMiss };

std::vector<std::string> texts_of(Kind kind, std::size_t names) {
  std::vector<std::string> texts;
  for (std::size_t i = 0; i < kQueries; ++i) {
    const std::size_t some = i * 2654435761u % names;
    if (kind == kHit) texts.push_back((i % 2 ? "www." : "") + nth_name(some));
    if (kind == kSiblingMiss) texts.push_back("m" + nth_name(some));
    if (kind == kMiss) {
      std::string text = "zone" + std::to_string(i) + ".example";
      for (std::size_t label = i % 5; label > 0; --label) text = "l" + std::to_string(label) + "." + text;
      texts.push_back(text);
    }
  }
  return texts;
}

// Parsing alone: the floor, since it computes the hashes.
void BM_ParseName(benchmark::State& state) {
  const auto texts = texts_of(kHit, static_cast<std::size_t>(state.range(0)));
  std::size_t i = 0;
  for (auto _ : state) {
    const Result<DomainName> name = DomainName::parse(texts[i]);
    i = (i + 1 + name->labels() % 2) % kQueries;
  }
}
BENCHMARK(BM_ParseName)->ArgName("names")->Arg(1000);

void decide_names(benchmark::State& state, Kind kind) {
  const auto names = static_cast<std::size_t>(state.range(0));
  std::vector<std::byte> bytes;
  const auto snapshot = snapshot_of(names, bytes);
  if (snapshot == nullptr) return state.SkipWithError("the policy did not compile");
  std::vector<DomainName> queries;
  for (const std::string& text : texts_of(kind, names)) queries.push_back(*DomainName::parse(text));

  Reader reader(snapshot);
  Query query;
  query.layer = Layer::kTls;
  query.known = kKnowName | kKnowPort;
  query.deferred = kKnowAddress;
  query.port = 443;
  for (const DomainName& name : queries) {  // right before fast
    query.name = &name;
    if (reader.decide(query).allowed() != (kind == kHit)) return state.SkipWithError("a wrong verdict");
  }
  std::size_t i = 0;
  for (auto _ : state) {
    query.name = &queries[i];
    const Verdict verdict = reader.decide(query);
    i = (i + 1 + static_cast<std::size_t>(verdict.flags)) % kQueries;  // flags are 0; the next query waits for them
  }
  state.counters["octets/name"] = static_cast<double>(bytes.size()) / static_cast<double>(names);
}

void BM_Decide_Hit(benchmark::State& state) { decide_names(state, kHit); }
void BM_Decide_Miss(benchmark::State& state) { decide_names(state, kMiss); }
void BM_Decide_SiblingMiss(benchmark::State& state) { decide_names(state, kSiblingMiss); }
BENCHMARK(BM_Decide_Hit)->ArgName("names")->Arg(10)->Arg(1000)->Arg(100'000);
BENCHMARK(BM_Decide_Miss)->ArgName("names")->Arg(10)->Arg(1000)->Arg(100'000);
BENCHMARK(BM_Decide_SiblingMiss)->ArgName("names")->Arg(10)->Arg(1000)->Arg(100'000);

// The deepest name there is, which a client may ask for as often as it likes.
void BM_Decide_DeepMiss(benchmark::State& state) {
  std::vector<std::byte> bytes;
  const auto snapshot = snapshot_of(static_cast<std::size_t>(state.range(0)), bytes);
  if (snapshot == nullptr) return state.SkipWithError("the policy did not compile");
  std::string text = nth_name(1);
  while (text.size() + 2 <= DomainName::kMaxOctets) text.insert(0, "x.");
  text.replace(text.size() - 4, 4, "tesu");
  const DomainName name = *DomainName::parse(text);
  Reader reader(snapshot);
  Query query;
  query.known = kKnowName | kKnowPort;
  query.port = 443;
  query.name = &name;
  if (reader.decide(query).allowed()) return state.SkipWithError("a wrong verdict");
  for (auto _ : state) benchmark::DoNotOptimize(reader.decide(query));
}
BENCHMARK(BM_Decide_DeepMiss)->ArgName("names")->Arg(100'000);

void BM_Compile(benchmark::State& state) {
  PolicyModel policy;
  policy.rules.resize(1);
  for (std::int64_t i = 0; i < state.range(0); ++i) {
    policy.rules[0].domains.push_back(*Pattern::parse(nth_name(static_cast<std::size_t>(i))));
  }
  for (auto _ : state) benchmark::DoNotOptimize(compile(policy, 1));
}
BENCHMARK(BM_Compile)->ArgName("names")->Arg(10)->Arg(100'000)->Unit(benchmark::kMillisecond);

void BM_Open(benchmark::State& state) {  // checksum and every offset
  std::vector<std::byte> bytes;
  if (snapshot_of(static_cast<std::size_t>(state.range(0)), bytes) == nullptr)
    return state.SkipWithError("did not compile");
  for (auto _ : state) benchmark::DoNotOptimize(Snapshot::open(bytes));
}
BENCHMARK(BM_Open)->ArgName("names")->Arg(10)->Arg(100'000)->Unit(benchmark::kMicrosecond);

}  // namespace

BENCHMARK_MAIN();
