// Lookups for callgrind to count: `lookups hit|miss COUNT` makes COUNT of them in measured(), hashing included.
//
// The names are those of benchmarks/engine, 100,000 of them. Nothing here depends on time, addresses or chance, so the
// counts are the same in every run of one build.
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "engine/tables.hpp"
#include "names.hpp"

namespace {

using namespace sallyport;

// Not inlined: callgrind is told its name. Behind 32 octets each.
[[gnu::noinline]] std::size_t measured(const DomainIndex& index, std::span<const std::string_view> names) {
  std::size_t found = 0;
  std::array<std::uint64_t, DomainName::kMaxLabels> hashes;
  DomainName::SuffixLengths lengths;
  for (const std::string_view name : names) {
    const unsigned labels = DomainName::hash_suffixes(name, hashes, lengths);
    found += index.find({name, labels, hashes, lengths}).empty() ? 0 : 1;
  }
  return found;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  const bool hit = std::strcmp(argv[1], "hit") == 0;
  const std::size_t count = std::strtoull(argv[2], nullptr, 10);
  const bench::Names names(100'000);
  const auto bytes = compile(bench::policy_of(names), 1);
  if (!bytes.ok()) return 1;
  const auto tables = verify(*bytes);
  if (!tables.ok()) return 1;
  const auto is_listed = [&tables](std::string_view name) {
    return !tables->index.find(*DomainName::parse(name)).empty();
  };
  const auto asked = bench::queries(names, hit ? bench::Asked::kCold : bench::Asked::kMiss, is_listed);
  if (count > asked.size()) return 2;
  std::vector<std::string> padded;
  std::vector<std::string_view> texts;
  for (const std::string& name : asked) padded.push_back(std::string(format::kNamesFront, ' ') + name);
  for (const std::string& text : padded) texts.push_back(std::string_view(text).substr(format::kNamesFront));
  const std::size_t found = measured(tables->index, std::span(texts).first(count));
  std::printf("%zu of %zu found\n", found, count);
  return found == (hit ? count : 0) ? 0 : 1;
}
