// FoldTable: the decisions of the last second, by their packed records, to count repeats by.
//
// Form     Groups lie one after the other in one piece of memory, each with its key behind it; a table of their places
//          finds them by a keyed hash. Groups end and begin again in place; room comes back with sweep() or clear().
// Memory   At most max_octets of groups, and 8 octets of places for each.
// Lifetime A Group is good until the next insert(), sweep() or clear().
// Threads  One thread at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string_view>
#include <vector>

namespace sallyport {

class FoldTable {
 public:
  struct Group {
    std::uint64_t begun_ns;
    std::uint64_t repeats;   // not yet written
    std::uint64_t first_ns;  // of the first of them
    std::uint32_t tag;
    std::uint16_t first_port;
    std::uint16_t key_octets;
    bool is_open;  // a repeat within the window is no line of its own

    std::string_view key() const noexcept { return {reinterpret_cast<const char*>(this + 1), key_octets}; }
  };

  // seed: random; who chooses keys cannot make them collide.
  explicit FoldTable(std::uint64_t seed, std::size_t max_octets);

  std::uint64_t hash_of(std::string_view key) const noexcept;

  // Before find(), some keys ahead: first where the group's place is looked for, then the group.
  void prefetch_place(std::uint64_t hash) const noexcept;
  void prefetch_group(std::uint64_t hash) const noexcept;

  Group* find(std::string_view key, std::uint64_t hash) noexcept;  // nullptr: none
  Group* insert(std::string_view key, std::uint64_t hash);         // of a key that is not there; nullptr: no room

  template <typename Visit>
  void for_each(Visit visit) {
    for (std::size_t at = 0; at < used_; at += octets_of(group_at(at).key_octets)) {
      __builtin_prefetch(memory_.get() + at + kAhead);
      visit(group_at(at));
    }
  }

  void sweep();  // drops the groups that are not open
  void clear() noexcept;

  std::size_t groups() const noexcept { return groups_; }

 private:
  static constexpr std::size_t kUnit = 64;     // groups begin at a cache line
  static constexpr std::size_t kAhead = 2048;  // some groups of a name
  struct Place {
    std::uint32_t tag = 0;
    std::uint32_t unit = 0;  // 1 + where the group begins; 0: none
  };

  static std::size_t octets_of(std::size_t key_octets) noexcept {
    return (sizeof(Group) + key_octets + kUnit - 1) / kUnit * kUnit;
  }
  static std::uint32_t tag_of(std::uint64_t hash) noexcept { return static_cast<std::uint32_t>(hash >> 32); }
  Group& group_at(std::size_t octet) const noexcept { return *reinterpret_cast<Group*>(memory_.get() + octet); }
  void place(std::uint32_t tag, std::size_t octet) noexcept;
  void make_places(std::size_t count);
  bool make_room(std::size_t octets);

  struct Free {
    void operator()(char* memory) const noexcept;
  };
  std::uint64_t seed_;
  std::size_t max_octets_, room_ = 0, used_ = 0, groups_ = 0;
  std::unique_ptr<char, Free> memory_;
  std::vector<Place> places_;  // a power of two, at most half of them taken
};

}  // namespace sallyport
