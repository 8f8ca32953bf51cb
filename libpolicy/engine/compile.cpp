// A policy becomes a snapshot: arrays are filled first, then laid out in the order of SectionId and sealed.
//
// What decide() would otherwise work out per query is worked out here: wildcards merged into the sets of the names
// below them (domain_index_builder.cpp), prefixes reduced to disjoint ones (prefix_table.cpp), client names turned into
// bits, and the `named_general` list. With a known name, a rule can match only if its domains list the name, if it
// names no destination at all, or if it denies by address; decide() merges those two ascending lists and never sees the
// other rules.
#include <algorithm>
#include <cstring>
#include <limits>
#include <unordered_map>

#include "engine/address_index.hpp"
#include "engine/decide.hpp"
#include "engine/domain_index_builder.hpp"
#include "engine/prefix_table.hpp"

namespace sallyport {
namespace {

using format::Range;

constexpr std::size_t kMaxCount = std::numeric_limits<std::uint32_t>::max() - 1;  // kNoRuleIndex stays free

class Compiler {
 public:
  Compiler(const PolicyModel& model, std::uint64_t generation) : model_(model) { header_.generation = generation; }

  Result<std::vector<std::byte>> run() {
    if (model_.rules.size() >= kMaxCount) return Error{ErrorCode::kExhausted, "too many rules in one policy", 0};
    if (Result<bool> step = clients(); !step.ok()) return step.error();
    for (std::size_t i = 0; i < model_.rules.size(); ++i) {
      if (Result<bool> step = rule(model_.rules[i], i); !step.ok()) return step.error();
    }
    // Stable for a policy and generation, so that equal inputs give equal bytes.
    index_.collect(model_.rules, pool_);
    const std::uint64_t seed = index_.digest() + header_.generation * 0xd1b54a32d192ed03u;
    if (Result<bool> step = index_.build(seed, pool_); !step.ok()) return step.error();
    header_.index_seed = index_.seed;
    header_.primary_buckets = index_.primary_buckets;
    header_.depths[0] = index_.depths[0];
    header_.depths[1] = index_.depths[1];
    header_.named_general = pool_.range(pool_.intern(named_general_));

    header_.header_size = sizeof(format::Header);
    header_.name_hash_probe = format::name_hash_probe();
    header_.default_action = model_.default_action == Action::kAllow ? 1 : 0;
    header_.default_line = model_.default_where.line;
    header_.default_column = model_.default_where.column;
    header_.default_file = model_.default_where.file;
    if (Result<bool> step = trial(model_.observe, header_.observe_until, 0); !step.ok()) return step.error();
    for (const std::string& file : model_.included) files_.push_back(string(file));
    if (header_.default_file > files_.size()) return Error{ErrorCode::kMalformed, "a file that is not there", 0};
    header_.source = string(model_.source);
    std::vector<Prefix> own;
    for (const Address& address : model_.own_addresses) own.push_back(Prefix::of(address, address.is_v4() ? 32 : 128));
    header_.own_addresses = prefixes(own);
    return assemble();
  }

 private:
  Range string(std::string_view text) {
    const Range range{static_cast<std::uint32_t>(strings_.size()), static_cast<std::uint32_t>(text.size())};
    strings_.insert(strings_.end(), text.begin(), text.end());
    return range;
  }

  Range texts(std::span<const std::string> list) {
    const Range range{static_cast<std::uint32_t>(cells_.size()), static_cast<std::uint32_t>(list.size())};
    for (const std::string& text : list) cells_.push_back(string(text));
    return range;
  }

  // Zero is no trial.
  static Result<bool> trial(const std::optional<ObserveModel>& observe, std::int64_t& until, std::size_t index) {
    if (!observe) return true;
    if (observe->until <= 0) return Error{ErrorCode::kMalformed, "a trial that ends before it began", index};
    until = observe->until;
    return true;
  }

  Range prefixes(std::span<const Prefix> list) {
    const std::vector<format::PrefixKey> keys = reduce(list);
    const Range range{static_cast<std::uint32_t>(prefixes_.size()), static_cast<std::uint32_t>(keys.size())};
    prefixes_.insert(prefixes_.end(), keys.begin(), keys.end());
    too_many_addresses_ |= !addresses_.add(range.first, keys);
    return range;
  }

  Result<bool> clients() {
    if (model_.clients.size() > format::kMaxClients) {
      return Error{ErrorCode::kExhausted, "more than 64 clients", format::kMaxClients};
    }
    for (std::size_t i = 0; i < model_.clients.size(); ++i) {
      const ClientModel& client = model_.clients[i];
      if (!client_bits_.emplace(client.name, std::uint64_t{1} << i).second) {
        return Error{ErrorCode::kMalformed, "two clients of one name", i};
      }
      format::Client out;
      out.name = string(client.name);
      out.addresses = prefixes(client.addresses);
      out.cells = texts(client.cells);
      out.users = texts(client.credentials);
      if (Result<bool> step = trial(client.observe, out.observe_until, i); !step.ok()) return step.error();
      clients_.push_back(out);
    }
    return true;
  }

  Result<bool> rule(const RuleModel& in, std::size_t index) {
    format::Rule out;
    const auto set = [&out](bool on, format::RuleFlag flag) { out.flags |= on ? std::uint32_t{flag} : 0; };
    const bool allow = in.action == Action::kAllow;
    set(allow, format::kRuleAllow);
    set(!in.clients.empty(), format::kRuleClients);
    const bool domains = !in.domains.empty() || !in.lists.empty();  // a list of nothing is domains that match nothing
    set(domains, format::kRuleDomains);
    set(!in.addresses.empty(), format::kRuleAddresses);
    set(!in.resolves_to.empty(), format::kRuleResolvesTo);
    set(!in.ports.empty(), format::kRulePorts);
    set(in.tunnel_any, format::kRuleTunnelAny);
    set(in.allow_metadata, format::kRuleMetadata);
    set(in.observe, format::kRuleObserve);
    if (!in.methods.empty() || !in.paths.empty()) {
      http_.push_back({texts(in.methods), texts(in.paths)});
      out.http = static_cast<std::uint32_t>(http_.size());
    }
    for (const std::string& client : in.clients) {
      const auto found = client_bits_.find(client);
      if (found == client_bits_.end()) return Error{ErrorCode::kMalformed, "a rule names an unknown client", index};
      out.groups |= found->second;
    }
    // Without domains it would bind nothing, and the rule would be wider than it reads.
    if (!in.resolves_to.empty() && !domains) {
      return Error{ErrorCode::kMalformed, "a rule has resolves_to without domains", index};
    }
    out.ports = {static_cast<std::uint32_t>(ports_.size()), static_cast<std::uint32_t>(in.ports.size())};
    for (const PortRange& port : in.ports) {
      if (port.first > port.last) return Error{ErrorCode::kMalformed, "a port range that ends before it starts", index};
      ports_.push_back({port.first, port.last, port.proto, 0});
    }
    out.addresses = prefixes(in.addresses);
    out.resolves_to = prefixes(in.resolves_to);
    out.name = string(in.name);
    out.line = in.where.line;
    out.column = in.where.column;
    out.file = in.where.file;
    if (in.where.file > model_.included.size()) return Error{ErrorCode::kMalformed, "a file that is not there", index};
    if (in.limits.any()) {
      if (!allow) return Error{ErrorCode::kMalformed, "a deny rule with limits", index};
      limits_.push_back(format::packed(in.limits));
      out.limits = static_cast<std::uint32_t>(limits_.size());
    }
    rules_.push_back(out);

    if (format::is_named_general(out.flags)) named_general_.push_back(static_cast<std::uint32_t>(index));
    return true;
  }

  template <typename T>
  void measure(format::SectionId id, const std::vector<T>& elements) {
    static_assert(std::is_trivially_copyable_v<T>);
    const auto aligned = (header_.size + format::kAlignment - 1) / format::kAlignment * format::kAlignment;
    header_.sections[id] = {aligned, elements.size()};
    header_.size = aligned + elements.size() * sizeof(T);
  }

  template <typename T>
  void copy(std::vector<std::byte>& bytes, format::SectionId id, const std::vector<T>& elements) const {
    if (!elements.empty())
      std::memcpy(bytes.data() + header_.sections[id].offset, elements.data(), elements.size() * sizeof(T));
  }

  // f(id, elements) for each section, in the order of the file.
  template <typename F>
  void each_section(F f) {
    f(format::kRules, rules_);
    f(format::kPorts, ports_);
    f(format::kPrefixes, prefixes_);
    f(format::kClients, clients_);
    f(format::kCells, cells_);
    f(format::kLists, pool_.lists());
    f(format::kNameSets, index_.sets);
    f(format::kFilter, index_.filter);
    f(format::kBuckets, index_.buckets);
    f(format::kNames, index_.names);
    f(format::kStrings, strings_);
    f(format::kFiles, files_);
    f(format::kHttp, http_);
    f(format::kAddressSets, addresses_.sets);
    f(format::kAddressDirect, addresses_.direct);
    f(format::kAddressNodes, addresses_.nodes);
    f(format::kLimits, limits_);
  }

  Result<std::vector<std::byte>> assemble() {
    header_.size = sizeof(format::Header);
    std::size_t most = 0;
    each_section([this, &most](format::SectionId id, const auto& elements) {
      measure(id, elements);
      most = std::max(most, elements.size());
    });
    if (most > kMaxCount || too_many_addresses_)
      return Error{ErrorCode::kExhausted, "a policy too large for one snapshot", 0};
    header_.size = (header_.size + format::kAlignment - 1) / format::kAlignment * format::kAlignment;

    std::vector<std::byte> bytes(header_.size);
    each_section([this, &bytes](format::SectionId id, const auto& elements) { copy(bytes, id, elements); });
    std::memcpy(bytes.data(), &header_, sizeof(header_));
    format::seal(bytes);
    return bytes;
  }

  const PolicyModel& model_;
  format::Header header_;
  std::unordered_map<std::string_view, std::uint64_t> client_bits_;
  std::vector<format::Rule> rules_;
  std::vector<format::Port> ports_;
  std::vector<format::PrefixKey> prefixes_;
  std::vector<format::Client> clients_;
  std::vector<Range> cells_;
  std::vector<Range> files_;
  std::vector<format::Http> http_;
  std::vector<std::uint32_t> named_general_;
  std::vector<char> strings_;
  AddressIndexBuilder addresses_;
  bool too_many_addresses_ = false;
  std::vector<format::Limits> limits_;
  ListPool pool_;
  DomainIndexBuilder index_;
};

}  // namespace

Result<std::vector<std::byte>> compile(const PolicyModel& model, std::uint64_t generation) {
  return Compiler(model, generation).run();
}

}  // namespace sallyport
