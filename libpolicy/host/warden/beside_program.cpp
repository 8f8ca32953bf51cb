#include "host/warden/beside_program.hpp"

#include <filesystem>

namespace sallyport {

std::string beside_program(const char* in_build, const char* installed) {
  namespace fs = std::filesystem;
  std::error_code error;
  const fs::path directory = fs::read_symlink("/proc/self/exe", error).parent_path();
  const fs::path first = (directory / in_build).lexically_normal();
  return fs::exists(first, error) ? first.string() : (directory / installed).lexically_normal().string();
}

}  // namespace sallyport
