#include "audit/audit_writer.hpp"

#include <limits.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <charconv>
#include <compare>
#include <cstddef>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <nlohmann/json.hpp>
#include <span>
#include <utility>

#include "audit/audit_detail.hpp"
#include "audit/escape.hpp"
#include "names/pattern_index.hpp"

namespace sallyport {
namespace {

constexpr std::size_t kMaxPending = 1024 * 1024;  // about 2,000 lines: some seconds of a sink that hangs
constexpr std::size_t kBatchOctets = 64 * 1024;
constexpr std::size_t kMaxFolded = 8 * 1024 * 1024;  // octets of distinct decisions within one window, about 25,000
constexpr std::size_t kAhead = 64;                   // records that are looked up at a time
constexpr std::size_t kMaxUserText = 255;            // every octet of a user escaped
constexpr std::size_t kKeptGenerations = 4;          // records are on their way for milliseconds; reloads take longer
constexpr std::string_view kBeforeCount = ",\"trace\":null,\"count\":";

constexpr std::string_view kBase32 = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";  // Crockford: no I, L, O, U

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

// Two digits for each number below 100, so that a time costs no division by ten for each.
constexpr std::array<char, 200> kPairs = [] {
  std::array<char, 200> out{};
  for (unsigned i = 0; i < 100; ++i) {
    out[2 * i] = static_cast<char>('0' + i / 10);
    out[2 * i + 1] = static_cast<char>('0' + i % 10);
  }
  return out;
}();

// One line of JSON into a text that is used again and again, member by member: a tree of values for each line would
// cost more than all the rest of a decision. ASCII: what is not is \u-escaped, and octets that are no UTF-8 become
// U+FFFD. Keys are given with all that stands before their value: `,"name":`.
class Line {
 public:
  explicit Line(std::string& out) : out_(out) { out_.clear(); }

  // As it is.
  void put(std::string_view json) { out_.append(json); }
  void put(char c) { out_.push_back(c); }
  void number(std::uint64_t value) {
    std::array<char, 20> digits;
    const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), value).ptr;
    out_.append(digits.data(), static_cast<std::size_t>(end - digits.data()));
  }
  // In quotes.
  void string(std::string_view text) {
    if (is_plain(text)) {
      put('"'), put(text), put('"');
    } else {
      put(nlohmann::json(std::string(text))
              .dump(-1, ' ', /*ensure_ascii=*/true, nlohmann::json::error_handler_t::replace));
    }
  }
  // What a workload or a plugin chose, as text that is printable.
  void printable(std::string_view octets, std::size_t max_size = 1024, bool was_cut = false) {
    const bool as_it_is = !was_cut && octets.size() <= max_size && is_plain(octets);
    as_it_is ? string(octets) : string(sallyport::printable(octets, max_size, was_cut));
  }
  void string_or_null(std::string_view text) { text.empty() ? put("null") : string(text); }
  void number_or_null(std::uint64_t value) { value == 0 ? put("null") : number(value); }
  void json_or_null(std::string_view json) { put(json.empty() ? "null" : json); }

  void base32(std::uint64_t value, std::size_t digits) {
    for (std::size_t i = digits; i > 0; --i) put(kBase32[value >> 5 * (i - 1) & 31]);
  }
  void address(const Address& address) {
    if (address.is_v6()) return string(address.text());
    put('"');
    for (std::size_t i = 0; i < 4; ++i) {
      if (i > 0) put('.');
      number(address.octets()[i]);
    }
    put('"');
  }
  void address_or_null(std::uint8_t family, const Address& of_family) {
    family != 0 ? address(of_family) : put("null");
  }

 private:
  // No way out in the middle: so the compiler takes many octets at once.
  static bool is_plain(std::string_view text) {
    unsigned other = 0;
    for (const char c : text)
      other |= unsigned{c < 0x20} | unsigned{c >= 0x7f} | unsigned{c == '"'} | unsigned{c == '\\'};
    return other == 0;
  }

  std::string& out_;
};

// Equal packed records but for when, and from which port of the client. Whatever else differs makes another decision.
void blank_what_repeats_may_differ_in(std::span<char> packed) {
  std::memset(packed.data() + offsetof(AuditRecord, realtime_ns), 0, sizeof(AuditRecord::realtime_ns));
  std::memset(packed.data() + offsetof(AuditRecord, client_port), 0, sizeof(AuditRecord::client_port));
}

// The client of the policy that an address and a user belong to, the first of several; null for none.
void group_of(const Snapshot& snapshot, const Address& address, std::string_view user, Line& out) {
  const std::uint64_t groups = snapshot.groups_of_address(address, user);
  if (groups == 0) return out.put("null");
  out.string(snapshot.group_name(static_cast<unsigned>(std::countr_zero(groups))));
}

// How many records the lines stand for that are whole or have lost their beginning.
std::uint64_t records_in(std::string_view lines) {
  std::uint64_t records = 0;
  for (std::size_t end; (end = lines.find('\n')) != std::string_view::npos; lines.remove_prefix(end + 1)) {
    // What a plugin gives comes before the count or is a string, whose quotes are escaped.
    const std::string_view text = lines.substr(0, end);
    if (text.empty()) continue;  // the end of a line that is whole but for it, or of one that was there before
    const std::size_t at = text.rfind(kBeforeCount);
    std::uint64_t count = 0;
    if (at != std::string_view::npos)
      std::from_chars(text.data() + at + kBeforeCount.size(), text.data() + text.size(), count);
    records += std::max<std::uint64_t>(count, 1);
  }
  return records;
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

AuditWriter::AuditWriter(Options options, int fd)
    : options_(std::move(options)), fd_(fd), folded_(options_.fold_seed, kMaxFolded) {
  if (options_.after_half_line && fd_ >= 0) pending_ = "\n";
}

void AuditWriter::publish(std::shared_ptr<const Snapshot> snapshot, MatchText match) {
  const std::uint64_t generation = snapshot->generation();
  snapshots_[generation] = {std::move(snapshot), std::move(match)};
  while (snapshots_.size() > kKeptGenerations) snapshots_.erase(snapshots_.begin());
}

void AuditWriter::name_client(std::uint64_t client_id, std::string group) { clients_[client_id] = std::move(group); }

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
    for (const RuleModel& rule : model_.rules) {
      for (const auto& set : rule.lists) indexes_.of(set);  // now: what follows may be asked by several threads
    }
  }

  std::string operator()(std::uint32_t index, const DomainName* name, const Address* addr) const {
    if (index >= model_.rules.size()) return "";
    if (name != nullptr) {
      if (const std::optional<Pattern> best = longest(index, *name)) return best->text();
    }
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
  std::optional<Pattern> longest(std::uint32_t rule, const DomainName& name) const {
    std::optional<Pattern> best;
    if (const Pattern* own = longest_of_domains(rule, name)) best = *own;
    const auto precedence = [](const Pattern& p) { return 2 * p.name.labels() + (p.kind == PatternKind::kExact); };
    for (const auto& set : model_.rules[rule].lists) {
      const auto found = indexes_.known(set).longest_match(name);
      if (!found) continue;
      const Pattern listed = set->pattern(*found);
      if (!best || precedence(listed) > precedence(*best)) best = listed;
    }
    return best;
  }

  const Pattern* longest_of_domains(std::uint32_t rule, const DomainName& name) const {
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
  PatternIndexes indexes_;
};

}  // namespace

// Shared: every sink has it for each generation it may still be asked about.
MatchText match_text(PolicyModel model) {
  return [text = std::make_shared<const PatternText>(std::move(model))](
             std::uint32_t rule, const DomainName* name, const Address* addr) { return (*text)(rule, name, addr); };
}

std::string_view AuditWriter::time_text(std::uint64_t realtime_ns) {
  const std::uint64_t second = realtime_ns / 1'000'000'000;
  Second& known = times_[second % times_.size()];
  if (second != known.second || known.text.empty()) known = {second, audit_time(realtime_ns)};
  // "…:52.104113Z": of the same second only the six digits of the fraction differ.
  auto micros = static_cast<std::uint32_t>(realtime_ns % 1'000'000'000 / 1000);
  char* const fraction = known.text.data() + known.text.size() - 7;
  for (int pair = 2; pair >= 0; --pair, micros /= 100) std::memcpy(fraction + 2 * pair, &kPairs[2 * (micros % 100)], 2);
  return known.text;
}

std::string_view AuditWriter::line(const AuditRecord& record, std::uint64_t count) {
  const auto found = snapshots_.find(record.generation);
  const Snapshot* snapshot = found == snapshots_.end() ? nullptr : found->second.snapshot.get();
  const bool is_raw = (record.flags & kAuditRaw) != 0;
  const bool by_rule = record.rule != kNoRuleIndex;
  const bool decided = (record.flags & kAuditUndecided) == 0;
  const bool known_rule = decided && snapshot != nullptr && (!by_rule || record.rule < snapshot->rules());
  const AuditDetail detail(record.detail_text(), options_.log_paths);
  const auto ref = ref_characters(record.ref);

  Line out(line_);
  out.put(R"({"schema":"sallyport.audit/1","ts":")");
  out.put(time_text(record.realtime_ns));
  // 26 characters like a ULID: time in ms (10), a counter that sorts within it (7), the run (4), the ref in lower case.
  out.put(R"(","id":")");
  out.base32(record.realtime_ns / 1'000'000, 10);
  out.base32(counter_++, 7);
  out.base32(options_.run_seed >> 20, 4);
  out.put({ref.data(), ref.size()});
  out.put(R"(","gateway":)"), out.string(options_.gateway);
  out.put(R"(,"generation":)"), out.number(record.generation);
  out.put(record.kind == AuditKind::kClose ? R"(,"kind":"close")" : R"(,"kind":"decision")");
  out.put(R"(,"plugin":)"), out.printable(record.plugin_text());
  out.put(R"(,"verdict":")"), out.put(to_text(record.verdict));
  out.put(R"(","effective":")"), out.put(to_text(record.effective));
  out.put(R"(","mode":")"), out.put(to_text(record.mode));
  out.put(R"(","reason":")"), out.put(to_string(record.reason));
  out.put(R"(","rule":)");
  if (known_rule && by_rule) {
    out.string(snapshot->rule_name(record.rule));
  } else {
    out.put("null");
  }
  out.put(R"(,"match":)");
  if (known_rule && by_rule && found->second.match) {
    const Result<DomainName> name = DomainName::parse(record.name_text());
    const Address addr = record.address();
    out.string_or_null(found->second.match(record.rule, name.ok() && !is_raw ? &*name : nullptr,
                                           record.addr_family != 0 ? &addr : nullptr));
  } else {
    out.put("null");
  }
  out.put(R"(,"where":)");
  if (known_rule) {
    const SourcePosition where = snapshot->rule_where(record.rule);
    // A rule without a line was given as --allow, whatever file stands beside it.
    place_ = by_rule && where.line == 0 ? std::string_view("command line") : snapshot->file_of(where);
    if (where.line != 0) place_.append(":").append(std::to_string(where.line));
    out.string_or_null(place_);
  } else {
    out.put("null");
  }

  out.put(R"(,"client":{"group":)");
  const auto client = clients_.find(record.client_id);
  if (client != clients_.end()) {
    out.string_or_null(client->second);
  } else if (record.client_addr_family != 0 && snapshot != nullptr) {
    group_of(*snapshot, record.client_address(), record.user_text(), out);
  } else if (record.client_addr_family == 0 && record.client_id != 0) {
    out.put("\"client-"), out.number(record.client_id), out.put('"');
  } else {
    out.put("null");
  }
  out.put(R"(,"addr":)"), out.address_or_null(record.client_addr_family, record.client_address());
  out.put(R"(,"port":)"), out.number_or_null(record.client_port);
  out.put(R"(,"user":)");
  if (record.user_size == 0) {
    out.put("null");
  } else {
    out.printable(record.user_text(), kMaxUserText, (record.flags & kAuditUserTruncated) != 0);
  }

  out.put(R"(},"name":)"), out.string_or_null(is_raw ? std::string_view() : record.name_text());
  if (is_raw && record.name_size > 0) {
    out.put(R"(,"raw":)");
    out.printable(record.name_text(), AuditRecord::kMaxName, (record.flags & kAuditTruncated) != 0);
  } else if (detail.raw.data() != nullptr) {
    out.put(R"(,"raw":)"), out.string(printable_again(detail.raw, AuditRecord::kMaxName));
  }
  out.put(R"(,"addr":)"), out.address_or_null(record.addr_family, record.address());
  out.put(R"(,"port":)"), out.number_or_null(record.port);
  out.put(R"(,"proto":)");
  if (record.proto == kProtoTcp || record.proto == kProtoUdp) {
    out.put(record.proto == kProtoTcp ? R"("tcp")" : R"("udp")");
  } else if (record.proto == 0) {
    out.put("null");
  } else {
    out.put('"'), out.number(record.proto), out.put('"');
  }
  out.put(R"(,"tls":)"), out.json_or_null(detail.tls);
  out.put(R"(,"dns":)");
  if (record.layer == Layer::kDns && record.qtype != 0 && !detail.dns_has_qtype) {
    const bool more = detail.dns.size() > 2;  // "{…}"
    out.put(more ? detail.dns.substr(0, detail.dns.size() - 1) : "{");
    out.put(more ? R"(,"qtype":")" : R"("qtype":")"), out.put(qtype_text(record.qtype)), out.put("\"}");
  } else {
    out.json_or_null(detail.dns);
  }
  out.put(R"(,"http":)"), out.json_or_null(detail.http);
  out.put(R"(,"bytes":)"), out.json_or_null(detail.bytes);
  out.put(R"(,"duration_ms":)"), out.json_or_null(detail.duration_ms);
  out.put(R"(,"flow":)"), out.json_or_null(detail.flow);
  out.put(kBeforeCount), out.number(count);
  out.put(R"(,"lost_before":)"), out.number(lost_);
  if (detail.cause.data() != nullptr) {
    out.put(R"(,"cause":)"), out.string(printable_again(detail.cause, AuditRecord::kMaxName));
  }
  if (!detail.whole || (record.flags & kAuditDetailDropped) != 0) out.put(R"(,"detail_dropped":true)");
  out.put("}\n");
  return line_;
}

std::string AuditWriter::add(const AuditRecord& record) {
  add_all({&record, 1});
  return ref_text(record.ref);
}

// All are looked up before the first is taken, so that the memory of one comes while the others are at work: the
// decisions of a second are more than the processor has near at hand.
void AuditWriter::add_all(std::span<const AuditRecord> records) {
  std::array<std::uint64_t, kAhead> hashes;
  std::array<std::string_view, kAhead> keys;
  keys_.resize(kAhead * AuditRecord::kMaxPacked);
  while (!records.empty()) {
    const std::span<const AuditRecord> now = records.first(std::min(kAhead, records.size()));
    records = records.subspan(now.size());
    char* room = keys_.data();
    for (std::size_t i = 0; i < now.size(); ++i) {
      keys[i] = {};
      if (options_.fold_window_ns == 0 || now[i].kind != AuditKind::kDecision) continue;
      const std::size_t size = now[i].pack(room);
      blank_what_repeats_may_differ_in({room, size});
      keys[i] = {room, size};
      room += size;
      hashes[i] = folded_.hash_of(keys[i]);
      folded_.prefetch_place(hashes[i]);
    }
    for (std::size_t i = 0; i < now.size(); ++i) {
      if (!keys[i].empty()) folded_.prefetch_group(hashes[i]);
    }
    for (std::size_t i = 0; i < now.size(); ++i) {
      if (keys[i].empty()) {
        write_line(line(now[i], 1), 1);
      } else {
        take(now[i], keys[i], hashes[i]);
      }
    }
  }
}

void AuditWriter::take(const AuditRecord& record, std::string_view key, std::uint64_t hash) {
  FoldTable::Group* group = folded_.find(key, hash);
  const bool repeats = group != nullptr && group->is_open &&
                       (is_held_up() || is_within(group->begun_ns, record.realtime_ns, options_.fold_window_ns));
  if (repeats) {
    if (group->repeats++ == 0) {
      group->first_ns = record.realtime_ns;
      group->first_port = record.client_port;
    }
    return;
  }
  if (group != nullptr && group->is_open) write_group(*group);
  write_line(line(record, 1), 1);
  if (group == nullptr) group = folded_.insert(key, hash);
  if (group == nullptr) {
    // If most of it is in use, the next sweep would come soon: all begin anew.
    if (open_groups_ > folded_.groups() / 2) end_all_groups();
    folded_.sweep();
    group = folded_.insert(key, hash);
    if (group == nullptr) return;
  }
  open_groups_ += group->is_open ? 0 : 1;
  group->is_open = true;
  group->begun_ns = record.realtime_ns;
}

void AuditWriter::write_group(FoldTable::Group& group) {
  if (group.repeats == 0) return;
  AuditRecord first;
  AuditRecord::unpack(group.key().data(), first);
  first.realtime_ns = group.first_ns;
  first.client_port = group.first_port;
  write_line(line(first, group.repeats), group.repeats);
  group.repeats = 0;
}

// A sink that does not keep up gets fewer lines, each of more records, and not as many as are lost for want of room.
bool AuditWriter::is_held_up() const noexcept { return pending_.size() > kMaxPending / 2; }

void AuditWriter::end_all_groups() {
  folded_.for_each([this](FoldTable::Group& group) { write_group(group); });
  folded_.clear();
  open_groups_ = 0;
}

void AuditWriter::flush(std::uint64_t now_ns) {
  if (open_groups_ > 0) {
    folded_.for_each([&](FoldTable::Group& group) {
      if (!group.is_open || is_within(group.begun_ns, now_ns, options_.fold_window_ns)) return;
      if (group.repeats > 0 && is_held_up()) return;
      write_group(group);
      group.is_open = false;
      --open_groups_;
    });
    if (open_groups_ == 0) folded_.clear();
  }
  drain();
}

bool AuditWriter::finish() {
  end_all_groups();
  drain();
  if (!pending_.empty()) {
    // No later line will say so; the caller does.
    const std::size_t cut = cut_records_ > 0 ? pending_.find('\n') + 1 : 0;
    lost_ += cut_records_ + records_in(std::string_view(pending_).substr(cut));
    cut_records_ = 0;
    pending_.clear();
  }
  return total_lost() == 0;
}

void AuditWriter::write_line(std::string_view text, std::uint64_t records) {
  if (fd_ < 0) return;
  if (pending_.size() + text.size() > kMaxPending) {
    drain();
    if (pending_.size() + text.size() > kMaxPending) {
      lost_ += records;
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
  if (pending_.empty()) return;
  // Whatever is no pipe, socket or terminal takes any number of octets as soon as they are there.
  struct stat sink_is;
  const bool is_file =
      fstat(fd_, &sink_is) == 0 && (S_ISREG(sink_is.st_mode) || (S_ISCHR(sink_is.st_mode) && !isatty(fd_)));
  std::size_t done = 0;
  while (done < pending_.size()) {
    // A pipe that poll() calls writable takes PIPE_BUF octets at least, even if the descriptor blocks.
    pollfd sink{fd_, POLLOUT, 0};
    if (!is_file && (poll(&sink, 1, 0) != 1 || (sink.revents & POLLOUT) == 0)) {
      sink_failure_ =
          (sink.revents & (POLLERR | POLLHUP)) != 0 ? "nobody reads the pipe any more" : "its reader does not keep up";
      break;
    }
    const std::size_t most = is_file ? pending_.size() - done : std::min<std::size_t>(pending_.size() - done, PIPE_BUF);
    const ssize_t size = ::write(fd_, pending_.data() + done, most);
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
  if (done == 0) return;
  if (done < pending_.size()) {
    // How many records the line stands for that is cut now, for whom it may be lost yet.
    const std::size_t end = pending_.rfind('\n', done - 1);
    const std::size_t start = end == std::string::npos ? 0 : end + 1;
    if (start > 0 || cut_records_ == 0)
      cut_records_ = start == done
                         ? 0
                         : records_in(std::string_view(pending_).substr(start, pending_.find('\n', done) + 1 - start));
  } else {
    cut_records_ = 0;
  }
  pending_.erase(0, done);
}

}  // namespace sallyport
