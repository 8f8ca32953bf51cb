// `sallyport doctor`: the command line of host/doctor/doctor.hpp.
#include <boost/program_options.hpp>
#include <cstdio>
#include <sstream>

#include "host/doctor/doctor.hpp"
#include "options/options.hpp"
#include "sallyport/command.hpp"

namespace sallyport {

int doctor_command(const std::vector<std::string>& arguments) {
  namespace po = boost::program_options;
  DoctorOptions options;
  po::options_description all("options", 100);
  all.add_options()("config,c", po::value(&options.file)->value_name("FILE"),
                    "the gateway in question; default: what any gateway needs")(
      "state-dir", po::value(&options.state_directory)->value_name("DIR"), "where its status socket is")(
      "json", po::bool_switch(&options.json), "one JSON object")("help,h", "print this");
  const auto usage = [](const std::string& text) {
    std::fprintf(stderr, "sallyport: %s\nusage: sallyport doctor [-c gateway.yaml] [--json]\n", text.c_str());
    return 2;
  };
  po::variables_map values;
  if (const auto fault = read_options({all, "name the file by -c"}, arguments, values)) return usage(*fault);
  if (values.count("help") != 0) {
    std::ostringstream text;
    text << "usage: sallyport doctor [-c gateway.yaml] [--json]\n\n"
            "Probes what this machine can enforce, for run, serve and attach. Nothing is left behind.\n"
            "Exit status: 0 nothing fails; 1 something does.\n\n"
         << all;
    std::fputs(text.str().c_str(), stdout);
    return 0;
  }
  return examine(options);
}

}  // namespace sallyport
