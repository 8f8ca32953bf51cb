#include "audit/audit_writer.hpp"

#include <limits.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <compare>
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
constexpr std::size_t kBatchOctets = 64 * 1024;
constexpr std::size_t kMaxGroups = 4096;     // distinct decisions within one window, then all are written
constexpr std::size_t kMaxUserText = 255;    // every octet of a user escaped
constexpr std::size_t kKeptGenerations = 4;  // records are on their way for milliseconds; reloads take longer

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

// One line of JSON, member by member: a tree of values for each line would cost more than all the rest of a decision.
// ASCII: what is not is \u-escaped, and octets that are no UTF-8 become U+FFFD.
class Line {
 public:
  Line() { text_.reserve(768); }

  void null(std::string_view key) { key_of(key), text_ += "null"; }
  void member(std::string_view key, std::string_view value) {
    key_of(key);
    const bool plain =
        std::all_of(value.begin(), value.end(), [](char c) { return c >= 0x20 && c < 0x7f && c != '"' && c != '\\'; });
    if (plain) {
      text_.append("\"").append(value).append("\"");
    } else {
      text_ += dumped(Json(std::string(value)));
    }
  }
  void member(std::string_view key, const char* value) { member(key, std::string_view(value)); }
  void member(std::string_view key, const std::string& value) { member(key, std::string_view(value)); }
  void member(std::string_view key, std::uint64_t value) { key_of(key), text_ += std::to_string(value); }
  void member(std::string_view key, const Json& value) {
    if (value.is_null()) return null(key);
    key_of(key);
    text_ += dumped(value);
  }
  void member_or_null(std::string_view key, std::string_view value) { value.empty() ? null(key) : member(key, value); }
  void number_or_null(std::string_view key, std::uint64_t value) { value == 0 ? null(key) : member(key, value); }
  void begin(std::string_view key) { key_of(key), text_ += '{', first_ = true; }
  void end() { text_ += '}', first_ = false; }
  std::string finish() { return text_ += "}\n", std::move(text_); }

 private:
  static std::string dumped(const Json& value) {
    return value.dump(-1, ' ', /*ensure_ascii=*/true, Json::error_handler_t::replace);
  }
  void key_of(std::string_view key) {
    if (!first_) text_ += ',';
    first_ = false;
    text_.append("\"").append(key).append("\":");
  }

  std::string text_ = "{";
  bool first_ = true;
};

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

// Either way: a clock that was set back ends a window too, or else nothing of its group is written until it has caught
// up; and records of several workers come a little out of order.
bool is_within(std::uint64_t begun_ns, std::uint64_t at_ns, std::uint64_t window_ns) {
  return (at_ns >= begun_ns ? at_ns - begun_ns : begun_ns - at_ns) < window_ns;
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

namespace {

// Which pattern of a rule a name was matched by: a line of the audit costs a search for each of the name's suffixes,
// and not a walk over a list of 100,000.
class PatternText {
 public:
  explicit PatternText(PolicyModel model) : model_(std::move(model)) {
    for (std::uint32_t rule = 0; rule < model_.rules.size(); ++rule) {
      const std::vector<Pattern>& patterns = model_.rules[rule].domains;
      for (std::uint32_t i = 0; i < patterns.size(); ++i) places_.push_back({patterns[i].name.hash(), rule, i});
    }
    std::sort(places_.begin(), places_.end());
  }

  std::string operator()(std::uint32_t index, const DomainName* name, const Address* addr) const {
    if (index >= model_.rules.size()) return "";
    if (const Pattern* best = name == nullptr ? nullptr : longest(index, *name)) return best->text();
    const Prefix* narrowest = nullptr;
    for (const Prefix& prefix : model_.rules[index].addresses) {
      if (addr == nullptr || !prefix.contains(*addr)) continue;
      if (narrowest == nullptr || prefix.bits() > narrowest->bits()) narrowest = &prefix;
    }
    return narrowest != nullptr ? narrowest->text() : "";
  }

 private:
  struct Place {
    std::uint64_t hash;
    std::uint32_t rule, pattern;
    auto operator<=>(const Place&) const = default;
  };

  // The longest that matches; of one name the exact one.
  const Pattern* longest(std::uint32_t rule, const DomainName& name) const {
    for (unsigned labels = name.labels(); labels > 0; --labels) {
      const std::uint64_t hash = name.suffix_hash(labels);
      const Pattern* best = nullptr;
      for (auto at = std::lower_bound(places_.begin(), places_.end(), Place{hash, rule, 0});
           at != places_.end() && at->hash == hash && at->rule == rule; ++at) {
        const Pattern& pattern = model_.rules[rule].domains[at->pattern];
        if (pattern.name.labels() != labels || !pattern.matches(name)) continue;
        if (best == nullptr || pattern.kind == PatternKind::kExact) best = &pattern;
      }
      if (best != nullptr) return best;
    }
    return nullptr;
  }

  PolicyModel model_;
  std::vector<Place> places_;
};

}  // namespace

// Shared: every sink has it for each generation it may still be asked about.
MatchText match_text(PolicyModel model) {
  return [text = std::make_shared<const PatternText>(std::move(model))](
             std::uint32_t rule, const DomainName* name, const Address* addr) { return (*text)(rule, name, addr); };
}

std::string AuditWriter::line(const AuditRecord& record, std::uint64_t count) {
  const auto found = snapshots_.find(record.generation);
  const Snapshot* snapshot = found == snapshots_.end() ? nullptr : found->second.snapshot.get();
  const bool is_raw = (record.flags & kAuditRaw) != 0;
  const bool by_rule = record.rule != kNoRuleIndex;
  const bool decided = (record.flags & kAuditUndecided) == 0;
  const bool known_rule = decided && snapshot != nullptr && (!by_rule || record.rule < snapshot->rules());

  Json detail;
  const bool whole = read_detail(record, options_.log_paths, detail);
  const auto given = [&detail](const char* key) { return detail.contains(key) ? std::move(detail[key]) : Json(); };

  Line out;
  out.member("schema", "sallyport.audit/1");
  out.member("ts", audit_time(record.realtime_ns));
  out.member("id", next_id(record));
  out.member("gateway", options_.gateway);
  out.member("generation", record.generation);
  out.member("kind", record.kind == AuditKind::kClose ? "close" : "decision");
  out.member("plugin", printable(record.plugin_text()));
  out.member("verdict", to_text(record.verdict));
  out.member("effective", to_text(record.effective));
  out.member("mode", to_text(record.mode));
  out.member("reason", to_string(record.reason));
  std::string place, matched;
  if (known_rule) {
    const SourcePosition where = snapshot->rule_where(record.rule);
    // A rule without a line was given as --allow, whatever file stands beside it.
    place = by_rule && where.line == 0 ? "command line" : snapshot->source();
    if (where.line != 0) place += ":" + std::to_string(where.line);
    if (by_rule && found->second.match) {
      const Result<DomainName> name = DomainName::parse(record.name_text());
      const Address addr = record.address();
      matched = found->second.match(record.rule, name.ok() && !is_raw ? &*name : nullptr,
                                    record.addr_family != 0 ? &addr : nullptr);
    }
  }
  if (known_rule && by_rule) {
    out.member("rule", snapshot->rule_name(record.rule));
  } else {
    out.null("rule");
  }
  out.member_or_null("match", matched);
  out.member_or_null("where", place);
  out.begin("client");
  const auto client = clients_.find(record.client_id);
  if (client != clients_.end()) {
    out.member_or_null("group", client->second);
  } else if (record.client_addr_family != 0 && snapshot != nullptr) {
    out.member("group", group_of(*snapshot, record.client_address(), record.user_text()));
  } else if (record.client_addr_family == 0 && record.client_id != 0) {
    out.member("group", "client-" + std::to_string(record.client_id));
  } else {
    out.null("group");
  }
  out.member_or_null("addr", record.client_addr_family != 0 ? record.client_address().text() : std::string());
  out.number_or_null("port", record.client_port);
  if (record.user_size == 0) {
    out.null("user");
  } else {
    out.member("user", printable(record.user_text(), kMaxUserText, (record.flags & kAuditUserTruncated) != 0));
  }
  out.end();

  out.member_or_null("name", is_raw ? std::string_view() : record.name_text());
  const Json raw = given("raw");
  if (is_raw && record.name_size > 0) {
    out.member("raw", printable(record.name_text(), AuditRecord::kMaxName, (record.flags & kAuditTruncated) != 0));
  } else if (raw.is_string()) {
    out.member("raw", printable_again(raw.get_ref<const std::string&>(), AuditRecord::kMaxName));
  }
  out.member_or_null("addr", record.addr_family != 0 ? record.address().text() : std::string());
  out.number_or_null("port", record.port);
  out.member("proto", proto_text(record.proto));
  out.member("tls", given("tls"));
  Json dns = given("dns");
  if (record.layer == Layer::kDns && record.qtype != 0 && !(dns.is_object() && dns.contains("qtype"))) {
    dns["qtype"] = qtype_text(record.qtype);
  }
  out.member("dns", dns);
  out.member("http", given("http"));
  out.member("bytes", given("bytes"));
  out.member("duration_ms", given("duration_ms"));
  out.member("flow", given("flow"));
  out.null("trace");
  out.member("count", count);
  out.member("lost_before", lost_);
  if (detail.contains("cause"))
    out.member("cause", printable_again(detail["cause"].get<std::string>(), AuditRecord::kMaxName));
  if (!whole) out.member("detail_dropped", Json(true));
  return out.finish();
}

std::string AuditWriter::add(const AuditRecord& record) {
  const bool folds = options_.fold_window_ns > 0 && record.kind == AuditKind::kDecision;
  std::string key;
  if (folds) {
    key = fold_key(record);
    const auto found = groups_.find(key);
    if (found != groups_.end()) {
      Group& group = found->second;
      if (is_within(group.begun_ns, record.realtime_ns, options_.fold_window_ns)) {
        if (group.repeats++ == 0) group.first = std::make_unique<AuditRecord>(record);
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
    group.begun_ns = record.realtime_ns;
    groups_.emplace(std::move(key), std::move(group));
  }
  return ref_text(record.ref);
}

void AuditWriter::write_group(Group& group) {
  if (group.repeats == 0) return;
  write_line(line(*group.first, group.repeats));
  group.repeats = 0;
}

void AuditWriter::flush(std::uint64_t now_ns) {
  for (auto group = groups_.begin(); group != groups_.end();) {
    if (is_within(group->second.begun_ns, now_ns, options_.fold_window_ns)) {
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
  if (!options_.batched || pending_.size() >= kBatchOctets) drain();
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
