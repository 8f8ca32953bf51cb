// Names to measure with: made up, but of the mix that public lists have, and the same in every run.
//
// Form     21 characters and 3 labels on average; real top-level domains by their share; zones with siblings; half of
//          the leftmost labels of deeper names from those that every list has ("www", "api", "cdn", ...).
// Not      real lists: none of 1e6 names may be shipped with the tree, and 1e3 to 1e7 should differ in number alone.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/decide.hpp"

namespace sallyport::bench {

// The last names of every list: three labels of one octet, since 127 labels leave no room for longer ones.
inline constexpr std::size_t kShortNames = 64;
std::string short_name(std::size_t n);

// Distinct canonical names, one blob.
class Names {
 public:
  explicit Names(std::size_t count);
  std::size_t size() const noexcept { return places_.size() - 1; }
  std::string_view operator[](std::size_t i) const noexcept {
    return {text_.data() + places_[i], places_[i + 1] - places_[i]};
  }
  std::size_t octets() const noexcept { return text_.size(); }

 private:
  std::string text_;
  std::vector<std::size_t> places_ = {0};
};

// What a client asks for.
enum class Asked : std::uint8_t {
  kZipf,         // names of the list by Zipf's law (s = 1), half of them with one label more
  kCold,         // names of the list, each as likely
  kMiss,         // names of other zones
  kSiblingMiss,  // a name of the list with another first label
};
inline constexpr Asked kEveryAsked[] = {Asked::kZipf, Asked::kCold, Asked::kMiss, Asked::kSiblingMiss};
const char* to_string(Asked asked) noexcept;

// 65,536 names to ask for; 262,144 from 1e6 names on, so that they do not fit a cache that the list itself does not
// fit. is_listed says whether a name or one of its ancestors is on the list: a miss has to be one.
std::vector<std::string> queries(const Names& names, Asked asked,
                                 const std::function<bool(std::string_view)>& is_listed);

// One rule that allows each of the names and what is below it.
PolicyModel policy_of(const Names& names);

std::uint64_t mixed(std::uint64_t x) noexcept;  // splitmix64

}  // namespace sallyport::bench
