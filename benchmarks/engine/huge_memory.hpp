// Zeroed memory on huge pages where the kernel has them, so that every structure of the comparison sees the same pages.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <cstdlib>
#include <utility>

namespace sallyport::bench {

class HugeMemory {
 public:
  explicit HugeMemory(std::size_t size) {
    constexpr std::size_t kPage = 2u << 20;
    size_ = (size + kPage - 1) / kPage * kPage;
    if (size_ == 0) return;
    data_ = static_cast<std::byte*>(std::aligned_alloc(kPage, size_));
    if (data_ == nullptr) std::abort();
    ::madvise(data_, size_, MADV_HUGEPAGE);
    for (std::size_t i = 0; i < size_; ++i) data_[i] = std::byte{0};
  }
  ~HugeMemory() { std::free(data_); }
  HugeMemory(HugeMemory&& other) noexcept : data_(std::exchange(other.data_, nullptr)), size_(other.size_) {}
  HugeMemory& operator=(HugeMemory&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }
  std::byte* data() noexcept { return data_; }
  const std::byte* data() const noexcept { return data_; }

 private:
  std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace sallyport::bench
