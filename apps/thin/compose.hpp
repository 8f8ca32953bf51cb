// A thin program's command line as the lines of a gateway.yaml (host/gate/serve.hpp, ComposedGateway).
//
// Form     Every value is quoted: whatever a user writes stays a value. One line for each option given, so that an
//          error leads to it.
// Threads  Pure functions.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "host/gate/serve.hpp"

namespace sallyport::thin {

// An option of the program that is one of its plugin's.
struct Option {
  const char* name = "";   // "blocked-answer"
  const char* value = "";  // "nxdomain|zero|refused", for --help
  const char* key = "";    // of the plugin's config: "blocked_answer"
  const char* help = "";
  bool list = false;            // may be repeated; the config has a list
  const char* preset = "";      // not given; empty: the plugin's own
  const char* implied_by = "";  // not given, but that option is:
  const char* implies = "";     // then it has this value
};

// What every thin program is told.
struct Settings {
  std::string name, policy, plugin_directory, credentials, user, drain, transparent;
  std::vector<std::string> clients, listen, upstreams, interfaces, audit;
  std::vector<std::string> set;  // KEY=VALUE
  bool default_upstreams = true;
  struct Given {
    const Option* option;
    std::vector<std::string> values;
  };
  std::vector<Given> given;
};

// "…" with what YAML (and JSON) would take for its own escaped.
std::string yaml_text(std::string_view text);
// [ "…", "…" ]
std::string yaml_list(const std::vector<std::string>& texts);

// The one plugin, its listener (none: it listens on nothing) and the rest.
ComposedGateway compose(const Settings& settings, const std::string& plugin, bool udp);

}  // namespace sallyport::thin
