#include "audit/audit_writer.hpp"

#include <limits.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <nlohmann/json.hpp>
#include <utility>

#include "audit/escape.hpp"

namespace sallyport {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::size_t kMaxPending = 1024 * 1024;  // about 2,000 lines: some seconds of a sink that hangs
constexpr std::size_t kMaxGroups = 4096;          // distinct decisions within one window, then all are written
constexpr std::size_t kMaxUserText = 255;         // every octet of a user escaped
constexpr std::size_t kKeptGenerations = 4;       // records are on their way for milliseconds; reloads take longer

constexpr std::string_view kBase32 = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";  // Crockford: no I, L, O, U

std::string base32(std::uint64_t value, std::size_t digits) {
  std::string out(digits, '0');
  for (std::size_t i = digits; i > 0; --i, value >>= 5) out[i - 1] = kBase32[value & 31];
  return out;
}

std::string_view to_text(Effect effect) {
  switch (effect) {
    case Effect::kDeny:
      return "deny";
    case Effect::kAllow:
      return "allow";
    case Effect::kContinue:
      return "continue";
  }
  return "deny";
}

std::string_view to_text(AuditMode mode) {
  switch (mode) {
    case AuditMode::kEnforce:
      return "enforce";
    case AuditMode::kObserve:
      return "observe";
    case AuditMode::kLearn:
      return "learn";
  }
  return "enforce";
}

// The client of the policy that an address and a user belong to, the first of several; null for none.
Json group_of(const Snapshot& snapshot, const Address& address, std::string_view user) {
  const std::uint64_t groups = snapshot.groups_of_address(address, user);
  if (groups == 0) return nullptr;
  return std::string(snapshot.group_name(static_cast<unsigned>(std::countr_zero(groups))));
}

Json proto_text(std::uint16_t proto) {
  if (proto == kProtoTcp) return "tcp";
  if (proto == kProtoUdp) return "udp";
  if (proto == 0) return nullptr;
  return std::to_string(proto);
}

// Which members a plugin may give, and of which type.
bool may_give(const std::string& key, const Json& value) {
  if (key == "tls" || key == "dns" || key == "http") return value.is_object();
  if (key == "bytes") return value.is_object() || value.is_number_unsigned();
  if (key == "duration_ms") return value.is_number() && value >= 0;
  if (key == "flow" || key == "raw" || key == "cause") return value.is_string();
  return false;
}

// The plugin's members of a record. False if anything was left out.
bool read_detail(const AuditRecord& record, bool log_paths, Json& detail) {
  detail = Json::object();
  bool whole = (record.flags & kAuditDetailDropped) == 0;
  if (record.detail_size == 0) return whole;
  Json given = Json::parse(record.detail_text(), nullptr, /*allow_exceptions=*/false);
  if (!given.is_object()) return false;
  for (auto& [key, value] : given.items()) {
    if (!may_give(key, value)) {
      whole = false;
      continue;
    }
    if (key == "http" && !log_paths) {
      for (const char* path : {"path", "query", "target"}) value.erase(path);
    }
    detail[key] = std::move(value);
  }
  return whole;
}

// Everything that makes two records the same decision. The client's port and the flow are not in it.
std::string fold_key(const AuditRecord& record) {
  std::string key;
  const auto put = [&key](auto value) { key.append(reinterpret_cast<const char*>(&value), sizeof value); };
  put(record.generation);
  put(record.client_id);
  put(record.rule);
  put(record.verdict);
  put(record.effective);
  put(record.reason);
  put(record.layer);
  put(record.qtype);
  put(record.proto);
  put(record.port);
  put(record.mode);
  put(record.flags);
  put(record.addr_family);
  put(record.addr);
  put(record.client_addr_family);
  put(record.client_addr);
  put(record.plugin_size);
  key += record.plugin_text();
  put(record.user_size);
  key += record.user_text();
  put(record.ref);
  put(record.name_size);
  key += record.name_text();
  key += record.detail_text();
  return key;
}

}  // namespace

std::string audit_time(std::uint64_t realtime_ns) {
  const auto seconds = static_cast<std::time_t>(realtime_ns / 1'000'000'000);
  std::tm parts{};
  gmtime_r(&seconds, &parts);
  std::array<char, 64> text{};
  const int size = std::snprintf(text.data(), text.size(), "%04d-%02d-%02dT%02d:%02d:%02d.%06uZ", parts.tm_year + 1900,
                                 parts.tm_mon + 1, parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_sec,
                                 static_cast<unsigned>(realtime_ns % 1'000'000'000 / 1000));
  return {text.data(), static_cast<std::size_t>(std::max(size, 0))};
}

std::string qtype_text(std::uint16_t qtype) {
  static constexpr std::pair<std::uint16_t, std::string_view> kNames[] = {
      {1, "A"},      {2, "NS"},     {5, "CNAME"},  {6, "SOA"},     {12, "PTR"},   {13, "HINFO"},
      {15, "MX"},    {16, "TXT"},   {28, "AAAA"},  {33, "SRV"},    {35, "NAPTR"}, {39, "DNAME"},
      {43, "DS"},    {46, "RRSIG"}, {47, "NSEC"},  {48, "DNSKEY"}, {52, "TLSA"},  {64, "SVCB"},
      {65, "HTTPS"}, {251, "IXFR"}, {252, "AXFR"}, {255, "ANY"},   {257, "CAA"}};
  for (const auto& [number, name] : kNames) {
    if (number == qtype) return std::string(name);
  }
  return "TYPE" + std::to_string(qtype);
}

AuditWriter::AuditWriter(Options options, int fd) : options_(std::move(options)), fd_(fd) {
  if (options_.after_half_line && fd_ >= 0) pending_ = "\n";
}

void AuditWriter::publish(std::shared_ptr<const Snapshot> snapshot, MatchText match) {
  const std::uint64_t generation = snapshot->generation();
  snapshots_[generation] = {std::move(snapshot), std::move(match)};
  while (snapshots_.size() > kKeptGenerations) snapshots_.erase(snapshots_.begin());
}

void AuditWriter::name_client(std::uint64_t client_id, std::string group) { clients_[client_id] = std::move(group); }

// 26 characters like a ULID: time in ms (10), a counter that sorts within it (7), the run (4), the ref in lower case.
std::string AuditWriter::next_id(const AuditRecord& record) {
  return base32(record.realtime_ns / 1'000'000, 10) + base32(counter_++, 7) + base32(options_.run_seed >> 20, 4) +
         ref_text(record.ref);
}

MatchText match_text(PolicyModel model) {
  return [model = std::move(model)](std::uint32_t index, const DomainName* name, const Address* addr) -> std::string {
    if (index >= model.rules.size()) return "";
    const RuleModel& rule = model.rules[index];
    const Pattern* best = nullptr;
    for (const Pattern& pattern : rule.domains) {
      if (name == nullptr || !pattern.matches(*name)) continue;
      const bool longer = best == nullptr || pattern.name.text().size() > best->name.text().size();
      if (longer || (pattern.name == best->name && pattern.kind == PatternKind::kExact)) best = &pattern;
    }
    if (best != nullptr) return best->text();
    const Prefix* narrowest = nullptr;
    for (const Prefix& prefix : rule.addresses) {
      if (addr == nullptr || !prefix.contains(*addr)) continue;
      if (narrowest == nullptr || prefix.bits() > narrowest->bits()) narrowest = &prefix;
    }
    return narrowest != nullptr ? narrowest->text() : "";
  };
}

std::string AuditWriter::line(const AuditRecord& record, std::uint64_t count) {
  const auto found = snapshots_.find(record.generation);
  const Snapshot* snapshot = found == snapshots_.end() ? nullptr : found->second.snapshot.get();
  const bool is_raw = (record.flags & kAuditRaw) != 0;
  const bool by_rule = record.rule != kNoRuleIndex;
  const bool known_rule = snapshot != nullptr && (!by_rule || record.rule < snapshot->rules());

  Json detail;
  const bool whole = read_detail(record, options_.log_paths, detail);
  const auto given = [&detail](const char* key) { return detail.contains(key) ? std::move(detail[key]) : Json(); };

  Json out;
  out["schema"] = "sallyport.audit/1";
  out["ts"] = audit_time(record.realtime_ns);
  out["id"] = next_id(record);
  out["gateway"] = options_.gateway;
  out["generation"] = record.generation;
  out["kind"] = record.kind == AuditKind::kClose ? "close" : "decision";
  out["plugin"] = printable(record.plugin_text());
  out["verdict"] = to_text(record.verdict);
  out["effective"] = to_text(record.effective);
  out["mode"] = to_text(record.mode);
  out["reason"] = to_string(record.reason);
  out["rule"] = nullptr;
  out["match"] = nullptr;
  out["where"] = nullptr;
  if (known_rule) {
    if (by_rule) out["rule"] = snapshot->rule_name(record.rule);
    const SourcePosition where = snapshot->rule_where(record.rule);
    // A rule without a line was given as --allow, whatever file stands beside it.
    std::string place(by_rule && where.line == 0 ? "command line" : snapshot->source());
    if (where.line != 0) place += ":" + std::to_string(where.line);
    if (!place.empty()) out["where"] = std::move(place);
    if (by_rule && found->second.match) {
      const Result<DomainName> name = DomainName::parse(record.name_text());
      const Address addr = record.address();
      std::string matched = found->second.match(record.rule, name.ok() && !is_raw ? &*name : nullptr,
                                                record.addr_family != 0 ? &addr : nullptr);
      if (!matched.empty()) out["match"] = std::move(matched);
    }
  }
  const auto client = clients_.find(record.client_id);
  Json& group = out["client"]["group"];
  if (client != clients_.end()) {
    group = client->second.empty() ? Json() : Json(client->second);
  } else if (record.client_addr_family != 0 && snapshot != nullptr) {
    group = group_of(*snapshot, record.client_address(), record.user_text());
  } else if (record.client_addr_family == 0) {
    group = "client-" + std::to_string(record.client_id);
  } else {
    group = nullptr;
  }
  out["client"]["addr"] = record.client_addr_family != 0 ? Json(record.client_address().text()) : Json();
  out["client"]["port"] = record.client_port != 0 ? Json(record.client_port) : Json();
  out["client"]["user"] =
      record.user_size == 0
          ? Json()
          : Json(printable(record.user_text(), kMaxUserText, (record.flags & kAuditUserTruncated) != 0));

  out["name"] = record.name_size > 0 && !is_raw ? Json(record.name_text()) : Json();
  Json raw = given("raw");
  if (is_raw && record.name_size > 0) {
    raw = printable(record.name_text(), AuditRecord::kMaxName, (record.flags & kAuditTruncated) != 0);
  } else if (raw.is_string()) {
    raw = printable_again(raw.get_ref<const std::string&>(), AuditRecord::kMaxName);
  }
  if (!raw.is_null()) out["raw"] = std::move(raw);
  out["addr"] = record.addr_family != 0 ? Json(record.address().text()) : Json();
  out["port"] = record.port != 0 ? Json(record.port) : Json();
  out["proto"] = proto_text(record.proto);
  out["tls"] = given("tls");
  Json dns = given("dns");
  if (record.layer == Layer::kDns && record.qtype != 0 && !(dns.is_object() && dns.contains("qtype"))) {
    dns["qtype"] = qtype_text(record.qtype);
  }
  out["dns"] = std::move(dns);
  out["http"] = given("http");
  out["bytes"] = given("bytes");
  out["duration_ms"] = given("duration_ms");
  out["flow"] = given("flow");
  out["trace"] = nullptr;
  out["count"] = count;
  out["lost_before"] = lost_;
  if (detail.contains("cause"))
    out["cause"] = printable_again(detail["cause"].get<std::string>(), AuditRecord::kMaxName);
  if (!whole) out["detail_dropped"] = true;
  // ASCII: what is not is \u-escaped, and octets that are no UTF-8 become U+FFFD.
  return out.dump(-1, ' ', /*ensure_ascii=*/true, Json::error_handler_t::replace) + "\n";
}

std::string AuditWriter::add(const AuditRecord& record) {
  const bool folds = options_.fold_window_ns > 0 && record.kind == AuditKind::kDecision;
  std::string key;
  if (folds) {
    key = fold_key(record);
    const auto found = groups_.find(key);
    if (found != groups_.end()) {
      Group& group = found->second;
      if (record.realtime_ns < group.window_end_ns) {
        if (group.repeats++ == 0) group.first = record;
        return ref_text(record.ref);
      }
      write_group(group);
      groups_.erase(found);
    }
  }
  write_line(line(record, 1));
  if (folds) {
    if (groups_.size() == kMaxGroups) {
      for (auto& [other, group] : groups_) write_group(group);
      groups_.clear();
    }
    Group group;
    group.window_end_ns = record.realtime_ns + options_.fold_window_ns;
    groups_.emplace(std::move(key), std::move(group));
  }
  return ref_text(record.ref);
}

void AuditWriter::write_group(Group& group) {
  if (group.repeats == 0) return;
  write_line(line(group.first, group.repeats));
  group.repeats = 0;
}

void AuditWriter::flush(std::uint64_t now_ns) {
  for (auto group = groups_.begin(); group != groups_.end();) {
    if (group->second.window_end_ns > now_ns) {
      ++group;
      continue;
    }
    write_group(group->second);
    group = groups_.erase(group);
  }
  drain();
}

bool AuditWriter::finish() {
  for (auto& [key, group] : groups_) write_group(group);
  groups_.clear();
  drain();
  if (!pending_.empty()) {
    // No later line will say so; the caller does.
    const bool mark = pending_.front() == '\n';  // of after_half_line, or the end of a line that is whole but for it
    lost_ += static_cast<std::uint64_t>(std::count(pending_.begin() + (mark ? 1 : 0), pending_.end(), '\n'));
    pending_.clear();
  }
  return total_lost() == 0;
}

void AuditWriter::write_line(std::string text) {
  if (fd_ < 0) return;
  if (pending_.size() + text.size() > kMaxPending) {
    drain();
    if (pending_.size() + text.size() > kMaxPending) {
      ++lost_;
      return;
    }
  }
  // The line that was made with it carries the count.
  total_lost_ += lost_;
  lost_ = 0;
  ++lines_;
  pending_ += text;
  drain();
}

// Gives the sink what it takes without waiting.
void AuditWriter::drain() {
  std::size_t done = 0;
  while (done < pending_.size()) {
    // A pipe that poll() calls writable takes PIPE_BUF octets at least, even if the descriptor blocks.
    pollfd sink{fd_, POLLOUT, 0};
    if (poll(&sink, 1, 0) != 1 || (sink.revents & POLLOUT) == 0) {
      sink_failure_ =
          (sink.revents & (POLLERR | POLLHUP)) != 0 ? "nobody reads the pipe any more" : "its reader does not keep up";
      break;
    }
    const ssize_t size = ::write(fd_, pending_.data() + done, std::min<std::size_t>(pending_.size() - done, PIPE_BUF));
    if (size <= 0) {
      if (size < 0 && errno == EINTR) continue;
      // What is here stays up to the bound, and is tried again.
      if (size == 0 || errno == EAGAIN) {
        sink_failure_ = "its reader does not keep up";
      } else {
        sink_failure_ = errno == EPIPE ? "nobody reads the pipe any more" : std::strerror(errno);
      }
      break;
    }
    done += static_cast<std::size_t>(size);
  }
  pending_.erase(0, done);
}

}  // namespace sallyport
