#include "language/import/draft.hpp"

#include <algorithm>
#include <set>

#include "language/values.hpp"

namespace sallyport {
namespace {

// In quotes wherever YAML, or a person, might read something else than a name.
std::string scalar(const std::string& text) {
  const bool plain =
      !text.empty() && text.find('.', 1) != std::string::npos && text[0] != '-' &&
      text.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./") == std::string::npos;
  if (plain) return text;
  std::string quoted = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') quoted += '\\';
    quoted += c;
  }
  return quoted + "\"";
}

std::string flow(const std::vector<std::string>& values, bool numbers = false) {
  std::string text = "[";
  for (std::size_t i = 0; i < values.size(); ++i)
    text += (i > 0 ? ", " : "") + (numbers ? values[i] : scalar(values[i]));
  return text + "]";
}

std::string words(const std::vector<std::string>& values) {
  std::string text = "[";
  for (std::size_t i = 0; i < values.size(); ++i) text += (i > 0 ? ", " : "") + values[i];
  return text + "]";
}

void put_domains(std::string& out, const std::vector<DraftName>& domains) {
  out += "    domains:\n";
  for (const DraftName& name : domains) {
    for (const std::string& line : name.above) out += "      # " + line + "\n";
    out += "      - " + scalar(name.pattern.text());
    if (!name.beside.empty()) out += "  # " + name.beside;
    out += "\n";
  }
}

// A deny rule may stop a whole suffix; the language wants to be told that it is meant.
void put_permissions(std::string& out, const std::vector<DraftName>& domains) {
  bool suffix = false, tenants = false;
  for (const DraftName& name : domains) {
    const Breadth covers = breadth(name.pattern);
    suffix |= covers == Breadth::kPublicSuffix || covers == Breadth::kTooBroad;
    tenants |= covers == Breadth::kMultiTenant;
  }
  if (suffix) out += "    allow_public_suffix: true\n";
  if (tenants) out += "    multi_tenant: true\n";
}

}  // namespace

std::string draft_name(std::string_view text, std::string_view otherwise) {
  std::string name = plain_name_of(text);
  if (name.size() > kMostNameOctets - 4) name.resize(kMostNameOctets - 4);  // room for a number
  return name.empty() ? std::string(otherwise) : name;
}

std::string Draft::text() const {
  std::string out = "version: 1\n";
  out += default_allow ? "default: allow\n" : "default: deny\n";
  if (!clients.empty()) out += "clients:\n";
  for (const DraftClient& client : clients) {
    // IPv6 needs quotes in a flow list.
    out += "  " + client.name + ": { addresses: " + flow(client.addresses) + " }\n";
  }
  if (!lists.empty()) out += "lists:\n";
  for (const DraftList& list : lists) {
    out += "  " + list.name + ": { file: " + scalar(list.file) + ", format: " + list.format;
    if (list.max_invalid > 0) out += ", max_invalid: " + std::to_string(list.max_invalid);
    out += " }\n";
  }
  if (!rules.empty()) out += "rules:\n";
  std::set<std::string> taken;
  for (const DraftRule& rule : rules) {
    std::string name = rule.name;
    for (int n = 2; !taken.insert(name).second; ++n) name = rule.name + "-" + std::to_string(n);
    out += "  - name: " + name + "\n    action: " + (rule.allow ? "allow" : "deny") + "\n";
    if (!rule.clients.empty()) out += "    clients: " + words(rule.clients) + "\n";
    if (!rule.domains.empty()) put_domains(out, rule.domains);
    if (!rule.allow) put_permissions(out, rule.domains);
    if (!rule.lists.empty()) out += "    lists: " + words(rule.lists) + "\n";
    if (!rule.addresses.empty()) out += "    addresses: " + flow(rule.addresses) + "\n";
    if (!rule.resolves_to.empty()) out += "    resolves_to: " + flow(rule.resolves_to) + "\n";
    if (!rule.methods.empty()) out += "    methods: " + words(rule.methods) + "\n";
    if (!rule.ports.empty()) out += "    ports: " + flow(rule.ports, true) + "\n";
  }
  return out;
}

}  // namespace sallyport
