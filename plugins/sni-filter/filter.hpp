// Filter: the accept loops of a config's listeners, one Flow per connection, and the bound on how many there are.
// Threads  The loop's.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <unordered_set>
#include <vector>

#include "sni-filter/flow.hpp"
#include "support/client_counts.hpp"
#include "support/listeners.hpp"

namespace sallyport::sni {

// What the limit on descriptors carries, of what the config wants.
std::size_t affordable_flows(std::size_t wanted, bool copies);

class Filter {
 public:
  // services.relay may be null: the filter has its own. counts may be shared with other threads' filters.
  Filter(net::EventLoop& loop, const Config& config, Services services, net::ClientCounts& counts);
  ~Filter();

  void add(net::Listener listener);
  void remove(const std::string& name, std::uint64_t client_id);
  void close_listeners();
  void drain();  // takes what waits at the listeners, and nothing more; kept HTTP connections have one request more

  const Counters& counters() const noexcept { return counters_; }

 private:
  struct Open {
    std::string name;
    std::uint64_t client_id;
    std::shared_ptr<net::tcp::acceptor> acceptor;
    Arrival here;
  };

  Destination destination_at(const net::Listener& listener) const;
  void close_empty(const Open& open);
  void take(net::UniqueFd fd, const Arrival& here);
  void accepted(net::Stream socket, Arrival arrival);
  std::uint16_t identify(net::Stream& socket, Arrival& arrival);
  net::awaitable<void> serve(net::Stream socket, Arrival arrival, net::ClientCounts::Place place);

  net::EventLoop& loop_;
  const Config& config_;
  net::Poller& poller_;
  net::RelayResources relay_;
  Services services_;
  Counters counters_;
  std::vector<Open> open_;
  std::unordered_set<Flow*> flows_;
  net::ClientCounts& counts_;
  std::uint64_t next_flow_ = 1;
};

}  // namespace sallyport::sni
