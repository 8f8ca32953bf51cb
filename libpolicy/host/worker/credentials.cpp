#include "host/worker/credentials.hpp"

#include <crypt.h>

#include <algorithm>
#include <cstring>
#include <memory>

namespace sallyport {
namespace {

// In one time for equal lengths, wherever they differ.
bool same(std::string_view a, std::string_view b) {
  if (a.size() != b.size()) return false;
  unsigned char differ = 0;
  for (std::size_t i = 0; i < a.size(); ++i) differ |= static_cast<unsigned char>(a[i] ^ b[i]);
  return differ == 0;
}

}  // namespace

CredentialSet::CredentialSet(const std::vector<std::pair<std::string, std::string>>& users) {
  for (const auto& [user, hash] : users) {
    users_.emplace(user, hash);
    if (decoy_.empty()) decoy_ = hash;
  }
}

bool CredentialSet::matches(std::string_view user, std::string_view password) const {
  const auto entry = users_.find(std::string(user));
  const std::string& hash = entry != users_.end() ? entry->second : decoy_;
  const std::string text(password);
  if (hash.empty() || text.find('\0') != std::string::npos) return false;
  const auto data = std::make_unique<crypt_data>();  // 32 kB: too much for a coroutine's thread
  const char* made = ::crypt_r(text.c_str(), hash.c_str(), data.get());
  // "*0" and "*1" say that the hash is none (crypt(3)); a hash that begins so never matches.
  const bool right = made != nullptr && made[0] != '*' && same(made, hash);
  ::explicit_bzero(data.get(), sizeof *data);
  return right && entry != users_.end();
}

CredentialChecks::Peer* CredentialChecks::find_peer(std::uint64_t tag) {
  const std::size_t first = tag % (kPeers / kWays) * kWays;
  for (std::size_t way = 0; way < kWays; ++way) {
    if (peers_[first + way].tag == tag) return &peers_[first + way];
  }
  return nullptr;
}

CredentialChecks::Peer& CredentialChecks::place_for(std::uint64_t tag) {
  if (Peer* known = find_peer(tag)) return *known;
  const std::size_t first = tag % (kPeers / kWays) * kWays;
  Peer* oldest = &peers_[first];
  for (std::size_t way = 1; way < kWays; ++way) {
    if (peers_[first + way].since_ms < oldest->since_ms) oldest = &peers_[first + way];
  }
  *oldest = {tag, 0, 0};
  return *oldest;
}

CredentialChecks::Key CredentialChecks::key_of(const Address& peer, std::string_view user,
                                               std::string_view password) const {
  const std::string_view octets(reinterpret_cast<const char*>(peer.octets().data()), peer.octets().size());
  std::array<char, 20 + 2 * kMostOctets> input;
  std::size_t size = octets.copy(input.data(), octets.size());
  input[size++] = peer.is_v4() ? 4 : 6;
  Key key{};
  key.peer = sip_hash(key_, {input.data(), size}) | 1;  // never 0, which is a free place
  key.has_tag = user.size() <= kMostOctets && password.size() <= kMostOctets;
  if (key.has_tag) {
    input[size++] = static_cast<char>(user.size());  // so that no two pairs run into one
    size += user.copy(input.data() + size, user.size());
    size += password.copy(input.data() + size, password.size());
    key.tag = {sip_hash(key_, {input.data(), size}), sip_hash({~key_[1], key_[0]}, {input.data(), size}) | 1};
    ::explicit_bzero(input.data(), size);
  }
  return key;
}

CredentialChecks::Outcome CredentialChecks::remembered(const Key& key, std::uint64_t now_ms) {
  // Before what is remembered: or else that could be guessed at, as fast as it answers.
  const Peer* failing = find_peer(key.peer);
  if (failing != nullptr && failing->failures >= kMostFailures && now_ms - failing->since_ms < kWindowMs)
    return Outcome::kTooMany;
  for (std::size_t way = 0; key.has_tag && way < kWays; ++way) {
    if (remembered_[key.first() + way] == key.tag) return Outcome::kVerified;
  }
  return Outcome::kUnknown;
}

CredentialChecks::Outcome CredentialChecks::recall(const Address& peer, std::string_view user,
                                                   std::string_view password, std::uint64_t now_ms) {
  const Key key = key_of(peer, user, password);
  const std::lock_guard lock(mutex_);
  return remembered(key, now_ms);
}

CredentialChecks::Outcome CredentialChecks::check(const CredentialSet& set, const Address& peer, std::string_view user,
                                                  std::string_view password, std::uint64_t now_ms) {
  const Key key = key_of(peer, user, password);
  std::uint64_t epoch;
  {
    const std::lock_guard lock(mutex_);
    const Outcome known = remembered(key, now_ms);
    if (known != Outcome::kUnknown) return known;
    epoch = epoch_;
  }
  const bool right = key.has_tag && set.matches(user, password);
  const std::lock_guard lock(mutex_);
  if (right) {
    if (epoch == epoch_) remembered_[key.first() + next_way_++ % kWays] = key.tag;
    // Failures stay: whoever knows one password must not guess at others between two uses of it.
    return Outcome::kVerified;
  }
  Peer& failing = place_for(key.peer);
  if (failing.failures == 0 || now_ms - failing.since_ms >= kWindowMs) failing = {key.peer, now_ms, 0};
  ++failing.failures;
  return Outcome::kWrong;
}

void CredentialChecks::forget() {
  const std::lock_guard lock(mutex_);
  ++epoch_;
  std::fill(remembered_.begin(), remembered_.end(), Tag{});
}

}  // namespace sallyport
