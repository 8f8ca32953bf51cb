// `sallyport run`: the command line of host/warden/run.hpp.
#include <algorithm>
#include <boost/program_options.hpp>
#include <cstdio>
#include <optional>
#include <sstream>
#include <string_view>

#include "host/warden/run.hpp"
#include "options/options.hpp"
#include "sallyport/command.hpp"

namespace sallyport {
namespace {

namespace po = boost::program_options;
using Texts = std::vector<std::string>;

po::options_description describe(RunOptions& options, std::string& report) {
  po::options_description all("options", 100);
  all.add_options()("policy,p", po::value(&options.policy_file)->value_name("FILE"),
                    "policy file (docs/policy-language.md)")(
      "allow", po::value(&options.allow)->value_name("NAME[:PORT,...]"),
      "allow a name, .name, *.name, address or block; ports 80 and 443 unless given; may be repeated")(
      "resolver", po::value(&options.resolver)->value_name("ADDRESS[:PORT]"),
      "ask this resolver; default: those of /etc/resolv.conf")(
      "name", po::value(&options.name)->value_name("NAME"),
      "name of the cell, as the policy's clients and the audit know it")(
      "bind", po::value(&options.binds)->value_name("PATH"), "open a path to the command, sockets in it included")(
      "write", po::value(&options.writable)->value_name("PATH"),
      "let writes to a path be real; the working directory's are")(
      "report", po::value(&report)->value_name("text|md|json"),
      "print every denied destination at the end, in this form")(
      "audit", po::value(&options.audit_file)->value_name("FILE"), "append every decision as a JSON line")(
      "keep-env", po::bool_switch(&options.keep_environment),
      "keep proxy variables and socket addresses in the environment")(
      "plugin-dir", po::value(&options.plugin_directory)->value_name("DIR"),
      "absolute path of the enforcers; default: those installed with sallyport")(
      "quiet,q", po::bool_switch(&options.quiet), "no banner, no summary; errors alone")("help,h", "print this");
  return all;
}

int usage(const std::string& text) {
  std::fprintf(
      stderr,
      "sallyport: %s\nusage: sallyport run [options] -- COMMAND [ARGUMENT...]; sallyport help run lists the options\n",
      text.c_str());
  return kOwnFailure;
}

// Values that can only be mistakes. Nothing: no fault.
std::optional<std::string> fault_of(const RunOptions& options) {
  constexpr std::string_view kNameOctets = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
  if (options.name.size() > 64 || options.name.find_first_not_of(kNameOctets) != std::string::npos) {
    return "--name: expected 1 to 64 of A-Z, a-z, 0-9, '.', '_' and '-', as a policy's `cells` has them";
  }
  if (options.policy_file == "-")
    return "-p -: a policy is read from a file, which can be checked for who may write it";
  if (options.audit_file == "-") return "--audit -: standard output is the command's; name a file or a pipe";
  return std::nullopt;
}

}  // namespace

std::string run_help() {
  RunOptions options;
  std::string report;
  std::ostringstream text;
  text << "usage: sallyport run [options] -- COMMAND [ARGUMENT...]\n\n"
          "Runs COMMAND so that only what the policy allows can be reached, whatever program or protocol it uses.\n"
          "Exit status: COMMAND's; 128+n if a signal ended it; 125 if it could not be confined (it is not started "
          "then);\n"
          "126 not executable; 127 not found.\n\n"
       << describe(options, report);
  return text.str();
}

int run_command(const Texts& arguments) {
  RunOptions options;
  std::string report;
  const auto separator = std::find(arguments.begin(), arguments.end(), "--");
  const Texts own(arguments.begin(), separator);
  const po::options_description all = describe(options, report);
  po::variables_map values;
  if (const auto fault = read_options({all, "write -- before the command"}, own, values)) return usage(*fault);
  if (values.count("help") != 0) {
    std::fputs(run_help().c_str(), stdout);
    return 0;
  }
  if (const auto fault = fault_of(options)) return usage(*fault);
  if (separator == arguments.end() || separator + 1 == arguments.end()) return usage("no command; write it after --");
  options.command.assign(separator + 1, arguments.end());

  constexpr std::pair<const char*, ReportFormat> kFormats[] = {{"", ReportFormat::kSummary},
                                                               {"text", ReportFormat::kText},
                                                               {"md", ReportFormat::kMarkdown},
                                                               {"json", ReportFormat::kJson}};
  const auto format =
      std::find_if(std::begin(kFormats), std::end(kFormats), [&](const auto& row) { return report == row.first; });
  if (format == std::end(kFormats)) return usage("--report " + report + ": expected text, md or json");
  options.report = format->second;
  return run_cell(options);
}

}  // namespace sallyport
