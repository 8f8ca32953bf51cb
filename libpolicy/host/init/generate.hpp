// generate(): the files of a deployment, for the agents that are named.
//
// Form     With the agents that deploy/ has, each file is that of deploy/, octet for octet. With a network: an overlay
// of the compose
//          file that is in the directory (compose_file.hpp), and a gateway's files for that network.
// Errors   kInvalidArgument, kNotFound: in words for the command line.
// Threads  Any; reads nothing but that compose file.
#pragma once

#include <absl/status/statusor.h>

#include <string>
#include <vector>

namespace sallyport {

struct InitOptions {
  std::string kind = "compose";       // compose, systemd
  std::string shape = "transparent";  // transparent, proxy, cells
  bool unprivileged = false;          // one network an agent, and a gateway without any privilege
  std::vector<std::string> agents;    // empty: those of deploy/, or all on the network
  std::string network;                // of a compose file that is there; empty: a deployment of its own
  std::string directory = ".";
  bool force = false;
  std::string program = "/usr/bin/sallyport";  // what units start
};

struct GeneratedFile {
  std::string path;  // below the directory
  std::string text;
};

struct Generated {
  std::vector<GeneratedFile> files;
  std::string base;                   // the compose file that an overlay lies on
  std::vector<std::string> warnings;  // one line each
};

absl::StatusOr<Generated> generate(const InitOptions& options);

}  // namespace sallyport
