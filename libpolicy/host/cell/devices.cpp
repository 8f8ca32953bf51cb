// The directories of the view that are the cell's own: /tmp, /var/tmp, /run, a minimal /dev, and the kernel's /proc and
// /sys as the cell's namespaces see them.
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "host/cell/files.hpp"
#include "host/cell/mounts.hpp"

namespace sallyport::cell {
namespace {

// Read-only is about the inode (chmod by the host's uid 0 would change the host's); the device itself stays writable.
constexpr std::uint64_t kDeviceAttributes = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC;
constexpr unsigned kSticky = 01777;
constexpr std::array<const char*, 6> kDevices = {"null", "zero", "full", "random", "urandom", "tty"};
constexpr std::array<std::array<const char*, 2>, 6> kLinks = {{{"/proc/self/fd", "fd"},
                                                               {"/proc/self/fd/0", "stdin"},
                                                               {"/proc/self/fd/1", "stdout"},
                                                               {"/proc/self/fd/2", "stderr"},
                                                               {"pts/ptmx", "ptmx"},
                                                               {"/proc/kcore", "core"}}};
// With the host's uid 0 in the cell, these would let it reach the host: the kernel checks the uid there, not a
// capability.
constexpr std::array<const char*, 5> kReadOnlyProc = {"bus", "fs", "irq", "sys", "sysrq-trigger"};
constexpr std::array<const char*, 10> kMaskedProc = {"acpi",       "asound",        "interrupts",  "kcore",
                                                     "keys",       "latency_stats", "sched_debug", "scsi",
                                                     "timer_list", "timer_stats"};
constexpr std::array<const char*, 2> kMaskedSys = {"firmware", "devices/virtual/powercap"};

bool cover_with_nothing(const std::string& path) {
  struct stat status;
  if (::lstat(path.c_str(), &status) != 0) return true;
  return bind_with(S_ISDIR(status.st_mode) ? kMaskDirectory : kMaskFile, path, MOUNT_ATTR_RDONLY);
}

}  // namespace

Failure FileView::private_directories() {
  for (const auto& [path, mode] :
       {std::pair("/new/tmp", kSticky), std::pair("/new/run", 0755u), std::pair("/new/var/tmp", kSticky)}) {
    if (!make_mount_point(path, true) || !mount_tmpfs(path, mode, MS_NOSUID | MS_NODEV))
      return failed(std::string("mount a private ") + (path + 4), kKernelRemedy);
  }
  return {};
}

Failure FileView::devices() {
  if (!make_mount_point("/new/dev", true) || !mount_tmpfs("/new/dev", 0755, MS_NOSUID | MS_NOEXEC))
    return failed("mount a private /dev", kKernelRemedy);
  for (const char* name : kDevices) {
    const std::string target = std::string("/new/dev/") + name;
    if (make_mount_point(target, false) && bind_with(std::string("/old/dev/") + name, target, kDeviceAttributes))
      continue;
    if (std::string_view(name) == "null") return failed("bind /dev/null");
    ::unlink(target.c_str());  // a container may lack the others
  }
  if (!make_mount_point("/new/dev/shm", true) || !mount_tmpfs("/new/dev/shm", kSticky, MS_NOSUID | MS_NODEV))
    return failed("mount a private /dev/shm", kKernelRemedy);
  if (!make_mount_point("/new/dev/pts", true) ||
      ::mount("devpts", "/new/dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=620") != 0)
    return failed("mount a private /dev/pts", kKernelRemedy);
  for (const auto& [target, name] : kLinks)
    if (::symlink(target, (std::string("/new/dev/") + name).c_str()) != 0) return failed("make /dev");
  if (!plan_.terminal.empty()) {
    // ttyname(3) looks for the terminal below /dev; its own name belongs to the host's devpts.
    if (!make_mount_point("/new/dev/console", false) ||
        !bind_with(in_old(plan_.terminal), "/new/dev/console", kDeviceAttributes))
      ::unlink("/new/dev/console");
  }
  return {};
}

Failure FileView::kernel_views() {
  constexpr unsigned long kFlags = MS_NOSUID | MS_NODEV | MS_NOEXEC;
  if (!make_mount_point("/new/proc", true) || ::mount("proc", "/new/proc", "proc", kFlags, nullptr) != 0)
    return failed("mount a new /proc",
                  "parts of this system's /proc are hidden, as in a container: run it with --security-opt "
                  "systempaths=unconfined, "
                  "or sallyport outside of it");
  // /sys is a convenience: without it programs see an empty directory.
  if (make_mount_point("/new/sys", true) && ::mount("sysfs", "/new/sys", "sysfs", kFlags | MS_RDONLY, nullptr) != 0 &&
      !mount_tmpfs("/new/sys", 0555, kFlags | MS_RDONLY))
    return failed("mount a private /sys", kKernelRemedy);
  if (!full_map_) return {};
  for (const char* name : kReadOnlyProc) {
    const std::string path = std::string("/new/proc/") + name;
    if (::access(path.c_str(), F_OK) == 0 && !bind_with(path, path, MOUNT_ATTR_RDONLY))
      return failed("make /proc read-only");
  }
  for (const char* name : kMaskedProc)
    if (!cover_with_nothing(std::string("/new/proc/") + name)) return failed("cover parts of /proc");
  for (const char* name : kMaskedSys)
    if (!cover_with_nothing(std::string("/new/sys/") + name)) return failed("cover parts of /sys");
  return {};
}

}  // namespace sallyport::cell
