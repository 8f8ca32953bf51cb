#include "host/gate/decision_counts.hpp"

namespace sallyport {
namespace {

constexpr int kOtherPlugin = -1;
constexpr std::string_view kOther = "_other";

std::string_view word_of(Effect verdict) {
  switch (verdict) {
    case Effect::kAllow:
      return "allow";
    case Effect::kContinue:
      return "continue";
    case Effect::kDeny:
      break;
  }
  return "deny";
}

// As the exposition format wants a value. Names of rules are the operator's, of any printable ASCII.
std::string quoted(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += c >= 0x20 && c <= 0x7e ? c : '?';
  }
  return out + '"';
}

}  // namespace

std::uint32_t DecisionCounts::define(std::string_view name, const std::string& labels) const {
  const Result<std::uint32_t> id = metrics_.define(name, labels);
  return id.ok() ? *id : MetricsTable::kOverflow;
}

void DecisionCounts::know_plugin(std::string_view name) {
  if (plugins_.size() < kMaxPlugins) plugins_.try_emplace(std::string(name), static_cast<int>(plugins_.size()));
}

std::uint32_t DecisionCounts::id_of(Words& words, std::size_t most, std::string_view metric, std::string_view label,
                                    std::string_view value, Effect verdict) {
  auto found = words.find(value);
  if (found == words.end()) {
    if (words.size() >= most) value = kOther;
    found = words.try_emplace(std::string(value)).first;
  }
  std::uint32_t& id = found->second[static_cast<std::size_t>(verdict)].id;
  if (id == kUndefined) {
    id = define(metric,
                std::string(label) + "=" + quoted(found->first) + ",verdict=\"" + std::string(word_of(verdict)) + "\"");
  }
  return id;
}

std::optional<DecisionCounts::Series> DecisionCounts::series_of(const AuditRecord& record, std::string_view rule,
                                                                std::string_view client) {
  if (record.kind != AuditKind::kDecision || record.verdict > Effect::kContinue || record.reason > Reason::kLast)
    return std::nullopt;
  const auto plugin = plugins_.find(record.plugin_text());
  const int number = plugin == plugins_.end() ? kOtherPlugin : plugin->second;
  std::uint32_t& id = decisions_[{number, record.verdict, record.reason}].id;
  if (id == kUndefined) {
    id = define("sallyport_decisions_total",
                "plugin=" + quoted(plugin == plugins_.end() ? kOther : std::string_view(plugin->first)) +
                    ",verdict=\"" + std::string(word_of(record.verdict)) + "\",reason=\"" +
                    std::string(to_string(record.reason)) + "\"");
  }
  return Series{.decision = id,
                .rule = id_of(rules_, kMaxRules, "sallyport_rule_hits_total", "rule", rule.empty() ? "_default" : rule,
                              record.verdict),
                .client = id_of(clients_, kMaxClients, "sallyport_client_decisions_total", "client",
                                client.empty() ? kOther : client, record.verdict)};
}

void DecisionCounts::add(const Series& series, std::uint64_t decisions) noexcept {
  metrics_.add(series.decision, decisions);
  metrics_.add(series.rule, decisions);
  metrics_.add(series.client, decisions);
}

}  // namespace sallyport
