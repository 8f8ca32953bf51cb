// From the text of a name to the rules that list it, hashing included: the index beside its floors and its peers.
#include <benchmark/benchmark.h>
#include <malloc.h>
#include <re2/set.h>
#include <sys/mman.h>

#include <cstring>
#include <memory>
#include <set>
#include <type_traits>

#include "engine/tables.hpp"
#include "huge_memory.hpp"
#include "names.hpp"
#include "peers.hpp"
#include "suites.hpp"

namespace sallyport::bench {
namespace {

using Hashes = std::array<std::uint64_t, DomainName::kMaxLabels>;

// What every structure of hashes has to pay.
class HashFloor {
 public:
  std::uint32_t find(std::string_view name) const noexcept {
    Hashes hashes;
    return static_cast<std::uint32_t>(hashes[DomainName::hash_suffixes(name, hashes) - 1]);
  }
};

// And what one look at memory of the index's size costs.
class LineFloor {
 public:
  explicit LineFloor(std::size_t lines) : memory_(lines * 64), lines_(lines) {}
  std::uint32_t find(std::string_view name) const noexcept {
    Hashes hashes;
    const std::uint64_t hash = hashes[DomainName::hash_suffixes(name, hashes) - 1];
    std::uint64_t word;
    std::memcpy(&word, memory_.data() + scale_to(index_key(hash, 1), lines_) * 64, sizeof(word));
    return static_cast<std::uint32_t>(word);
  }

 private:
  HugeMemory memory_;
  std::size_t lines_;
};

class Index {
 public:
  explicit Index(const Names& names) : bytes_(0) {
    const std::vector<std::byte> made = *compile(policy_of(names), 1);
    bytes_ = HugeMemory(made.size());
    std::memcpy(bytes_.data(), made.data(), made.size());
    tables_ = *verify({bytes_.data(), made.size()});
  }
  std::uint32_t find(std::string_view name) const noexcept {
    Hashes hashes;
    DomainName::SuffixLengths lengths;
    const unsigned labels = DomainName::hash_suffixes(name, hashes, lengths);
    return static_cast<std::uint32_t>(
        tables_.index.find({name, labels, std::span(hashes).first(std::max(labels, 16u)), lengths}).size());
  }
  bool lists(std::string_view name) const noexcept { return !tables_.index.find(*DomainName::parse(name)).empty(); }
  std::size_t buckets() const noexcept { return tables_.header->primary_buckets; }

 private:
  HugeMemory bytes_;
  Tables tables_;
};

// One automaton of all names, a pattern each, as policy engines do that take regular expressions.
class RegexSet {
 public:
  explicit RegexSet(const Names& names) : set_(RE2::DefaultOptions, RE2::ANCHOR_BOTH) {
    for (std::size_t i = 0; i < names.size(); ++i) {
      set_.Add("(.*\\.)?" + RE2::QuoteMeta(std::string(names[i])), nullptr);
    }
    set_.Compile();
  }
  std::uint32_t find(std::string_view name) const {
    return set_.Match(re2::StringPiece(name.data(), name.size()), nullptr) ? 1 : 0;
  }

 private:
  RE2::Set set_;
};

std::size_t allocated() noexcept {
  const auto info = ::mallinfo2();
  return info.uordblks + info.hblkhd;
}

// Everything of one number of names; a structure is made when the first benchmark asks for it.
struct World {
  explicit World(std::size_t count) : names(count), index(names), line(index.buckets()) {}

  const std::vector<std::string>& asked(Asked kind) {
    auto& of = queries_[static_cast<unsigned>(kind)];
    if (of.empty()) of = queries(names, kind, [this](std::string_view name) { return index.lists(name); });
    return of;
  }
  template <typename Structure>
  const Structure& tree(std::unique_ptr<Structure>& place, std::size_t& size) {
    if (place == nullptr) {
      const std::size_t before = allocated();
      place = std::make_unique<Structure>();
      for (std::size_t i = 0; i < names.size(); ++i) place->add(names[i], 1);
      if constexpr (requires { place->link_parents(); }) place->link_parents();
      size = allocated() - before;
    }
    return *place;
  }

  Names names;
  Index index;
  HashFloor hash;
  LineFloor line;
  std::unique_ptr<SuffixTree<false>> suffix_tree;
  std::unique_ptr<SuffixTree<true>> copying_tree;
  std::unique_ptr<RedBlackTree> red_black;
  std::unique_ptr<SuffixHashMap> hash_map;
  std::unique_ptr<RegexSet> regex;
  std::size_t octets[4] = {};

 private:
  std::vector<std::string> queries_[std::size(kEveryAsked)];
};

World& world(std::size_t names) {
  static std::map<std::size_t, std::unique_ptr<World>> worlds;
  auto& of = worlds[names];
  if (of == nullptr) of = std::make_unique<World>(names);
  return *of;
}

// The queries in one piece, as they would lie in packets.
struct Stream {
  // In front: loads of a fixed size that end where a name ends (IndexedName::text).
  explicit Stream(const std::vector<std::string>& names) {
    for (const std::string& name : names) {
      places.push_back({static_cast<std::uint32_t>(text.size()), static_cast<std::uint32_t>(name.size())});
      text += name;
    }
  }
  std::string_view operator[](std::size_t i) const noexcept {
    return std::string_view(text).substr(places[i].offset, places[i].length);
  }
  struct Place {
    std::uint32_t offset, length;
  };
  std::string text = std::string(32, ' ');
  std::vector<Place> places;
};

const Stream& stream_of(const std::vector<std::string>& names) {
  static std::map<const void*, std::unique_ptr<const Stream>> streams;
  auto& stream = streams[&names];
  if (stream == nullptr) stream = std::make_unique<const Stream>(names);
  return *stream;
}

volatile std::uint32_t nothing = 0;  // no compiler knows that

template <typename Structure>
void serial(benchmark::State& state, const Structure& structure, const std::vector<std::string>& names) {
  const Stream& stream = stream_of(names);
  const std::size_t last = names.size() - 1;  // a power of two less one
  const std::uint32_t mask = nothing;
  static std::map<const void*, std::size_t> resumed;  // a round goes on where the one before it ended
  std::size_t& at = resumed[&structure];
  std::size_t i = at & last;
  for (auto _ : state) {
    i = (i + 1 + (structure.find(stream[i]) & mask)) & last;
  }
  at = i;
}

template <typename Structure>
bool agrees(const Structure& structure, World& w, Asked kind) {
  const bool hit = kind == Asked::kZipf || kind == Asked::kCold;
  const Stream& names = stream_of(w.asked(kind));
  // Some of them: a cold look-up of a set of expressions takes a millisecond.
  const std::size_t step = std::is_same_v<Structure, RegexSet> ? 1024 : 16;
  for (std::size_t i = 0; i < names.places.size(); i += step) {
    if ((structure.find(names[i]) != 0) != hit) return false;
  }
  return true;
}

template <typename Get>
void add(const std::string& what, std::size_t names, Get get, bool is_floor = false) {
  for (const Asked kind : kEveryAsked) {
    const std::string name = std::string("lookup/") + to_string(kind) + "/" + what + "/" + std::to_string(names);
    benchmark::RegisterBenchmark(name.c_str(), [=](benchmark::State& state) {
      World& w = world(names);
      const auto& structure = get(w);
      static std::set<std::string> checked;  // right before fast
      if (!is_floor && checked.insert(name).second && !agrees(structure, w, kind)) {
        return state.SkipWithError("a wrong answer");
      }
      serial(state, structure, w.asked(kind));
    })->MinTime(0.02);
  }
}

// 127 labels, the last three of them listed or not: the most that a client can make of one name.
std::vector<std::string> deep_names(bool listed) {
  std::vector<std::string> out;
  for (std::uint64_t i = 0; i < 4096; ++i) {
    std::string name;
    for (unsigned label = 0; label < 124; ++label) {
      name += static_cast<char>('a' + mixed(i * 124 + label) % 26);
      name += '.';
    }
    out.push_back(name + short_name(i % kShortNames));
    if (!listed) out.back().back() = '_';
  }
  return out;
}

template <typename Get>
void add_deep(const std::string& what, std::size_t names, Get get) {
  for (const bool listed : {true, false}) {
    const std::string name =
        std::string("lookup/") + (listed ? "deep" : "deep-miss") + "/" + what + "/" + std::to_string(names);
    benchmark::RegisterBenchmark(name.c_str(), [=](benchmark::State& state) {
      static const std::vector<std::string> asked[] = {deep_names(false), deep_names(true)};
      const auto& structure = get(world(names));
      if (what != "hash" && (structure.find(stream_of(asked[listed])[0]) != 0) != listed) {
        return state.SkipWithError("a wrong answer");
      }
      serial(state, structure, asked[listed]);
    })->MinTime(0.02);
  }
}

}  // namespace

void register_lookups(const Scale& scale) {
  for (const std::size_t names : scale.names()) {
    add("hash", names, [](World& w) -> auto& { return w.hash; }, true);
    add("hash+line", names, [](World& w) -> auto& { return w.line; }, true);
    add("index", names, [](World& w) -> auto& { return w.index; });
    add("suffix-tree", names, [](World& w) -> auto& { return w.tree(w.suffix_tree, w.octets[0]); });
    add("copying-tree", names, [](World& w) -> auto& { return w.tree(w.copying_tree, w.octets[1]); });
    add("red-black", names, [](World& w) -> auto& { return w.tree(w.red_black, w.octets[2]); });
    add("hash-map", names, [](World& w) -> auto& { return w.tree(w.hash_map, w.octets[3]); });
    if (names == 100'000) {
      add_deep("hash", names, [](World& w) -> auto& { return w.hash; });
      add_deep("index", names, [](World& w) -> auto& { return w.index; });
      add_deep("suffix-tree", names, [](World& w) -> auto& { return w.tree(w.suffix_tree, w.octets[0]); });
    }
    if (names <= 1000) {
      add("regex-set", names, [](World& w) -> auto& {
        if (w.regex == nullptr) w.regex = std::make_unique<RegexSet>(w.names);
        return *w.regex;
      });
    }
  }
}

}  // namespace sallyport::bench
