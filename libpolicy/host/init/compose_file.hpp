// ComposeNetwork: what an overlay has to know of somebody's compose file and of one network in it.
//
// Form     read_compose() takes compose.yaml, compose.yml, docker-compose.yaml or docker-compose.yml of the directory,
// whichever is
//          there first, as docker compose does. Merge keys (`<<`) and anchors are followed, `extends` and `include` are
//          not: services that are only there have to be named.
// Errors   kNotFound: no such file. kInvalidArgument: in words for the command line, with the file, what is wrong and
// the remedy. Source   The Compose specification, "Services", "Networks".
#pragma once

#include <absl/status/statusor.h>

#include <string>
#include <vector>

namespace sallyport {

struct ComposeNetwork {
  std::string file;                   // "compose.yaml"
  std::string version;                // of the file, which an overlay of docker-compose 1 has to repeat; may be empty
  std::string name;                   // of the network
  std::string bridge;                 // of its interface on the host, at most 15 octets
  std::string gateway;                // the bridge's own IPv4 address
  std::vector<std::string> subnets;   // IPv4 and IPv6
  std::string definition;             // the network as it has to be, in YAML's flow style
  std::vector<std::string> services;  // those on it, in the file's order
  std::vector<std::string> warnings;  // what a service has that goes around the gateway
};

// `only`: of the services, those; empty: all that are on the network.
absl::StatusOr<ComposeNetwork> read_compose(const std::string& directory, const std::string& network,
                                            const std::vector<std::string>& only);

}  // namespace sallyport
