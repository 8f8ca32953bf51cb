// A sealed memfd: bytes that every process may map and nobody can change any more.
#pragma once

#include <absl/status/statusor.h>

#include <cstddef>
#include <span>
#include <utility>

namespace sallyport {

// Owns one descriptor.
class Descriptor {
 public:
  Descriptor() = default;
  explicit Descriptor(int fd) noexcept : fd_(fd) {}
  Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~Descriptor();
  int get() const noexcept { return fd_; }

 private:
  int fd_ = -1;
};

absl::StatusOr<Descriptor> sealed_memory(const char* name, std::span<const std::byte> bytes);

}  // namespace sallyport
