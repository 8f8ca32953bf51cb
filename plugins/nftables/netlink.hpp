// What the kernel says of its own accord: changes of the ruleset and of network interfaces; and what it is asked for.
//
// Lifetime Each owns one netlink socket of the worker's network namespace; fd() is to wait on.
// Errors   valid() is false where the socket could not be had. A lost event counts as a change.
// Threads  One.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "support/unique_fd.hpp"

namespace sallyport::nft {

// Every transaction on nf_tables has a number, one more than the last: who knows the number before and after his own
// knows whether somebody else was there.
class RulesetWatch {
 public:
  RulesetWatch();
  bool valid() const noexcept { return events_.get() >= 0 && asking_.get() >= 0; }
  int fd() const noexcept { return events_.get(); }
  // Empties the queue.
  void drain();
  // Of the last transaction; nothing if the kernel does not answer.
  std::optional<std::uint32_t> generation();

 private:
  net::UniqueFd events_, asking_;
  std::uint32_t sequence_ = 0;
};

struct Link {
  std::string name;
  int master = 0;  // index of the bridge it is a port of; 0: none
};

class LinkWatch {
 public:
  LinkWatch();
  bool valid() const noexcept { return events_.get() >= 0 && asking_.get() >= 0; }
  int fd() const noexcept { return events_.get(); }
  void drain();
  // By index.
  std::optional<std::map<int, Link>> links();

 private:
  net::UniqueFd events_, asking_;
  std::uint32_t sequence_ = 0;
};

}  // namespace sallyport::nft
