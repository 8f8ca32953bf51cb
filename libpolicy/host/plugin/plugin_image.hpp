// PluginImage: a plugin file that passed every check that can be made without running it, as a sealed copy.
//
// What was checked is what runs: the file is opened below the plugin directory without following symlinks, owner and
// mode are checked, the bytes go to a memfd, the memfd is sealed, and everything after that reads the copy (ABI.md
// section 4).
//
// Errors   In words a user can act on: which file, what is wrong, what to do.
// Threads  [main] of the warden, before any user namespace is entered: inside one, foreign owners look like nobody.
#pragma once

#include <absl/status/statusor.h>

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace sallyport {

struct PluginImage {
  std::string name;  // of the instance; from the manifest
  std::string version;
  std::string manifest;             // its exact bytes: the loaded entry must carry the same
  nlohmann::json schema;            // of the config
  std::vector<std::string> needed;  // sonames
  int fd = -1;                      // sealed memfd, owned

  PluginImage() = default;
  PluginImage(PluginImage&& other) noexcept;
  PluginImage& operator=(PluginImage&& other) noexcept;
  ~PluginImage();
};

// directory is absolute and canonical; file is one path component that ends in ".so".
absl::StatusOr<PluginImage> open_plugin(const std::string& directory, const std::string& file);

// The config with defaults filled in, as JSON text. Every fault of the config is in the status, one a line.
absl::StatusOr<std::string> plugin_config(const PluginImage& image, const nlohmann::json& config);

}  // namespace sallyport
