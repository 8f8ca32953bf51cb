// ClientCounts: how many connections there are, in all and for each client, over all threads of the plugin.
//
// Invariant  A client has an entry while it has a connection, and no longer.
// Threads    Any; touched when a connection comes and goes, not in between.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <unordered_map>

namespace sallyport::http_proxy {

class ClientCounts {
 public:
  ClientCounts(std::size_t most, std::size_t most_per_client) noexcept
      : most_(most), most_per_client_(most_per_client) {}

  // False: a bound is reached, and nothing was counted.
  bool enter(std::uint64_t client);
  void leave(std::uint64_t client);
  std::size_t total() const noexcept { return total_.load(std::memory_order_relaxed); }

 private:
  struct Shard {
    std::mutex mutex;
    std::unordered_map<std::uint64_t, std::size_t> counts;
  };
  Shard& shard(std::uint64_t client) noexcept { return shards_[(client ^ client >> 17) % shards_.size()]; }

  const std::size_t most_, most_per_client_;
  std::atomic<std::size_t> total_{0};
  std::array<Shard, 16> shards_;
};

}  // namespace sallyport::http_proxy
