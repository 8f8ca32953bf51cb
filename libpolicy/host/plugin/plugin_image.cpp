#include "host/plugin/plugin_image.hpp"

#include <absl/strings/str_format.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <span>
#include <utility>

#include "host/plugin/config_schema.hpp"
#include "host/plugin/elf_image.hpp"
#include "language/trusted_file.hpp"

namespace sallyport {
namespace {

constexpr std::uint64_t kMaxPlugin = 64u << 20;  // ours have under 1 MB; a larger file is not a plugin

absl::Status refused(const std::string& path, const std::string& why) {
  return absl::FailedPreconditionError(absl::StrFormat("plugin %s: %s", path, why));
}

// The lexical part: no relative path, no "." or "..", one component for the file.
absl::Status check_names(const std::string& directory, const std::string& file) {
  const std::string path = directory + "/" + file;
  if (directory.empty() || directory[0] != '/') return refused(path, "the plugin directory must be an absolute path");
  std::string_view rest = directory;
  while (!rest.empty()) {
    rest.remove_prefix(1);
    const std::string_view part = rest.substr(0, rest.find('/'));
    if (part == "." || part == "..")
      return refused(path, absl::StrFormat("`%s` in the plugin directory is refused; write the path out", part));
    rest.remove_prefix(part.size());
  }
  const bool one_component = file.find('/') == std::string::npos && file != "." && file != "..";
  if (!one_component || file.size() < 4 || !file.ends_with(".so"))
    return refused(path, "expected a file name that ends in .so, without a path");
  return absl::OkStatus();
}

absl::StatusOr<int> seal_copy(int from, std::uint64_t size, const std::string& file) {
  const int fd = ::memfd_create(file.c_str(), MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (fd < 0) return absl::InternalError(absl::StrFormat("memfd_create: %s", std::strerror(errno)));
  off_t offset = 0;
  while (static_cast<std::uint64_t>(offset) < size) {
    if (::sendfile(fd, from, &offset, size - static_cast<std::uint64_t>(offset)) <= 0) break;
  }
  const bool whole = static_cast<std::uint64_t>(offset) == size;
  if (!whole || ::fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) != 0) {
    ::close(fd);
    return absl::UnavailableError("the file changed while it was read; try again");
  }
  return fd;
}

absl::Status read_manifest(PluginImage& image, const std::string& path, std::uint64_t size) {
  void* bytes = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, image.fd, 0);
  if (bytes == MAP_FAILED) return refused(path, std::strerror(errno));
  const auto unmap = [size](void* at) { ::munmap(at, size); };
  const std::unique_ptr<void, decltype(unmap)> mapping(bytes, unmap);

  const Result<ElfImage> elf = read_elf(std::span(static_cast<const std::byte*>(bytes), size));
  if (!elf.ok()) return refused(path, elf.error().message);
  if (!elf->exports_entry) return refused(path, "symbol policy_plugin_entry is missing; build it with POLICY_PLUGIN()");
  image.manifest = elf->manifest;
  for (const std::string_view name : elf->needed) image.needed.emplace_back(name);

  const nlohmann::json manifest = nlohmann::json::parse(image.manifest, nullptr, false);
  if (!manifest.is_object()) return refused(path, "the manifest is not a JSON object");
  const auto text = [&](const char* key) {
    const auto found = manifest.find(key);
    return found != manifest.end() && found->is_string() ? found->get<std::string>() : std::string();
  };
  image.name = text("name");
  image.version = text("version");
  const bool plain = !image.name.empty() && image.name.size() <= 31 &&
                     image.name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789-") == std::string::npos;
  if (!plain) return refused(path, "the manifest's name must be 1 to 31 of a-z, 0-9 and -");
  if (!manifest.contains("config")) return refused(path, "the manifest has no config schema");
  image.schema = manifest["config"];
  for (const ConfigError& error : check_schema(image.schema)) {
    return refused(path, absl::StrFormat("manifest /config%s: %s", error.pointer, error.text));
  }
  return absl::OkStatus();
}

}  // namespace

PluginImage::PluginImage(PluginImage&& other) noexcept
    : name(std::move(other.name)),
      version(std::move(other.version)),
      manifest(std::move(other.manifest)),
      schema(std::move(other.schema)),
      needed(std::move(other.needed)),
      fd(std::exchange(other.fd, -1)) {}

PluginImage& PluginImage::operator=(PluginImage&& other) noexcept {
  std::swap(name, other.name);
  std::swap(version, other.version);
  std::swap(manifest, other.manifest);
  std::swap(schema, other.schema);
  std::swap(needed, other.needed);
  std::swap(fd, other.fd);
  return *this;
}

PluginImage::~PluginImage() {
  if (fd >= 0) ::close(fd);
}

absl::StatusOr<PluginImage> open_plugin(const std::string& directory, const std::string& file) {
  if (absl::Status names = check_names(directory, file); !names.ok()) return names;
  const std::string path = directory + "/" + file;
  TrustedFile::Opened opened = TrustedFile::open(path, kMaxPlugin);
  if (opened.failure) {
    const std::string repair = opened.failure->repair.empty() ? "" : "; " + opened.failure->repair;
    return refused(path, opened.failure->message + repair);
  }
  absl::StatusOr<int> copy = seal_copy(opened.file->fd(), opened.file->size(), file);
  if (!copy.ok()) return refused(path, std::string(copy.status().message()));
  PluginImage image;
  image.fd = *copy;
  if (absl::Status read = read_manifest(image, path, opened.file->size()); !read.ok()) return read;
  return image;
}

absl::StatusOr<std::string> plugin_config(const PluginImage& image, const nlohmann::json& config) {
  nlohmann::json filled = config;
  std::string faults;
  for (const ConfigError& error : apply_schema(image.schema, filled)) {
    faults +=
        absl::StrFormat("%splugin %s: config%s: %s", faults.empty() ? "" : "\n", image.name, error.pointer, error.text);
  }
  if (!faults.empty()) return absl::InvalidArgumentError(faults);
  return filled.dump();
}

}  // namespace sallyport
