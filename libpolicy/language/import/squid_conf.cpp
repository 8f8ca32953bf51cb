// squid.conf, or the file of an acl alone: which of the two it is shows in its words.
#include <algorithm>

#include "language/import/findings.hpp"
#include "language/import/squid_access.hpp"

namespace sallyport {
namespace {

struct Fate {
  std::string_view directive, why;
};

constexpr Fate kFates[] = {
    {"access_log", "audit does this"},
    {"cache_log", "audit does this"},
    {"cache_store_log", "audit does this"},
    {"logformat", "audit does this"},
    {"logfile_rotate", "audit does this"},
    {"strip_query_terms", "audit does this"},
    {"debug_options", "audit does this"},
    {"http_port", "listeners of gateway.yaml"},
    {"https_port", "listeners of gateway.yaml"},
    {"dns_nameservers", "upstreams of the dns plugin, in gateway.yaml"},
    {"auth_param", "credentials of gateway.yaml"},
    {"ssl_bump", "TLS is not opened; see docs/threat-model.md"},
    {"sslcrtd_program", "TLS is not opened; see docs/threat-model.md"},
    {"tls_outgoing_options", "TLS is not opened; see docs/threat-model.md"},
    {"cache", "nothing is cached"},
    {"cache_dir", "nothing is cached"},
    {"cache_mem", "nothing is cached"},
    {"maximum_object_size", "nothing is cached"},
    {"refresh_pattern", "nothing is cached"},
    {"coredump_dir", ""},
    {"pid_filename", ""},
    {"visible_hostname", ""},
    {"shutdown_lifetime", "drain of gateway.yaml"},
    {"via", "http-proxy writes its own fields"},
    {"forwarded_for", "http-proxy writes its own fields"},
    {"request_header_access", "http-proxy writes its own fields"},
    {"reply_header_access", "http-proxy writes its own fields"},
    {"http_reply_access", "what a server answers is not judged"},
    {"icp_access", "nothing is cached"},
    {"htcp_access", "nothing is cached"},
    {"delay_pools", "write limits: on the rule"},
    {"delay_access", "write limits: on the rule"},
    {"delay_class", "write limits: on the rule"},
    {"delay_parameters", "write limits: on the rule"},
    {"host_verify_strict", ""},  // the gateway dials its own answer
};

bool is_configuration(const std::vector<SourceLine>& lines) {
  return std::any_of(lines.begin(), lines.end(), [](const SourceLine& line) {
    const std::string word = line.text.substr(0, line.text.find_first_of(" \t"));
    return word == "acl" || word == "http_access" || word == "http_port";
  });
}

void read_lines(Findings& findings, SquidAccess& access, const std::string& file, const std::vector<SourceLine>& lines,
                int depth) {
  constexpr int kMostDepth = 8;
  for (const SourceLine& line : lines) {
    const std::string word = line.text.substr(0, line.text.find_first_of(" \t"));
    if (word == "acl") {
      access.acl(file, line);
    } else if (word == "http_access") {
      access.rule(file, line);
    } else if (word == "include" && depth < kMostDepth) {
      const std::vector<std::string> words = SquidAccess::words(line.text);
      std::string failure;
      const std::string name = words.size() < 2 ? "" : named_file(file, words[1]);
      if (const auto text = name.empty() ? std::nullopt : read_whole(name, failure)) {
        read_lines(findings, access, name, source_lines(*text, "#"), depth + 1);
      } else {
        findings.left_out.push_back({file, line.number, line.text, "the file is not here"});
      }
    } else {
      const auto fate =
          std::find_if(std::begin(kFates), std::end(kFates), [&](const Fate& f) { return f.directive == word; });
      const std::string why(fate == std::end(kFates) ? "no counterpart here" : fate->why);
      if (!why.empty()) findings.left_out.push_back({file, line.number, line.text, why});
    }
  }
}

}  // namespace

Findings read_squid(const ImportSource& source, const std::string& target) {
  Findings findings;
  findings.file = source.file;
  const std::optional<std::string> text = read_whole(source.file, findings.failure);
  if (!text) return findings;
  const std::vector<SourceLine> lines = source_lines(*text, "#");
  if (!is_configuration(lines)) return read_list_source(source, target);
  SquidAccess access(findings, target);
  read_lines(findings, access, source.file, lines, 0);
  access.finish();
  return findings;
}

}  // namespace sallyport
