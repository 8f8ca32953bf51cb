#include <fcntl.h>
#include <linux/netlink.h>
#include <linux/sched.h>
#include <seccomp.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <initializer_list>
#include <memory>

#include "host/worker/jail.hpp"

// An allow list. What is not on it fails with EPERM rather than by death, since glibc and the allocator probe for calls
// they can do without; what only an attacker calls kills the process.
namespace sallyport {
namespace {

struct Release {
  void operator()(void* context) const { seccomp_release(context); }
};
using Filter = std::unique_ptr<void, Release>;

constexpr std::initializer_list<int> kRunning = {
    // bytes over descriptors that exist
    SCMP_SYS(read), SCMP_SYS(write), SCMP_SYS(readv), SCMP_SYS(writev), SCMP_SYS(recvfrom), SCMP_SYS(sendto),
    SCMP_SYS(recvmsg), SCMP_SYS(sendmsg), SCMP_SYS(recvmmsg), SCMP_SYS(sendmmsg), SCMP_SYS(splice), SCMP_SYS(close),
    SCMP_SYS(shutdown),
    // sockets: made by family below
    SCMP_SYS(accept), SCMP_SYS(accept4), SCMP_SYS(bind), SCMP_SYS(connect), SCMP_SYS(getsockname),
    SCMP_SYS(getpeername), SCMP_SYS(getsockopt), SCMP_SYS(setsockopt), SCMP_SYS(fcntl), SCMP_SYS(dup),
    // waiting
    SCMP_SYS(poll), SCMP_SYS(ppoll), SCMP_SYS(epoll_create1), SCMP_SYS(epoll_ctl), SCMP_SYS(epoll_wait),
    SCMP_SYS(epoll_pwait), SCMP_SYS(epoll_pwait2), SCMP_SYS(eventfd2), SCMP_SYS(timerfd_create),
    SCMP_SYS(timerfd_settime), SCMP_SYS(timerfd_gettime), SCMP_SYS(pipe2), SCMP_SYS(nanosleep),
    SCMP_SYS(clock_nanosleep), SCMP_SYS(restart_syscall),
    // memory, threads, time
    SCMP_SYS(brk), SCMP_SYS(mmap), SCMP_SYS(munmap), SCMP_SYS(mremap), SCMP_SYS(mprotect), SCMP_SYS(madvise),
    SCMP_SYS(futex), SCMP_SYS(set_robust_list), SCMP_SYS(rseq), SCMP_SYS(sched_yield), SCMP_SYS(sched_getaffinity),
    SCMP_SYS(gettid), SCMP_SYS(getpid), SCMP_SYS(getuid), SCMP_SYS(geteuid), SCMP_SYS(set_tid_address),
    SCMP_SYS(membarrier), SCMP_SYS(getrandom), SCMP_SYS(clock_gettime), SCMP_SYS(clock_getres), SCMP_SYS(gettimeofday),
    SCMP_SYS(time), SCMP_SYS(sysinfo), SCMP_SYS(uname), SCMP_SYS(exit), SCMP_SYS(exit_group),
    // signals within the process
    SCMP_SYS(rt_sigaction), SCMP_SYS(rt_sigprocmask), SCMP_SYS(rt_sigreturn), SCMP_SYS(sigaltstack), SCMP_SYS(tgkill),
    // descriptors that are open already
    SCMP_SYS(fstat), SCMP_SYS(lseek), SCMP_SYS(pread64), SCMP_SYS(ftruncate)};

constexpr std::initializer_list<int> kOpening = {SCMP_SYS(open),      SCMP_SYS(openat),   SCMP_SYS(newfstatat),
                                                 SCMP_SYS(stat),      SCMP_SYS(lstat),    SCMP_SYS(access),
                                                 SCMP_SYS(faccessat), SCMP_SYS(readlink), SCMP_SYS(readlinkat)};

// Nothing honest in here calls these.
constexpr std::initializer_list<int> kKill = {SCMP_SYS(execve),
                                              SCMP_SYS(execveat),
                                              SCMP_SYS(ptrace),
                                              SCMP_SYS(process_vm_readv),
                                              SCMP_SYS(process_vm_writev),
                                              SCMP_SYS(pidfd_getfd),
                                              SCMP_SYS(keyctl),
                                              SCMP_SYS(add_key),
                                              SCMP_SYS(request_key),
                                              SCMP_SYS(mount),
                                              SCMP_SYS(umount2),
                                              SCMP_SYS(pivot_root),
                                              SCMP_SYS(chroot),
                                              SCMP_SYS(setns),
                                              SCMP_SYS(unshare),
                                              SCMP_SYS(bpf),
                                              SCMP_SYS(perf_event_open)};

bool allow(void* filter, int call) { return seccomp_rule_add(filter, SCMP_ACT_ALLOW, call, 0) == 0; }

// Sockets that a manifest asks for by name, and what their libraries call beyond the base.
bool add_sockets(void* filter, const KeptPrivileges& kept) {
  const auto allow_socket = [filter](int family, int protocol) {
    for (int type : {SOCK_RAW, SOCK_DGRAM}) {
      const auto is_family = SCMP_A0(SCMP_CMP_EQ, static_cast<scmp_datum_t>(family));
      const auto is_type = SCMP_A1(SCMP_CMP_MASKED_EQ, 0xf, static_cast<scmp_datum_t>(type));
      const auto is_protocol = SCMP_A2(SCMP_CMP_EQ, static_cast<scmp_datum_t>(protocol));
      const int added =
          protocol < 0 ? seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(socket), 2, is_family, is_type)
                       : seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(socket), 3, is_family, is_type, is_protocol);
      if (added != 0) return false;
    }
    return true;
  };
  if (kept.netlink_netfilter && !allow_socket(AF_NETLINK, NETLINK_NETFILTER)) return false;
  if (kept.netlink_route && !allow_socket(AF_NETLINK, NETLINK_ROUTE)) return false;
  if (kept.packet && !allow_socket(AF_PACKET, -1)) return false;
  if (!kept.any_socket()) return true;
  // libmnl and libnftables wait by select(); interfaces are looked up by ioctl, which here only asks.
  if (!allow(filter, SCMP_SYS(select)) || !allow(filter, SCMP_SYS(pselect6))) return false;
  for (int request : {SIOCGIFINDEX, SIOCGIFNAME, SIOCGIFFLAGS, SIOCGIFMTU, SIOCGIFHWADDR}) {
    const auto is_request = SCMP_A1(SCMP_CMP_EQ, static_cast<scmp_datum_t>(request));
    if (seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(ioctl), 1, is_request) != 0) return false;
  }
  return true;
}

bool add_base(void* filter) {
  for (int call : kRunning) {
    if (!allow(filter, call)) return false;
  }
  for (int call : kKill) {
    if (seccomp_rule_add(filter, SCMP_ACT_KILL_PROCESS, call, 0) != 0) return false;
  }
  // Threads, never processes; clone3 hides its flags behind a pointer, so glibc is sent to clone.
  const auto thread = SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD | CLONE_VM, CLONE_THREAD | CLONE_VM);
  if (seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(clone), 1, thread) != 0) return false;
  if (seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0) != 0) return false;
  // The host's network, by IP alone: no AF_UNIX (abstract sockets of the host), no netlink, no packet sockets.
  for (int family : {AF_INET, AF_INET6}) {
    for (int type : {SOCK_STREAM, SOCK_DGRAM}) {
      if (seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(socket), 2,
                           SCMP_A0(SCMP_CMP_EQ, static_cast<scmp_datum_t>(family)),
                           SCMP_A1(SCMP_CMP_MASKED_EQ, 0xf, static_cast<scmp_datum_t>(type))) != 0)
        return false;
    }
  }
  for (unsigned long request : {static_cast<unsigned long>(FIONBIO), static_cast<unsigned long>(FIONREAD)}) {
    if (seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(ioctl), 1, SCMP_A1(SCMP_CMP_EQ, request)) != 0) return false;
  }
  // Names for threads and memory; nothing that gives back what was dropped.
  for (unsigned long option : {15UL /* PR_SET_NAME */, 0x53564d41UL /* PR_SET_VMA */}) {
    if (seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(prctl), 1, SCMP_A0(SCMP_CMP_EQ, option)) != 0) return false;
  }
  // Reading limits (glibc sizes stacks by them), not setting them.
  if (seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(prlimit64), 1, SCMP_A2(SCMP_CMP_EQ, 0)) != 0) return false;
  // The second filter is installed by the worker itself.
  return allow(filter, SCMP_SYS(seccomp));
}

JailError load(void* filter) {
  if (const int error = seccomp_load(filter); error != 0)
    return std::string("worker: seccomp: ") + std::strerror(-error);
  return std::nullopt;
}

Filter make() {
  Filter filter(seccomp_init(SCMP_ACT_ERRNO(EPERM)));
  if (filter) {
    seccomp_attr_set(filter.get(), SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
    seccomp_attr_set(filter.get(), SCMP_FLTATR_CTL_TSYNC, 1);  // a constructor may have started a thread
    seccomp_attr_set(filter.get(), SCMP_FLTATR_CTL_NNP, 0);  // is set already, and the first filter refuses that prctl
    seccomp_attr_set(filter.get(), SCMP_FLTATR_CTL_OPTIMIZE,
                     2);  // a binary tree: 70 rules are walked for every packet else
  }
  return filter;
}

}  // namespace

JailError restrict_loading(const KeptPrivileges& kept) {
  Filter filter = make();
  if (!filter || !add_base(filter.get()) || !add_sockets(filter.get(), kept))
    return "worker: cannot build the seccomp filter";
  for (int call : kOpening) {
    const bool by_flags = call == SCMP_SYS(open) || call == SCMP_SYS(openat);
    const unsigned flags = call == SCMP_SYS(open) ? 1 : 2;
    const scmp_arg_cmp read_only = SCMP_CMP(flags, SCMP_CMP_MASKED_EQ, O_ACCMODE | O_CREAT | O_TRUNC, O_RDONLY);
    const int added = by_flags ? seccomp_rule_add(filter.get(), SCMP_ACT_ALLOW, call, 1, read_only)
                               : seccomp_rule_add(filter.get(), SCMP_ACT_ALLOW, call, 0);
    if (added != 0) return "worker: cannot build the seccomp filter";
  }
  return load(filter.get());
}

JailError restrict_running(const KeptPrivileges& kept) {
  Filter filter = make();
  if (!filter || !add_base(filter.get()) || !add_sockets(filter.get(), kept))
    return "worker: cannot build the seccomp filter";
  return load(filter.get());
}

}  // namespace sallyport
