#include "host/cell/seccomp.hpp"

#include <asm/ioctls.h>
#include <linux/netlink.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <memory>

namespace sallyport::cell {
namespace {

constexpr int kTypeMask = 0xf;           // SOCK_NONBLOCK and SOCK_CLOEXEC lie above
constexpr int kObsoletePacketType = 10;  // SOCK_PACKET: socket(AF_INET, SOCK_PACKET) is AF_PACKET

constexpr std::array<int, 3> kNoRing = {SCMP_SYS(io_uring_setup), SCMP_SYS(io_uring_enter),
                                        SCMP_SYS(io_uring_register)};
constexpr std::array<int, 30> kRefused = {SCMP_SYS(keyctl),
                                          SCMP_SYS(add_key),
                                          SCMP_SYS(request_key),
                                          SCMP_SYS(bpf),
                                          SCMP_SYS(perf_event_open),
                                          SCMP_SYS(userfaultfd),
                                          SCMP_SYS(kexec_load),
                                          SCMP_SYS(kexec_file_load),
                                          SCMP_SYS(init_module),
                                          SCMP_SYS(finit_module),
                                          SCMP_SYS(delete_module),
                                          SCMP_SYS(reboot),
                                          SCMP_SYS(swapon),
                                          SCMP_SYS(swapoff),
                                          SCMP_SYS(acct),
                                          SCMP_SYS(quotactl),
                                          SCMP_SYS(quotactl_fd),
                                          SCMP_SYS(settimeofday),
                                          SCMP_SYS(clock_settime),
                                          SCMP_SYS(iopl),
                                          SCMP_SYS(ioperm),
                                          SCMP_SYS(syslog),
                                          SCMP_SYS(open_by_handle_at),
                                          SCMP_SYS(fanotify_init),
                                          SCMP_SYS(lookup_dcookie),
                                          SCMP_SYS(uselib),
                                          SCMP_SYS(_sysctl),
                                          SCMP_SYS(vhangup),
                                          SCMP_SYS(nfsservctl),
                                          SCMP_SYS(ustat)};

// A mount point keeps a name only in mount namespaces that have the mount: in one without it, unlink and rename
// succeed, and the kernel takes the mount away everywhere. So nobody in a cell makes another mount namespace, and
// nobody mounts.
constexpr std::array<int, 10> kMounting = {
    SCMP_SYS(mount),  SCMP_SYS(umount2),  SCMP_SYS(pivot_root), SCMP_SYS(move_mount), SCMP_SYS(open_tree),
    SCMP_SYS(fsopen), SCMP_SYS(fsconfig), SCMP_SYS(fsmount),    SCMP_SYS(fspick),     SCMP_SYS(mount_setattr)};

class Filter {
 public:
  Filter() : context_(seccomp_init(SCMP_ACT_ALLOW), &seccomp_release) {}

  bool usable() const { return context_ != nullptr; }
  int error() const { return error_; }

  template <typename... Conditions>
  void refuse(int call, int error, Conditions... conditions) {
    const int result =
        seccomp_rule_add(context_.get(), SCMP_ACT_ERRNO(error), call, sizeof...(conditions), conditions...);
    if (result != 0 && error_ == 0) error_ = -result;
  }

  void set(scmp_filter_attr attribute, std::uint32_t value) {
    const int result = seccomp_attr_set(context_.get(), attribute, value);
    if (result != 0 && error_ == 0) error_ = -result;
  }

  int load() { return -seccomp_load(context_.get()); }

 private:
  std::unique_ptr<void, decltype(&seccomp_release)> context_;
  int error_ = 0;
};

// The kernel reads `int family` from 64 bits: what has anything above is greater than every family we allow.
void refuse_families(Filter& filter, bool refuse_unix_sockets) {
  constexpr std::array<int, 4> kAllowed = {AF_UNIX, AF_INET, AF_INET6, AF_NETLINK};
  for (int family = 0; family < AF_NETLINK; ++family) {
    bool allowed = false;
    for (int candidate : kAllowed) allowed |= family == candidate;
    if (!allowed || (family == AF_UNIX && refuse_unix_sockets))
      filter.refuse(SCMP_SYS(socket), EAFNOSUPPORT, SCMP_A0_64(SCMP_CMP_EQ, static_cast<scmp_datum_t>(family)));
  }
  filter.refuse(SCMP_SYS(socket), EAFNOSUPPORT, SCMP_A0_64(SCMP_CMP_GT, AF_NETLINK));
  filter.refuse(SCMP_SYS(socket), EPROTONOSUPPORT, SCMP_A0_64(SCMP_CMP_EQ, AF_NETLINK),
                SCMP_A2_64(SCMP_CMP_NE, NETLINK_ROUTE));
  filter.refuse(SCMP_SYS(socket), EAFNOSUPPORT, SCMP_A0_64(SCMP_CMP_EQ, AF_INET),
                SCMP_A1_64(SCMP_CMP_MASKED_EQ, kTypeMask, kObsoletePacketType));
  filter.refuse(SCMP_SYS(socketpair), EAFNOSUPPORT, SCMP_A0_64(SCMP_CMP_NE, AF_UNIX));
  if (refuse_unix_sockets)  // a datagram pair can still send to a path
    filter.refuse(SCMP_SYS(socketpair), EAFNOSUPPORT, SCMP_A1_64(SCMP_CMP_MASKED_EQ, kTypeMask, SOCK_DGRAM));
}

void refuse_mount_namespaces(Filter& filter) {
  for (int call : kMounting) filter.refuse(call, EPERM);
  // A cgroup namespace would make the host's cgroups mountable to root.
  for (scmp_datum_t kind : {scmp_datum_t{CLONE_NEWNS}, scmp_datum_t{CLONE_NEWCGROUP}}) {
    filter.refuse(SCMP_SYS(unshare), EPERM, SCMP_A0_64(SCMP_CMP_MASKED_EQ, kind, kind));
    filter.refuse(SCMP_SYS(clone), EPERM, SCMP_A0_64(SCMP_CMP_MASKED_EQ, kind, kind));
    filter.refuse(SCMP_SYS(setns), EPERM, SCMP_A1_64(SCMP_CMP_MASKED_EQ, kind, kind));
  }
  filter.refuse(SCMP_SYS(setns), EPERM, SCMP_A1_64(SCMP_CMP_EQ, 0));  // of any kind
  filter.refuse(SCMP_SYS(clone3), ENOSYS);  // its flags are behind a pointer; libc goes on with clone
}

void refuse_group_signals(Filter& filter) {
  constexpr scmp_datum_t kLow = 0xffffffff;  // pid_t: the kernel looks at 32 bits
  filter.refuse(SCMP_SYS(kill), EPERM, SCMP_A0_64(SCMP_CMP_MASKED_EQ, kLow, 0));
}

}  // namespace

Failure install_filter(const FilterOptions& options) {
  Filter filter;
  if (!filter.usable()) return failed("seccomp", ENOMEM);
  filter.set(SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
  filter.set(SCMP_FLTATR_CTL_NNP, 0);  // set already
  refuse_families(filter, options.refuse_unix_sockets);
  refuse_mount_namespaces(filter);
  if (options.refuse_group_signals) refuse_group_signals(filter);
  for (int call : kNoRing) filter.refuse(call, ENOSYS);
  for (int call : kRefused) filter.refuse(call, EPERM);
  constexpr scmp_datum_t kRequest = 0xffffffff;  // the kernel looks at 32 bits of the request
  filter.refuse(SCMP_SYS(ioctl), EPERM, SCMP_A1_64(SCMP_CMP_MASKED_EQ, kRequest, TIOCSTI));
  filter.refuse(SCMP_SYS(ioctl), EPERM, SCMP_A1_64(SCMP_CMP_MASKED_EQ, kRequest, TIOCLINUX));
  if (filter.error() != 0) return failed("seccomp filter", filter.error());
  if (const int error = filter.load(); error != 0)
    return failed("install the seccomp filter", error, "the kernel needs CONFIG_SECCOMP_FILTER");
  return {};
}

}  // namespace sallyport::cell
