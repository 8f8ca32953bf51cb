#include "support/tunnel_budgets.hpp"

#include <sys/random.h>

#include <algorithm>

#include "names/sip_hash.hpp"
#include "names/suffix_list.hpp"
#include "support/config.hpp"

namespace sallyport::net {
namespace {

constexpr std::size_t kMostNames = 65536;  // distinct ones kept of one pair, where no budget of names ends it earlier
constexpr std::size_t kFewestSlots = 16;

std::string_view text_of(const policy_name& name) noexcept { return {name.text, name.len}; }

// The octet where the last `labels` labels begin.
std::size_t start_of(std::string_view text, unsigned labels) noexcept {
  std::size_t at = text.size();
  for (; labels > 0 && at > 0; --labels) {
    const std::size_t dot = text.rfind('.', at - 1);
    if (dot == std::string_view::npos) return 0;
    at = dot;
  }
  return at == text.size() ? at : at + 1;
}

std::uint32_t longest_label(std::string_view text) noexcept {
  std::size_t longest = 0;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find('.', at), text.size());
    longest = std::max(longest, end - at);
    at = end + 1;
  }
  return static_cast<std::uint32_t>(longest);
}

unsigned labels_in(std::string_view text) noexcept {
  return text.empty() ? 0 : static_cast<unsigned>(std::count(text.begin(), text.end(), '.')) + 1;
}

}  // namespace

std::string_view tunnel_budget_word(TunnelBudget budget) noexcept {
  constexpr std::array<std::string_view, kTunnelBudgets> kWords{"none",   "names",  "long_names",
                                                                "octets", "absent", "answers"};
  return kWords[static_cast<std::size_t>(budget)];
}

TunnelLimits read_tunnel_limits(ConfigReader& reader) {
  using std::chrono::milliseconds;
  TunnelLimits out;
  reader.object("budgets", [&out](ConfigReader& budgets) {
    const auto number = [&budgets](std::string_view key, std::uint32_t preset, std::uint32_t most) {
      return static_cast<std::uint32_t>(budgets.number(key, preset, 0, most));
    };
    out.window = budgets.duration("window", out.window, milliseconds(1'000), milliseconds(3'600'000));
    out.cooldown = budgets.duration("cooldown", out.cooldown, milliseconds(1'000), milliseconds(86'400'000));
    out.names = number("names", out.names, kMostNames);
    out.long_names = number("long_names", out.long_names, kMostNames);
    out.long_label = number("long_label", out.long_label, 63);
    out.octets = number("octets", out.octets, 1u << 24);
    out.absent = number("absent", out.absent, kMostNames);
    out.answers = number("answers", out.answers, 1u << 24);
  });
  return out;
}

// ---- distinct names

// Its place, or the free one where it would be.
std::uint64_t* TunnelBudgets::Names::find(std::uint64_t hash) noexcept {
  const std::size_t mask = slots_.size() - 1;
  for (std::size_t at = (hash >> 1) & mask;; at = (at + 1) & mask) {
    std::uint64_t& slot = slots_[at];
    if (slot == 0 || (slot | 1) == (hash | 1)) return &slot;
  }
}

TunnelBudgets::Names::Added TunnelBudgets::Names::add(std::uint64_t hash) {
  hash &= ~std::uint64_t{1};
  if (hash == 0) hash = 2;  // 0 is a free place
  if (used_ * 3 >= slots_.size() * 2) {
    if (used_ >= kMostNames)
      return slots_[static_cast<std::size_t>(find(hash) - slots_.data())] == 0 ? Added::kFull : Added::kKnown;
    std::vector<std::uint64_t> old(std::max(kFewestSlots, slots_.size() * 2));
    old.swap(slots_);
    for (const std::uint64_t slot : old) {
      if (slot != 0) *find(slot) = slot;
    }
  }
  std::uint64_t* const slot = find(hash);
  if (*slot != 0) return Added::kKnown;
  *slot = hash;
  ++used_;
  return Added::kNew;
}

bool TunnelBudgets::Names::mark_absent(std::uint64_t hash) {
  hash &= ~std::uint64_t{1};
  if (hash == 0) hash = 2;
  const Added added = add(hash);
  if (added == Added::kFull) return true;  // whether it is a repeat cannot be known: the strict reading
  std::uint64_t* const slot = find(hash);
  if ((*slot & 1) != 0) return false;
  *slot |= 1;
  return true;
}

void TunnelBudgets::Names::clear() noexcept {
  std::vector<std::uint64_t>().swap(slots_);
  used_ = 0;
}

// ---- parents

std::unique_ptr<TunnelBudgets> TunnelBudgets::make(const TunnelLimits& limits) {
  std::array<std::uint64_t, 2> key{};
  while (::getrandom(key.data(), sizeof key, 0) != sizeof key) {
  }
  return std::make_unique<TunnelBudgets>(limits, key);
}

std::uint32_t TunnelBudgets::listed_labels(const policy_decision_v1& decision, policy_thread* thread,
                                           const policy_name& name, const policy_verdict& verdict) {
  if (!POLICY_HAS(&decision, listed_labels) || decision.listed_labels == nullptr) return 0;
  return decision.listed_labels(thread, &name, &verdict);
}

unsigned TunnelBudgets::parent_labels(const policy_name& name, std::uint32_t listed) {
  if (listed >= name.labels) return name.labels;
  const std::string_view text = text_of(name);
  // A wildcard above all registrants is one parent for nobody; of private suffixes (buckets, pages) the apex counts,
  // since whoever has one of them can have a thousand.
  const std::string apex(parent_of(name, listed));
  if (listed >= 2 && !suffix_list::is_suffix(apex, SuffixSection::kIcann)) return listed;
  const std::string registrable = suffix_list::registrable_domain(std::string(text));
  const unsigned labels = registrable.empty() ? std::min<unsigned>(2, name.labels) : labels_in(registrable);
  return std::max<unsigned>(labels, listed);
}

std::string_view TunnelBudgets::parent_of(const policy_name& name, unsigned labels) noexcept {
  const std::string_view text = text_of(name);
  return text.substr(start_of(text, labels));
}

// ---- pairs

void TunnelBudgets::begin_anew(Pair& pair, Clock::time_point now) noexcept {
  pair.began = now;
  pair.suspect_until = {};
  pair.reached = TunnelBudget::kNone;
  pair.names = pair.long_names = pair.octets = pair.absent = pair.answers = 0;
  pair.seen.clear();
}

// Forgets what is over, at most once a second: a full table is walked for nothing otherwise.
void TunnelBudgets::sweep(Clock::time_point now) {
  if (now < swept_ + std::chrono::seconds(1)) return;
  swept_ = now;
  for (auto it = clients_.begin(); it != clients_.end();) {
    Client& client = it->second;
    pairs_ -= std::erase_if(client.pairs, [&](const Pair& pair) { return is_over(pair, now); });
    it = client.pairs.empty() && is_over(client.rest, now) ? clients_.erase(it) : std::next(it);
  }
}

TunnelBudgets::Client& TunnelBudgets::client_of(std::uint64_t id, Clock::time_point now) {
  const auto known = clients_.find(id);
  if (known != clients_.end()) return known->second;
  if (clients_.size() >= kClients) sweep(now);
  if (clients_.size() >= kClients) {
    // Who is suspect goes last.
    const auto rank = [now](const auto& entry) {
      return std::pair(entry.second.suspect_until > now, entry.second.heard);
    };
    const auto silent = std::min_element(clients_.begin(), clients_.end(),
                                         [&](const auto& a, const auto& b) { return rank(a) < rank(b); });
    pairs_ -= silent->second.pairs.size();
    clients_.erase(silent);
  }
  return clients_[id];
}

// Null: none of its own, and it would share the rest's.
TunnelBudgets::Pair* TunnelBudgets::own_pair(Client& client, std::uint64_t parent) noexcept {
  for (Pair& own : client.pairs) {
    if (own.parent == parent) return &own;
  }
  return nullptr;
}

TunnelBudgets::Placed TunnelBudgets::place_of(std::uint64_t id, std::uint64_t parent, Clock::time_point now) {
  client_of(id, now).heard = now;
  if (pairs_ >= kPairs) sweep(now);
  Client& client = clients_[id];
  client.heard = now;
  Pair* pair = own_pair(client, parent);
  // While the rest is suspect nothing of it gets away into a place that has become free.
  if (pair == nullptr && now >= client.rest.suspect_until) {
    if (client.pairs.size() >= kPairsPerClient) {
      const auto over =
          std::find_if(client.pairs.begin(), client.pairs.end(), [&](const Pair& own) { return is_over(own, now); });
      if (over != client.pairs.end()) pair = &*over;
    } else if (pairs_ < kPairs) {
      pair = &client.pairs.emplace_back();
      ++pairs_;
    }
    if (pair != nullptr) {
      pair->parent = parent;
      begin_anew(*pair, now);
    }
  }
  if (pair == nullptr) pair = &client.rest;
  if (is_over(*pair, now)) begin_anew(*pair, now);
  return {client, *pair};
}

TunnelBudgets::Finding TunnelBudgets::held(const Pair& pair, Clock::time_point now) noexcept {
  if (now >= pair.suspect_until) return {};
  return {pair.reached, false, 0};
}

TunnelBudgets::Finding TunnelBudgets::reach(const Placed& placed, TunnelBudget budget, std::uint32_t count,
                                            Clock::time_point now) {
  Pair& pair = placed.pair;
  pair.reached = budget;
  pair.suspect_until = now + limits_.cooldown;
  pair.seen.clear();
  placed.client.suspect_until = std::max(placed.client.suspect_until, pair.suspect_until);
  const auto end = pair.suspect_until.time_since_epoch().count();
  if (end > latest_end_.load(std::memory_order_relaxed)) latest_end_.store(end, std::memory_order_relaxed);
  return {budget, true, count};
}

TunnelBudgets::Finding TunnelBudgets::is_suspect(std::uint64_t id, const policy_name& name, unsigned parent,
                                                 Clock::time_point now) {
  if (parent >= name.labels || is_quiet(now)) return {};
  const std::uint64_t hash = sip_hash(key_, parent_of(name, parent));
  const std::lock_guard lock(mutex_);
  const auto client = clients_.find(id);
  if (client == clients_.end()) return {};
  const Pair* const own = own_pair(client->second, hash);
  return held(own != nullptr ? *own : client->second.rest, now);
}

TunnelBudgets::Finding TunnelBudgets::ask(std::uint64_t id, const policy_name& name, unsigned parent,
                                          Clock::time_point now) {
  if (parent >= name.labels) return {};
  const std::string_view text = text_of(name), apex = parent_of(name, parent);
  const std::string_view own = text.substr(0, text.size() - apex.size() - (apex.empty() ? 0 : 1));
  const std::uint64_t parent_hash = sip_hash(key_, apex), name_hash = sip_hash(key_, text);
  const std::lock_guard lock(mutex_);
  const Placed placed = place_of(id, parent_hash, now);
  Pair& pair = placed.pair;
  if (const Finding finding = held(pair, now)) return finding;
  if (pair.seen.add(name_hash) == Names::Added::kKnown) return {};
  ++pair.names;
  pair.octets += static_cast<std::uint32_t>(own.size());
  if (limits_.long_label > 0 && longest_label(own) > limits_.long_label) ++pair.long_names;
  if (limits_.long_names > 0 && pair.long_names >= limits_.long_names)
    return reach(placed, TunnelBudget::kLongNames, pair.long_names, now);
  if (limits_.octets > 0 && pair.octets >= limits_.octets)
    return reach(placed, TunnelBudget::kOctets, pair.octets, now);
  if (limits_.names > 0 && pair.names >= limits_.names) return reach(placed, TunnelBudget::kNames, pair.names, now);
  return {};
}

TunnelBudgets::Finding TunnelBudgets::absent(std::uint64_t id, const policy_name& name, unsigned parent,
                                             Clock::time_point now) {
  if (parent >= name.labels) return {};
  const std::uint64_t parent_hash = sip_hash(key_, parent_of(name, parent)), name_hash = sip_hash(key_, text_of(name));
  const std::lock_guard lock(mutex_);
  const Placed placed = place_of(id, parent_hash, now);
  Pair& pair = placed.pair;
  if (const Finding finding = held(pair, now)) return finding;
  if (!pair.seen.mark_absent(name_hash)) return {};
  ++pair.absent;
  if (limits_.absent > 0 && pair.absent >= limits_.absent)
    return reach(placed, TunnelBudget::kAbsent, pair.absent, now);
  return {};
}

TunnelBudgets::Finding TunnelBudgets::answered(std::uint64_t id, const policy_name& name, unsigned parent,
                                               std::size_t octets, Clock::time_point now) {
  if (parent >= name.labels) return {};
  const std::uint64_t parent_hash = sip_hash(key_, parent_of(name, parent));
  const std::lock_guard lock(mutex_);
  const Placed placed = place_of(id, parent_hash, now);
  Pair& pair = placed.pair;
  if (const Finding finding = held(pair, now)) return finding;
  pair.answers += static_cast<std::uint32_t>(std::min<std::size_t>(octets, 65536));
  if (limits_.answers > 0 && pair.answers >= limits_.answers)
    return reach(placed, TunnelBudget::kAnswers, pair.answers, now);
  return {};
}

std::string TunnelBudgets::words(const Finding& finding, const policy_name& name, unsigned parent) const {
  const std::string below = " below " + std::string(parent_of(name, parent));
  if (!finding.first) {
    return "held back" + below + " after budget " + std::string(tunnel_budget_word(finding.reached)) + " was reached";
  }
  std::string out = std::to_string(finding.count);
  switch (finding.reached) {
    case TunnelBudget::kLongNames:
      out += " names with a label over " + std::to_string(limits_.long_label) + " octets";
      break;
    case TunnelBudget::kOctets:
      out += " octets of names";
      break;
    case TunnelBudget::kAnswers:
      out += " octets of answers";
      break;
    case TunnelBudget::kAbsent:
      out += " names that do not exist";
      break;
    default:
      out += " names";
  }
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(limits_.window).count();
  const auto held = std::chrono::duration_cast<std::chrono::seconds>(limits_.cooldown).count();
  return out + below + " within " + std::to_string(seconds) + " s: this client asks for none there for " +
         std::to_string(held) + " s";
}

std::size_t TunnelBudgets::pairs() const noexcept {
  const std::lock_guard lock(mutex_);
  return pairs_;
}

}  // namespace sallyport::net
