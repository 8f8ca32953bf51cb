// `sallyport serve`, `check`, `health` and `release`: the command lines of host/gate/serve.hpp.
#include <boost/program_options.hpp>
#include <cstdio>
#include <optional>
#include <sstream>

#include "host/gate/serve.hpp"
#include "host/warden/run.hpp"
#include "options/options.hpp"
#include "sallyport/command.hpp"

namespace sallyport {
namespace {

namespace po = boost::program_options;
using Texts = std::vector<std::string>;

struct Parsed {
  ServeOptions options;
  bool json = false;
  std::optional<int> status;  // set: the end
};

Parsed parse(const char* command, const Texts& arguments, int usage_status) {
  Parsed parsed;
  po::options_description all("options", 100);
  all.add_options()("config,c", po::value(&parsed.options.file)->value_name("FILE"),
                    "the gateway's file (docs/gateway.md)")(
      "state-dir", po::value(&parsed.options.state_directory)->value_name("DIR"),
      "where its status socket is; default: $RUNTIME_DIRECTORY, /run/sallyport or $XDG_RUNTIME_DIR/sallyport")(
      "json", po::bool_switch(&parsed.json), "health: print what the gateway says of itself")("help,h", "print this");
  const auto usage = [&](const std::string& text) {
    std::fprintf(stderr, "sallyport: %s\nusage: sallyport %s -c gateway.yaml; sallyport %s --help lists the options\n",
                 text.c_str(), command, command);
    parsed.status = usage_status;
    return parsed;
  };
  po::variables_map values;
  if (const auto fault = read_options({all, "name the file by -c"}, arguments, values)) return usage(*fault);
  if (values.count("help") != 0) {
    std::ostringstream text;
    text << "usage: sallyport " << command << " -c gateway.yaml [options]\n\n" << all;
    std::fputs(text.str().c_str(), stdout);
    parsed.status = 0;
    return parsed;
  }
  if (parsed.options.file.empty()) return usage("no file; name it by -c");
  return parsed;
}

}  // namespace

int serve_command(const Texts& arguments) {
  const Parsed parsed = parse("serve", arguments, kOwnFailure);
  return parsed.status ? *parsed.status : serve_gateway(parsed.options);
}

int check_command(const Texts& arguments) {
  const Parsed parsed = parse("check", arguments, 2);
  return parsed.status ? *parsed.status : check_gateway(parsed.options);
}

int health_command(const Texts& arguments) {
  const Parsed parsed = parse("health", arguments, 2);
  return parsed.status ? *parsed.status : gateway_health(parsed.options, parsed.json);
}

int release_command(const Texts& arguments) {
  const Parsed parsed = parse("release", arguments, kOwnFailure);
  return parsed.status ? *parsed.status : release_gateway(parsed.options);
}

}  // namespace sallyport
