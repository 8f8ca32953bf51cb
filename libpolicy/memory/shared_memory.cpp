#include "memory/shared_memory.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <utility>

namespace sallyport {
namespace {

int seals_for(SharedWriters writers) noexcept {
  constexpr int kFixedSize = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
  return writers == SharedWriters::kAll ? kFixedSize : kFixedSize | F_SEAL_FUTURE_WRITE;
}

}  // namespace

Result<SharedMemory> SharedMemory::create(const char* name, std::size_t size, SharedWriters writers) {
  SharedMemory memory;
  memory.fd_ = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (memory.fd_ < 0 || ftruncate(memory.fd_, static_cast<off_t>(size)) != 0) {
    return Error{ErrorCode::kExhausted, "no memory file to share", 0};
  }
  void* base = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, memory.fd_, 0);
  if (base == MAP_FAILED) return Error{ErrorCode::kExhausted, "no address space for shared memory", 0};
  memory.base_ = static_cast<std::byte*>(base);
  memory.size_ = size;
  // After the creator's own mapping, which stays writable.
  if (fcntl(memory.fd_, F_ADD_SEALS, seals_for(writers)) != 0) {
    return Error{ErrorCode::kUnsupported, "this kernel cannot seal a memory file", 0};
  }
  return memory;
}

Result<std::uint64_t> SharedMemory::look(int fd, std::span<std::byte> head, SharedWriters writers) {
  struct stat status{};
  const int wanted = seals_for(writers), seals = fcntl(fd, F_GET_SEALS);
  if (fstat(fd, &status) != 0 || seals < 0 || (seals & wanted) != wanted) {
    return Error{ErrorCode::kCorrupt, "not a sealed memory file", 0};
  }
  if (pread(fd, head.data(), head.size(), 0) != static_cast<ssize_t>(head.size())) {
    return Error{ErrorCode::kCorrupt, "a memory file shorter than its header", 0};
  }
  return static_cast<std::uint64_t>(status.st_size);
}

Result<SharedMemory> SharedMemory::map(int fd, std::size_t size, SharedWriters writers) {
  const int protection = writers == SharedWriters::kAll ? PROT_READ | PROT_WRITE : PROT_READ;
  void* base = mmap(nullptr, size, protection, MAP_SHARED, fd, 0);
  if (base == MAP_FAILED) return Error{ErrorCode::kExhausted, "shared memory cannot be mapped", 0};
  SharedMemory memory;
  memory.base_ = static_cast<std::byte*>(base);
  memory.size_ = size;
  return memory;
}

SharedMemory::SharedMemory(SharedMemory&& other) noexcept
    : base_(std::exchange(other.base_, nullptr)),
      size_(std::exchange(other.size_, 0)),
      fd_(std::exchange(other.fd_, -1)) {}

SharedMemory& SharedMemory::operator=(SharedMemory&& other) noexcept {
  std::swap(base_, other.base_);
  std::swap(size_, other.size_);
  std::swap(fd_, other.fd_);
  return *this;
}

SharedMemory::~SharedMemory() {
  if (base_ != nullptr) munmap(base_, size_);
  if (fd_ >= 0) close(fd_);
}

}  // namespace sallyport
