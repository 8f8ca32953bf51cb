#include "language/compare/samples.hpp"

#include <algorithm>
#include <array>
#include <deque>
#include <map>
#include <set>
#include <utility>

namespace sallyport {
namespace {

constexpr std::size_t kMostStates = 4096;

// A set of globs, each read up to some place: what is left to be told apart of a text.
using State = std::vector<std::pair<std::uint32_t, std::uint32_t>>;

// A star may stand for nothing.
void add(std::span<const std::string> globs, State& state, std::uint32_t glob, std::uint32_t at) {
  state.emplace_back(glob, at);
  if (at < globs[glob].size() && globs[glob][at] == '*') add(globs, state, glob, at + 1);
}

State settled(State state) {
  std::sort(state.begin(), state.end());
  state.erase(std::unique(state.begin(), state.end()), state.end());
  return state;
}

State after(std::span<const std::string> globs, const State& state, char c) {
  State next;
  for (const auto& [glob, at] : state) {
    if (at == globs[glob].size()) continue;
    if (globs[glob][at] == '*') {
      add(globs, next, glob, at);
    } else if (globs[glob][at] == c) {
      add(globs, next, glob, at + 1);
    }
  }
  return settled(std::move(next));
}

Address last_of(const Prefix& prefix) {
  const Address& first = prefix.network();
  std::array<std::uint8_t, 16> octets = first.octets();
  const unsigned bits = first.is_v4() ? 32 : 128;
  for (unsigned bit = prefix.bits(); bit < bits; ++bit) octets[bit / 8] |= static_cast<std::uint8_t>(0x80u >> bit % 8);
  if (first.is_v6()) return Address::v6(octets);
  return Address::v4(std::uint32_t{octets[0]} << 24 | std::uint32_t{octets[1]} << 16 | std::uint32_t{octets[2]} << 8 |
                     octets[3]);
}

// False: it is the last there is.
bool step(Address& address) {
  if (address.is_v4()) {
    if (address.v4_host_order() == UINT32_MAX) return false;
    address = Address::v4(address.v4_host_order() + 1);
    return true;
  }
  std::array<std::uint8_t, 16> octets = address.octets();
  for (std::size_t i = octets.size(); i-- > 0;) {
    if (++octets[i] != 0) {
      address = Address::v6(octets);
      return true;
    }
  }
  return false;
}

bool is_before(const Address& a, const Address& b) {
  return a.is_v4() != b.is_v4() ? a.is_v4() : a.octets() < b.octets();
}

struct InOrder {
  bool operator()(const Address& a, const Address& b) const { return is_before(a, b); }
};

}  // namespace

GlobSamples glob_samples(std::span<const std::string> globs, std::string_view begin, std::string_view other,
                         bool (*valid)(std::string_view)) {
  GlobSamples out;
  std::set<char> characters(other.begin(), other.end());
  for (const std::string& glob : globs) characters.insert(glob.begin(), glob.end());
  characters.erase('*');
  State start;
  for (std::uint32_t i = 0; i < globs.size(); ++i) add(globs, start, i, 0);
  start = settled(std::move(start));
  for (const char c : begin) start = after(globs, start, c);

  std::set<std::vector<std::uint32_t>> found;
  std::map<State, bool> seen{{start, valid(begin)}};  // whether a valid text led there
  std::deque<std::pair<State, std::string>> waiting{{start, std::string(begin)}};
  while (!waiting.empty()) {
    const auto [state, text] = std::move(waiting.front());
    waiting.pop_front();
    if (valid(text)) {
      std::vector<std::uint32_t> matching;
      for (const auto& [glob, at] : state) {
        if (at == globs[glob].size()) matching.push_back(glob);
      }
      if (found.insert(std::move(matching)).second) out.texts.push_back(text);
    }
    for (const char c : characters) {
      State next = after(globs, state, c);
      std::string longer = text + c;
      const bool is_valid = valid(longer);
      const auto [known, fresh] = seen.emplace(next, is_valid);
      if (!fresh && (known->second || !is_valid)) continue;
      known->second = known->second || is_valid;
      if (seen.size() > kMostStates) {
        out.complete = false;
        return out;
      }
      waiting.emplace_back(std::move(next), std::move(longer));
    }
  }
  return out;
}

std::vector<Address> address_samples(std::span<const Prefix> prefixes) {
  std::set<Address, InOrder> edges{Address::v4(0), Address::v6({})};
  for (const Prefix& prefix : prefixes) {
    edges.insert(prefix.network());
    Address next = last_of(prefix);
    if (step(next)) edges.insert(next);
  }
  return {edges.begin(), edges.end()};
}

Blocks::Blocks(std::span<const Prefix> prefixes) {
  for (const Prefix& prefix : prefixes) blocks_.push_back({prefix.network(), last_of(prefix)});
  std::sort(blocks_.begin(), blocks_.end(), [](const Block& a, const Block& b) {
    return a.first != b.first ? is_before(a.first, b.first) : is_before(b.last, a.last);
  });
  // Prefixes nest or are apart: what begins inside the one before lies inside it.
  std::vector<Block> apart;
  for (const Block& block : blocks_) {
    const bool nested = !apart.empty() && apart.back().first.is_v4() == block.first.is_v4() &&
                        !is_before(apart.back().last, block.first);
    if (!nested) apart.push_back(block);
  }
  blocks_ = std::move(apart);
}

bool Blocks::contains(const Address& address) const noexcept {
  const auto after_it =
      std::upper_bound(blocks_.begin(), blocks_.end(), address,
                       [](const Address& a, const Block& block) { return is_before(a, block.first); });
  if (after_it == blocks_.begin()) return false;
  const Block& block = *(after_it - 1);
  return block.first.is_v4() == address.is_v4() && !is_before(block.last, address);
}

}  // namespace sallyport
