// Cuts an input into pieces whose sizes follow from its own octets, so that a crash replays from the input alone.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#define CHECK(condition) \
  if (!(condition)) std::abort()

template <typename Each>
void for_each_piece(std::string_view octets, Each each) {
  std::uint32_t mix = 2166136261u;
  for (const char c : octets) mix = (mix ^ static_cast<unsigned char>(c)) * 16777619u;
  while (!octets.empty()) {
    mix = mix * 1664525u + 1013904223u;
    std::size_t size = (mix >> 24) % 4 == 0 ? 1 : (mix >> 8) % 97;
    if (size > octets.size()) size = octets.size();
    each(octets.substr(0, size));
    octets.remove_prefix(size);
  }
}
