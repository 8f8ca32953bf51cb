// ElementChanges: changes of the kernel's sets, collected, as the commands of one transaction.
//
// Form     Three steps: what is refreshed or goes is added (deleting an element that has just expired would fail the
//          transaction), then deleted (adding one that is there leaves its timeout as it was), then what is to live is
//          added. Many elements a command: a command each is slow to read; not all in one: it may be too long.
// Threads  A plain value.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "names/address.hpp"
#include "nftables/port_range.hpp"

namespace sallyport::nft {

// "bound4 172.20.0.7 . 52.1.2.3 . 17 . 123": the set and the element.
struct Element {
  Element(const Address& client, const Address& destination, const PortRange& ports);
  std::string set, text;
};

class ElementChanges {
 public:
  void add(const Element& element, std::uint64_t timeout_ms);
  void refresh(const Element& element, std::uint64_t timeout_ms);
  void remove(const Element& element);

  std::string commands() const;
  std::size_t removed() const noexcept { return removed_; }

 private:
  std::size_t removed_ = 0;
  enum Step { kEnsure, kDelete, kAdd };
  std::array<std::map<std::string, std::vector<std::string>>, 3> steps_;  // by set
};

}  // namespace sallyport::nft
