// PipePool: pipes for splice(2), made when a flow turns out to be bulk and reused after it.
//
// Invariant  A pipe in the pool is empty: a lease gives its pipe back only if everything written was read.
// Threads    The loop's.
#pragma once

#include <cstddef>
#include <vector>

#include "support/unique_fd.hpp"

namespace sallyport::net {

struct Pipe {
  UniqueFd read, write;
  std::size_t capacity = 0;
};

class PipePool {
 public:
  static constexpr std::size_t kPipeOctets = 256 * 1024;  // PERF 3.4: 64K costs 15% more CPU, 1M gains nothing
  static constexpr std::size_t kKeep = 32;
  static constexpr std::size_t kMost = 512;  // in use at once; later flows copy instead

  class Lease {
   public:
    Lease() = default;
    Lease(PipePool* pool, Pipe pipe) noexcept : pool_(pool), pipe_(std::move(pipe)) {}
    Lease(Lease&& other) noexcept
        : pool_(std::exchange(other.pool_, nullptr)), pipe_(std::move(other.pipe_)), pending_(other.pending_) {}
    Lease& operator=(Lease&&) = delete;
    ~Lease() {
      if (pool_) pool_->give_back(std::move(pipe_), pending_ == 0);
    }
    bool valid() const noexcept { return pool_ != nullptr; }
    const Pipe& operator*() const noexcept { return pipe_; }
    const Pipe* operator->() const noexcept { return &pipe_; }
    // Octets in the pipe, kept by the user of the lease.
    std::size_t& pending() noexcept { return pending_; }

   private:
    PipePool* pool_ = nullptr;
    Pipe pipe_;
    std::size_t pending_ = 0;
  };

  // Not valid(): no pipe to be had, copy instead. The pool outlives its leases.
  Lease lease();

 private:
  void give_back(Pipe pipe, bool empty);

  std::vector<Pipe> free_;
  std::size_t leased_ = 0;
};

}  // namespace sallyport::net
