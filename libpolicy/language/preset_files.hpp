// The files of presets/ as they were when the library was built: presets.cpp reads them, nothing else needs to.
#pragma once

#include <span>
#include <string_view>

namespace sallyport {

struct PresetFile {
  std::string_view name;  // of the file, without .yaml
  std::string_view text;
};

std::span<const PresetFile> preset_files() noexcept;  // by name

}  // namespace sallyport
