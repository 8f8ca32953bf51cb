#include "host/gate/kernel.hpp"

#include <absl/strings/str_format.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <iterator>

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

// The elements for listeners that were there before and are no longer.
std::string drained(const kernel::Topology& now, const nlohmann::json& before, std::chrono::seconds drain) {
  if (before.is_null()) return {};
  const Result<kernel::Topology> parsed = kernel::parse_topology(before.dump());
  if (!parsed.ok()) return {};
  std::vector<kernel::GateListener> gone;
  std::ranges::copy_if(parsed->listeners, std::back_inserter(gone), [&](const kernel::GateListener& listener) {
    return std::ranges::none_of(now.listeners, [&](const kernel::GateListener& other) {
      return other.proto == listener.proto && other.address == listener.address && other.port == listener.port &&
             other.transparent == listener.transparent;
    });
  });
  return kernel::drained_elements(gone, drain);
}

}  // namespace

absl::Status close_kernel(const nlohmann::json& topology, const nlohmann::json& before, std::chrono::seconds drain) {
  const Result<kernel::Topology> parsed = kernel::parse_topology(topology.dump());
  if (!parsed.ok()) return absl::InternalError(std::string(parsed.error().message));
  kernel::KernelTables tables;
  const kernel::KernelError obstacle = kernel::steering_obstacle(*parsed);
  // Closed all the same: a gateway that serves keeps its tables, one that starts leaves those that let nothing through.
  if (obstacle && !tables.shape().empty()) return absl::FailedPreconditionError(*obstacle);
  if (kernel::KernelError error = tables.install(*parsed, drained(*parsed, before, drain))) return failed(*error);
  if (obstacle) return absl::FailedPreconditionError(*obstacle);
  return absl::OkStatus();
}

bool kernel_is_closed_for(const nlohmann::json& topology) {
  const Result<kernel::Topology> parsed = kernel::parse_topology(topology.dump());
  if (!parsed.ok()) return false;
  kernel::KernelTables tables;
  return tables.shape() == kernel::shape_of(*parsed) && tables.present(*parsed);
}

absl::Status drain_kernel(const nlohmann::json& topology, const nlohmann::json& before, std::chrono::seconds drain) {
  const Result<kernel::Topology> parsed = kernel::parse_topology(topology.dump());
  if (!parsed.ok()) return absl::InternalError(std::string(parsed.error().message));
  if (const kernel::KernelError obstacle = kernel::steering_obstacle(*parsed))
    return absl::FailedPreconditionError(*obstacle);
  const std::string elements = drained(*parsed, before, drain);
  kernel::KernelTables tables;
  if (elements.empty()) return absl::OkStatus();
  if (kernel::KernelError error = tables.context().run(elements)) return failed(*error);
  return absl::OkStatus();
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
