// SquidAccess: acl and http_access of a squid.conf, as clients, lists and rules.
//
// Form     An http_access line is a conjunction: names (dstdomain), addresses (dst), clients (src), ports (port) and
//          CONNECT are carried over; `deny !names` and `deny !ports` narrow what later lines allow, as they do there.
// Errors   A line with a condition that has no counterpart is left out whole: an allow line without one of its
//          conditions would allow more.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "engine/model.hpp"
#include "language/import/findings.hpp"

namespace sallyport {

class SquidAccess {
 public:
  SquidAccess(Findings& findings, std::string target) : findings_(findings), target_(std::move(target)) {}

  void acl(const std::string& file, const SourceLine& line);
  void rule(const std::string& file, const SourceLine& line);
  void finish();

  // Between blanks; "…" is one, quotes kept.
  static std::vector<std::string> words(std::string_view text);

 private:
  struct Acl {
    std::string type, file;
    std::uint32_t line = 0;
    std::vector<DraftName> names;     // of dstdomain
    std::vector<std::string> values;  // of any other type
    std::vector<DraftList> lists;     // dstdomain files too large to be written out
    bool told = false;                // its ports that are not carried over
  };

  struct Terms;  // what a line asks for
  std::optional<Terms> terms(const std::vector<std::string>& words, const std::string& file, const SourceLine& line);
  void names_of_file(Acl& acl, const std::string& file, const SourceLine& line, const std::string& name);
  bool narrow(const std::vector<std::string>& words, bool allow);
  void add(Terms terms, bool allow, const std::string& file, const SourceLine& line);
  std::vector<std::string> ports(bool tunnels_only);
  void leave_out(const std::string& file, const SourceLine& line, std::string why);
  const Acl* find(const std::string& name) const;

  Findings& findings_;
  const std::string target_;
  std::map<std::string, Acl> acls_;
  Acl* safe_ports_ = nullptr;    // of `deny !Safe_ports`
  Acl* tunnel_ports_ = nullptr;  // of `deny CONNECT !SSL_ports`
  const Acl* only_ = nullptr;    // of `deny !names`
  bool closed_ = false;          // `deny all` or `allow all` came: nothing later is reached
  std::vector<std::string> used_clients_;
};

}  // namespace sallyport
