// SARIF 2.1.0 of diagnostics, as code scanning services read it (OASIS, "Static Analysis Results Interchange Format").
//
// Columns are octets here and UTF-16 units there, unless columnKind says unicodeCodePoints: they are counted in the
// line that the diagnostic carries.
#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "language/diagnostic.hpp"

namespace sallyport {
namespace {

using Json = nlohmann::ordered_json;

// RFC 3986: a path as a relative or absolute reference.
std::string uri_of(std::string_view path) {
  static constexpr char kDigits[] = "0123456789ABCDEF";
  std::string out;
  for (const char c : path) {
    const auto octet = static_cast<unsigned char>(c);
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       std::string_view("-._~/!$&'()*+,;=@").find(c) != std::string_view::npos;
    if (plain) {
      out += c;
    } else {
      out += '%';
      out += kDigits[octet >> 4];
      out += kDigits[octet & 15];
    }
  }
  return out.starts_with('/') ? "file://" + out : out;
}

std::size_t characters(std::string_view text) {
  return static_cast<std::size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }));
}

Json location_of(const Excerpt& where) {
  Json physical{{"artifactLocation", {{"uri", uri_of(where.file)}}}};
  if (where.line > 0) {
    Json region{{"startLine", where.line}};
    // Of a long line only a part is there to count in; in front of it octets are taken for characters.
    const std::size_t skip = where.column >= where.text_column ? where.column - where.text_column : 0;
    if (where.column > 0 && skip <= where.text.size()) {
      const std::string_view text = where.text;
      const std::size_t start = where.text_column + characters(text.substr(0, skip));
      region["startColumn"] = start;
      region["endColumn"] = start + std::max<std::size_t>(1, characters(text.substr(skip, where.length)));
    } else if (where.column > 0) {
      region["startColumn"] = where.column;
    }
    physical["region"] = std::move(region);
  }
  return {{"physicalLocation", std::move(physical)}};
}

std::string message_of(const Diagnostic& diagnostic) {
  std::string text = diagnostic.message;
  if (!diagnostic.repair.empty()) text += "; " + diagnostic.repair;
  if (!diagnostic.note.empty()) text += "\n" + diagnostic.note;
  return text;
}

// The text of codes() is broken into lines for terminals.
std::string joined(std::string_view text) {
  std::string out(text);
  std::replace(out.begin(), out.end(), '\n', ' ');
  return out;
}

}  // namespace

std::string render_sarif(std::span<const Diagnostic> diagnostics, std::string_view version) {
  Json rules = Json::array();
  std::map<std::string_view, std::size_t> indexes;
  for (const CodeText& code : codes()) {
    indexes.emplace(code.code, rules.size());
    rules.push_back({{"id", code.code},
                     {"shortDescription", {{"text", code.title}}},
                     {"fullDescription", {{"text", joined(code.text)}}},
                     {"help", {{"text", joined(code.text)}}}});
  }
  Json results = Json::array();
  for (const Diagnostic& diagnostic : diagnostics) {
    Json result{{"ruleId", diagnostic.code}};
    const auto index = indexes.find(diagnostic.code);
    if (index != indexes.end()) result["ruleIndex"] = index->second;
    result["level"] = diagnostic.severity == Severity::kError ? "error" : "warning";
    result["message"] = {{"text", message_of(diagnostic)}};
    result["locations"] = Json::array({location_of(diagnostic.where)});
    for (const Excerpt& other : diagnostic.related) result["relatedLocations"].push_back(location_of(other));
    if (!diagnostic.path.empty()) result["properties"] = {{"path", diagnostic.path}};
    results.push_back(std::move(result));
  }
  Json run{{"tool", {{"driver", {{"name", "policyctl"}, {"version", version}, {"rules", std::move(rules)}}}}},
           {"columnKind", "unicodeCodePoints"},
           {"results", std::move(results)}};
  const Json log{{"$schema", "https://json.schemastore.org/sarif-2.1.0.json"},
                 {"version", "2.1.0"},
                 {"runs", Json::array({std::move(run)})}};
  return log.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace sallyport
