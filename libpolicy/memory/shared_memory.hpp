// Memory that processes share: a sealed memfd, and this process's mapping of it. What lies in it is its users' business
// (audit ring, decision journal, ledger, synthetic addresses, metrics): nobody that maps it may trust more than its
// size.
//
// Form      The size is fixed for good: no process can truncate the file below another one's mapping.
// Lifetime  Owns the mapping, and the descriptor if it made the file. The mapping does not move when the object does.
// Threads   As its user says; the class itself is a plain value.
// Errors    kExhausted, kUnsupported (the kernel has no such seal), kCorrupt (another file).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "result/result.hpp"

namespace sallyport {

enum class SharedWriters : std::uint8_t {
  kAll,      // who has the descriptor may map it to write
  kCreator,  // the others can only read, whatever they try
};

class SharedMemory {
 public:
  SharedMemory() = default;
  // `name` is for /proc/PID/maps. Octets are 0.
  static Result<SharedMemory> create(const char* name, std::size_t size, SharedWriters writers = SharedWriters::kAll);
  // Fills `head` with the file's first octets and gives its size, so that a header can be checked before anything is
  // mapped.
  static Result<std::uint64_t> look(int fd, std::span<std::byte> head, SharedWriters writers = SharedWriters::kAll);
  // The descriptor stays the caller's. `size` is what look() gave.
  static Result<SharedMemory> map(int fd, std::size_t size, SharedWriters writers = SharedWriters::kAll);

  std::byte* data() const noexcept { return base_; }
  int fd() const noexcept { return fd_; }  // to hand on; -1 where map() was called

  SharedMemory(SharedMemory&& other) noexcept;
  SharedMemory& operator=(SharedMemory&& other) noexcept;
  ~SharedMemory();

 private:
  std::byte* base_ = nullptr;
  std::size_t size_ = 0;
  int fd_ = -1;
};

}  // namespace sallyport
