#include "dns/config.hpp"

#include "support/config.hpp"

namespace sallyport::dns {

policy::Status parse_config(std::string_view json, Config& out) {
  net::ConfigReader reader(json);
  out.listen = reader.strings("listen", {"dns"});
  out.upstreams = reader.upstreams("upstreams");
  const std::string answers = reader.word("answers", "synthetic", {"synthetic", "gateway", "real"});
  if (answers != "synthetic") {
    reader.fail("/answers", "answers: `" + answers + "` is not built yet; only synthetic answers are");
  }
  const std::string ipv6 = reader.word("ipv6", "auto", {"auto", "on", "off"});
  out.ipv6 = ipv6 == "on" ? Ipv6::kOn : ipv6 == "off" ? Ipv6::kOff : Ipv6::kAuto;
  return reader.status();
}

}  // namespace sallyport::dns
