#include "engine/decision_cache.hpp"

#include <cstring>
#include <utility>

#include "engine/domain_index.hpp"

namespace sallyport {
namespace {

// Attributes whose values are part of an entry; a method or path that is known would be read.
constexpr std::uint32_t kCached = kKnowName | kKnowPort;
constexpr std::uint32_t kAll = kKnowName | kKnowAddress | kKnowPort | kKnowMethod | kKnowPath;
static_assert(kAll < 1u << 5);

}  // namespace

// Without a branch between the words: equal is what is expected once the first is.
bool DecisionCache::Entry::is_for(const Entry& wanted) const noexcept {
  std::uint64_t differs = groups ^ wanted.groups;
  for (std::size_t i = 0; i < name.size(); ++i) differs |= name[i] ^ wanted.name[i];
  differs |= std::uint64_t{generation} ^ wanted.generation;
  differs |= static_cast<std::uint64_t>((port ^ wanted.port) | (proto ^ wanted.proto) | (length ^ wanted.length) |
                                        (sights ^ wanted.sights));
  return differs == 0;
}

Verdict DecisionCache::decide(const Snapshot& snapshot, const Query& query) noexcept {
  const bool fits = query.name != nullptr && query.name->text().size() <= kName &&
                    query.name->labels() <= DomainName::kStoredSuffixes && query.proto < 256 &&
                    (query.known & kKnowName) != 0 && (query.known & ~kCached) == 0 && (query.deferred & ~kAll) == 0 &&
                    static_cast<unsigned>(query.layer) < 64;
  if (!fits) return snapshot.decide(query);

  Entry wanted;
  // A name's text is followed by zeros to the end of its buffer, which is longer than kName.
  std::memcpy(wanted.name.data(), query.name->text().data(), kName);
  wanted.groups = query.groups;
  wanted.generation = static_cast<std::uint32_t>(snapshot.generation());
  wanted.port = (query.known & kKnowPort) != 0 ? query.port : std::uint16_t{0};
  wanted.proto = static_cast<std::uint8_t>(query.proto);
  wanted.length = static_cast<std::uint8_t>(query.name->text().size());
  wanted.sights =
      static_cast<std::uint16_t>(query.known | query.deferred << 5 | static_cast<std::uint32_t>(query.layer) << 10);
  const std::uint64_t key = index_key(query.name->hash() ^ (query.groups + wanted.port) * 0x9e3779b97f4a7c15u, seed_);
  Entry* const set = &entries_[scale_to(key, kSets) * kWays];
  for (std::size_t way = 0; way < kWays; ++way) {
    if (!set[way].is_for(wanted)) continue;
    Verdict verdict;
    verdict.effect = static_cast<Effect>(set[way].answer & 3);
    verdict.flags = set[way].answer >> 2;
    verdict.reason = static_cast<Reason>(set[way].reason);
    verdict.rule = set[way].rule;
    verdict.generation = snapshot.generation();
    return verdict;
  }

  const Verdict verdict = snapshot.decide(query);
  if (snapshot.may_be_on_trial(query.groups) || verdict.trials[0] != 0) return verdict;
  wanted.rule = verdict.rule;
  wanted.reason = static_cast<std::uint8_t>(verdict.reason);
  wanted.answer = static_cast<std::uint8_t>(static_cast<unsigned>(verdict.effect) | verdict.flags << 2);
  set[1] = std::exchange(set[0], wanted);
  return verdict;
}

}  // namespace sallyport
