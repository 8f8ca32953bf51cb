// The codes that are a gateway's own; those of YAML, keys and values are the policy's (language/codes.cpp).
#include <algorithm>
#include <array>

#include "language/gateway/gateway_load.hpp"

namespace sallyport {
namespace {

constexpr std::array<CodeText, 25> kCodes = {{
    {"G001", "plugin directory", "`plugin_dir` is absolute and has no `.` or `..`. There is no search path."},
    {"G002", "not an interface", "`interfaces` names network interfaces of this host, as `ip link` lists them."},
    {"G003", "not a listener's address",
     "A listener has addresses with ports: \"172.20.0.3:53\", \"[fd00::3]:53\", \"0.0.0.0:3128\" for every IPv4 "
     "address. "
     "Put them in quotes."},
    {"G004", "address used twice", "One address, port and protocol belongs to one listener."},
    {"G005", "systemd or addresses", "A listener's sockets come from systemd or are opened here."},
    {"G006", "transparent",
     "`transparent: redirect` and `tproxy` are for TCP listeners that the kernel sends connections to."},
    {"G007", "plugin name",
     "The name of an instance is 1 to 31 of a-z, 0-9 and -. Its file is NAME.so unless `file` says another."},
    {"G008", "not a pair", "`internal` is a list of pairs of the policy's clients: [[agents, supervisor]]."},
    {"G009", "unknown sink", "The audit goes to `stdout`, to `file:PATH`, or to both."},
    {"G010", "user", "Workers run as a user without rights, `nobody` unless the file names another."},
    {"G011", "not a time", "A time is a whole number with a unit: 500ms, 10s, 5m, 1h."},
    {"G012", "plugin refused",
     "The plugin's file, its manifest or an option of its config. docs/plugins.md says how a plugin is checked."},
    {"G013", "plugin option", "The plugin's manifest has the schema of its config; its README lists the options."},
    {"G014", "unknown listener", "`listen` in a plugin's config names listeners of this file."},
    {"G015", "listener used twice",
     "The sockets of a listener go to one plugin: two would share out its connections by chance."},
    {"G016", "unused listener", "No plugin's `listen` names this listener; it is not opened."},
    {"G017", "unknown client", "`internal` names clients of the policy."},
    {"G018", "credentials",
     "Each line of the credentials file is user:hash, with a hash of crypt(5): $6$, $y$, $2b$. `mkpasswd -m "
     "sha512crypt` makes "
     "one."},
    {"G019", "cannot listen", "The address is used by another program, or not permitted."},
    {"G020", "the kernel",
     "The kernel's tables close the networks of a gateway. They need root (CAP_NET_ADMIN) and nf_tables."},
    {"G021", "too many sources",
     "`networks` names the blocks that workloads send from; the policy's clients may be finer."},
    {"G022", "names alone",
     "With dns as the only plugin that decides, a rule's ports and addresses are enforced by nobody here: whoever "
     "routes the "
     "workloads' packets has to."},
    {"G023", "addresses of a port",
     "`addresses_per_port` is how many addresses of each family one port of a held bridge may use, 1 to 1024."},
    {"G024", "UDP to an address",
     "nftables opens what the policy allows of destinations without a name. A deny rule with `domains` denies all of "
     "those from where it stands on, as nobody can tell their names: write rules of `addresses` before it. Between "
     "workloads of one network, `internal` opens everything."},
    {"G025", "pin",
     "`pins` of a network ties addresses to the port of its bridge that a workload is behind, to its MAC address, or "
     "to "
     "both: 172.20.0.7: { port: veth7, mac: \"02:42:ac:14:00:07\" }. Whoever else uses one is dropped."},
}};

}  // namespace

std::string_view explain_gateway_code(std::string_view code) noexcept {
  const auto found = std::find_if(kCodes.begin(), kCodes.end(), [&](const CodeText& row) { return row.code == code; });
  return found == kCodes.end() ? std::string_view() : found->text;
}

std::span<const CodeText> gateway_codes() noexcept { return kCodes; }

}  // namespace sallyport
