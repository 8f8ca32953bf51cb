#include "support/pipe_pool.hpp"

#include <fcntl.h>
#include <unistd.h>

namespace sallyport::net {

PipePool::Lease PipePool::lease() {
  if (leased_ >= kMost) return {};
  Pipe pipe;
  if (!free_.empty()) {
    pipe = std::move(free_.back());
    free_.pop_back();
  } else {
    int ends[2];
    if (::pipe2(ends, O_NONBLOCK | O_CLOEXEC) != 0) return {};
    pipe.read.reset(ends[0]);
    pipe.write.reset(ends[1]);
    // Refused beyond the user's pipe-user-pages-soft; the default size then works, only slower.
    const int size = ::fcntl(ends[1], F_SETPIPE_SZ, static_cast<int>(kPipeOctets));
    pipe.capacity = size > 0 ? static_cast<std::size_t>(size) : 64 * 1024;
  }
  ++leased_;
  return Lease(this, std::move(pipe));
}

void PipePool::give_back(Pipe pipe, bool empty) {
  --leased_;
  if (empty && free_.size() < kKeep) free_.push_back(std::move(pipe));
}

}  // namespace sallyport::net
