// Near misses: what a user most likely meant by a word that is none of the known ones.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

namespace sallyport {

// Insertions, deletions, changes and swaps of neighbours (optimal string alignment). Words longer than 64 octets are
// far apart.
std::size_t edit_distance(std::string_view a, std::string_view b);

// The nearest candidate, if it is near enough to be meant; empty otherwise. A view into candidates.
std::string_view nearest(std::string_view word, std::span<const std::string_view> candidates);
std::string_view nearest(std::string_view word, std::span<const std::string> candidates);

// A value in backticks, with control octets escaped and long values cut.
std::string in_ticks(std::string_view value);

}  // namespace sallyport
