#include "host/gate/kernel.hpp"

#include <absl/strings/str_format.h>

#include "host/kernel/kernel_tables.hpp"

namespace sallyport {
namespace {

absl::Status failed(const std::string& error) {
  return absl::FailedPreconditionError(absl::StrFormat(
      "the kernel's tables: %s; they need CAP_NET_ADMIN in the network namespace and nf_tables (modprobe -a nf_tables "
      "nft_chain_nat nft_reject_inet nft_ct nft_fib_inet nf_conntrack_bridge)",
      error));
}

}  // namespace

absl::Status close_kernel(const nlohmann::json& topology) {
  const Result<kernel::Topology> parsed = kernel::parse_topology(topology.dump());
  if (!parsed.ok()) return absl::InternalError(std::string(parsed.error().message));
  kernel::KernelTables tables;
  if (kernel::KernelError error = tables.install(*parsed)) return failed(*error);
  return absl::OkStatus();
}

absl::Status open_kernel() {
  kernel::KernelTables tables;
  if (kernel::KernelError error = tables.remove()) return failed(*error);
  return absl::OkStatus();
}

}  // namespace sallyport
