// HeldBindings: what of the ledger is in the kernel: which elements stand for which bindings, and until when.
//
// Form     Keyed by (client address, destination). Several names may lead there; a port is open while one of them lets
//          it be. Elements are the text of libnftables: "172.20.0.7 . 52.1.2.3 . 17 . 123".
// Threads  One. Time is passed in: milliseconds of CLOCK_BOOTTIME.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "names/address.hpp"
#include "names/domain_name.hpp"
#include "nftables/element_changes.hpp"

namespace sallyport::nft {

// What decide() allows for a binding now; empty: nothing.
using AllowedPorts = std::function<std::vector<PortRange>(std::uint64_t client_id, const Address& client,
                                                          const Address& destination, const DomainName& name)>;

class HeldBindings {
 public:
  explicit HeldBindings(AllowedPorts allowed) : allowed_(std::move(allowed)) {}

  // A binding that the ledger has; decided here. One that has ended (expires_ms is now) is only held for flows that are
  // open, until pinned_ms. Returns the commands that put it into force, or nothing.
  std::string add(std::uint64_t client_id, const Address& client, const Address& destination, const DomainName& name,
                  std::uint64_t expires_ms, std::uint64_t now_ms, std::uint64_t pinned_ms = 0);

  // Every binding decided again. Returns the commands for what changed.
  std::string decide_again(std::uint64_t now_ms);

  // Everything of these clients ends. Returns the commands that take it out of force.
  std::string forget(const std::set<Address>& clients, std::uint64_t now_ms);

  // Everything ends for which this says no. Returns the commands that take it out of force.
  using StillBound = std::function<bool(std::uint64_t client_id, const Address& client, const Address& destination)>;
  std::string keep_only(const StillBound& still_bound, std::uint64_t now_ms);

  // All that lives, for tables that are new.
  std::string all(std::uint64_t now_ms) const;

  // Whether a flow is covered by an element that lives, or by a binding that is held for flows that are open.
  bool covers(const Address& client, const Address& destination, std::uint8_t proto, std::uint16_t port,
              std::uint64_t now_ms) const;

  // Such a flow is open now: the bindings that cover it stay until then. Whose they are, once each; empty: nobody's.
  std::vector<std::uint64_t> pin(const Address& client, const Address& destination, std::uint8_t proto,
                                 std::uint16_t port, std::uint64_t until_ms);
  // Some binding ends by then, or is pinned: there is a reason to look at the open flows.
  bool any_ends_by(std::uint64_t when_ms) const;

  // Forgets what has ended; the kernel has done so by itself.
  void expire(std::uint64_t now_ms);

  // The elements that should be there, each with its set: "bound4 172.20.0.7 . ...".
  std::vector<std::string> expected(std::uint64_t now_ms) const;

  std::size_t size() const noexcept { return entries_.size(); }
  std::size_t elements() const noexcept { return elements_; }

 private:
  struct Key {
    Address client, destination;
    friend auto operator<=>(const Key&, const Key&) = default;
  };
  struct Name {
    DomainName name;
    std::uint64_t client_id = 0, expires_ms = 0, pinned_ms = 0;
    std::vector<PortRange> ports;
    bool allows(std::uint8_t proto, std::uint16_t port) const noexcept;
    bool is_over(std::uint64_t now_ms) const noexcept { return expires_ms <= now_ms && pinned_ms <= now_ms; }
  };
  struct Entry {
    std::map<std::string, Name> names;            // by text
    std::map<PortRange, std::uint64_t> in_force;  // and until when
  };

  static std::map<PortRange, std::uint64_t> wanted(const Entry& entry, std::uint64_t now_ms);
  // Brings the kernel's state of one entry in line.
  void settle(const Key& key, Entry& entry, std::uint64_t now_ms, ElementChanges& changes);

  AllowedPorts allowed_;
  std::map<Key, Entry> entries_;
  std::size_t elements_ = 0;
};

}  // namespace sallyport::nft
