// Credentials of a gateway: users and hashes as crypt(5) writes them, what was verified lately, and who failed too
// often.
//
// Cost     A first check takes what the hash asks for (milliseconds); a repeat from the same peer is one keyed hash.
//          An unknown user costs as much as a wrong password.
// Bounds   kRemembered successes, kPeers peers with failures; the oldest place of a full set of both is reused.
// Secrets  No password is kept: a success is 128 bits of a keyed hash (SipHash) of peer, user and password.
// Threads  CredentialSet is immutable; CredentialChecks from any thread, its locks are never held over crypt().
// Time     Milliseconds of a clock that only rises, passed in.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "names/address.hpp"
#include "names/sip_hash.hpp"

namespace sallyport {

class CredentialSet {
 public:
  // {user, hash}. Of a user named twice the first hash counts.
  explicit CredentialSet(const std::vector<std::pair<std::string, std::string>>& users);

  bool empty() const noexcept { return users_.empty(); }
  bool operator==(const CredentialSet& other) const noexcept { return users_ == other.users_; }
  // Runs crypt().
  bool matches(std::string_view user, std::string_view password) const;

 private:
  std::unordered_map<std::string, std::string> users_;
  std::string decoy_;  // what an unknown user's password is held against
};

class CredentialChecks {
 public:
  enum class Outcome : std::uint8_t { kVerified, kWrong, kTooMany, kUnknown };

  static constexpr unsigned kMostFailures = 8;        // people mistype; programs retry with what they have
  static constexpr std::uint64_t kWindowMs = 30'000;  // then a peer may try as often again
  static constexpr std::size_t kMostOctets = 255;     // of user and of password; RFC 7617 has no bound
  static constexpr std::size_t kRemembered = 4096, kPeers = 4096;

  explicit CredentialChecks(std::array<std::uint64_t, 2> key) : key_(key), remembered_(kRemembered), peers_(kPeers) {}

  Outcome check(const CredentialSet& set, const Address& peer, std::string_view user, std::string_view password,
                std::uint64_t now_ms);
  // The same without crypt(): kUnknown where that would be needed.
  Outcome recall(const Address& peer, std::string_view user, std::string_view password, std::uint64_t now_ms);
  // The users changed: nothing that was verified counts any more.
  void forget();

 private:
  using Tag = std::array<std::uint64_t, 2>;
  struct Peer {
    std::uint64_t tag = 0;
    std::uint64_t since_ms = 0;
    unsigned failures = 0;
  };
  static constexpr std::size_t kWays = 4;  // places an entry may have

  // What is looked for: who asks, and with what. has_tag false: too long to be anybody's.
  struct Key {
    std::uint64_t peer;
    Tag tag;
    bool has_tag;
    std::size_t first() const noexcept { return tag[0] % (kRemembered / kWays) * kWays; }
  };
  Key key_of(const Address& peer, std::string_view user, std::string_view password) const;
  Outcome remembered(const Key& key, std::uint64_t now_ms);  // under the lock

  Peer* find_peer(std::uint64_t tag);
  Peer& place_for(std::uint64_t tag);

  const std::array<std::uint64_t, 2> key_;
  std::mutex mutex_;
  std::vector<Tag> remembered_;
  std::vector<Peer> peers_;
  std::size_t next_way_ = 0;
  std::uint64_t epoch_ = 0;  // of forget()
};

}  // namespace sallyport
