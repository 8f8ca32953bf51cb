// What the kernel lets a cell, a worker and a gateway do, each tried in a child.
#include <absl/strings/str_format.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/landlock.h>
#include <linux/seccomp.h>
#include <net/ethernet.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "host/cell/failure.hpp"
#include "host/doctor/checks.hpp"
#include "host/doctor/child.hpp"
#include "host/kernel/kernel_tables.hpp"
#include "host/kernel/steering.hpp"

namespace sallyport::doctor {
namespace {

// "reason\nremedy", as CellError::text() has it.
std::pair<std::string, std::string> reason_and_remedy(const std::string& text) {
  const std::size_t cut = text.find('\n');
  return {text.substr(0, cut), cut == text.npos ? "" : text.substr(cut + 1)};
}

Fault make_namespaces() {
  constexpr int kAll =
      CLONE_NEWUSER | CLONE_NEWNET | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP;
  if (::unshare(kAll) == 0) return std::nullopt;
  return cell::namespace_failure("user namespaces cannot be made", errno, ::geteuid() == 0).text();
}

// A whole cell, with `true` in it.
Fault make_cell(const std::string& directory) {
  CellOptions options;
  options.name = "doctor";
  options.command = {"true"};
  options.environment = {"PATH=/usr/local/bin:/usr/bin:/bin"};
  options.working_directory = directory;
  CellResult<Cell> made = Cell::prepare(options);
  if (!made.ok()) return made.error().text();
  made->take_sockets().close();
  made->start();
  const CellStatus status = made->wait();
  if (status.code == 0) return std::nullopt;
  return status.exec_error != 0 ? status.exec_text : "a command in it ended with " + std::to_string(status.code);
}

// A filter that refuses one system call, and the call.
Fault filter_a_call() {
  sock_filter filter[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getpgid, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOTTY),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  const sock_fprog program{std::size(filter), filter};
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return errno_text("no_new_privs");
  if (::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) != 0) return errno_text("a filter");
  if (::syscall(SYS_getpgid, 0) != -1 || errno != ENOTTY) return "a filter that refuses a call does not refuse it";
  return std::nullopt;
}

// A ruleset that allows nothing, and a file.
Fault close_files() {
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return errno_text("no_new_privs");
  const std::uint64_t read_file = 1u << 2;  // the field of the first version, which every later one takes
  const int ruleset = static_cast<int>(::syscall(SYS_landlock_create_ruleset, &read_file, sizeof read_file, 0));
  if (ruleset < 0) return errno_text("a ruleset");
  if (::syscall(SYS_landlock_restrict_self, ruleset, 0) != 0) return errno_text("restrict");
  if (::open("/proc/self/exe", O_RDONLY | O_CLOEXEC) >= 0 || errno != EACCES)
    return "a file that it closes can be opened";
  return std::nullopt;
}

kernel::GateListener listener(const char* name, std::uint16_t port, kernel::GateListener::Transparent transparent) {
  kernel::GateListener made;
  made.name = name;
  made.proto = IPPROTO_TCP;
  made.address = Address::v4(0);
  made.any_address = true;
  made.port = port;
  made.transparent = transparent;
  return made;
}

// Of the gateway in question, or of one that has what a gateway can have.
kernel::Topology topology_of(const Examined& examined, bool with_tproxy) {
  using Transparent = kernel::GateListener::Transparent;
  kernel::Topology topology;
  topology.name = "doctor";
  if (!examined.prepared) {
    topology.networks.push_back({"doctor", {"br-doctor"}, {*Prefix::parse("172.20.0.0/16")}});
    topology.listeners.push_back(listener("catch", 15001, Transparent::kRedirect));
    if (with_tproxy) topology.listeners.push_back(listener("steered", 15002, Transparent::kTproxy));
    return topology;
  }
  const GatewayModel& gateway = examined.prepared->gateway;
  topology.name = gateway.name;
  for (const NetworkModel& network : gateway.networks)
    topology.networks.push_back({network.name, network.interfaces, network.addresses});
  for (const ListenerModel& model : gateway.listeners) {
    if (model.transparent == sallyport::Transparent::kTproxy && !with_tproxy) continue;
    for (const EndpointModel& endpoint : model.endpoints) {
      kernel::GateListener made;
      made.name = model.name;
      made.proto = static_cast<std::uint8_t>(endpoint.proto);
      made.address = endpoint.address;
      made.any_address = endpoint.address.text() == "0.0.0.0" || endpoint.address.text() == "::";
      made.port = endpoint.port;
      made.transparent = static_cast<Transparent>(model.transparent);
      topology.listeners.push_back(std::move(made));
    }
  }
  return topology;
}

Fault install(const kernel::Topology& topology) {
  if (Fault fault = enter_empty_network()) return fault;
  return kernel::KernelTables().install(topology);
}

Fault bind_transparently() {
  if (Fault fault = enter_empty_network()) return fault;
  const int on = 1;
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0 || ::setsockopt(fd, IPPROTO_IP, IP_TRANSPARENT, &on, sizeof on) != 0)
    return errno_text("a transparent socket");
  sockaddr_in foreign{};
  foreign.sin_family = AF_INET;
  foreign.sin_addr.s_addr = htonl(0xc6336401);  // 198.51.100.1: nobody's
  if (::bind(fd, reinterpret_cast<const sockaddr*>(&foreign), sizeof foreign) != 0)
    return errno_text("a foreign address");
  return std::nullopt;
}

Fault open_packet_socket() {
  if (Fault fault = enter_empty_network()) return fault;
  return ::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, htons(ETH_P_ALL)) >= 0 ? Fault() : errno_text("a packet socket");
}

}  // namespace

void check_cell(Findings& out) {
  if (const Fault fault = in_child(make_namespaces)) {
    const auto [reason, remedy] = reason_and_remedy(*fault);
    return out.fail("run", "user-namespaces", reason, remedy.empty() ? std::string(cell::kKernelRemedy) : remedy);
  }
  out.ok("run", "user-namespaces", "user, network, mount, pid, ipc, uts and cgroup namespaces can be made");

  std::string directory = (std::filesystem::temp_directory_path() / "sallyport-doctor-XXXXXX").string();
  if (::mkdtemp(directory.data()) == nullptr)
    return out.warn("run", "cell", errno_text("it cannot be tried: no temporary directory"), "set TMPDIR to one");
  if (const Fault fault = in_child([&] { return make_cell(directory); })) {
    const auto [reason, remedy] = reason_and_remedy(*fault);
    out.fail("run", "cell", "a command cannot be confined: " + reason,
             remedy.empty() ? std::string(cell::kKernelRemedy) : remedy);
  } else {
    out.ok("run", "cell", "a command runs in a cell: loopback alone, files thrown away, system calls filtered");
  }
  std::error_code error;
  std::filesystem::remove_all(directory, error);
}

void check_sandbox(Findings& out) {
  if (const Fault fault = in_child(filter_a_call)) {
    out.fail("serve", "seccomp", "system calls cannot be filtered: " + *fault,
             "a kernel with CONFIG_SECCOMP_FILTER, and no outer filter that refuses seccomp(2)");
  } else {
    out.ok("serve", "seccomp", "system calls can be filtered");
  }
  const long version = ::syscall(SYS_landlock_create_ruleset, nullptr, 0, LANDLOCK_CREATE_RULESET_VERSION);
  const std::string without = "; workers have their empty root and seccomp without it";
  if (version <= 0) {
    out.warn("serve", "landlock", errno_text("the kernel has none here") + without,
             "a kernel with CONFIG_SECURITY_LANDLOCK and lsm=landlock,… on its command line");
  } else if (const Fault fault = in_child(close_files)) {
    out.warn("serve", "landlock", *fault + without, "no outer filter that refuses landlock_restrict_self(2)");
  } else {
    out.ok("serve", "landlock", absl::StrFormat("files can be closed (version %d)", version));
  }
}

void check_kernel_tables(const Examined& examined, Findings& out) {
  const bool known = examined.prepared.has_value();
  const bool needed = known && examined.prepared->closes_kernel();
  if (known && !needed) {
    return out.ok("serve", "kernel-tables",
                  "this gateway has no rules in the kernel: nothing but its listeners is held");
  }
  const auto refused = [&](const char* check, const std::string& text, const std::string& remedy) {
    needed ? out.fail("serve", check, text, remedy) : out.warn("serve", check, text, remedy);
  };
  const kernel::Topology plain = topology_of(examined, false), steered = topology_of(examined, true);
  bool loads = false;
  if (const Fault fault = in_child(enter_empty_network)) {
    out.warn("serve", "kernel-tables", *fault, "run doctor as root");
  } else if (const Fault tables = in_child([&] { return install(plain); })) {
    refused("kernel-tables", "the kernel refuses a gateway's tables: " + *tables,
            "a kernel with nf_tables for inet and bridge, nat, redirect, fib and conntrack: modprobe nf_tables "
            "nft_chain_nat nft_redir nft_fib_inet nf_conntrack_bridge");
  } else {
    loads = true;
    out.ok("serve", "kernel-tables", "the tables of a gateway load: inet and bridge, with nat, redirect and conntrack");
  }
  const bool wants_tproxy = !known || kernel::needs_steering(steered);
  if (loads && wants_tproxy) {
    Fault fault = in_child([&] { return install(steered); });
    if (!fault) fault = in_child(bind_transparently);
    if (fault) {
      refused("tproxy", "`transparent: tproxy` is not to be had: " + *fault,
              "modprobe nft_tproxy nf_tproxy_ipv4 nf_tproxy_ipv6; or use transparent: redirect");
    } else if (const Fault obstacle = kernel::steering_obstacle(steered)) {
      refused("tproxy", *obstacle, "use transparent: redirect");
    } else {
      out.ok("serve", "tproxy", "the kernel steers foreign addresses to a transparent socket");
    }
  }
  std::ifstream file("/proc/sys/net/bridge/bridge-nf-call-iptables");
  if (int value = 0; file >> value) {
    out.ok("serve", "bridge-netfilter",
           value == 0 ? "off: what stays inside a bridge is held by the bridge table alone"
                      : "on: what stays inside a bridge passes the inet tables as well, other programs' included");
  } else {
    out.ok("serve", "bridge-netfilter", "not loaded: what stays inside a bridge is held by the bridge table alone");
  }
  if (has_capability(12)) {  // CAP_NET_ADMIN
    out.ok("serve", "net-admin", "CAP_NET_ADMIN is here: the kernel can be closed");
  } else {
    refused("net-admin",
            "CAP_NET_ADMIN is not here: the kernel cannot be closed, and agents are kept from what no plugin "
            "sees by their network alone",
            "run the gateway as root or with that capability; without it one network for each agent: sallyport init "
            "compose --unprivileged");
  }
}

void check_capture(const Examined& examined, Findings& out) {
  const bool needed =
      examined.prepared &&
      std::any_of(examined.prepared->plugins.begin(), examined.prepared->plugins.end(),
                  [](const PreparedPlugin& plugin) { return plugin.privileges.sockets.contains("packet"); });
  if (examined.prepared && !needed) return;
  const auto refused = [&](const std::string& text, const std::string& remedy) {
    needed ? out.fail("serve", "packet-sockets", text, remedy) : out.warn("serve", "packet-sockets", text, remedy);
  };
  if (const Fault fault = in_child(open_packet_socket))
    return refused("the monitor cannot look: " + *fault, "a kernel with AF_PACKET: modprobe af_packet");
  if (!has_capability(13))  // CAP_NET_RAW
    return refused("CAP_NET_RAW is not here: the monitor cannot look at live traffic",
                   "run the gateway as root or with that capability; captures can be read without: sallyport-monitor "
                   "--read FILE");
  out.ok("serve", "packet-sockets", "the monitor can look at live traffic");
}

}  // namespace sallyport::doctor
