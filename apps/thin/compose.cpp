#include "thin/compose.hpp"

#include <nlohmann/json.hpp>

namespace sallyport::thin {
namespace {

std::string option_of(std::string_view name, std::string_view value) {
  return "--" + std::string(name) + " " + std::string(value);
}

// A number or truth value goes without quotes, or it would be a text.
std::string scalar(const std::string& text) {
  const bool number = !text.empty() && text.size() < 19 && text.find_first_not_of("0123456789") == text.npos;
  return number || text == "true" || text == "false" ? text : yaml_text(text);
}

void add_list(ComposedGateway& out, const std::string& indent, const std::string& key,
              const std::vector<std::string>& values, std::string_view option) {
  out.add(indent + key + ":");
  for (const std::string& value : values) out.add(indent + "  - " + yaml_text(value), option_of(option, value));
}

}  // namespace

std::string yaml_text(std::string_view text) {
  return nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

std::string yaml_list(const std::vector<std::string>& texts) {
  return nlohmann::json(texts).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

ComposedGateway compose(const Settings& settings, const std::string& plugin, bool udp) {
  ComposedGateway out;
  out.name = settings.name;
  const auto add = [&](const char* key, const std::string& value, const char* option) {
    if (!value.empty()) out.add(std::string(key) + ": " + yaml_text(value), option_of(option, value));
  };
  out.add("version: 1");
  add("name", settings.name, "name");
  add("policy", settings.policy, "policy");
  add("plugin_dir", settings.plugin_directory, "plugin-dir");
  add("user", settings.user, "user");
  add("drain", settings.drain, "drain");
  if (!settings.credentials.empty())
    out.add("credentials: { file: " + yaml_text(settings.credentials) + " }",
            option_of("credentials", settings.credentials));
  if (!settings.clients.empty()) {
    out.add("networks:");
    out.add("  clients:");
    add_list(out, "    ", "addresses", settings.clients, "client");
  }
  if (!settings.listen.empty()) {
    out.add("listeners:");
    out.add("  main:");
    if (udp) add_list(out, "    ", "udp", settings.listen, "listen");
    add_list(out, "    ", "tcp", settings.listen, "listen");
    if (!settings.transparent.empty())
      out.add("    transparent: " + yaml_text(settings.transparent), option_of("transparent", settings.transparent));
  }
  if (!settings.audit.empty()) {
    out.add("audit:");
    add_list(out, "  ", "sinks", settings.audit, "audit");
  }
  out.add("plugins:");
  out.add("  - name: " + yaml_text(plugin),
          settings.plugin_directory.empty() ? std::string() : option_of("plugin-dir", settings.plugin_directory));
  out.add("    config:");
  if (!settings.listen.empty()) out.add("      listen: [main]");
  if (settings.listen.empty() && settings.interfaces.empty()) out.add("      {}");
  if (!settings.interfaces.empty()) add_list(out, "      ", "interfaces", settings.interfaces, "interface");
  if (!settings.upstreams.empty()) {
    if (settings.default_upstreams) {
      out.add("      upstreams: " + yaml_list(settings.upstreams), "/etc/resolv.conf");
    } else {
      add_list(out, "      ", "upstreams", settings.upstreams, "upstream");
    }
  }
  for (const Settings::Given& given : settings.given) {
    if (given.option->list) {
      add_list(out, "      ", given.option->key, given.values, given.option->name);
    } else {
      out.add("      " + std::string(given.option->key) + ": " + scalar(given.values.back()),
              option_of(given.option->name, given.values.back()));
    }
  }
  for (const std::string& pair : settings.set) {
    const std::size_t equals = pair.find('=');
    out.add("      " + yaml_text(pair.substr(0, equals)) + ": " + scalar(pair.substr(equals + 1)),
            option_of("set", pair));
  }
  return out;
}

}  // namespace sallyport::thin
