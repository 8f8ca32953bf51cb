#include "host/cell/privileges.hpp"

#include <linux/capability.h>
#include <linux/securebits.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <sstream>

#include "host/cell/kernel_files.hpp"

namespace sallyport::cell {
namespace {

constexpr std::uint64_t bit(int capability) { return std::uint64_t{1} << capability; }

// Docker's default set without CAP_NET_RAW; CAP_NET_ADMIN is not in it.
constexpr std::uint64_t kContainerSet = bit(CAP_CHOWN) | bit(CAP_DAC_OVERRIDE) | bit(CAP_FSETID) | bit(CAP_FOWNER) |
                                        bit(CAP_MKNOD) | bit(CAP_SETGID) | bit(CAP_SETUID) | bit(CAP_SETFCAP) |
                                        bit(CAP_SETPCAP) | bit(CAP_NET_BIND_SERVICE) | bit(CAP_SYS_CHROOT) |
                                        bit(CAP_KILL) | bit(CAP_AUDIT_WRITE);
// SECBIT_KEEP_CAPS stays free: programs (ping) set it without looking, and there is nothing to keep.
constexpr unsigned long kLockedBits = SECBIT_NOROOT | SECBIT_NOROOT_LOCKED | SECBIT_NO_SETUID_FIXUP |
                                      SECBIT_NO_SETUID_FIXUP_LOCKED | SECBIT_NO_CAP_AMBIENT_RAISE |
                                      SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED;

bool set_capabilities(std::uint64_t wanted) {
  __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
  std::array<__user_cap_data_struct, 2> data{};
  for (std::size_t i = 0; i < data.size(); ++i) {
    data[i].effective = static_cast<std::uint32_t>(wanted >> (32 * i));
    data[i].permitted = data[i].effective;
  }
  return ::syscall(SYS_capset, &header, data.data()) == 0;
}

bool bound_capabilities(std::uint64_t wanted) {
  for (int capability = 0; ::prctl(PR_CAPBSET_READ, capability, 0, 0, 0) >= 0; ++capability)
    if ((wanted & bit(capability)) == 0 && ::prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) != 0) return false;
  return ::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) == 0;
}

std::string one_id(unsigned id) { return std::to_string(id) + " " + std::to_string(id) + " 1\n"; }

}  // namespace

bool is_privileged() {
  if (::geteuid() != 0) return false;
  __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
  std::array<__user_cap_data_struct, 2> data{};
  return ::syscall(SYS_capget, &header, data.data()) == 0 && (data[0].effective & bit(CAP_SYS_ADMIN)) != 0;
}

bool is_initial_user_namespace() { return identity_map("/proc/self/uid_map") == "0 0 4294967295\n"; }

std::string identity_map(const char* own_map_path) {
  std::istringstream lines(read_kernel_file(own_map_path).value_or(""));
  std::string map;
  std::uint64_t inside = 0;
  std::uint64_t outside = 0;
  std::uint64_t count = 0;
  while (lines >> inside >> outside >> count)
    map += std::to_string(inside) + " " + std::to_string(inside) + " " + std::to_string(count) + "\n";
  return map;
}

Failure map_caller(unsigned uid, unsigned gid) {
  // Without this no unprivileged process may map a group: it could drop one that denies it something.
  if (!write_kernel_file("/proc/self/setgroups", "deny")) return failed("write setgroups", user_namespace_remedy());
  if (!write_kernel_file("/proc/self/gid_map", one_id(gid))) return failed("write gid_map", user_namespace_remedy());
  if (!write_kernel_file("/proc/self/uid_map", one_id(uid))) return failed("write uid_map", user_namespace_remedy());
  return {};
}

Failure map_child(int child, bool full_map, unsigned uid, unsigned gid) {
  const std::string directory = "/proc/" + std::to_string(child);
  const std::string gids = full_map ? identity_map("/proc/self/gid_map") : one_id(gid);
  const std::string uids = full_map ? identity_map("/proc/self/uid_map") : one_id(uid);
  constexpr const char* kRemedy =
      "root without CAP_SETUID, CAP_SETGID and CAP_SETFCAP: give them, or run sallyport as a user";
  if (!write_kernel_file((directory + "/gid_map").c_str(), gids)) return failed("write the command's gid_map", kRemedy);
  if (!write_kernel_file((directory + "/uid_map").c_str(), uids)) return failed("write the command's uid_map", kRemedy);
  return {};
}

Failure drop_all_capabilities() {
  if (!bound_capabilities(0)) return failed("drop the capability bounding set");
  if (::prctl(PR_SET_SECUREBITS, kLockedBits, 0, 0, 0) != 0) return failed("lock securebits");
  if (!set_capabilities(0)) return failed("drop capabilities");
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return failed("set no_new_privs");
  return {};
}

Failure keep_container_capabilities() {
  if (!bound_capabilities(kContainerSet)) return failed("bound capabilities");
  if (!set_capabilities(kContainerSet)) return failed("drop capabilities");
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return failed("set no_new_privs");
  return {};
}

Failure keep_signal_capability(bool other_users) {
  if (!set_capabilities(other_users ? bit(CAP_KILL) : 0)) return failed("drop capabilities");
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return failed("set no_new_privs");
  return {};
}

}  // namespace sallyport::cell
