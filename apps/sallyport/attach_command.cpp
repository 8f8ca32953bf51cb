// `sallyport attach`: the command line of host/attach/attach.hpp.
#include <boost/program_options.hpp>
#include <cstdio>
#include <optional>
#include <sstream>
#include <string_view>

#include "host/attach/attach.hpp"
#include "options/options.hpp"
#include "sallyport/command.hpp"

namespace sallyport {
namespace {

namespace po = boost::program_options;
using Texts = std::vector<std::string>;

struct Parsed {
  AttachOptions options;
  std::string report;
  int pid = 0;
};

po::options_description describe(Parsed& parsed) {
  RunOptions& service = parsed.options.service;
  po::options_description all("options", 100);
  all.add_options()("pid", po::value(&parsed.pid)->value_name("N"), "the process whose network becomes a cell")(
      "container", po::value(&parsed.options.container)->value_name("NAME"),
      "a Docker container that was started with --network none; its name or id")(
      "policy,p", po::value(&service.policy_file)->value_name("FILE"), "policy file (docs/policy-language.md)")(
      "allow", po::value(&service.allow)->value_name("NAME[:PORT,...]"),
      "allow a name, .name, *.name, address or block; ports 80 and 443 unless given; may be repeated")(
      "resolver", po::value(&service.resolver)->value_name("ADDRESS[:PORT]"),
      "ask this resolver; default: those of the host's /etc/resolv.conf")(
      "name", po::value(&service.name)->value_name("NAME"),
      "name of the cell, as the policy's clients and the audit know it; default: the container's, or `attach`")(
      "report", po::value(&parsed.report)->value_name("text|md|json"),
      "print every denied destination at the end, in this form")(
      "audit", po::value(&service.audit_file)->value_name("FILE"),
      "append every decision as a JSON line; - is standard output")(
      "plugin-dir", po::value(&service.plugin_directory)->value_name("DIR"),
      "absolute path of the enforcers; default: those installed with sallyport")(
      "quiet,q", po::bool_switch(&service.quiet), "no banner, no summary; errors alone")("help,h", "print this");
  return all;
}

int usage(const std::string& text) {
  std::fprintf(stderr,
               "sallyport: %s\nusage: sallyport attach --pid N | --container NAME [options]; sallyport help attach "
               "lists the options\n",
               text.c_str());
  return kOwnFailure;
}

// Values that can only be mistakes. Nothing: no fault.
std::optional<std::string> fault_of(const po::variables_map& values, const Parsed& parsed) {
  const AttachOptions& options = parsed.options;
  if ((values.count("pid") != 0) == (values.count("container") != 0))
    return "give --pid or --container, one of the two";
  if (values.count("pid") != 0 && parsed.pid <= 1) return "--pid: expected the number of a process";
  constexpr std::string_view kNameOctets = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
  if (options.service.name.size() > 64 || options.service.name.find_first_not_of(kNameOctets) != std::string::npos)
    return "--name: expected 1 to 64 of A-Z, a-z, 0-9, '.', '_' and '-', as a policy's `cells` has them";
  if (options.service.policy_file == "-")
    return "-p -: a policy is read from a file, which can be checked for who may write it";
  return std::nullopt;
}

}  // namespace

std::string attach_help() {
  Parsed parsed;
  std::ostringstream text;
  text << "usage: sallyport attach --pid N | --container NAME [options]\n\n"
          "Makes a cell of a running container that has no network (docker run --network none): from then on it "
          "reaches\n"
          "what the policy allows, and nothing else, until it ends or this command is stopped. Needs root.\n"
          "Exit status: 0 after the end of the container or a signal; 125 if it could not be attached.\n\n"
       << describe(parsed);
  return text.str();
}

int attach_command(const Texts& arguments) {
  Parsed parsed;
  const po::options_description all = describe(parsed);
  po::variables_map values;
  const CommandLineForm form{all, "what is to be attached is named by --pid or --container"};
  if (const auto fault = read_options(form, arguments, values)) return usage(*fault);
  if (values.count("help") != 0) {
    std::fputs(attach_help().c_str(), stdout);
    return 0;
  }
  if (const auto fault = fault_of(values, parsed)) return usage(*fault);
  parsed.options.named = values.count("name") != 0;
  parsed.options.pid = parsed.pid;
  constexpr std::pair<const char*, ReportFormat> kFormats[] = {{"", ReportFormat::kSummary},
                                                               {"text", ReportFormat::kText},
                                                               {"md", ReportFormat::kMarkdown},
                                                               {"json", ReportFormat::kJson}};
  for (const auto& [name, format] : kFormats) {
    if (parsed.report != name) continue;
    parsed.options.service.report = format;
    return attach(parsed.options);
  }
  return usage("--report " + parsed.report + ": expected text, md or json");
}

}  // namespace sallyport
