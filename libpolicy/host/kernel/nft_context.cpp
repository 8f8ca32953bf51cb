#include "host/kernel/nft_context.hpp"

#include <linux/netlink.h>
#include <nftables/libnftables.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>

namespace sallyport::kernel {

void NftContext::Free::operator()(nft_ctx* context) const noexcept { nft_ctx_free(context); }

NftContext::NftContext() {
  // Where there is no such socket libnftables ends the whole process.
  const int probe = ::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER);
  if (probe < 0) return;
  ::close(probe);
  context_.reset(nft_ctx_new(NFT_CTX_DEFAULT));
  if (!context_) return;
  nft_ctx_buffer_error(context_.get());
  nft_ctx_buffer_output(context_.get());
  // Numbers: no look-up in files, which a jail does not have, and no name service.
  nft_ctx_output_set_flags(context_.get(), NFT_CTX_OUTPUT_NUMERIC_ALL);
}

KernelError NftContext::run(const std::string& text) {
  if (!context_) return "no netlink socket for nf_tables";
  const int failed = nft_run_cmd_from_buffer(context_.get(), text.c_str());
  std::string error = nft_ctx_get_error_buffer(context_.get());
  nft_ctx_get_output_buffer(context_.get());  // emptied by the next command
  if (failed == 0) return std::nullopt;
  error = error.substr(0, error.find('\n'));
  return error.empty() ? "the kernel refused the rules" : error;
}

KernelError NftContext::list(const std::string& command, std::string& json) {
  if (!context_) return "no netlink socket for nf_tables";
  nft_ctx_output_set_flags(context_.get(), NFT_CTX_OUTPUT_NUMERIC_ALL | NFT_CTX_OUTPUT_JSON);
  const int failed = nft_run_cmd_from_buffer(context_.get(), command.c_str());
  json = nft_ctx_get_output_buffer(context_.get());
  std::string error = nft_ctx_get_error_buffer(context_.get());
  nft_ctx_output_set_flags(context_.get(), NFT_CTX_OUTPUT_NUMERIC_ALL);
  if (failed == 0) return std::nullopt;
  error = error.substr(0, error.find('\n'));
  return error.empty() ? "nf_tables does not answer" : error;
}

}  // namespace sallyport::kernel
