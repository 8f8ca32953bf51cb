#include "metrics/exposition.hpp"

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <tuple>
#include <utility>

namespace sallyport {
namespace {

constexpr auto kCounter = MetricType::kCounter;
constexpr auto kGauge = MetricType::kGauge;
constexpr auto kHistogram = MetricType::kHistogram;

constexpr KnownMetric kKnown[] = {
    {"sallyport_audit_lost_total", kCounter, "Audit records that were lost, by sink and cause."},
    {"sallyport_audit_records_total", kCounter, "Audit records written, by sink."},
    {"sallyport_build_info", kGauge, "1; version and ABI are in the labels."},
    {"sallyport_bypass_attempts_total", kCounter,
     "Packets the kernel dropped since they went around the gateway, by kind."},
    {"sallyport_bytes_total", kCounter, "Octets relayed, by plugin and direction."},
    {"sallyport_client_decisions_total", kCounter, "Decisions by the policy's client and verdict."},
    {"sallyport_connect_duration_seconds", kHistogram, "Time to connect to an origin server."},
    {"sallyport_connections_active", kGauge, "Connections open now."},
    {"sallyport_connections_total", kCounter, "Connections accepted, by plugin and result."},
    {"sallyport_decision_duration_seconds", kHistogram, "Time of one decision."},
    {"sallyport_decisions_total", kCounter, "Decisions by plugin, verdict and reason."},
    {"sallyport_dns_cache_hits_total", kCounter, "Queries answered from the cache."},
    {"sallyport_dns_merged_total", kCounter, "Queries that waited for the answer to an identical one."},
    {"sallyport_dns_queries_total", kCounter, "Queries by transport and RCODE of the response."},
    {"sallyport_dns_request_duration_seconds", kHistogram, "Time from a query to its response."},
    {"sallyport_dns_spoof_suspect_total", kCounter,
     "Replies from upstream with another id, question or case than was asked."},
    {"sallyport_dns_tunnel_suspects_total", kCounter,
     "Times that a client reached a budget of names below a wildcard."},
    {"sallyport_dns_upstream_duration_seconds", kHistogram, "Time an upstream resolver took."},
    {"sallyport_http_requests_total", kCounter, "HTTP requests by class of the status code."},
    {"sallyport_kernel_bindings", kGauge, "Bindings whose addresses are in the kernel's sets."},
    {"sallyport_kernel_elements", kGauge, "Elements of the kernel's sets."},
    {"sallyport_kernel_reassertions_total", kCounter, "Times that the kernel's tables were put back."},
    {"sallyport_kernel_refused_transactions_total", kCounter, "Transactions that the kernel refused."},
    {"sallyport_kernel_ruleset_drift", kGauge, "1 while the kernel's rules are not those of the gateway."},
    {"sallyport_ledger_entries", kGauge, "Bindings in the ledger."},
    {"sallyport_ledger_evictions_total", kCounter,
     "Bindings that went before their time since a client's share was full."},
    {"sallyport_ledger_lookups_total", kCounter, "Lookups in the ledger by result."},
    {"sallyport_limit_exceeded_total", kCounter,
     "Refusals by a limit of a rule, by rule and kind; for bandwidth, times that octets waited."},
    {"sallyport_metric_overflow_total", kCounter, "Events of series that found no room."},
    {"sallyport_monitor_alarms_total", kCounter, "Alarms of the monitor, by reason."},
    {"sallyport_monitor_lost_total", kCounter, "What the monitor could not look at, by cause."},
    {"sallyport_monitor_packets_total", kCounter, "Packets that the monitor looked at."},
    {"sallyport_monitor_unparsed_total", kCounter, "Messages that the monitor could not read."},
    {"sallyport_plugin_up", kGauge, "1 while the plugin serves."},
    {"sallyport_policy_generation", kGauge, "Generation of the policy in force."},
    {"sallyport_policy_last_success_timestamp_seconds", kGauge, "When a policy was last taken into force."},
    {"sallyport_policy_learning", kGauge, "1 while the gateway learns."},
    {"sallyport_policy_load_duration_seconds", kGauge, "Time the last load took."},
    {"sallyport_policy_loads_total", kCounter, "Loads of the policy by result."},
    {"sallyport_policy_names", kGauge, "Names in the policy in force."},
    {"sallyport_policy_rules", kGauge, "Rules of the policy in force."},
    {"sallyport_policy_source_connected", kGauge, "1 while the policy's source is connected."},
    {"sallyport_policy_source_contact_timestamp_seconds", kGauge, "When the policy's source last answered."},
    {"sallyport_policy_temporary_rules", kGauge, "Rules of the policy in force that end by themselves."},
    {"sallyport_rule_hits_total", kCounter, "Decisions by rule and verdict."},
    {"sallyport_tls_client_hellos_total", kCounter, "ClientHello messages by result."},
};

// What stands in TYPE: of "x_bucket", "x_sum" and "x_count" of a known histogram it is x.
std::string_view family_of(std::string_view name) {
  for (const std::string_view suffix : {"_bucket", "_sum", "_count"}) {
    if (!name.ends_with(suffix)) continue;
    const std::string_view family = name.substr(0, name.size() - suffix.size());
    if (family.ends_with("_duration_seconds")) return family;
  }
  return name;
}

const KnownMetric* known(std::string_view family) {
  const auto* at =
      std::lower_bound(std::begin(kKnown), std::end(kKnown), family,
                       [](const KnownMetric& metric, std::string_view wanted) { return metric.name < wanted; });
  return at != std::end(kKnown) && at->name == family ? at : nullptr;
}

std::string_view type_of(std::string_view family, std::string_view name) {
  const KnownMetric* metric = known(family);
  if (metric == nullptr) {
    if (family != name) return "histogram";
    return name.ends_with("_total") ? "counter" : "gauge";
  }
  switch (metric->type) {
    case MetricType::kCounter:
      return "counter";
    case MetricType::kGauge:
      return "gauge";
    case MetricType::kHistogram:
      return "histogram";
  }
  return "gauge";
}

// Nanoseconds as seconds, without a detour over a double.
std::string seconds(std::uint64_t ns) {
  std::array<char, 40> text{};
  std::snprintf(text.data(), text.size(), "%llu.%09llu", static_cast<unsigned long long>(ns / 1'000'000'000),
                static_cast<unsigned long long>(ns % 1'000'000'000));
  return text.data();
}

bool counts_ns(std::string_view name) {
  return name.ends_with("_duration_seconds") || name.ends_with("_duration_seconds_sum");
}

// One line, and where it stands: families together; in a histogram the buckets of one set of labels by `le`, then sum
// and count.
struct Line {
  std::string_view name, labels, family;
  std::uint64_t value;
  std::string group;  // labels without le
  int kind = 0;
  double le = 0;

  std::tuple<std::string_view, std::string_view, int, double, std::string_view> key() const {
    return {family, group, kind, le, name};
  }
};

Line line_of(std::string_view name, std::string_view labels, std::uint64_t value) {
  Line line{name, labels, family_of(name), value, std::string(labels)};
  if (line.family == name) return line;
  line.kind = name.ends_with("_bucket") ? 0 : name.ends_with("_sum") ? 1 : 2;
  // le stands first or after a comma; its value has no comma and no escape.
  constexpr std::string_view kLe = "le=\"";
  const std::size_t at = labels.starts_with(kLe) ? 0 : labels.find(",le=\"");
  if (at == labels.npos) return line;
  const std::size_t from = labels.find('"', at) + 1, end = labels.find('"', from);
  line.le = std::strtod(std::string(labels.substr(from, end - from)).c_str(), nullptr);  // "+Inf" too
  line.group.erase(at, end + 1 - at);
  if (at == 0 && line.group.starts_with(",")) line.group.erase(0, 1);
  return line;
}

}  // namespace

std::span<const KnownMetric> known_metrics() noexcept { return kKnown; }

bool is_metric_name(std::string_view name) noexcept {
  if (!name.starts_with("sallyport_") && !name.starts_with("process_")) return false;
  return std::all_of(name.begin(), name.end(),
                     [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_'; });
}

bool are_labels(std::string_view labels) noexcept {
  std::size_t at = 0;
  const auto peek = [&] { return at < labels.size() ? labels[at] : '\0'; };
  while (at < labels.size()) {
    const std::size_t key = at;
    while ((peek() >= 'a' && peek() <= 'z') || (at > key && peek() >= '0' && peek() <= '9') || peek() == '_') ++at;
    if (at == key || peek() != '=') return false;
    ++at;
    if (peek() != '"') return false;
    ++at;
    while (peek() != '"') {
      if (peek() == '\\') {
        ++at;
        if (peek() != '\\' && peek() != '"' && peek() != 'n') return false;
      }
      if (at >= labels.size() || labels[at] < 0x20 || labels[at] > 0x7e) return false;
      ++at;
    }
    ++at;
    if (at == labels.size()) return true;
    if (peek() != ',' || at + 1 == labels.size()) return false;
    ++at;
  }
  return true;
}

std::string exposition(std::vector<Sample> samples) {
  std::map<std::pair<std::string, std::string>, std::uint64_t> series;
  for (Sample& sample : samples) {
    if (!is_metric_name(sample.name) || !are_labels(sample.labels)) continue;
    series[{std::move(sample.name), std::move(sample.labels)}] += sample.value;
  }
  std::vector<Line> lines;
  for (const auto& [series_name, value] : series)
    lines.push_back(line_of(series_name.first, series_name.second, value));
  std::sort(lines.begin(), lines.end(), [](const Line& a, const Line& b) { return a.key() < b.key(); });
  std::string out;
  std::string_view family;
  for (const Line& line : lines) {
    if (line.family != family) {
      family = line.family;
      const KnownMetric* metric = known(family);
      if (metric != nullptr) out.append("# HELP ").append(family).append(" ").append(metric->help).append("\n");
      out.append("# TYPE ").append(family).append(" ").append(type_of(family, line.name)).append("\n");
    }
    out += line.name;
    if (!line.labels.empty()) out.append("{").append(line.labels).append("}");
    out.append(" ").append(counts_ns(line.name) ? seconds(line.value) : std::to_string(line.value)).append("\n");
  }
  return out;
}

}  // namespace sallyport
