#include "thin/program.hpp"

#include <algorithm>
#include <boost/program_options.hpp>
#include <cstdio>
#include <map>
#include <optional>
#include <sstream>

#include "host/warden/own_addresses.hpp"
#include "host/warden/resolvers.hpp"
#include "host/warden/run.hpp"
#include "options/options.hpp"

namespace sallyport::thin {
namespace {

namespace po = boost::program_options;
using Texts = std::vector<std::string>;

struct CommandLine {
  Settings settings;
  std::string state_directory;
  std::map<std::string, Texts> values;  // of the program's own options
  bool check = false, health = false, json = false;
};

po::options_description describe(const Program& program, CommandLine& line) {
  Settings& settings = line.settings;
  po::options_description all("options", 100);
  std::string listen = "address and port to serve at; may be repeated; default:";
  for (const std::string& address : program.listen) listen += " " + address;
  all.add_options()("policy,p", po::value(&settings.policy)->value_name("FILE"),
                    "policy file (docs/policy-language.md); read again when it changes")(
      "listen", po::value(&settings.listen)->value_name("ADDRESS:PORT"), listen.c_str())(
      "upstream", po::value(&settings.upstreams)->value_name("ADDRESS[:PORT]"),
      "ask this resolver; may be repeated; default: those of /etc/resolv.conf")(
      "client", po::value(&settings.clients)->value_name("NETWORK"),
      "serve this network alone; may be repeated; default: the addresses of the policy's clients, or everyone if it "
      "names none");
  if (program.transparent)
    all.add_options()("transparent", po::value(&settings.transparent)->value_name("redirect|tproxy"),
                      "connections come here by rules of the kernel, and were meant for elsewhere");
  if (program.credentials)
    all.add_options()("credentials", po::value(&settings.credentials)->value_name("FILE"),
                      "lines `user:hash`, hashes as crypt(5) writes them");
  for (const Option& option : program.options)
    all.add_options()(option.name, po::value(&line.values[option.name])->value_name(option.value), option.help);
  all.add_options()("set", po::value(&settings.set)->value_name("KEY=VALUE"),
                    ("another option of the plugin (plugins/" + std::string(program.plugin) + "/README.md)").c_str())(
      "audit", po::value(&settings.audit)->value_name("FILE"),
      "append every decision as a JSON line; may be repeated; default: -, standard output")(
      "name", po::value(&settings.name)->value_name("NAME"),
      "of the gateway, in the audit and of its status socket; default: that of the program")(
      "user", po::value(&settings.user)->value_name("USER"),
      "what workers run as when started by root; default: nobody")(
      "drain", po::value(&settings.drain)->value_name("TIME"), "how long flows may go on after SIGTERM; default: 10s")(
      "plugin-dir", po::value(&settings.plugin_directory)->value_name("DIR"),
      "absolute path of the plugins; default: those installed with sallyport")(
      "state-dir", po::value(&line.state_directory)->value_name("DIR"),
      "where the status socket is; default: $RUNTIME_DIRECTORY, /run/sallyport or $XDG_RUNTIME_DIR/sallyport")(
      "check", po::bool_switch(&line.check), "check options and policy, and do not run; 0 good, 3 not")(
      "health", po::bool_switch(&line.health), "ask the one that runs; 0 healthy, 1 not")(
      "json", po::bool_switch(&line.json), "health: print what it says of itself")("version,V", "print the version")(
      "help,h", "print this");
  return all;
}

int usage(const Program& program, const std::string& text) {
  std::fprintf(stderr, "%s: %s\nusage: %s -p policy.yaml [options]; %s --help lists the options\n", program.name,
               text.c_str(), program.name, program.name);
  return kOwnFailure;
}

// Whether a query to this resolver would come back to a listener here.
bool is_listener(const std::string& resolver, const Texts& listen) {
  const auto parts = [](const std::string& text) -> std::pair<Result<Address>, std::string> {
    const std::size_t colon = text.rfind(':');
    std::string_view host = std::string_view(text).substr(0, colon);
    if (host.size() > 2 && host.front() == '[') host = host.substr(1, host.size() - 2);
    return {Address::parse(host), colon == text.npos ? "" : text.substr(colon + 1)};
  };
  const auto [address, port] = parts(resolver);
  if (!address.ok()) return false;
  const std::vector<Address> own = own_addresses();
  return std::any_of(listen.begin(), listen.end(), [&](const std::string& text) {
    const auto [here, here_port] = parts(text);
    if (!here.ok() || here_port != port || here->is_v4() != address->is_v4()) return false;
    const bool everywhere = here->text() == "0.0.0.0" || here->text() == "::";
    return here->text() == address->text() ||
           (everywhere &&
            std::any_of(own.begin(), own.end(), [&](const Address& mine) { return mine.text() == address->text(); }));
  });
}

// The host's, but for those that are this program itself.
Texts default_upstreams(const Program& program, const Settings& settings) {
  Texts found;
  const absl::StatusOr<Texts> host = host_resolvers();
  if (!host.ok()) return found;
  for (const std::string& resolver : *host) {
    if (!program.udp || !is_listener(resolver, settings.listen)) found.push_back(resolver);
  }
  return found;
}

// What can only be a mistake, and what stands for another; nothing: no fault.
std::optional<std::string> settle(const Program& program, CommandLine& line) {
  Settings& settings = line.settings;
  if (settings.name.empty()) settings.name = program.name;
  if (line.health) return std::nullopt;  // its name is all that is needed
  if (settings.policy.empty()) return "no policy; name it by -p";
  if (settings.policy == "-") return "-p -: a policy is read from a file, which can be checked for who may write it";
  for (const std::string& pair : settings.set) {
    const std::size_t equals = pair.find('=');
    if (equals == 0 || equals == pair.npos) return "--set " + pair + ": expected KEY=VALUE";
  }
  if (settings.listen.empty()) settings.listen = program.listen;
  settings.default_upstreams = settings.upstreams.empty();
  for (std::string& upstream : settings.upstreams) {
    const absl::StatusOr<std::string> resolver = parse_resolver(upstream);
    if (!resolver.ok()) return "--upstream: " + std::string(resolver.status().message());
    if (program.udp && is_listener(*resolver, settings.listen))
      return "--upstream " + upstream + ": it would ask itself";
  }
  if (settings.default_upstreams) {
    settings.upstreams = default_upstreams(program, settings);
    if (settings.upstreams.empty())
      return "no resolver: /etc/resolv.conf names none but this program; name one with --upstream ADDRESS";
  }
  for (std::string& sink : settings.audit) sink = sink == "-" ? "stdout" : "file:" + sink;

  for (const Option& option : program.options) {
    Texts texts = line.values[option.name];
    const bool implied = texts.empty() && option.implied_by[0] != '\0' &&
                         (!line.values[option.implied_by].empty() ||
                          (std::string_view(option.implied_by) == "credentials" && !settings.credentials.empty()));
    if (implied) texts = {option.implies};
    if (texts.empty() && option.preset[0] != '\0') texts = {option.preset};
    if (!texts.empty()) settings.given.push_back({&option, std::move(texts)});
  }
  return std::nullopt;
}

}  // namespace

int run(const Program& program, int argc, char** argv) {
  CommandLine line;
  const po::options_description all = describe(program, line);
  po::variables_map values;
  const CommandLineForm form{all, "it takes options alone"};
  if (const auto fault = read_options(form, Texts(argv + 1, argv + argc), values)) return usage(program, *fault);
  if (values.count("help") != 0) {
    std::ostringstream text;
    text << "usage: " << program.name << " -p policy.yaml [options]\n\n" << program.summary << "\n\n" << all;
    std::fputs(text.str().c_str(), stdout);
    return 0;
  }
  if (values.count("version") != 0) {
    std::printf("%s %s\n", program.name, SALLYPORT_VERSION);
    return 0;
  }
  if (const auto fault = settle(program, line)) return usage(program, *fault);

  ServeOptions options;
  options.state_directory = line.state_directory;
  options.compose = [&program, settings = line.settings]() mutable {
    if (settings.default_upstreams) {
      Texts now = default_upstreams(program, settings);
      if (!now.empty()) settings.upstreams = std::move(now);  // else those of before: a file in the middle of a change
    }
    return compose(settings, program.plugin, program.udp);
  };
  if (line.health) return gateway_health(options, line.json);
  return line.check ? check_gateway(options) : serve_gateway(options);
}

}  // namespace sallyport::thin
