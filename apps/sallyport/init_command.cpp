// `sallyport init`: the command line of host/init/init.hpp.
#include <boost/program_options.hpp>
#include <cstdio>
#include <filesystem>
#include <sstream>
#include <string_view>

#include "host/init/init.hpp"
#include "options/options.hpp"
#include "sallyport/command.hpp"

namespace sallyport {
namespace {

namespace po = boost::program_options;
using Texts = std::vector<std::string>;

po::options_description describe(InitOptions& options, std::string& agents) {
  po::options_description all("options", 100);
  all.add_options()("shape", po::value(&options.shape)->value_name("transparent|proxy|cells"),
                    "how agents are held: by a gateway that they need not know of (default), by an explicit proxy, or "
                    "each without any network in a cell of its own")(
      "unprivileged", po::bool_switch(&options.unprivileged),
      "a gateway without NET_ADMIN: one network for each agent; the host's bridge address stays reachable")(
      "network", po::value(&options.network)->value_name("NAME"),
      "an overlay, compose.sallyport.yaml, that puts this network of the compose file in DIR behind a gateway")(
      "agents", po::value(&agents)->value_name("A,B,..."),
      "names of the agents; default: those of the example, or all services on the network")(
      "dir", po::value(&options.directory)->value_name("DIR"),
      "where to; default: here (/etc puts a unit where systemd looks)")(
      "force", po::bool_switch(&options.force), "write over files that are there")("help,h", "print this");
  return all;
}

int usage(const std::string& text) {
  std::fprintf(stderr,
               "sallyport: %s\nusage: sallyport init [compose|systemd] [options]; sallyport init --help lists the "
               "options\n",
               text.c_str());
  return 2;
}

}  // namespace

int init_command(const Texts& arguments) {
  InitOptions options;
  std::string agents;
  const po::options_description shown = describe(options, agents);
  po::options_description all("all");
  all.add(shown);
  all.add_options()("kind", po::value(&options.kind));
  po::variables_map values;
  const CommandLineForm form{all, "one of compose and systemd", po::positional_options_description().add("kind", 1)};
  if (const auto fault = read_options(form, arguments, values)) return usage(*fault);
  if (values.count("help") != 0) {
    std::ostringstream text;
    text << "usage: sallyport init [compose|systemd] [options]\n\n"
            "Writes a deployment that comes up as it is: for compose, compose.yaml and sallyport/; for systemd,\n"
            "a unit and sallyport/, laid out as /etc is. Exit status: 0 written; 1 nothing was, since files are "
            "there or missing.\n\n"
         << shown;
    std::fputs(text.str().c_str(), stdout);
    return 0;
  }
  std::istringstream list(agents);
  for (std::string agent; std::getline(list, agent, ',');) options.agents.push_back(agent);
  if (agents.ends_with(',')) options.agents.emplace_back();
  std::error_code error;
  const std::filesystem::path program = std::filesystem::read_symlink("/proc/self/exe", error);
  if (!error) options.program = program.string();
  return init_files(options);
}

}  // namespace sallyport
