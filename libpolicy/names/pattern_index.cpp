// Open addressing over positions alone: the text is in the set, and a slot of 4 octets at a load of two thirds is all
// that is added. A pattern that is there already is not put in again, so that a list which repeats itself makes no long
// runs.
#include "names/pattern_index.hpp"

#include <algorithm>
#include <bit>
#include <utility>

namespace sallyport {
namespace {

constexpr std::uint64_t kLongestRun = 256;  // at this load a run of 50 is rare among a billion names

}  // namespace

PatternIndex::PatternIndex(std::shared_ptr<const PatternSet> set) : set_(std::move(set)) {
  const std::size_t count = set_->size();
  slots_.resize(std::bit_ceil(std::max<std::size_t>(count + count / 2, 2)));
  mask_ = slots_.size() - 1;
  for (std::size_t i = 0; i < count && i < 0xffffffffu; ++i) {
    const PatternSet::Entry entry = (*set_)[i];
    const std::uint64_t hash = DomainName::parse(entry.name)->hash();
    std::uint64_t run = 0;
    for (std::uint64_t slot = hash & mask_; run < kLongestRun; slot = (slot + 1) & mask_, ++run) {
      if (slots_[slot] == 0) {
        slots_[slot] = static_cast<std::uint32_t>(i + 1);
        break;
      }
      const PatternSet::Entry there = (*set_)[slots_[slot] - 1];
      if (there.kind == entry.kind && there.name == entry.name) break;
    }
    if (run == kLongestRun) whole_ = false;
  }
}

template <typename Visit>
void PatternIndex::each(std::string_view text, std::uint64_t hash, Visit visit) const noexcept {
  std::uint64_t run = 0;
  for (std::uint64_t slot = hash & mask_; slots_[slot] != 0 && run < kLongestRun; slot = (slot + 1) & mask_, ++run) {
    const std::size_t position = slots_[slot] - 1;
    const PatternSet::Entry entry = (*set_)[position];
    if (entry.name == text) visit(position, entry.kind);
  }
}

PatternIndex::At PatternIndex::at(const DomainName& name, unsigned labels) const noexcept {
  At found;
  each(name.suffix(labels), name.suffix_hash(labels), [&](std::size_t, PatternKind kind) {
    found.itself |= kind != PatternKind::kBelow;
    found.below |= kind != PatternKind::kExact;
  });
  return found;
}

bool PatternIndex::covers(const DomainName& name, PatternKind kind) const noexcept {
  const At own = at(name, name.labels());
  if ((kind == PatternKind::kBelow || own.itself) && (kind == PatternKind::kExact || own.below)) return true;
  for (unsigned labels = name.labels(); labels-- > 1;) {
    if (at(name, labels).below) return true;
  }
  return false;
}

std::optional<std::size_t> PatternIndex::longest_match(const DomainName& name) const noexcept {
  for (unsigned labels = name.labels(); labels > 0; --labels) {
    const bool itself = labels == name.labels();
    std::optional<std::size_t> best;
    each(name.suffix(labels), name.suffix_hash(labels), [&](std::size_t position, PatternKind kind) {
      if (itself ? kind == PatternKind::kBelow : kind == PatternKind::kExact) return;
      if (!best || kind == PatternKind::kExact) best = position;
    });
    if (best) return best;
  }
  return std::nullopt;
}

const PatternIndex& PatternIndexes::of(const std::shared_ptr<const PatternSet>& set) {
  std::unique_ptr<PatternIndex>& index = indexes_[set.get()];
  if (index == nullptr) index = std::make_unique<PatternIndex>(set);
  return *index;
}

}  // namespace sallyport
