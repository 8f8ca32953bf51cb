#include "names.hpp"

#include <algorithm>
#include <cmath>
#include <unordered_set>

namespace sallyport::bench {
namespace {

// Shares in percent of large public lists, rounded.
struct Share {
  const char* text;
  unsigned percent;
};
constexpr Share kTops[] = {{"com", 52},   {"net", 8},  {"org", 6},    {"de", 4},    {"ru", 4},
                           {"co.uk", 3},  {"info", 3}, {"io", 3},     {"xyz", 2},   {"top", 2},
                           {"fr", 2},     {"nl", 2},   {"com.br", 2}, {"co.jp", 1}, {"com.au", 1},
                           {"online", 1}, {"site", 1}, {"app", 1},    {"pl", 1},    {"dev", 1}};
constexpr const char* kHosts[] = {"www", "api",  "cdn",    "static", "mail", "img", "m",  "blog",
                                  "app", "shop", "assets", "ads",    "s3",   "ws",  "eu", "track"};
constexpr const char* kStarts[] = {"b", "c", "d", "f", "g", "h",  "k",  "l",  "m",  "n",  "p",
                                   "r", "s", "t", "v", "w", "st", "tr", "pl", "sh", "ch", "gr"};
constexpr const char* kVowels[] = {"a", "e", "i", "o", "u", "ee", "ia", "ou"};
constexpr const char* kEnds[] = {"", "", "", "n", "r", "s", "t", "l", "x", "ck", "ng", "-"};

// A stream of choices out of one number.
class Dice {
 public:
  explicit Dice(std::uint64_t state) : state_(state) {}
  std::uint64_t below(std::uint64_t n) { return mixed(state_++) % n; }

 private:
  std::uint64_t state_;
};

template <std::size_t n>
const char* any(const char* const (&of)[n], Dice& dice) {
  return of[dice.below(n)];
}

void add_word(std::string& out, unsigned syllables, Dice& dice) {
  const std::size_t start = out.size();
  for (unsigned i = 0; i < syllables; ++i) {
    out += any(kStarts, dice);
    out += any(kVowels, dice);
    out += any(kEnds, dice);
  }
  while (out.size() > start && out.back() == '-') out.pop_back();
}

// salt: another one makes other zones.
std::string nth_name(std::uint64_t n, std::uint64_t zones, std::uint64_t salt) {
  Dice dice(mixed(n ^ salt));
  Dice zone(mixed(mixed(dice.below(zones)) ^ salt));  // several names choose the same
  std::string out;
  const std::uint64_t depth = dice.below(100);  // labels in front of the zone
  for (std::uint64_t left = depth < 30 ? 0 : depth < 85 ? 1 : depth < 97 ? 2 : 3; left > 0; --left) {
    if (dice.below(2) == 0) {
      out += any(kHosts, dice);
      if (dice.below(3) == 0) out += std::to_string(dice.below(100));
    } else {
      add_word(out, 1 + static_cast<unsigned>(dice.below(4)), dice);
    }
    out += '.';
  }
  add_word(out, 2 + static_cast<unsigned>(zone.below(4)), zone);
  if (zone.below(8) == 0) out += std::to_string(zone.below(1000));
  std::uint64_t share = zone.below(100);
  for (const Share& top : kTops) {
    if (share < top.percent) return out + '.' + top.text;
    share -= top.percent;
  }
  return out + ".com";
}

constexpr std::uint64_t kListed = 0x5a11, kOthers = 0x0ddb;

}  // namespace

std::uint64_t mixed(std::uint64_t x) noexcept {
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
  x = (x ^ x >> 27) * 0x94d049bb133111ebu;
  return x ^ x >> 31;
}

std::string short_name(std::size_t n) {
  return {static_cast<char>('a' + n % 8), '.', static_cast<char>('a' + n / 8), '.', 'q'};
}

Names::Names(std::size_t count) {
  std::unordered_set<std::uint64_t> seen;  // by hash: what collides is left out, and nobody misses it
  seen.reserve(count);
  places_.reserve(count + 1);
  text_.reserve(count * 22);
  for (std::uint64_t n = 0; size() + kShortNames < count; ++n) {
    const std::string name = nth_name(n, count * 3 / 4 + 1, kListed);
    const Result<DomainName> parsed = DomainName::parse(name);
    if (!parsed.ok() || !seen.insert(parsed->hash()).second) continue;
    text_ += name;
    places_.push_back(text_.size());
  }
  for (std::size_t n = 0; n < kShortNames; ++n) {
    text_ += short_name(n);
    places_.push_back(text_.size());
  }
}

const char* to_string(Asked asked) noexcept {
  switch (asked) {
    case Asked::kZipf:
      return "zipf";
    case Asked::kCold:
      return "cold";
    case Asked::kMiss:
      return "miss";
    case Asked::kSiblingMiss:
      return "sibling-miss";
  }
  return "";
}

std::vector<std::string> queries(const Names& names, Asked asked,
                                 const std::function<bool(std::string_view)>& is_listed) {
  const std::size_t count = names.size() >= 1'000'000 ? 1u << 18 : 1u << 16;
  std::vector<std::string> out;
  out.reserve(count);
  for (std::uint64_t n = 0; out.size() < count; ++n) {
    Dice dice(mixed(n ^ 0xa5ced));
    if (asked == Asked::kMiss) {
      std::string name = nth_name(n, ~std::uint64_t{0} >> 1, kOthers);
      if (!is_listed(name)) out.push_back(std::move(name));
      continue;
    }
    std::size_t which = dice.below(names.size());
    if (asked == Asked::kZipf) {  // by the inverse of the distribution function, ln k / ln n
      const double u = static_cast<double>(dice.below(1u << 30)) / (1u << 30);
      const double rank = std::pow(static_cast<double>(names.size()), u);
      which = mixed(static_cast<std::uint64_t>(rank)) % names.size();
    }
    std::string name(names[which]);
    if (asked == Asked::kSiblingMiss) {
      if (std::count(name.begin(), name.end(), '.') < 2) continue;
      name.replace(0, name.find('.'), "sib" + std::to_string(dice.below(100000)));
      if (!is_listed(name)) out.push_back(std::move(name));
    } else {
      out.push_back(n % 2 == 0 ? std::move(name) : any(kHosts, dice) + ("." + name));
    }
  }
  return out;
}

PolicyModel policy_of(const Names& names) {
  auto list = std::make_shared<PatternSet>();
  list->reserve(names.size(), names.octets());
  for (std::size_t i = 0; i < names.size(); ++i) {
    list->add(*DomainName::parse(names[i]), PatternKind::kExactAndBelow);
  }
  PolicyModel policy;
  policy.rules.resize(1);
  policy.rules[0].name = "listed";
  policy.rules[0].action = Action::kAllow;
  policy.rules[0].lists = {std::move(list)};
  policy.rules[0].ports = {{443, 443, kProtoTcp}};
  return policy;
}

}  // namespace sallyport::bench
