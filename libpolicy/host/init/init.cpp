#include "host/init/init.hpp"

#include <absl/strings/str_format.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "host/init/compose_overlay.hpp"
#include "host/warden/memory_file.hpp"

namespace sallyport {
namespace {

namespace fs = std::filesystem;

int failed(const std::string& path, int error) {
  absl::FPrintF(stderr, "sallyport: %s cannot be written: %s\n", path, std::strerror(error));
  return 1;
}

// Beside its place first: a half-written file is in nobody's way. Umask or not, a gateway reads it only if nobody else
// can write it.
bool write_file(const fs::path& path, const std::string& text, bool force) {
  std::error_code error;
  if (path.has_parent_path()) fs::create_directories(path.parent_path(), error);
  if (error) {
    errno = error.value();
    return false;
  }
  const std::string beside = path.string() + ".new";
  ::unlink(beside.c_str());
  const Descriptor file(::open(beside.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644));
  if (file.get() < 0) return false;
  const bool written = ::fchmod(file.get(), 0644) == 0 &&
                       ::write(file.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size()) &&
                       ::fsync(file.get()) == 0;
  // link() does not replace what somebody made meanwhile.
  const bool placed =
      written && (force ? ::rename(beside.c_str(), path.c_str()) == 0 : ::link(beside.c_str(), path.c_str()) == 0);
  const int why = errno;
  if (!placed || !force) ::unlink(beside.c_str());
  errno = why;
  return placed;
}

void say_next(const InitOptions& options, const std::string& base, const std::string& directory) {
  const std::string in = directory == "." ? "" : "cd " + directory + " && ";
  absl::PrintF("next:\n");
  if (options.kind == "compose") {
    if (::geteuid() != 0)
      absl::PrintF("  %ssudo chown -R root:root sallyport   # it is read only if nobody else can write it\n", in);
    if (base.empty()) {
      absl::PrintF("  %sdocker-compose up -d\n", in);
    } else {
      absl::PrintF(
          "  %sdocker-compose -f %s -f %s up -d   # after `docker-compose down`, if the network is there already\n", in,
          base, kOverlay);
      absl::PrintF(
          "  services on it reach neither each other nor the host; internal: in sallyport/gateway.yaml opens pairs\n");
    }
    if (options.shape == "cells") {
      absl::PrintF("  sallyport/policy.yaml says what may leave; an edit holds after a restart of the cells\n");
    } else {
      absl::PrintF("  sallyport/policy.yaml says what may leave; an edit is live within a second\n");
    }
    return;
  }
  if (directory != "/etc") absl::PrintF("  %ssudo cp -rv --no-preserve=ownership sallyport systemd /etc/\n", in);
  absl::PrintF("  sudo systemctl daemon-reload\n");
  if (options.shape == "cells") {
    for (const std::string& agent : options.agents.empty() ? std::vector<std::string>{"agent"} : options.agents)
      absl::PrintF("  sudo systemctl enable --now sallyport-attach@%s   # a container started with --network none\n",
                   agent);
    return;
  }
  absl::PrintF("  sudo systemctl enable --now sallyport\n");
  absl::PrintF(
      "  docker network create --internal --subnet 172.20.0.0/16 --ip-range 172.20.1.0/24 --gateway 172.20.0.1 \\\n"
      "    -o com.docker.network.bridge.name=br-agents agents   # and containers with --network agents --dns "
      "172.20.0.1\n");
}

}  // namespace

int init_files(const InitOptions& options) {
  const absl::StatusOr<Generated> generated = generate(options);
  if (!generated.ok()) {
    absl::FPrintF(stderr, "sallyport: %s\n", generated.status().message());
    return absl::IsNotFound(generated.status()) ? 1 : 2;
  }
  const std::vector<GeneratedFile>& files = generated->files;
  const fs::path directory(options.directory);
  std::string there;
  for (const GeneratedFile& file : files) {
    struct stat info;
    const std::string path = (directory / file.path).lexically_normal().string();
    if (::lstat(path.c_str(), &info) != 0) continue;
    if (!options.force || S_ISDIR(info.st_mode)) there += (there.empty() ? "" : ", ") + path;
  }
  if (!there.empty()) {
    absl::FPrintF(stderr, "sallyport: already there: %s\nnothing was written; name another directory by --dir, or %s\n",
                  there, options.force ? "move it away" : "write over them with --force");
    return 1;
  }
  ::umask(022);  // a directory that others can write is one that the gateway reads nothing from
  for (const GeneratedFile& file : files) {
    const fs::path path = (directory / file.path).lexically_normal();
    if (!write_file(path, file.text, options.force)) return failed(path.string(), errno);
    absl::PrintF("wrote %s\n", path.string());
  }
  for (const std::string& warning : generated->warnings) absl::FPrintF(stderr, "warning: %s\n", warning);
  say_next(options, generated->base, directory.lexically_normal().string());
  return 0;
}

}  // namespace sallyport
