#include "host/gate/kernel.hpp"

#include <absl/strings/str_format.h>
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

#include "host/kernel/kernel_tables.hpp"
#include "host/kernel/ruleset.hpp"
#include "host/kernel/steering.hpp"
#include "host/warden/memory_file.hpp"

namespace sallyport {
namespace {

absl::Status failed(const std::string& error) {
  return absl::FailedPreconditionError(
      absl::StrFormat("the kernel cannot be closed: %s; its tables need CAP_NET_ADMIN in the network namespace and "
                      "nf_tables (modprobe -a nf_tables "
                      "nft_chain_nat nft_reject_inet nft_ct nft_fib_inet nft_tproxy nf_conntrack_bridge)",
                      error));
}

}  // namespace

absl::Status close_kernel(const nlohmann::json& topology) {
  const Result<kernel::Topology> parsed = kernel::parse_topology(topology.dump());
  if (!parsed.ok()) return absl::InternalError(std::string(parsed.error().message));
  kernel::KernelTables tables;
  const kernel::KernelError obstacle = kernel::steering_obstacle(*parsed);
  // Closed all the same: a gateway that serves keeps its tables, one that starts leaves those that let nothing through.
  if (obstacle && !tables.shape().empty()) return absl::FailedPreconditionError(*obstacle);
  if (kernel::KernelError error = tables.install(*parsed)) return failed(*error);
  if (obstacle) return absl::FailedPreconditionError(*obstacle);
  return absl::OkStatus();
}

bool kernel_is_closed_for(const nlohmann::json& topology) {
  const Result<kernel::Topology> parsed = kernel::parse_topology(topology.dump());
  if (!parsed.ok()) return false;
  kernel::KernelTables tables;
  return tables.shape() == kernel::shape_of(*parsed) && tables.present(*parsed);
}

absl::Status kernel_obstacle(const nlohmann::json& topology) {
  const Result<kernel::Topology> parsed = kernel::parse_topology(topology.dump());
  if (!parsed.ok()) return absl::InternalError(std::string(parsed.error().message));
  const kernel::KernelError obstacle = kernel::steering_obstacle(*parsed);
  return obstacle ? absl::FailedPreconditionError(*obstacle) : absl::OkStatus();
}

bool lift_icmp_limits() {
  bool lifted = true;
  for (const char* path : {"/proc/sys/net/ipv4/icmp_ratelimit", "/proc/sys/net/ipv6/icmp/ratelimit"}) {
    const Descriptor file(::open(path, O_WRONLY | O_CLOEXEC));
    if (file.get() < 0 && errno == ENOENT) continue;  // this host has no IPv6
    lifted = ::write(file.get(), "0\n", 2) == 2 && lifted;
  }
  return lifted;
}

absl::Status open_kernel() {
  kernel::KernelTables tables;
  if (kernel::KernelError error = tables.remove()) return failed(*error);
  return absl::OkStatus();
}

}  // namespace sallyport
