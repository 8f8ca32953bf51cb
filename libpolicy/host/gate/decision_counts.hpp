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
#include <optional>
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
  // What a decision is counted under. Finding them takes three look-ups by text, counting takes none: who has many
  // decisions of one kind finds them once.
  struct Series {
    std::uint32_t decision, rule, client;
  };
  // None for what is no decision. rule: "" for none, which is counted as `_default`. client: the first group of the
  // sender, or "" for none.
  std::optional<Series> series_of(const AuditRecord& record, std::string_view rule, std::string_view client);
  void add(const Series& series, std::uint64_t decisions) noexcept;
  void add(const AuditRecord& record, std::string_view rule, std::string_view client) {
    if (const std::optional<Series> series = series_of(record, rule, client)) add(*series, 1);
  }

 private:
  static constexpr std::uint32_t kUndefined = 0xffff'ffff;
  struct Id {
    std::uint32_t id = kUndefined;
  };
  using Words = std::map<std::string, std::array<Id, 3>, std::less<>>;  // by verdict

  std::uint32_t define(std::string_view name, const std::string& labels) const;
  std::uint32_t id_of(Words& words, std::size_t most, std::string_view metric, std::string_view label,
                      std::string_view value, Effect verdict);

  MetricsTable& metrics_;
  std::map<std::string, int, std::less<>> plugins_;
  std::map<std::tuple<int, Effect, Reason>, Id> decisions_;
  Words rules_, clients_;
};

}  // namespace sallyport
