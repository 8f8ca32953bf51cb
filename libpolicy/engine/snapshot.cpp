#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "engine/decide.hpp"
#include "engine/glob.hpp"
#include "engine/prefix_table.hpp"
#include "engine/view.hpp"

namespace sallyport {
namespace {

// True if nobody can change or truncate the file any more, so that it may stay mapped after it was verified.
bool is_sealed(int fd) noexcept {
  constexpr int kNeeded = F_SEAL_WRITE | F_SEAL_SHRINK;
  const int seals = ::fcntl(fd, F_GET_SEALS);
  return seals >= 0 && (seals & kNeeded) == kNeeded;
}

}  // namespace

Snapshot::View::~View() {
  if (mapping != nullptr) ::munmap(mapping, mapped);
}

// Once a snapshot, so that allowed_ports() sorts nothing.
void Snapshot::View::find_edges() {
  for (const format::Port& range : tables.ports) {
    edges.emplace_back(range.proto, range.first);
    edges.emplace_back(range.proto, std::uint32_t{range.last} + 1);
  }
  std::sort(edges.begin(), edges.end());
  edges.erase(std::unique(edges.begin(), edges.end()), edges.end());
}

Snapshot::~Snapshot() = default;

Result<std::shared_ptr<const Snapshot>> Snapshot::open(std::span<const std::byte> bytes) {
  std::shared_ptr<Snapshot> snapshot(new Snapshot);
  snapshot->view_ = std::make_unique<View>();
  if (reinterpret_cast<std::uintptr_t>(bytes.data()) % alignof(std::uint64_t) != 0) {
    snapshot->view_->copy = std::make_unique_for_overwrite<std::byte[]>(bytes.size());
    std::memcpy(snapshot->view_->copy.get(), bytes.data(), bytes.size());
    bytes = {snapshot->view_->copy.get(), bytes.size()};
  }
  Result<Tables> tables = verify(bytes);
  if (!tables.ok()) return tables.error();
  snapshot->view_->tables = *tables;
  snapshot->view_->find_edges();
  return std::shared_ptr<const Snapshot>(std::move(snapshot));
}

// A sealed memfd is mapped. Anything else is read into memory of our own: whoever can still write to the file could
// change it after it was verified, or truncate it and end us with SIGBUS.
Result<std::shared_ptr<const Snapshot>> Snapshot::map(int fd) {
  const bool sealed = is_sealed(fd);
  struct ::stat status = {};
  // Only memory has seals; and a jailed worker may not ask for the status of files, not even of an open one.
  const off_t length = sealed                                                 ? ::lseek(fd, 0, SEEK_END)
                       : ::fstat(fd, &status) == 0 && S_ISREG(status.st_mode) ? status.st_size
                                                                              : -1;
  if (length < 0) return Error{ErrorCode::kCorrupt, "a snapshot that is not a regular file", 0};
  if (length < static_cast<off_t>(sizeof(format::Header))) {
    return Error{ErrorCode::kCorrupt, "shorter than a snapshot header", static_cast<std::size_t>(length)};
  }
  const auto size = static_cast<std::size_t>(length);
  std::shared_ptr<Snapshot> snapshot(new Snapshot);
  snapshot->view_ = std::make_unique<View>();
  View& view = *snapshot->view_;
  std::span<const std::byte> bytes;
  if (sealed) {
    void* mapping = ::mmap(nullptr, size, PROT_READ, MAP_SHARED, fd, 0);
    if (mapping == MAP_FAILED) return Error{ErrorCode::kExhausted, "no memory to map a snapshot", 0};
    view.mapping = mapping;
    view.mapped = size;
    bytes = {static_cast<const std::byte*>(mapping), size};
  } else {
    view.copy = std::unique_ptr<std::byte[]>(new (std::nothrow) std::byte[size]);
    if (view.copy == nullptr) return Error{ErrorCode::kExhausted, "no memory to read a snapshot", 0};
    for (std::size_t done = 0; done < size;) {
      const ssize_t got = ::pread(fd, view.copy.get() + done, size - done, static_cast<off_t>(done));
      if (got < 0 && errno == EINTR) continue;
      if (got <= 0) return Error{ErrorCode::kCorrupt, "a snapshot that ends early or can't be read", done};
      done += static_cast<std::size_t>(got);
    }
    bytes = {view.copy.get(), size};
  }
  Result<Tables> tables = verify(bytes);
  if (!tables.ok()) return tables.error();
  view.tables = *tables;
  view.find_edges();
  return std::shared_ptr<const Snapshot>(std::move(snapshot));
}

std::uint64_t Snapshot::generation() const noexcept { return view_->tables.header->generation; }

std::string_view Snapshot::source() const noexcept { return view_->tables.string_in(view_->tables.header->source); }

std::size_t Snapshot::rules() const noexcept { return view_->tables.rules.size(); }

std::string_view Snapshot::rule_name(std::uint32_t rule) const noexcept {
  const Tables& t = view_->tables;
  return rule < t.rules.size() ? t.string_in(t.rules[rule].name) : std::string_view();
}

std::string_view Snapshot::file_of(const SourcePosition& where) const noexcept {
  const Tables& t = view_->tables;
  if (where.file == 0 || where.file > t.files.size()) return source();
  return t.string_in(t.files[where.file - 1]);
}

SourcePosition Snapshot::rule_where(std::uint32_t rule) const noexcept {
  const Tables& t = view_->tables;
  if (rule < t.rules.size()) return {t.rules[rule].line, t.rules[rule].column, t.rules[rule].file};
  return {t.header->default_line, t.header->default_column, t.header->default_file};
}

bool Snapshot::rule_on_trial(std::uint32_t rule) const noexcept {
  const Tables& t = view_->tables;
  return rule < t.rules.size() && (t.rules[rule].flags & format::kRuleObserve) != 0;
}

bool Snapshot::asks_for_requests() const noexcept { return !view_->tables.http.empty(); }

std::int64_t Snapshot::trials_until() const noexcept { return trial_until(~std::uint64_t{0}); }

std::int64_t Snapshot::next_trial_end(std::int64_t now) const noexcept {
  const Tables& t = view_->tables;
  std::int64_t next = t.header->observe_until > now ? t.header->observe_until : 0;
  for (const format::Client& client : t.clients) {
    if (client.observe_until > now && (next == 0 || client.observe_until < next)) next = client.observe_until;
  }
  return next;
}

std::int64_t Snapshot::trial_until(std::uint64_t groups) const noexcept { return view_->tables.trial_until(groups); }

Action Snapshot::rule_action(std::uint32_t rule) const noexcept {
  const Tables& t = view_->tables;
  if (rule >= t.rules.size()) return default_action();
  return (t.rules[rule].flags & format::kRuleAllow) != 0 ? Action::kAllow : Action::kDeny;
}

Action Snapshot::default_action() const noexcept {
  return view_->tables.header->default_action == 1 ? Action::kAllow : Action::kDeny;
}

bool Snapshot::may_be_on_trial(std::uint64_t groups) const noexcept { return view_->tables.trial_until(groups) > 0; }

LimitsModel Snapshot::rule_limits(std::uint32_t rule) const noexcept {
  const Tables& t = view_->tables;
  if (rule >= t.rules.size() || t.rules[rule].limits == 0) return {};
  return format::unpacked(t.limits[t.rules[rule].limits - 1]);
}

bool Snapshot::has_limits() const noexcept { return !view_->tables.limits.empty(); }

std::uint64_t Snapshot::groups_of_cell(std::string_view cell) const noexcept {
  const Tables& t = view_->tables;
  std::uint64_t groups = 0;
  for (std::size_t i = 0; i < t.clients.size(); ++i) {
    const format::Range cells = t.clients[i].cells;
    for (const format::Range& glob : t.cells.subspan(cells.first, cells.count)) {
      if (glob_matches(t.string_in(glob), cell)) groups |= std::uint64_t{1} << i;
    }
  }
  return groups;
}

namespace {

bool names_user(const Tables& t, const format::Client& client, std::string_view user) noexcept {
  if (user.empty()) return false;
  for (const format::Range& name : t.cells.subspan(client.users.first, client.users.count)) {
    if (t.string_in(name) == user) return true;
  }
  return false;
}

}  // namespace

std::uint64_t Snapshot::groups_of_address(const Address& address, std::string_view user) const noexcept {
  const Tables& t = view_->tables;
  const format::PrefixKey key = format::key_of(address);
  std::uint64_t groups = 0;
  for (std::size_t i = 0; i < t.clients.size(); ++i) {
    const format::Client& client = t.clients[i];
    const bool by_address = client.addresses.count != 0, by_user = client.users.count != 0;
    if (!by_address && !by_user) continue;  // a cell
    if (by_address && !t.is_in(client.addresses, key)) continue;
    if (by_user && !names_user(t, client, user)) continue;
    groups |= std::uint64_t{1} << i;
  }
  return groups;
}

std::uint64_t Snapshot::groups_of_user(std::string_view user) const noexcept {
  const Tables& t = view_->tables;
  std::uint64_t groups = 0;
  for (std::size_t i = 0; i < t.clients.size(); ++i) {
    if (t.clients[i].addresses.count == 0 && names_user(t, t.clients[i], user)) groups |= std::uint64_t{1} << i;
  }
  return groups;
}

bool Snapshot::user_may_send_from(std::string_view user, const Address& address) const noexcept {
  const Tables& t = view_->tables;
  const format::PrefixKey key = format::key_of(address);
  bool bound = false;
  for (const format::Client& client : t.clients) {
    if (!names_user(t, client, user)) continue;
    if (client.addresses.count == 0 || t.is_in(client.addresses, key)) return true;
    bound = true;
  }
  return !bound;
}

std::string_view Snapshot::group_name(unsigned bit) const noexcept {
  const Tables& t = view_->tables;
  return bit < t.clients.size() ? t.string_in(t.clients[bit].name) : std::string_view();
}

std::size_t Snapshot::host_addresses(const DomainName& name, std::uint64_t groups,
                                     std::span<Address> out) const noexcept {
  const Tables& t = view_->tables;
  const auto listed = t.index.find(name);
  const auto is_for_client = [groups](const format::Rule& rule) {
    return (rule.flags & format::kRuleClients) == 0 || (rule.groups & groups) != 0;
  };
  const auto gives_hosts = [&t, &is_for_client](const format::Rule& rule) {
    constexpr std::uint32_t kBoth = format::kRuleAllow | format::kRuleObserve;
    if ((rule.flags & kBoth) != format::kRuleAllow || rule.resolves_to.count == 0 || !is_for_client(rule)) return false;
    for (const format::PrefixKey& key : t.prefixes_in(rule.resolves_to)) {
      if (key.bits != (key.family == 4 ? 32 : 128)) return false;
    }
    return true;
  };
  std::size_t count = 0;
  for (std::size_t i = 0; i < listed.size(); ++i) {
    const format::Rule& rule = t.rules[listed[i]];
    // Behind a rule that denies the name whatever its port and address, nothing is reached.
    constexpr std::uint32_t kLess =
        format::kRuleAllow | format::kRulePorts | format::kRuleResolvesTo | format::kRuleObserve;
    const bool denies = (rule.flags & kLess) == 0 && rule.http == 0;
    if (denies && is_for_client(rule)) break;
    if (!gives_hosts(rule)) continue;
    for (const format::PrefixKey& key : t.prefixes_in(rule.resolves_to)) {
      bool seen = false;
      for (std::size_t j = 0; j < i && !seen; ++j) {
        const format::Rule& earlier = t.rules[listed[j]];
        seen = gives_hosts(earlier) && t.is_in(earlier.resolves_to, key);
      }
      if (seen) continue;
      if (count < out.size()) out[count] = format::address_of(key);
      ++count;
    }
  }
  return count;
}

std::size_t Snapshot::allowed_ports(Query query, std::span<Ports> out) const noexcept {
  constexpr std::uint32_t kEnd = 65536;
  query.known |= kKnowPort;
  query.deferred &= ~std::uint32_t{kKnowPort};
  const auto& edges = view_->edges;
  auto edge = std::lower_bound(edges.begin(), edges.end(), std::pair{query.proto, std::uint32_t{0}});
  if (edge != edges.end() && *edge == std::pair{query.proto, std::uint32_t{0}}) ++edge;
  std::size_t count = 0;
  bool open = false;
  for (std::uint32_t first = 0; first < kEnd;) {
    const bool more = edge != edges.end() && edge->first == query.proto && edge->second < kEnd;
    const std::uint32_t next = more ? (edge++)->second : kEnd;
    query.port = static_cast<std::uint16_t>(first);
    const bool allowed = decide(query).allowed();
    if (allowed && !open && ++count <= out.size()) out[count - 1].first = query.port;
    if (allowed && count <= out.size()) out[count - 1].last = static_cast<std::uint16_t>(next - 1);
    open = allowed;
    first = next;
  }
  return count;
}

}  // namespace sallyport
