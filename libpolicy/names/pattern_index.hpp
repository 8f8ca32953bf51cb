// PatternIndex: which patterns a PatternSet has at a name, for those who ask about a few names what a set of millions
// says.
//
// Form     6 octets a pattern beside the set. Not decide()'s index: this one tells patterns apart, so that messages can
//          show the one that matched.
// Lifetime Shares the set.
// Threads  Immutable.
// Errors   Names that were made to share their hashes are found until a run of them is too long; then is_whole() is
//          false, and what is not found may be there all the same.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "names/pattern_set.hpp"

namespace sallyport {

class PatternIndex {
 public:
  explicit PatternIndex(std::shared_ptr<const PatternSet> set);

  bool is_whole() const noexcept { return whole_; }

  // What the set says of `labels` labels of the name from the right, 1 to name.labels(), itself; not of those above it.
  struct At {
    bool itself = false;  // the name is matched
    bool below = false;   // all below it are
  };
  At at(const DomainName& name, unsigned labels) const noexcept;

  // Whether some pattern of the set matches all that a pattern of this kind at the name does.
  bool covers(const DomainName& name, PatternKind kind) const noexcept;

  // The longest pattern that matches, its position in the set; of one name the exact one.
  std::optional<std::size_t> longest_match(const DomainName& name) const noexcept;

 private:
  template <typename Visit>
  void each(std::string_view text, std::uint64_t hash, Visit visit) const noexcept;

  std::shared_ptr<const PatternSet> set_;
  std::vector<std::uint32_t> slots_;  // position in the set and one; 0: free
  std::uint64_t mask_ = 0;
  bool whole_ = true;
};

// The indexes of several sets, each built when it is first asked for.
class PatternIndexes {
 public:
  const PatternIndex& of(const std::shared_ptr<const PatternSet>& set);
  // That has been asked for: any number of threads.
  const PatternIndex& known(const std::shared_ptr<const PatternSet>& set) const { return *indexes_.at(set.get()); }

 private:
  std::map<const PatternSet*, std::unique_ptr<PatternIndex>> indexes_;  // which keep the sets
};

}  // namespace sallyport
