// Filter: the accept loops of a config's listeners, one Flow per connection, and the bound on how many there are.
// Threads  The loop's.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "sni-filter/flow.hpp"
#include "support/listeners.hpp"

namespace sallyport::sni {

class Filter {
 public:
  // services.relay may be null: the filter has its own.
  Filter(net::EventLoop& loop, const Config& config, Services services);
  ~Filter();

  void add(net::Listener listener);
  void remove(const std::string& name, std::uint64_t client_id);
  void close_listeners();

  const Counters& counters() const noexcept { return counters_; }
  std::size_t flows() const noexcept { return flows_.load(std::memory_order_relaxed); }  // any thread

 private:
  struct Open {
    std::string name;
    std::uint64_t client_id;
    std::shared_ptr<net::tcp::acceptor> acceptor;
  };

  net::awaitable<void> serve(net::tcp::socket socket, std::uint64_t client_id);

  net::EventLoop& loop_;
  const Config& config_;
  net::RelayResources relay_;
  Services services_;
  Counters counters_;
  std::vector<Open> open_;
  std::size_t max_flows_;
  std::atomic<std::size_t> flows_{0};
  std::uint64_t next_flow_ = 1;
};

}  // namespace sallyport::sni
