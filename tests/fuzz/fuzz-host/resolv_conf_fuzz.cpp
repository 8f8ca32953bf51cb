// Whatever a resolv.conf says, what comes out can be parsed again, and there are at most three.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "host/warden/resolvers.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto found = sallyport::resolvers_of({reinterpret_cast<const char*>(data), size});
  if (found.size() > 3) std::abort();
  for (const std::string& resolver : found) {
    const auto again = sallyport::parse_resolver(resolver);
    if (!again.ok() || *again != resolver) std::abort();
  }
  return 0;
}
