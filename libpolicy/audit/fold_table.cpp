// A place holds 32 bits of the hash, which also say where it is looked for: the table grows without the keys. Most
// look-ups of a key that is there touch one line of places and the group's own lines, which lie side by side, so that
// all can be asked for before the first is needed.
//
// Road not taken: std::unordered_map (a node and a key for each group, three misses of the cache one after the other).
#include "audit/fold_table.hpp"

#include <algorithm>
#include <bit>
#include <new>
#include <utility>

namespace sallyport {
namespace {

constexpr std::size_t kLeastPlaces = 256;
constexpr std::size_t kLeastRoom = 64 * 1024;

std::uint64_t word(const char* from, std::size_t size) noexcept {
  std::uint64_t out = 0;
  std::memcpy(&out, from, size);
  return out;
}

}  // namespace

void FoldTable::Free::operator()(char* memory) const noexcept { ::operator delete(memory, std::align_val_t{kUnit}); }

FoldTable::FoldTable(std::uint64_t seed, std::size_t max_octets) : seed_(seed), max_octets_(max_octets) {}

std::uint64_t FoldTable::hash_of(std::string_view key) const noexcept {
  std::uint64_t state = seed_ ^ key.size();
  const auto mix = [&state](std::uint64_t a, std::uint64_t b) {
    const auto product = static_cast<unsigned __int128>(a ^ state) * (b ^ 0xe7037ed1a0b428dbu);
    state = static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64);
  };
  const char* at = key.data();
  std::size_t left = key.size();
  for (; left >= 16; at += 16, left -= 16) mix(word(at, 8), word(at + 8, 8));
  if (left > 0) mix(word(at, std::min<std::size_t>(8, left)), left > 8 ? word(at + 8, left - 8) : 0);
  mix(seed_, 0x8ebc6af09c88c6e3u);
  return state;
}

void FoldTable::prefetch_place(std::uint64_t hash) const noexcept {
  if (!places_.empty()) __builtin_prefetch(&places_[tag_of(hash) & (places_.size() - 1)]);
}

void FoldTable::prefetch_group(std::uint64_t hash) const noexcept {
  if (places_.empty()) return;
  const std::uint32_t tag = tag_of(hash);
  const Place& place = places_[tag & (places_.size() - 1)];
  if (place.unit == 0 || place.tag != tag) return;
  const char* const group = memory_.get() + (place.unit - 1) * kUnit;
  for (std::size_t line = 0; line < 4; ++line) __builtin_prefetch(group + line * kUnit);
}

FoldTable::Group* FoldTable::find(std::string_view key, std::uint64_t hash) noexcept {
  if (places_.empty()) return nullptr;
  const std::uint32_t tag = tag_of(hash);
  for (std::size_t at = tag & (places_.size() - 1); places_[at].unit != 0; at = (at + 1) & (places_.size() - 1)) {
    if (places_[at].tag != tag) continue;
    Group& group = group_at((places_[at].unit - 1) * kUnit);
    if (group.key() == key) return &group;
  }
  return nullptr;
}

void FoldTable::place(std::uint32_t tag, std::size_t octet) noexcept {
  std::size_t at = tag & (places_.size() - 1);
  while (places_[at].unit != 0) at = (at + 1) & (places_.size() - 1);
  places_[at] = {tag, static_cast<std::uint32_t>(octet / kUnit + 1)};
}

void FoldTable::make_places(std::size_t count) {
  places_.assign(std::max(kLeastPlaces, std::bit_ceil(2 * count)), {});
  for_each([this](Group& group) {
    place(group.tag, static_cast<std::size_t>(reinterpret_cast<char*>(&group) - memory_.get()));
  });
}

bool FoldTable::make_room(std::size_t octets) {
  if (used_ + octets <= room_) return true;
  const std::size_t room = std::min(max_octets_, std::max(kLeastRoom, 2 * room_));
  if (used_ + octets > room) return false;
  std::unique_ptr<char, Free> memory(static_cast<char*>(::operator new(room, std::align_val_t{kUnit})));
  if (used_ > 0) std::memcpy(memory.get(), memory_.get(), used_);
  memory_ = std::move(memory);
  room_ = room;
  return true;
}

FoldTable::Group* FoldTable::insert(std::string_view key, std::uint64_t hash) {
  const std::size_t octets = octets_of(key.size());
  if (!make_room(octets)) return nullptr;
  const std::size_t at = std::exchange(used_, used_ + octets);
  const std::uint32_t tag = tag_of(hash);
  auto* const group = new (memory_.get() + at) Group{.begun_ns = 0,
                                                     .repeats = 0,
                                                     .first_ns = 0,
                                                     .tag = tag,
                                                     .first_port = 0,
                                                     .key_octets = static_cast<std::uint16_t>(key.size()),
                                                     .is_open = false};
  std::memcpy(reinterpret_cast<char*>(group + 1), key.data(), key.size());
  ++groups_;
  if (2 * groups_ > places_.size()) {
    make_places(2 * groups_);
  } else {
    place(tag, at);
  }
  return group;
}

void FoldTable::sweep() {
  std::size_t kept = 0;
  groups_ = 0;
  for (std::size_t at = 0, octets; at < used_; at += octets) {
    octets = octets_of(group_at(at).key_octets);
    if (!group_at(at).is_open) continue;
    if (kept != at) std::memmove(memory_.get() + kept, memory_.get() + at, octets);
    kept += octets;
    ++groups_;
  }
  used_ = kept;
  make_places(groups_);
}

void FoldTable::clear() noexcept {
  used_ = groups_ = 0;
  std::fill(places_.begin(), places_.end(), Place{});
}

}  // namespace sallyport
