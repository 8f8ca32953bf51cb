// generate(): the files of a deployment, for the agents that are named.
//
// Form     With the agents that deploy/ has, each file is that of deploy/, octet for octet.
// Errors   kInvalidArgument, in words for the command line.
// Threads  Pure.
#pragma once

#include <absl/status/statusor.h>

#include <string>
#include <vector>

namespace sallyport {

struct InitOptions {
  std::string kind = "compose";       // compose, systemd
  std::string shape = "transparent";  // transparent, proxy, cells
  bool unprivileged = false;          // one network an agent, and a gateway without any privilege
  std::vector<std::string> agents;    // empty: those of deploy/
  std::string directory = ".";
  bool force = false;
  std::string program = "/usr/bin/sallyport";  // what units start
};

struct GeneratedFile {
  std::string path;  // below the directory
  std::string text;
};

absl::StatusOr<std::vector<GeneratedFile>> generate(const InitOptions& options);

}  // namespace sallyport
