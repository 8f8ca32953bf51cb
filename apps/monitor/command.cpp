#include "monitor/command.hpp"

#include <boost/program_options.hpp>
#include <random>

#include "language/load.hpp"
#include "monitor/capture_file.hpp"
#include "monitor/policy_judge.hpp"
#include "options/options.hpp"
#include "pcap-monitor/json_lines.hpp"

namespace sallyport::monitor {
namespace {

namespace po = boost::program_options;
enum : int { kClean = 0, kAlarms = 1, kUsage = 2, kPolicy = 3, kIncomplete = 4 };

struct Settings : LiveSettings {
  Settings() { upload = Options().upload_octets; }
  std::string file;
};

po::options_description described(Settings& settings) {
  po::options_description options(
      "sallyport-monitor --read FILE | -i INTERFACE -p policy.yaml [options]\n\n"
      "What a capture shows, or an interface carries until it is stopped, held against a policy. It only looks.\n\n"
      "options",
      100);
  options.add_options()("read,r", po::value(&settings.file), "a pcap or pcapng file, - for standard input")(
      "interface,i", po::value(&settings.interfaces)->value_name("NAME"),
      "an interface of this host, such as br-agents; needs CAP_NET_RAW; may be repeated. Alarms are audit records")(
      "policy,p", po::value(&settings.policy), "the policy")(
      "client", po::value(&settings.clients),
      "a network of workloads (default: the addresses of the policy's clients)")(
      "gateway", po::value(&settings.gateways), "an address of the gateway: its answers bind, and it is no workload")(
      "resolver", po::value(&settings.resolvers), "another server whose answers bind")(
      "upload", po::value(&settings.upload), "octets to one destination within an hour that are an alarm; 0: none")(
      "no-bindings", "names are enough: no answer has to have given the address")(
      "audit", po::value(&settings.audit)->value_name("FILE"),
      "with -i: append alarms as JSON lines; may be repeated; default: -, standard output")(
      "name", po::value(&settings.name), "with -i: in the audit, and of the status socket")(
      "state-dir", po::value(&settings.state_directory)->value_name("DIR"), "with -i: where the status socket is")(
      "plugin-dir", po::value(&settings.plugin_directory)->value_name("DIR"), "with -i: absolute path of the plugins")(
      "help,h", "print this");
  return options;
}

bool parse_prefix(const std::string& text, std::vector<Prefix>& out) {
  const Result<Prefix> prefix = Prefix::parse(text);
  if (prefix.ok()) out.push_back(*prefix);
  return prefix.ok();
}

bool parse_address(const std::string& text, std::vector<Address>& out) {
  const Result<Address> address = Address::parse(text);
  if (address.ok()) out.push_back(*address);
  return address.ok();
}

int usage(std::ostream& err, const std::string& text) {
  err << "sallyport-monitor: " << text << "\n";
  return kUsage;
}

}  // namespace

int run_monitor(const std::vector<std::string>& arguments, std::ostream& out, std::ostream& err,
                int (*live)(const LiveSettings&)) {
  Settings settings;
  const po::options_description described_options = described(settings);
  po::variables_map given;
  if (const auto fault = read_options({described_options, "it takes options alone"}, arguments, given))
    return usage(err, *fault);
  if (given.count("help") != 0) {
    out << described_options;
    return kClean;
  }
  const bool is_live = live != nullptr && !settings.interfaces.empty();
  if ((settings.file.empty() && !is_live) || settings.policy.empty())
    return usage(err, "--read FILE or -i INTERFACE, and --policy FILE are needed");
  if (!settings.file.empty() && !settings.interfaces.empty()) return usage(err, "--read or -i, one of the two");
  for (const char* name : {"audit", "name", "state-dir", "plugin-dir"}) {
    if (!is_live && given.count(name) != 0 && !given[name].defaulted())
      return usage(err, "--" + std::string(name) + " goes with -i");
  }

  Options options;
  options.bindings = given.count("no-bindings") == 0;
  options.upload_octets = settings.upload;
  options.seed = std::random_device{}();
  for (const std::string& text : settings.clients) {
    if (!parse_prefix(text, options.clients))
      return usage(err, "--client " + text + ": expected a network, as 172.20.0.0/16");
  }
  for (const std::string& text : settings.gateways) {
    if (!parse_address(text, options.own)) return usage(err, "--gateway " + text + ": expected an address");
  }
  for (const std::string& text : settings.resolvers) {
    if (!parse_address(text, options.resolvers)) return usage(err, "--resolver " + text + ": expected an address");
  }
  if (is_live) {
    settings.bindings = options.bindings;
    return live(settings);
  }

  LoadOptions load;
  load.own_addresses = options.own;
  const LoadOutcome policy = load_policy_file(settings.policy, load);
  if (!policy.diagnostics.empty()) err << render(policy.diagnostics, false);
  if (!policy.ok()) return kPolicy;
  const Result<std::unique_ptr<PolicyJudge>> judge = PolicyJudge::compile(*policy.model);
  if (!judge.ok()) {
    err << "sallyport-monitor: " << settings.policy << ": " << judge.error().message << "\n";
    return kPolicy;
  }
  if (options.clients.empty()) {
    for (const ClientModel& client : policy.model->clients) {
      options.clients.insert(options.clients.end(), client.addresses.begin(), client.addresses.end());
    }
  }

  std::FILE* file = settings.file == "-" ? stdin : std::fopen(settings.file.c_str(), "rb");
  if (file == nullptr) return usage(err, settings.file + ": cannot be opened");
  JsonLines lines([&out](std::string_view line) { out << line << "\n"; });
  Monitor monitor(options, **judge, lines);
  const CaptureOutcome outcome = read_capture(file, monitor);
  if (!outcome.error.empty()) return usage(err, settings.file + ": " + outcome.error);
  monitor.finish();
  const Counters counters = monitor.counters();
  lines.summary(counters);
  out.flush();
  if (!outcome.damaged.empty()) err << "sallyport-monitor: " << settings.file << ": " << outcome.damaged << "\n";
  if (counters.alarms > 0) return kAlarms;
  if (!counters.complete() || !outcome.damaged.empty()) {
    err << "sallyport-monitor: no alarm, but not everything was seen: the summary counts it\n";
    return kIncomplete;
  }
  return kClean;
}

}  // namespace sallyport::monitor
