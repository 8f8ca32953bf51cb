#include "host/warden/environment.hpp"

#include <algorithm>
#include <array>
#include <cctype>
#include <string_view>

namespace sallyport {
namespace {

constexpr std::array<std::string_view, 20> kDropped = {
    // proxies, compared in lower case
    "http_proxy", "https_proxy", "ftp_proxy", "all_proxy", "no_proxy", "rsync_proxy", "socks_proxy", "cgi_http_proxy",
    "npm_config_proxy", "npm_config_https_proxy", "npm_config_noproxy", "grpc_proxy",
    // sockets of the session
    "ssh_auth_sock", "ssh_agent_pid", "gpg_agent_info", "dbus_session_bus_address", "display", "wayland_display",
    "docker_host", "xauthority"};

}  // namespace

std::vector<std::string> workload_environment(const std::vector<std::string>& environment) {
  std::vector<std::string> kept;
  for (const std::string& entry : environment) {
    std::string name = entry.substr(0, entry.find('='));
    std::transform(name.begin(), name.end(), name.begin(),
                   [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    if (std::find(kDropped.begin(), kDropped.end(), name) == kDropped.end()) kept.push_back(entry);
  }
  return kept;
}

}  // namespace sallyport
