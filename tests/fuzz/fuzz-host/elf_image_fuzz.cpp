// The ELF reader on any bytes: no crash, and every view it gives lies inside the file.
#include <cstdint>
#include <cstdlib>
#include <span>
#include <string_view>

#include "host/plugin/elf_image.hpp"

namespace {

void require_inside(std::string_view view, const std::uint8_t* data, std::size_t size) {
  if (view.empty()) return;
  const auto* first = reinterpret_cast<const std::uint8_t*>(view.data());
  if (first < data || first + view.size() > data + size) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto image = sallyport::read_elf(std::span(reinterpret_cast<const std::byte*>(data), size));
  if (!image.ok()) return 0;
  require_inside(image->manifest, data, size);
  for (const std::string_view name : image->needed) require_inside(name, data, size);
  return 0;
}
