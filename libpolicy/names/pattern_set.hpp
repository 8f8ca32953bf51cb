// PatternSet: patterns by the million, in 8 octets and the text each, where a Pattern has 400.
//
// Form     In the order in which they were added, repetitions included. Texts are canonical (DomainName::text()).
// Threads  Immutable once it is shared.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "names/domain_name.hpp"
#include "names/pattern.hpp"

namespace sallyport {

class PatternSet {
 public:
  struct Entry {
    std::string_view name;  // canonical; valid while the set lives and does not grow
    PatternKind kind = PatternKind::kExact;
  };

  void add(const DomainName& name, PatternKind kind);
  void add(const Pattern& pattern) { add(pattern.name, pattern.kind); }
  void reserve(std::size_t patterns, std::size_t octets);

  std::size_t size() const noexcept { return places_.size(); }
  bool empty() const noexcept { return places_.empty(); }
  Entry operator[](std::size_t i) const noexcept;
  Pattern pattern(std::size_t i) const;

 private:
  struct Place {
    std::uint64_t offset : 48, length : 8, kind : 8;
  };
  static constexpr std::size_t kFront = 32;  // in front of the first name, for DomainName::hash_suffixes()
  std::vector<char> text_;
  std::vector<Place> places_;
};

}  // namespace sallyport
