// What deploy/ holds, built into the program.
//
// Form     Paths below deploy/: "compose/proxy/compose.yaml"; texts octet for octet.
// Lifetime Static.
#pragma once

#include <span>
#include <string_view>

namespace sallyport {

struct DeployFile {
  std::string_view path, text;
};

std::span<const DeployFile> deploy_files() noexcept;

// One of them; empty: there is none.
std::string_view shipped(std::string_view path) noexcept;

}  // namespace sallyport
