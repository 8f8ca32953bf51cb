// GatewayModel: gateway.yaml as it was understood. Plain data with the place of what later steps may still find wrong.
//
// Lifetime Self-contained, but for `source` and `tree`, which the plugins' configs are read from and which it shares.
// Threads  A plain value.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "language/source.hpp"
#include "language/yaml_tree.hpp"
#include "names/address.hpp"

namespace sallyport {

enum class Transparent : std::uint8_t { kNo = 0, kRedirect, kTproxy };

// A word of the file and where it stands.
struct Placed {
  std::string text;
  Span at;
};

struct PinModel {
  Address address;
  std::string port, mac;  // empty: any, not both
};

struct NetworkModel {
  std::string name;
  std::vector<Prefix> addresses;
  std::vector<std::string> interfaces;
  std::uint32_t addresses_per_port = 4;
  std::vector<PinModel> pins;
  bool open_from_host = false;
};

// One address of a listener.
struct EndpointModel {
  std::uint16_t proto = 0;  // kProtoTcp, kProtoUdp
  Address address;
  std::uint16_t port = 0;
  Span at;
  std::string path;  // "listeners.dns.udp[0]"
};

struct ListenerModel {
  std::string name;
  Span at;
  std::vector<EndpointModel> endpoints;
  Transparent transparent = Transparent::kNo;
  std::string systemd;  // a FileDescriptorName; empty: none
};

struct PluginModel {
  std::string name;
  Span at;                   // of the name
  std::string file;          // in the plugin directory
  Span file_at;              // of `file`, else of the name
  std::string process;       // "", "own" or a name
  std::uint32_t config = 0;  // node of the tree; 0 with has_config false: none
  bool has_config = false;
  Span config_at;
  std::string path;  // "plugins[2]"
};

// The text of the file and its nodes, for whoever reads a plugin's config.
struct GatewayText {
  std::string file;
  std::string text;
  std::unique_ptr<Source> source;  // borrows text
  YamlTree tree;
};

struct GatewayModel {
  std::string file;       // as given
  std::string directory;  // of the file, absolute
  std::string name;
  Placed policy;            // a path that can be opened
  std::string policy_word;  // as written; what `where` in the audit says
  Placed plugin_dir;        // absolute; empty: the one beside the program
  std::vector<NetworkModel> networks;
  std::vector<ListenerModel> listeners;
  std::vector<PluginModel> plugins;
  std::vector<std::pair<Placed, Placed>> internal;
  Placed credentials;         // a path that can be opened; empty: none
  std::vector<Placed> sinks;  // "stdout", "file:PATH" with a path that can be opened
  std::uint32_t uid = 65534;  // of the workers, when started by root
  std::uint32_t gid = 65534;
  std::chrono::milliseconds drain{10'000};
  std::shared_ptr<const GatewayText> source;
};

}  // namespace sallyport
