#include "host/warden/memory_file.hpp"

#include <absl/strings/str_format.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace sallyport {

Descriptor::~Descriptor() {
  if (fd_ >= 0) ::close(fd_);
}

absl::StatusOr<Descriptor> sealed_memory(const char* name, std::span<const std::byte> bytes) {
  Descriptor memory(::memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING));
  std::size_t written = 0;
  while (memory.get() >= 0 && written < bytes.size()) {
    const ssize_t step = ::write(memory.get(), bytes.data() + written, bytes.size() - written);
    if (step <= 0) break;
    written += static_cast<std::size_t>(step);
  }
  constexpr int kSeals = F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL;
  if (memory.get() < 0 || written != bytes.size() || ::fcntl(memory.get(), F_ADD_SEALS, kSeals) != 0) {
    return absl::ResourceExhaustedError(absl::StrFormat("memfd %s: %s", name, std::strerror(errno)));
  }
  return memory;
}

}  // namespace sallyport
