#include "language/import/squid_access.hpp"

#include <algorithm>
#include <utility>

#include "language/suggest.hpp"
#include "language/values.hpp"
#include "names/address.hpp"
#include "names/pattern_index.hpp"

namespace sallyport {
namespace {

// "10.0.0.0/255.0.0.0" as Squid also writes it; empty: none.
std::string block_text(const std::string& value) {
  if (Prefix::parse(value).ok()) return value;
  const std::size_t slash = value.find('/');
  const Result<Address> network = Address::parse(std::string_view(value).substr(0, slash));
  if (!network.ok()) return "";
  unsigned bits = network->is_v4() ? 32 : 128;
  if (slash != std::string::npos) {
    const std::string_view mask = std::string_view(value).substr(slash + 1);
    if (const Result<Address> dotted = Address::parse(mask); dotted.ok() && dotted->is_v4() && network->is_v4()) {
      const std::uint32_t ones = dotted->v4_host_order();
      bits = 0;
      while (bits < 32 && (ones >> (31 - bits) & 1) != 0) ++bits;
      if (bits < 32 && (ones << bits) != 0) return "";
    } else if (mask.size() <= 3 && !mask.empty() && mask.find_first_not_of("0123456789") == std::string_view::npos) {
      const unsigned wanted = static_cast<unsigned>(std::stoul(std::string(mask)));
      if (wanted > bits) return "";
      bits = wanted;
    } else {
      return "";
    }
  }
  return Prefix::of(*network, bits).text();
}

std::vector<PortRange> ranges_of(const std::vector<std::string>& values) {
  std::vector<PortRange> ranges;
  for (const std::string& value : values) {
    const Parsed<PortRange> parsed = read_port(value);
    if (const auto* range = std::get_if<PortRange>(&parsed)) ranges.push_back(*range);
  }
  return ranges;
}

bool holds(const std::vector<PortRange>& ranges, std::uint16_t port) {
  return std::any_of(ranges.begin(), ranges.end(),
                     [&](const PortRange& r) { return r.first <= port && port <= r.last; });
}

bool is_builtin(std::string_view name) {
  return name == "all" || name == "manager" || name == "localhost" || name == "to_localhost" ||
         name == "to_linklocal" || name == "CONNECT";
}

}  // namespace

struct SquidAccess::Terms {
  const Acl* names = nullptr;
  const Acl* addresses = nullptr;
  std::vector<std::string> clients;
  const Acl* ports = nullptr;
  std::vector<std::string> methods;
  bool tunnels = false;  // CONNECT
};

std::vector<std::string> SquidAccess::words(std::string_view text) {
  std::vector<std::string> words;
  for (std::size_t at = 0; (at = text.find_first_not_of(" \t", at)) != std::string_view::npos;) {
    std::size_t end = 0;
    if (text[at] == '"') {
      end = text.find('"', at + 1);
      end = end == std::string_view::npos ? text.size() : end + 1;
    } else {
      end = std::min(text.find_first_of(" \t", at), text.size());
    }
    words.emplace_back(text.substr(at, end - at));
    at = end;
  }
  return words;
}

void SquidAccess::leave_out(const std::string& file, const SourceLine& line, std::string why) {
  findings_.left_out.push_back({file, line.number, line.text, std::move(why)});
}

const SquidAccess::Acl* SquidAccess::find(const std::string& name) const {
  const auto found = acls_.find(name);
  return found == acls_.end() ? nullptr : &found->second;
}

void SquidAccess::names_of_file(Acl& acl, const std::string& file, const SourceLine& line, const std::string& name) {
  const std::string path = named_file(file, name);
  Findings read = read_list_source({ImportKind::kSquid, path}, target_);
  if (!read.failure.empty()) return leave_out(file, line, "the file is not here: " + read.failure);
  for (DraftName& entry : read.passes) acl.names.push_back(std::move(entry));
  for (DraftList& list : read.lists) acl.lists.push_back(std::move(list));
  for (std::size_t i = 0; !read.lists.empty() && i < read.set->size(); ++i) {
    findings_.set->add(read.set->pattern(i));
    findings_.places.push_back(read.places[i]);
  }
  findings_.left_out.insert(findings_.left_out.end(), read.left_out.begin(), read.left_out.end());
}

void SquidAccess::acl(const std::string& file, const SourceLine& line) {
  const std::vector<std::string> all = words(line.text);
  if (all.size() < 3) return leave_out(file, line, "an acl has a name and a type");
  Acl& acl = acls_[all[1]];
  acl.type = all[2];
  if (acl.line == 0) {
    acl.file = file;
    acl.line = line.number;
  }
  if (acl.type == "dstdom_regex" || acl.type == "url_regex" || acl.type == "urlpath_regex") {
    return leave_out(file, line, "a regular expression, which a list of names cannot hold");
  }
  const std::unique_ptr<LineReader> reader = squid_reader();
  for (std::size_t i = 3; i < all.size(); ++i) {
    if (all[i].size() > 2 && all[i].starts_with('"')) {
      const std::string name = all[i].substr(1, all[i].size() - 2);
      if (acl.type == "dstdomain") {
        names_of_file(acl, file, line, name);
      } else {
        leave_out(file, line, "values in a file; write them into the acl");
      }
    } else if (acl.type == "dstdomain") {
      SourceLine one = line;
      one.text = all[i];
      if (i > 3) one.above.clear();
      if (i + 1 < all.size()) one.beside.clear();
      const std::size_t before = acl.names.size();
      add_names(findings_, *reader, one, acl.names);
      for (std::size_t k = before; k < acl.names.size(); ++k) acl.names[k].file = file;
    } else {
      acl.values.push_back(all[i]);
    }
  }
}

// `deny !names`, `deny !Safe_ports`, `deny CONNECT !SSL_ports`: they take from all that follows.
bool SquidAccess::narrow(const std::vector<std::string>& words, bool allow) {
  if (allow) return false;
  const bool tunnels = words.size() == 4 && words[2] == "CONNECT";
  if (words.size() != 3 && !tunnels) return false;
  const std::string& last = words.back();
  if (!last.starts_with('!')) return false;
  const auto found = acls_.find(last.substr(1));
  if (found == acls_.end()) return false;
  Acl& acl = found->second;
  if (acl.type == "port") {
    (tunnels ? tunnel_ports_ : safe_ports_) = &acl;
    return true;
  }
  if (acl.type == "dstdomain" && !tunnels && acl.lists.empty()) {
    only_ = &acl;
    return true;
  }
  return false;
}

std::optional<SquidAccess::Terms> SquidAccess::terms(const std::vector<std::string>& words, const std::string& file,
                                                     const SourceLine& line) {
  Terms terms;
  const auto refuse = [&](std::string why) -> std::optional<Terms> {
    leave_out(file, line, std::move(why));
    return std::nullopt;
  };
  for (std::size_t i = 2; i < words.size(); ++i) {
    const std::string& name = words[i];
    if (name == "all") continue;
    if (name.starts_with('!')) return refuse("`" + name + "` has no counterpart: rules say who and what, not who not");
    if (name == "CONNECT") {
      terms.tunnels = true;
      continue;
    }
    const Acl* acl = find(name);
    if (acl == nullptr && !is_builtin(name)) return refuse("no acl is called `" + name + "`");
    if (acl == nullptr) {
      return refuse(name == "manager"         ? "there is no cache to manage"
                    : name.starts_with("to_") ? "such addresses are guarded anyway"
                                              : "programs of the gateway's host do not go through it");
    }
    if (acl->type == "dstdomain" && terms.names == nullptr) {
      terms.names = acl;
    } else if (acl->type == "dst" && terms.addresses == nullptr) {
      terms.addresses = acl;
    } else if (acl->type == "src" && terms.clients.empty()) {
      terms.clients.push_back(name);
    } else if (acl->type == "port" && terms.ports == nullptr) {
      terms.ports = acl;
    } else if (acl->type == "method") {
      for (const std::string& method : acl->values) {
        if (method == "CONNECT") {
          terms.tunnels = true;
        } else {
          terms.methods.push_back(method);
        }
      }
    } else {
      return refuse("acl `" + name + "` (" + acl->type + ") has no counterpart" +
                    (words[1] == "deny" ? "; what it denied may pass by a later rule" : ""));
    }
  }
  if (terms.names != nullptr && terms.addresses != nullptr) return refuse("names and addresses in one line");
  return terms;
}

// Ports on which Squid would have served a name: TLS where CONNECT may go, clear HTTP on 80 if that is safe. Empty: the
// language's own, 80 and 443.
std::vector<std::string> SquidAccess::ports(bool tunnels_only) {
  const std::vector<PortRange> safe =
      safe_ports_ != nullptr ? ranges_of(safe_ports_->values) : std::vector<PortRange>{};
  const std::vector<PortRange> tunnels =
      tunnel_ports_ != nullptr ? ranges_of(tunnel_ports_->values) : std::vector<PortRange>{{443, 443, kProtoTcp}};
  std::vector<std::string> out;
  if (!tunnels_only && (safe_ports_ == nullptr || holds(safe, 80))) out.push_back("80");
  for (const PortRange& range : tunnels) {
    std::string text = port_text(range);
    text.resize(text.size() - 4);  // a bare port is TCP
    if (safe_ports_ == nullptr || (holds(safe, range.first) && holds(safe, range.last))) out.push_back(std::move(text));
  }
  if (safe_ports_ != nullptr && !safe_ports_->told) {
    std::string others;
    for (const PortRange& range : safe) {
      std::string text = port_text(range);
      text.resize(text.size() - 4);
      if (text != "80" && std::find(out.begin(), out.end(), text) == out.end())
        others += (others.empty() ? "" : ", ") + text;
    }
    if (!others.empty()) {
      findings_.left_out.push_back({safe_ports_->file, safe_ports_->line, "port " + others,
                                    "clear HTTP on them; write them into `ports` of the rule that needs one"});
    }
    safe_ports_->told = true;
  }
  if (out == std::vector<std::string>{"80", "443"}) out.clear();
  return out;
}

void SquidAccess::add(Terms terms, bool allow, const std::string& file, const SourceLine& line) {
  DraftRule made;
  made.allow = allow;
  made.file = file;
  made.line = line.number;
  made.text = line.text;
  for (const std::string& client : terms.clients) {
    made.clients.push_back(draft_name(client, "clients"));
    used_clients_.push_back(client);
  }
  std::vector<DraftName> names;
  if (terms.names != nullptr) {
    names = terms.names->names;
    for (const DraftList& list : terms.names->lists) made.lists.push_back(list.name);
  }
  if (allow && only_ != nullptr && terms.addresses == nullptr) {
    if (terms.names == nullptr) {
      names = only_->names;
    } else {
      // Only what both name.
      auto set = std::make_shared<PatternSet>();
      for (const DraftName& name : only_->names) set->add(name.pattern);
      const PatternIndex index(set);
      std::erase_if(names, [&](const DraftName& n) { return !index.covers(n.pattern.name, n.pattern.kind); });
    }
  }
  if (allow) keep_what_may_pass(findings_, names);
  std::vector<std::string> ports_of_rule;
  if (terms.ports != nullptr) {
    for (const PortRange& range : ranges_of(terms.ports->values)) {
      std::string text = port_text(range);
      text.resize(text.size() - 4);
      ports_of_rule.push_back(std::move(text));
    }
  } else if (allow) {
    ports_of_rule = ports(terms.tunnels);
  }
  if (terms.addresses != nullptr) {
    for (const std::string& value : terms.addresses->values) {
      const std::string block = block_text(value);
      if (block.empty()) {
        leave_out(file, line, in_ticks(value) + " is no block of addresses");
      } else {
        made.addresses.push_back(block);
      }
    }
    if (made.addresses.empty()) return;
    if (allow && ports_of_rule.empty()) ports_of_rule = {"80", "443"};
  }
  if (!terms.methods.empty()) {
    // Squid saw methods of clear HTTP, and CONNECT.
    made.methods = terms.methods;
    if (allow) ports_of_rule = {"80"};
  }
  made.ports = std::move(ports_of_rule);
  made.domains = std::move(names);
  if (allow && made.domains.empty() && made.lists.empty() && made.addresses.empty()) {
    if (terms.names == nullptr && only_ == nullptr) {
      leave_out(file, line, "it allows every name; a rule says which");
    }
    return;
  }
  // A deny line of CONNECT alone stops tunnels and no clear HTTP, which no rule says.
  if (!allow && terms.tunnels && terms.ports == nullptr) return leave_out(file, line, "it denies tunnels, not names");
  made.name = allow ? "allowed" : "denied";
  for (const auto& [acl_name, acl] : acls_) {
    if (&acl == terms.names || (terms.names == nullptr && &acl == only_)) made.name = draft_name(acl_name, made.name);
  }
  findings_.rules.push_back(std::move(made));
}

void SquidAccess::rule(const std::string& file, const SourceLine& line) {
  const std::vector<std::string> all = words(line.text);
  if (all.size() < 3 || (all[1] != "allow" && all[1] != "deny")) return leave_out(file, line, "neither allow nor deny");
  if (closed_) return leave_out(file, line, "never reached");
  const bool allow = all[1] == "allow";
  if (narrow(all, allow)) return;
  if (all.size() == 3 && all[2] == "all") {
    closed_ = true;
    if (allow && only_ != nullptr) {
      add({}, true, file, line);
      findings_.default_allow = false;
      return;
    }
    findings_.default_allow = allow;
    findings_.default_text = file + ":" + std::to_string(line.number) + " `" + line.text + "`";
    return;
  }
  if (std::optional<Terms> found = terms(all, file, line)) add(*std::move(found), allow, file, line);
}

void SquidAccess::finish() {
  if (!closed_) findings_.default_allow = false;
  for (const std::string& name : used_clients_) {
    const std::string draft = draft_name(name, "clients");
    if (std::any_of(findings_.clients.begin(), findings_.clients.end(),
                    [&](const DraftClient& c) { return c.name == draft; })) {
      continue;
    }
    DraftClient client{draft, {}};
    const Acl& acl = *find(name);
    for (const std::string& value : acl.values) {
      const std::string block = block_text(value);
      if (block.empty()) {
        findings_.left_out.push_back({acl.file, acl.line, value, "no address and no block"});
      } else {
        client.addresses.push_back(block);
      }
    }
    findings_.clients.push_back(std::move(client));
  }
  // Whose addresses nobody could read is nobody: its rules go, rather than become everyone's.
  std::erase_if(findings_.clients, [&](const DraftClient& client) {
    if (!client.addresses.empty()) return false;
    std::erase_if(findings_.rules, [&](const DraftRule& r) {
      return std::find(r.clients.begin(), r.clients.end(), client.name) != r.clients.end();
    });
    return true;
  });
  for (const auto& [name, acl] : acls_) {
    for (const DraftList& list : acl.lists) findings_.lists.push_back(list);
  }
  for (const DraftRule& rule : findings_.rules) {
    if (!rule.allow) continue;
    for (const DraftName& name : rule.domains) findings_.remember(name);
  }
}

}  // namespace sallyport
