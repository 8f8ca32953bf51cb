// TunnelBudgets: how much a client may say in names of its own choice below one parent, before that looks like a
// tunnel.
//
// A query for a name is a message to whoever serves its zone (DESIGN, rule 5). Where the policy lists the name there is
// nothing in it to choose; below an allowed wildcard every label is the client's. What is counted per (client, parent)
// in a window: distinct names, those with a long label, the octets of both, and distinct names that do not exist. At a
// budget the pair is suspect for the cool-down: nothing of it is asked outside. Not counted: entropy (hex never has
// more than 4 bits a character, and the hashes of a CDN have as many). What comes back is counted where it
// reaches the client as it came.
//
// Form     The parent is the last `listed` labels of the name (policy.decision/1 listed_labels); where these are fewer
//          than a registrable domain (default: allow, "*.com"), the registrable domain. A name that is its own parent
//          is never counted. A window begins with the first name that is counted in it, so that two windows' budgets
//          can pass within one window's time, and no more.
// Bounds   kPairs in all, kPairsPerClient of one client, kClients. A parent that finds no place shares one pair with
//          all others of that client that found none: with more parents a client has coarser budgets, never larger
//          ones, and no other client notices. Only the kClients+1st client that asks within one window takes the place
//          of another: of the one that was silent longest, suspects last.
// Memory   Grows with what is counted: 8 octets a distinct name, half as much again at most.
// Secrets  Names and parents are known by keyed hashes (SipHash): nobody can choose two that count as one.
// Threads  Any. is_quiet() takes no lock.
// Time     Passed in.
#pragma once

#include <policy/abi.h>
#include <policy/ext/decision.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "support/async.hpp"

namespace sallyport::net {

// 0: there is no such budget. A budget of n is reached by the n-th.
struct TunnelLimits {
  std::chrono::milliseconds window{60'000};
  std::chrono::milliseconds cooldown{600'000};
  std::uint32_t names = 300;      // distinct
  std::uint32_t long_names = 50;  // distinct, with a label longer than long_label
  std::uint32_t long_label = 30;
  std::uint32_t octets = 4096;     // of distinct names, without their parent
  std::uint32_t absent = 60;       // distinct names that the upstream says do not exist
  std::uint32_t answers = 32'768;  // octets of what came back: addresses and other data of answers, repeats included
};

class ConfigReader;
TunnelLimits read_tunnel_limits(ConfigReader& reader);  // the key `budgets` of a plugin's config

enum class TunnelBudget : std::uint8_t { kNone = 0, kNames, kLongNames, kOctets, kAbsent, kAnswers };
inline constexpr std::size_t kTunnelBudgets = 6;
std::string_view tunnel_budget_word(TunnelBudget budget) noexcept;  // "names", ...

class TunnelBudgets {
 public:
  static constexpr std::size_t kPairs = 8192, kPairsPerClient = 64, kClients = 4096;

  // What a pair is, or has just become.
  struct Finding {
    TunnelBudget reached = TunnelBudget::kNone;  // kNone: go on
    bool first = false;                          // it was this call that reached it: raise the alarm
    std::uint32_t count = 0;                     // of what the budget counts, with `first`
    explicit operator bool() const noexcept { return reached != TunnelBudget::kNone; }
  };

  // key: random, this process's own.
  TunnelBudgets(const TunnelLimits& limits, std::array<std::uint64_t, 2> key) : limits_(limits), key_(key) {}

  // With a random key, for all threads of one plugin.
  static std::unique_ptr<TunnelBudgets> make(const TunnelLimits& limits);

  // What the host says of a name that `verdict` let pass, for parent_labels().
  static std::uint32_t listed_labels(const policy_decision_v1& decision, policy_thread* thread, const policy_name& name,
                                     const policy_verdict& verdict);
  // The parent's labels, counted from the end; name.labels: nothing in the name is the client's own.
  static unsigned parent_labels(const policy_name& name, std::uint32_t listed);
  static std::string_view parent_of(const policy_name& name, unsigned labels) noexcept;

  // Nobody is suspect: there is nothing to ask is_suspect() about.
  bool is_quiet(Clock::time_point now) const noexcept {
    return now.time_since_epoch().count() >= latest_end_.load(std::memory_order_relaxed);
  }
  Finding is_suspect(std::uint64_t client, const policy_name& name, unsigned parent, Clock::time_point now);

  // The name is about to be asked outside. A finding: it must not be.
  Finding ask(std::uint64_t client, const policy_name& name, unsigned parent, Clock::time_point now);
  // The outside said that the name does not exist.
  Finding absent(std::uint64_t client, const policy_name& name, unsigned parent, Clock::time_point now);

  // So many octets of the outside's choice are about to be given to the client.
  Finding answered(std::uint64_t client, const policy_name& name, unsigned parent, std::size_t octets,
                   Clock::time_point now);

  // "50 names with a label over 30 octets below cdn.test within 60 s", of a finding that is first; of a later one, what
  // it is held for.
  std::string words(const Finding& finding, const policy_name& name, unsigned parent) const;

  const TunnelLimits& limits() const noexcept { return limits_; }
  std::size_t pairs() const noexcept;  // that have a place

 private:
  // Distinct names by hash, bit 0 for "does not exist". Open addressing, at most two thirds full.
  class Names {
   public:
    enum class Added : std::uint8_t { kNew, kKnown, kFull };
    Added add(std::uint64_t hash);
    bool mark_absent(std::uint64_t hash);  // true: was not marked
    void clear() noexcept;

   private:
    std::uint64_t* find(std::uint64_t hash) noexcept;
    std::vector<std::uint64_t> slots_;
    std::size_t used_ = 0;
  };
  struct Pair {
    std::uint64_t parent = 0;  // its hash
    Clock::time_point began{}, suspect_until{};
    TunnelBudget reached = TunnelBudget::kNone;
    std::uint32_t names = 0, long_names = 0, octets = 0, absent = 0, answers = 0;
    Names seen;
  };
  struct Client {
    std::vector<Pair> pairs;
    Pair rest;  // of the parents that found no place
    Clock::time_point heard{}, suspect_until{};
  };
  struct Placed {
    Client& client;
    Pair& pair;
  };

  bool is_over(const Pair& pair, Clock::time_point now) const noexcept {
    if (now < pair.suspect_until) return false;
    return pair.reached != TunnelBudget::kNone || now >= pair.began + limits_.window;
  }
  void begin_anew(Pair& pair, Clock::time_point now) noexcept;
  static Pair* own_pair(Client& client, std::uint64_t parent) noexcept;
  Placed place_of(std::uint64_t client, std::uint64_t parent, Clock::time_point now);
  Client& client_of(std::uint64_t client, Clock::time_point now);
  void sweep(Clock::time_point now);
  Finding reach(const Placed& placed, TunnelBudget budget, std::uint32_t count, Clock::time_point now);
  static Finding held(const Pair& pair, Clock::time_point now) noexcept;

  const TunnelLimits limits_;
  const std::array<std::uint64_t, 2> key_;
  std::atomic<Clock::duration::rep> latest_end_{0};  // of all cool-downs
  mutable std::mutex mutex_;
  std::unordered_map<std::uint64_t, Client> clients_;
  std::size_t pairs_ = 0;
  Clock::time_point swept_{};
};

}  // namespace sallyport::net
