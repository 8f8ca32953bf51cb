// sallyport: composition only; what the commands do is in libpolicy/host.
#include <cstdio>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "language/gateway/gateway_load.hpp"
#include "language/suggest.hpp"
#include "sallyport/command.hpp"

namespace sallyport {
namespace {

int version(const std::vector<std::string>&) {
  std::puts("sallyport " SALLYPORT_VERSION);
  return 0;
}

int help(const std::vector<std::string>& arguments);
int unknown(const std::string& name);

constexpr Command kCommands[] = {
    {"run", "[options] -- COMMAND [ARGUMENT...]", "confine one command to what a policy allows", run_command},
    {"attach", "--pid N | --container NAME [options]", "confine a running container that has no network",
     attach_command},
    {"serve", "-c gateway.yaml", "run the gateway of a network", serve_command},
    {"check", "-c gateway.yaml", "check a gateway's file, plugins and policy; 0 good, 3 not", check_command},
    {"health", "-c gateway.yaml", "ask the running gateway; 0 healthy, 1 not", health_command},
    {"release", "-c gateway.yaml", "take a stopped gateway's tables out of the kernel", release_command},
    {"init", "[compose|systemd] [options]", "write a deployment that comes up as it is", init_command},
    {"doctor", "[-c gateway.yaml]", "probe what this machine can enforce; 0 nothing fails, 1 something does",
     doctor_command},
    {"version", "", "print the version", version},
    {"help", "[COMMAND]", "print this, or the options of a command", help},
};

const Command* find(const std::string& name) {
  for (const Command& command : kCommands) {
    if (name == command.name) return &command;
  }
  return nullptr;
}

int unknown(const std::string& name) {
  std::vector<std::string_view> names;
  for (const Command& command : kCommands) names.emplace_back(command.name);
  const std::string near(nearest(name, names));
  std::fprintf(stderr, "sallyport: unknown command %s; %s\n", in_ticks(name).c_str(),
               near.empty() ? "sallyport help lists them" : ("did you mean `" + near + "`?").c_str());
  return 2;
}

int help(const std::vector<std::string>& arguments) {
  if (!arguments.empty() && arguments[0] == "run") {
    std::fputs(run_help().c_str(), stdout);
    return 0;
  }
  if (!arguments.empty() && arguments[0] == "attach") {
    std::fputs(attach_help().c_str(), stdout);
    return 0;
  }
  if (!arguments.empty()) {
    if (const std::string_view text = explain_gateway_code(arguments[0]); !text.empty()) {
      std::printf("%s: %.*s\n", arguments[0].c_str(), static_cast<int>(text.size()), text.data());
      return 0;
    }
  }
  if (!arguments.empty() && find(arguments[0]) == nullptr) return unknown(arguments[0]);
  for (const char* gate : {"serve", "check", "health", "release", "init", "doctor"}) {
    if (!arguments.empty() && arguments[0] == gate) return find(gate)->run({"--help"});
  }
  std::puts("sallyport: an egress policy gateway; nothing leaves that the policy does not allow\n");
  for (const Command& command : kCommands)
    std::printf("  sallyport %-8s %-36s %s\n", command.name, command.usage, command.summary);
  std::puts("\npolicies are checked and explained offline by policyctl");
  return 0;
}

}  // namespace
}  // namespace sallyport

int main(int argc, char** argv) {
  std::vector<std::string> arguments(argv + 1, argv + argc);
  if (arguments.empty()) {
    sallyport::help({});
    return 2;
  }
  std::string name = arguments[0];
  arguments.erase(arguments.begin());
  if (name == "--help" || name == "-h") name = "help";
  if (name == "--version" || name == "-V") name = "version";
  if (const sallyport::Command* command = sallyport::find(name)) return command->run(arguments);
  return sallyport::unknown(name);
}
