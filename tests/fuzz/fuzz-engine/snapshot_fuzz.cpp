// Any bytes as a snapshot: refused, or safe to decide with.
//
// The input is tried as it is, and once more with the magic, size and checksum that it claims to have made right, so
// that mutations reach the checks behind the checksum. Whatever verifies must answer every query without leaving its
// bounds (the sanitizers watch), explain must agree with decide, and a compiled policy must verify.
//
// The last octets of the input also steer the queries: names and addresses that no policy of ours mentions.
#include <array>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "engine/decide.hpp"
#include "engine/format.hpp"

namespace {

using namespace sallyport;

void demand(bool holds) {
  if (!holds) std::abort();
}

// 8-aligned copies: reading past the end of one is seen by ASan.
std::vector<std::uint64_t> aligned(std::span<const std::byte> bytes) {
  std::vector<std::uint64_t> words((bytes.size() + 7) / 8);
  if (!bytes.empty()) std::memcpy(words.data(), bytes.data(), bytes.size());
  return words;
}

std::vector<DomainName> names_of(const std::uint8_t* data, std::size_t size) {
  std::vector<DomainName> names;
  for (const char* text :
       {"a.test", "x.a.test", "b.a.test", "host", "v1.api.example.org", "q.w.e.r.t.y.u.i.o.p.a.s.d.f.g.h.j.k"}) {
    if (auto name = DomainName::parse(text); name.ok()) names.push_back(*name);
  }
  const std::size_t tail = size < 40 ? size : 40;
  const std::string text(reinterpret_cast<const char*>(data + size - tail), tail);
  if (auto name = DomainName::parse(text); name.ok()) names.push_back(*name);
  return names;
}

void use(const std::shared_ptr<const Snapshot>& snapshot, const std::vector<DomainName>& names) {
  std::size_t octets = snapshot->source().size();
  for (std::uint32_t i = 0; i < snapshot->rules(); ++i)
    octets += snapshot->rule_name(i).size() + snapshot->rule_where(i).line;
  for (unsigned i = 0; i < 65; ++i) octets += snapshot->group_name(i).size();
  std::array<Address, 4> hosts;
  const std::array<Address, 4> addresses = {Address::v4(0x09090909), Address::v4(0x0a000001), Address::v4(0xa9fea9fe),
                                            Address::v6({0x26, 0x20})};
  std::uint64_t groups = snapshot->groups_of_cell("build-1") | snapshot->groups_of_cell("");
  for (const Address& address : addresses) groups |= snapshot->groups_of_address(address);
  for (const DomainName& name : names) octets += snapshot->host_addresses(name, groups, hosts);
  demand(octets + 1 != 0);

  Reader reader(snapshot);
  std::vector<RuleTrace> trace;
  const auto ask = [&](Query& query) {
    const Verdict verdict = reader.decide(query);
    const Verdict explained = reader.explain(query, trace);
    demand(verdict.effect == explained.effect && verdict.rule == explained.rule && verdict.reason == explained.reason);
    demand(verdict.rule == kNoRuleIndex || verdict.rule < snapshot->rules());
    demand(verdict.generation == snapshot->generation());
  };
  for (std::uint32_t sights = 0; sights < 27; ++sights) {  // known, deferred, invisible for each of the three
    const std::array<std::uint32_t, 3> sight = {sights % 3, sights / 3 % 3, sights / 9};
    Query query;
    query.groups = groups;
    query.port = 443;
    for (unsigned i = 0; i < 3; ++i) {
      if (sight[i] == 1) query.known |= 1u << i;
      if (sight[i] == 2) query.deferred |= 1u << i;
    }
    for (const DomainName& name : names) {
      for (const Address& address : addresses) {
        query.name = &name;
        query.address = &address;
        ask(query);
        if (sight[1] != 1) break;
      }
      if (sight[0] != 1) break;
    }
  }
}

void open_and_use(std::span<const std::byte> bytes, const std::vector<DomainName>& names) {
  const auto snapshot = Snapshot::open(bytes);
  if (snapshot.ok()) use(*snapshot, names);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size > 1 << 20) return 0;
  const std::span<const std::byte> bytes(reinterpret_cast<const std::byte*>(data), size);
  const std::vector<DomainName> names = names_of(data, size);
  open_and_use(bytes, names);
  if (size < sizeof(format::Header)) return 0;

  std::vector<std::uint64_t> words = aligned(bytes);
  const std::span<std::byte> mended(reinterpret_cast<std::byte*>(words.data()), size);
  format::Header header;
  std::memcpy(&header, mended.data(), sizeof(header));
  header.magic = format::kMagic;
  header.version = format::kVersion;
  header.header_size = sizeof(format::Header);
  header.size = size;
  header.name_hash_probe = format::name_hash_probe();
  // Offsets as the counts want them, since those are hard to guess.
  std::size_t end = sizeof(format::Header);
  for (unsigned id = 0; id < format::kSections; ++id) {
    end = (end + format::kAlignment - 1) / format::kAlignment * format::kAlignment;
    header.sections[id].offset = end;
    if (end <= size && header.sections[id].count <= (size - end) / format::kElementSize[id]) {
      end += header.sections[id].count * format::kElementSize[id];
    }
  }
  std::memcpy(mended.data(), &header, sizeof(header));
  format::seal(mended);
  open_and_use(mended, names);
  return 0;
}
