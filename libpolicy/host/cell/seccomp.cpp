#include "host/cell/seccomp.hpp"

#include <asm/ioctls.h>
#include <linux/netlink.h>
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

}  // namespace

Failure install_filter(bool refuse_unix_sockets) {
  Filter filter;
  if (!filter.usable()) return failed("seccomp", ENOMEM);
  filter.set(SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
  filter.set(SCMP_FLTATR_CTL_NNP, 0);  // set already
  refuse_families(filter, refuse_unix_sockets);
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
