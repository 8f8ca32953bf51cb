// The workload's environment: the caller's, less what would send traffic astray or point at sockets that are not there.
#pragma once

#include <string>
#include <vector>

namespace sallyport {

// environment: "NAME=value" entries. Dropped: proxy variables in either case (an inherited proxy would swallow the
// traffic that the cell carries by itself) and the addresses of the session's sockets (ssh-agent, gpg-agent, D-Bus,
// X11, Wayland, Docker).
std::vector<std::string> workload_environment(const std::vector<std::string>& environment);

}  // namespace sallyport
