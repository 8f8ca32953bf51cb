#include "pcap-monitor/json_lines.hpp"

#include <cstdio>
#include <ctime>

#include "support/json.hpp"

namespace sallyport::monitor {
namespace {

std::string stamp(std::uint64_t ns) {
  const auto seconds = static_cast<std::time_t>(ns / 1'000'000'000);
  std::tm parts{};
  ::gmtime_r(&seconds, &parts);
  char text[64];
  const std::size_t size = std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &parts);
  std::snprintf(text + size, sizeof text - size, ".%06uZ", static_cast<unsigned>(ns % 1'000'000'000 / 1000));
  return text;
}

std::string proto_word(std::uint8_t proto) {
  switch (proto) {
    case 1:
      return "icmp";
    case 6:
      return "tcp";
    case 17:
      return "udp";
    case 47:
      return "gre";
    case 58:
      return "icmp6";
    default:
      return std::to_string(proto);
  }
}

std::string begin(std::string_view kind, std::uint64_t ns, const FlowId& id) {
  return "{\"kind\":\"" + std::string(kind) + "\",\"time\":\"" + stamp(ns) + "\",\"proto\":\"" + proto_word(id.proto) +
         "\",\"client\":\"" + id.client.text() + "\",\"client_port\":" + std::to_string(id.client_port) +
         ",\"dest\":\"" + id.destination.text() + "\",\"port\":" + std::to_string(id.port);
}

std::string member(std::string_view key, std::string_view text) {
  return text.empty() ? std::string() : ",\"" + std::string(key) + "\":" + net::json_text(text);
}

}  // namespace

void JsonLines::flow(const FlowEvent& e) {
  write_(begin("flow", e.first_ns, e.id) + ",\"duration_ms\":" + std::to_string((e.last_ns - e.first_ns) / 1'000'000) +
         ",\"bytes\":{\"up\":" + std::to_string(e.up_octets) + ",\"down\":" + std::to_string(e.down_octets) +
         "},\"packets\":{\"up\":" + std::to_string(e.up_packets) + ",\"down\":" + std::to_string(e.down_packets) + "}" +
         member("protocol", e.protocol) + member("name", e.name) + member("standing", e.standing) + "}");
}

void JsonLines::dns(const DnsEvent& e) {
  std::string line = begin("dns", e.time_ns, e.id) + member("name", e.name) + ",\"qtype\":" + std::to_string(e.type) +
                     ",\"answer\":" + (e.answer ? "true" : "false");
  if (e.answer) {
    line += ",\"rcode\":" + std::to_string(e.rcode) + ",\"addresses\":[";
    for (std::size_t i = 0; i < e.addresses.size(); ++i) line += (i > 0 ? ",\"" : "\"") + e.addresses[i].text() + "\"";
    line += "]";
  }
  write_(line + "}");
}

void JsonLines::name(const NameEvent& e) {
  std::string line = begin(e.kind, e.time_ns, e.id) + member("name", e.name) + member("state", e.state);
  if (e.ech) line += ",\"ech\":true";
  if (e.version != 0) line += ",\"version\":" + std::to_string(e.version == 1 ? 1 : 2);
  write_(line + member("method", e.method) + member("target", e.target) + "}");
}

void JsonLines::unparsed(const UnparsedEvent& e) {
  write_(begin("unparsed", e.time_ns, e.id) + member("what", e.what) + member("why", e.why) + "}");
}

void JsonLines::alarm(const Alarm& e) {
  std::string line = begin("alarm", e.time_ns, e.id) + member("reason", e.reason) + member("protocol", e.protocol);
  if (e.name != nullptr) line += member("name", e.name->text());
  write_(line + ",\"answered\":" + (e.answered ? "true" : "false") + member("detail", e.detail) + "}");
}

void JsonLines::summary(const Counters& counters) {
  write_("{\"kind\":\"summary\",\"complete\":" + std::string(counters.complete() ? "true" : "false") + "," +
         counters_json(counters).substr(1));
}

std::string alarm_detail(const Alarm& e) {
  std::string text = e.answered ? "answered" : "not answered";
  if (!e.protocol.empty()) text += "; " + std::string(e.protocol);
  if (!e.detail.empty()) text += "; " + e.detail;
  return "{\"cause\":" + net::json_text(text) + "}";
}

std::string counters_json(const Counters& c) {
  const std::pair<const char*, std::uint64_t> fields[] = {
      {"packets", c.packets},       {"octets", c.octets},           {"not_ip", c.not_ip},
      {"malformed", c.malformed},   {"truncated", c.truncated},     {"fragments_lost", c.fragments_lost},
      {"too_deep", c.too_deep},     {"unparsed", c.unparsed},       {"flows", c.flows},
      {"flows_lost", c.flows_lost}, {"tables_lost", c.tables_lost}, {"streams_lost", c.streams_lost},
      {"unwatched", c.unwatched},   {"alarms", c.alarms},           {"kernel_dropped", c.kernel_dropped}};
  std::string out = "{";
  for (const auto& [key, value] : fields) {
    out += (out.size() > 1 ? ",\"" : "\"") + std::string(key) + "\":" + std::to_string(value);
  }
  return out + "}";
}

}  // namespace sallyport::monitor
