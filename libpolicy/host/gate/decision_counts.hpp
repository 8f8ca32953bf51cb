// DecisionCounts: what the audit's records say, as counters: by plugin and reason, by rule, by client
// (docs/metrics.md).
//
// Counted where the warden reads the records anyway, so that a worker's decision costs one record and nothing more;
// what a ring lost is in sallyport_audit_lost_total and not here.
//
// Trust    Records come from workers that parse traffic. Their plugin's name is a label only if the gateway has such a
//          plugin; rules and clients are named by the snapshot that the record's generation means.
// Memory   Bounded: plugins x verdicts x reasons, 512 rules and 64 clients; others are `_other`.
// Threads  [main].
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <tuple>

#include "audit/audit_record.hpp"
#include "metrics/metrics_table.hpp"

namespace sallyport {

class DecisionCounts {
 public:
  static constexpr std::size_t kMaxPlugins = 16, kMaxRules = 512, kMaxClients = 64;

  explicit DecisionCounts(MetricsTable& metrics) : metrics_(metrics) {}

  // A plugin of the gateway; its series stay when it goes.
  void know_plugin(std::string_view name);
  // rule: "" for none, which is counted as `_default`. client: the first group of the sender, or "" for none.
  void add(const AuditRecord& record, std::string_view rule, std::string_view client);

 private:
  static constexpr std::uint32_t kUndefined = 0xffff'ffff;
  struct Id {
    std::uint32_t id = kUndefined;
  };
  using Words = std::map<std::string, std::array<Id, 3>, std::less<>>;  // by verdict

  std::uint32_t define(std::string_view name, const std::string& labels) const;
  void count(Words& words, std::size_t most, std::string_view metric, std::string_view label, std::string_view value,
             Effect verdict);

  MetricsTable& metrics_;
  std::map<std::string, int, std::less<>> plugins_;
  std::map<std::tuple<int, Effect, Reason>, Id> decisions_;
  Words rules_, clients_;
};

}  // namespace sallyport
