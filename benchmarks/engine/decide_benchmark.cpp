// Full decide(): the name looked up, the rules walked, the verdict made.
#include <benchmark/benchmark.h>

#include <cmath>
#include <map>
#include <memory>
#include <mutex>

#include "engine/decision_cache.hpp"
#include "names.hpp"
#include "suites.hpp"

namespace sallyport::bench {
namespace {

// rules with a share of the names each, by turns for one of ten clients, with ports; and one in ten that concerns every
// name: a client that is shut off, ports that nobody may use.
PolicyModel rules_of(const Names& names, std::size_t rules) {
  PolicyModel policy;
  for (unsigned i = 0; i < 10; ++i) {
    policy.clients.push_back({"client" + std::to_string(i), {Prefix::of(Address::v4(0x0a000000 + (i << 16)), 16)}, {}});
  }
  std::vector<std::shared_ptr<PatternSet>> lists;
  for (std::size_t i = 0; i < rules; ++i) {
    RuleModel rule;
    rule.name = "rule" + std::to_string(i);
    rule.ports = {{80, 80, kProtoTcp}, {443, 443, kProtoTcp}};
    if (i % 10 == 0) {
      rule.action = Action::kDeny;
      if (i % 20 == 0) rule.ports = {{25, 25, kProtoTcp}, {6667, 6669, kProtoTcp}};
      if (i % 20 != 0) rule.clients = {"client9"};
    } else {
      rule.action = Action::kAllow;
      if (i % 3 == 0) rule.clients = {"client0", "client" + std::to_string(i % 9)};
      lists.push_back(std::make_shared<PatternSet>());
      rule.lists.push_back(lists.back());
    }
    policy.rules.push_back(std::move(rule));
  }
  for (std::size_t i = 0; i < names.size(); ++i) {
    lists[mixed(i) % lists.size()]->add(*DomainName::parse(names[i]), PatternKind::kExactAndBelow);
  }
  return policy;
}

struct Gate {
  Gate(std::size_t count, std::size_t rules) : names(count) {
    const auto made = compile(rules_of(names, rules), 1);
    if (!made.ok()) return;
    bytes = *made;
    if (auto opened = Snapshot::open(bytes); opened.ok()) snapshot = *opened;
    const auto listed = [this](std::string_view text) { return ask(*DomainName::parse(text)).allowed(); };
    for (const Asked kind : kEveryAsked) {
      for (const std::string& text : queries(names, kind, listed)) {
        asked[static_cast<unsigned>(kind)].push_back(*DomainName::parse(text));
        if (asked[static_cast<unsigned>(kind)].size() == 4096) break;  // 430 octets each
      }
    }
  }
  Verdict ask(const DomainName& name) const noexcept { return snapshot->decide(query_of(name)); }
  static Query query_of(const DomainName& name) noexcept {
    Query query;
    query.layer = Layer::kTls;
    query.known = kKnowName | kKnowPort;
    query.deferred = kKnowAddress;
    query.port = 443;
    query.groups = 1;
    query.name = &name;
    return query;
  }
  Names names;
  std::vector<std::byte> bytes;
  std::shared_ptr<const Snapshot> snapshot;
  std::vector<DomainName> asked[std::size(kEveryAsked)];
};

const Gate& gate(std::size_t names, std::size_t rules) {
  static std::map<std::pair<std::size_t, std::size_t>, std::unique_ptr<const Gate>> all;
  static std::mutex mutex;  // readers start together
  const std::lock_guard lock(mutex);
  auto& of = all[{names, rules}];
  if (of == nullptr) of = std::make_unique<const Gate>(names, rules);
  return *of;
}

volatile std::size_t nothing = 0;  // no compiler knows that

void decide(benchmark::State& state, std::size_t names, std::size_t rules, Asked kind) {
  const Gate& of = gate(names, rules);
  if (of.snapshot == nullptr) return state.SkipWithError("did not compile");
  const auto& asked = of.asked[static_cast<unsigned>(kind)];
  const std::size_t last = asked.size() - 1, zero = nothing;
  std::size_t i = static_cast<std::size_t>(state.thread_index()) * 1000;
  for (auto _ : state) {
    const Verdict verdict = of.ask(asked[i & last]);
    i += 1 + (verdict.rule & zero);
  }
}

// Zipf over so many names of the list, or each name but once.
std::vector<DomainName> working_set(const Gate& of, std::size_t names) {
  std::vector<DomainName> asked;
  for (std::uint64_t n = 0; n < 1u << 14; ++n) {
    const double u = static_cast<double>(mixed(n) >> 11) / static_cast<double>(std::uint64_t{1} << 53);
    const auto rank = static_cast<std::uint64_t>(std::pow(static_cast<double>(names), u));
    const std::uint64_t which = names == 0 ? n : mixed(rank);
    asked.push_back(*DomainName::parse(of.names[which % of.names.size()]));
  }
  return asked;
}

void cached(benchmark::State& state, std::size_t rules, std::size_t zipf, bool with_cache) {
  const Gate& of = gate(100'000, rules);
  static std::map<std::pair<std::size_t, std::size_t>, std::vector<DomainName>> sets;
  std::vector<DomainName>& asked = sets[{rules, zipf}];
  if (asked.empty()) asked = working_set(of, zipf);
  DecisionCache cache(42);
  const std::size_t last = asked.size() - 1, zero = nothing;
  std::size_t i = 0;
  const auto run = [&](auto decide) {
    for (const DomainName& name : asked) benchmark::DoNotOptimize(decide(name));  // warm, as it is for most of its life
    for (auto _ : state) i += 1 + (decide(asked[i & last]).rule & zero);
  };
  if (with_cache) {
    run([&](const DomainName& name) { return cache.decide(*of.snapshot, Gate::query_of(name)); });
  } else {
    run([&](const DomainName& name) { return of.ask(name); });
  }
}

}  // namespace

void register_decisions(const Scale&) {
  for (const std::size_t rules : {10u, 100u, 1000u}) {
    for (const Asked kind : kEveryAsked) {
      const std::string name = std::string("decide/") + to_string(kind) + "/rules-" + std::to_string(rules) + "/100000";
      benchmark::RegisterBenchmark(name.c_str(), [=](benchmark::State& state) {
        decide(state, 100'000, rules, kind);
      })->MinTime(0.02);
    }
  }
  for (const std::size_t rules : {10u, 100u, 1000u}) {
    for (const std::size_t zipf : {1'000u, 4'000u, 64'000u, 0u}) {
      for (const bool with_cache : {false, true}) {
        const std::string name = std::string("cache/") + (with_cache ? "with/" : "without/") +
                                 (zipf == 0 ? std::string("never-twice") : "zipf-" + std::to_string(zipf)) + "/rules-" +
                                 std::to_string(rules);
        benchmark::RegisterBenchmark(name.c_str(), [=](benchmark::State& state) {
          cached(state, rules, zipf, with_cache);
        })->MinTime(0.02);
      }
    }
  }
  for (const int readers : {1, 2}) {
    const std::string name = "decide/cold/readers-" + std::to_string(readers) + "/100000";
    benchmark::RegisterBenchmark(name.c_str(),
                                 [](benchmark::State& state) { decide(state, 100'000, 100, Asked::kCold); })
        ->MinTime(0.05)
        ->Threads(readers);
  }
}

}  // namespace sallyport::bench
