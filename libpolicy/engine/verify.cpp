// What decide() relies on, checked once: it follows offsets, counts and indices without looking.
//
// In this order, each step relying on the ones before: header, total size, checksum, section places, then every element
// of every section. The checksum finds damage; the rest holds even for bytes made to pass it.
#include <bit>
#include <cstring>

#include "engine/prefix_table.hpp"
#include "engine/tables.hpp"

namespace sallyport {
namespace {

using format::Range;

constexpr unsigned kMaxChain = 4;  // as the compiler builds; bounds what a lookup may cost

Error corrupt(const char* message, std::size_t offset) { return {ErrorCode::kCorrupt, message, offset}; }

bool fits(Range range, std::size_t size) noexcept { return range.first <= size && range.count <= size - range.first; }

class Verifier {
 public:
  explicit Verifier(std::span<const std::byte> bytes) : bytes_(bytes) {}

  Result<Tables> run() {
    if (Result<bool> step = header(); !step.ok()) return step.error();
    if (Result<bool> step = sections(); !step.ok()) return step.error();
    if (const char* wrong = scalars()) return corrupt(wrong, 0);
    if (const char* wrong = rules()) return corrupt(wrong, at(format::kRules));
    if (const char* wrong = lists()) return corrupt(wrong, at(format::kLists));
    if (const char* wrong = clients()) return corrupt(wrong, at(format::kClients));
    if (const char* wrong = buckets()) return corrupt(wrong, at(format::kBuckets));
    const auto sets = array<format::AddressSet>(format::kAddressSets);
    const auto direct = array<std::uint32_t>(format::kAddressDirect);
    const auto nodes = array<format::AddressNode>(format::kAddressNodes);
    if (!is_walkable(sets, direct, nodes)) return corrupt("an address index that leads out", at(format::kAddressSets));
    t_.addresses = AddressIndex(sets, direct, nodes);
    t_.index = DomainIndex(*t_.header, filter_, buckets_, sets_, names_, t_.lists.data());
    return t_;
  }

 private:
  std::size_t at(format::SectionId id) const noexcept { return t_.header->sections[id].offset; }

  Result<bool> header() {
    if (bytes_.size() < sizeof(format::Header)) return corrupt("shorter than a snapshot header", bytes_.size());
    const auto* header = reinterpret_cast<const format::Header*>(bytes_.data());
    if (header->magic != format::kMagic) return corrupt("not a policy snapshot", 0);
    if (header->version != format::kVersion)
      return corrupt("a snapshot of another version", offsetof(format::Header, version));
    if (header->header_size != sizeof(format::Header)) {
      return corrupt("a snapshot header of another size", offsetof(format::Header, header_size));
    }
    if (header->size != bytes_.size()) return corrupt("a snapshot of another length", offsetof(format::Header, size));
    if (header->checksum != format::checksum(bytes_)) {
      return corrupt("the snapshot's checksum differs", offsetof(format::Header, checksum));
    }
    if (header->name_hash_probe != format::name_hash_probe()) {
      return corrupt("a snapshot of another build", offsetof(format::Header, name_hash_probe));
    }
    t_.header = header;
    return true;
  }

  // Counts alone determine the layout: any other is refused, so sections can't overlap and no octet is unaccounted for.
  Result<bool> sections() {
    std::size_t end = sizeof(format::Header);
    for (unsigned id = 0; id < format::kSections; ++id) {
      const format::Section& section = t_.header->sections[id];
      const std::size_t place = offsetof(format::Header, sections) + id * sizeof(format::Section);
      const std::size_t start = (end + format::kAlignment - 1) / format::kAlignment * format::kAlignment;
      if (section.offset != start || start > bytes_.size()) return corrupt("a section out of place", place);
      if (section.count > UINT32_MAX || section.count > (bytes_.size() - start) / format::kElementSize[id]) {
        return corrupt("a section longer than the snapshot", place);
      }
      end = start + section.count * format::kElementSize[id];
    }
    const std::size_t total = (end + format::kAlignment - 1) / format::kAlignment * format::kAlignment;
    if (total != bytes_.size()) return corrupt("octets behind the last section", end);
    t_.rules = array<format::Rule>(format::kRules);
    t_.ports = array<format::Port>(format::kPorts);
    t_.prefixes = array<format::PrefixKey>(format::kPrefixes);
    t_.clients = array<format::Client>(format::kClients);
    t_.cells = array<Range>(format::kCells);
    t_.lists = array<std::uint32_t>(format::kLists);
    t_.strings = array<char>(format::kStrings);
    t_.files = array<Range>(format::kFiles);
    t_.http = array<format::Http>(format::kHttp);
    t_.limits = array<format::Limits>(format::kLimits);
    sets_ = array<format::NameSet>(format::kNameSets);
    filter_ = array<std::uint64_t>(format::kFilter);
    buckets_ = array<format::Bucket>(format::kBuckets);
    names_ = array<unsigned char>(format::kNames);
    return true;
  }

  template <typename T>
  std::span<const T> array(format::SectionId id) const noexcept {
    const format::Section& section = t_.header->sections[id];
    return {reinterpret_cast<const T*>(bytes_.data() + section.offset), section.count};
  }

  const char* scalars() const {
    const format::Header& h = *t_.header;
    if (h.default_action > 1) return "an unknown default action";
    if (h.default_file > t_.files.size()) return "a file that is not there";
    if (h.observe_until < 0) return "a trial that ends before it began";
    if (!fits(h.source, t_.strings.size())) return "a source name out of bounds";
    if (!prefixes(h.own_addresses)) return "own addresses out of bounds or out of order";
    for (const Range& file : t_.files) {
      if (!fits(file, t_.strings.size())) return "a file's name out of bounds";
    }
    for (const format::Http& http : t_.http) {
      if (!fits(http.methods, t_.cells.size()) || !fits(http.paths, t_.cells.size())) {
        return "methods or paths out of bounds";
      }
      if (http.methods.count == 0 && http.paths.count == 0) return "requests without methods and paths";
    }
    return nullptr;
  }

  bool prefixes(Range range) const { return fits(range, t_.prefixes.size()) && is_reduced(t_.prefixes_in(range)); }

  bool ascending(Range range) const {
    if (!fits(range, t_.lists.size())) return false;
    const auto list = t_.list_in(range);
    for (std::size_t i = 0; i < list.size(); ++i) {
      if (list[i] >= t_.rules.size() || (i != 0 && list[i - 1] >= list[i])) return false;
    }
    return true;
  }

  const char* rules() const {
    const std::uint64_t groups =
        t_.clients.size() >= 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << t_.clients.size()) - 1;
    std::size_t limited = 0;
    for (const format::Rule& rule : t_.rules) {
      const auto flag = [&rule](format::RuleFlag f) { return (rule.flags & f) != 0; };
      if ((rule.flags & ~std::uint32_t{format::kRuleAllFlags}) != 0) return "an unknown rule flag";
      if (rule.file > t_.files.size()) return "a file that is not there";
      if (rule.http > t_.http.size()) return "a rule's methods and paths out of bounds";
      if ((rule.groups & ~groups) != 0 || flag(format::kRuleClients) != (rule.groups != 0))
        return "a rule for unknown clients";
      if (!fits(rule.ports, t_.ports.size()) || flag(format::kRulePorts) != (rule.ports.count != 0)) {
        return "a rule's ports out of bounds";
      }
      if (!prefixes(rule.addresses) || flag(format::kRuleAddresses) != (rule.addresses.count != 0)) {
        return "a rule's addresses out of bounds or out of order";
      }
      if (!prefixes(rule.resolves_to) || flag(format::kRuleResolvesTo) != (rule.resolves_to.count != 0)) {
        return "a rule's resolves_to out of bounds or out of order";
      }
      if (flag(format::kRuleResolvesTo) && !flag(format::kRuleDomains)) return "resolves_to without domains";
      if (!fits(rule.name, t_.strings.size())) return "a rule's name out of bounds";
      // Each belongs to one allow rule, so none is without an owner.
      if (rule.limits != 0) {
        if (!flag(format::kRuleAllow)) return "limits of a deny rule";
        if (rule.limits != ++limited) return "a rule's limits out of order";
      }
    }
    if (limited != t_.limits.size()) return "limits of no rule";
    for (const format::Limits& limits : t_.limits) {
      if (!format::is_sound(limits)) return "limits out of range";
    }
    for (const format::Port& port : t_.ports) {
      if (port.first > port.last || port.reserved != 0) return "a port range out of order";
    }
    return nullptr;
  }

  // decide() sees the listed rules only, explain() all of them: they agree because the lists are exactly what they
  // should be.
  const char* lists() const {
    if (!ascending(t_.header->named_general)) return "a rule list out of bounds or out of order";
    auto general = t_.list_in(t_.header->named_general);
    for (std::uint32_t i = 0; i < t_.rules.size(); ++i) {
      const bool listed = !general.empty() && general.front() == i;
      if (listed) general = general.subspan(1);
      if (listed != format::is_named_general(t_.rules[i].flags)) return "a rule list that is not complete";
    }
    for (const format::NameSet& set : sets_) {
      for (const Range range : {set.self, set.below}) {
        if (!ascending(range)) return "a rule list out of bounds or out of order";
        for (const std::uint32_t rule : t_.list_in(range)) {
          if ((t_.rules[rule].flags & format::kRuleDomains) == 0) return "a name listed for a rule without domains";
        }
      }
    }
    return nullptr;
  }

  const char* clients() const {
    if (t_.clients.size() > format::kMaxClients) return "more clients than bits";
    for (const format::Client& client : t_.clients) {
      if (!fits(client.name, t_.strings.size())) return "a client's name out of bounds";
      if (!prefixes(client.addresses)) return "a client's addresses out of bounds or out of order";
      if (!fits(client.cells, t_.cells.size())) return "a client's cells out of bounds";
      if (!fits(client.users, t_.cells.size())) return "a client's users out of bounds";
      if (client.observe_until < 0) return "a trial that ends before it began";
    }
    for (const Range& cell : t_.cells) {
      if (!fits(cell, t_.strings.size())) return "the name of a cell or user out of bounds";
    }
    return nullptr;
  }

  const char* buckets() const {
    const std::uint64_t primary = t_.header->primary_buckets;
    if (primary > buckets_.size() || (primary == 0) != buckets_.empty()) return "more buckets than there are";
    if ((primary == 0) != filter_.empty()) return "names without a filter, or a filter without names";
    for (std::size_t i = 0; i < buckets_.size(); ++i) {
      const format::Bucket& bucket = buckets_[i];
      for (unsigned slot = 0; slot < format::Bucket::kSlots; ++slot) {
        if (bucket.name[slot] == 0) continue;
        if (bucket.set[slot] >= sets_.size()) return "a bucket's set out of bounds";
        if (bucket.name[slot] < format::kNamesFront || bucket.name[slot] >= names_.size())
          return "a bucket's name out of bounds";
        const std::size_t length = names_[bucket.name[slot]];
        if (length == 0 || length > DomainName::kMaxOctets || length >= names_.size() - bucket.name[slot]) {
          return "an indexed name out of bounds";
        }
      }
      if (bucket.spilled != 0 && bucket.next == 0) return "a bucket that spilled into none";
      if (bucket.next != 0 && (bucket.next <= i || bucket.next < primary || bucket.next >= buckets_.size())) {
        return "a bucket chain that leads back or out";
      }
    }
    for (std::size_t i = 0; i < primary; ++i) {
      unsigned chain = 0;
      for (std::size_t next = buckets_[i].next; next != 0; next = buckets_[next].next) {
        if (++chain > kMaxChain) return "a bucket chain too long";
      }
    }
    return nullptr;
  }

  std::span<const std::byte> bytes_;
  Tables t_;
  std::span<const format::NameSet> sets_;
  std::span<const std::uint64_t> filter_;
  std::span<const format::Bucket> buckets_;
  std::span<const unsigned char> names_;
};

}  // namespace

Result<Tables> verify(std::span<const std::byte> bytes) { return Verifier(bytes).run(); }

}  // namespace sallyport
