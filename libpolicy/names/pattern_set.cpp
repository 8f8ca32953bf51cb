#include "names/pattern_set.hpp"

namespace sallyport {

void PatternSet::add(const DomainName& name, PatternKind kind) {
  static_assert(sizeof(Place) == 8);
  const std::string_view text = name.text();
  if (text_.empty()) text_.resize(kFront);
  const std::size_t offset = text_.size();
  text_.insert(text_.end(), text.begin(), text.end());
  places_.push_back({offset, text.size(), static_cast<std::uint64_t>(kind)});
}

void PatternSet::reserve(std::size_t patterns, std::size_t octets) {
  places_.reserve(patterns);
  text_.reserve(kFront + octets);
}

PatternSet::Entry PatternSet::operator[](std::size_t i) const noexcept {
  const Place& place = places_[i];
  return {{text_.data() + place.offset, static_cast<std::size_t>(place.length)}, static_cast<PatternKind>(place.kind)};
}

Pattern PatternSet::pattern(std::size_t i) const {
  const Entry entry = (*this)[i];
  return {*DomainName::parse(entry.name), entry.kind};
}

}  // namespace sallyport
