// NftContext: one open libnftables context: text in, one transaction; no other process.
//
// Lifetime Move-only; holds a netlink socket of the network namespace it was made in.
// Errors   What the kernel or the parser refused, in its words, one line.
// Threads  One at a time.
#pragma once

#include <memory>
#include <optional>
#include <string>

struct nft_ctx;

namespace sallyport::kernel {

using KernelError = std::optional<std::string>;  // nothing: success

class NftContext {
 public:
  NftContext();

  bool ok() const noexcept { return context_ != nullptr; }
  // All of the text or nothing of it.
  KernelError run(const std::string& text);
  // The JSON that a `list` command prints.
  KernelError list(const std::string& command, std::string& json);

 private:
  struct Free {
    void operator()(nft_ctx* context) const noexcept;
  };
  std::unique_ptr<nft_ctx, Free> context_;
};

}  // namespace sallyport::kernel
