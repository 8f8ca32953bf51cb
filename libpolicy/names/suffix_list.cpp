// libpsl cannot enumerate its rules, so the text that the same package installs beside the compiled list is read for
// the names that have rules below them: some hundreds, in about 1 ms, and only when a wildcard is looked at.
#include "names/suffix_list.hpp"

#include <libpsl.h>

#include <array>
#include <fstream>
#include <string_view>
#include <unordered_set>

#include "names/pattern.hpp"

namespace sallyport::suffix_list {
namespace {

using Names = std::unordered_set<std::string>;
using Sections = std::array<Names, 2>;  // by SuffixSection

std::size_t index_of(SuffixSection section) { return static_cast<std::size_t>(section); }

// The newest list at hand: the file of the system if newer than the library's own copy.
const psl_ctx_t* list() noexcept {
  static const psl_ctx_t* const loaded = [] {
    const psl_ctx_t* const newest = psl_latest(nullptr);
    return newest != nullptr ? newest : psl_builtin();
  }();
  return loaded;
}

// "a.b.co.jp" has rules below "b.co.jp" and "co.jp"; top-level names are too broad anyway.
void add_ancestors(std::string_view rule, Names& names) {
  if (rule.starts_with('!') || rule.starts_with("*.")) rule.remove_prefix(rule.starts_with('!') ? 1 : 2);
  for (std::size_t dot = rule.find('.'); dot != std::string_view::npos; dot = rule.find('.')) {
    rule.remove_prefix(dot + 1);
    if (rule.find('.') == std::string_view::npos) return;
    const Result<DomainName> name = parse_user_name(rule);
    if (name.ok()) names.emplace(name->text());
  }
}

Sections read_ancestors() {
  Sections sections;
  const char* const compiled = psl_dist_filename();
  if (compiled == nullptr) return sections;
  std::string path = compiled;
  if (path.ends_with(".dafsa")) path.replace(path.size() - 6, 6, ".dat");
  std::ifstream file(path);
  Names* section = nullptr;
  for (std::string line; std::getline(file, line);) {
    if (line.find("===BEGIN ICANN DOMAINS===") != std::string::npos) {
      section = &sections[index_of(SuffixSection::kIcann)];
    } else if (line.find("===BEGIN PRIVATE DOMAINS===") != std::string::npos) {
      section = &sections[index_of(SuffixSection::kPrivate)];
    } else if (section != nullptr && !line.empty() && !line.starts_with("//")) {
      add_ancestors(std::string_view(line).substr(0, line.find_first_of(" \t\r")), *section);
    }
  }
  return sections;
}

}  // namespace

bool is_loaded() noexcept { return list() != nullptr; }

bool is_suffix(const std::string& name, SuffixSection section) noexcept {
  const int type = section == SuffixSection::kIcann ? PSL_TYPE_ICANN : PSL_TYPE_PRIVATE;
  return is_loaded() && psl_is_public_suffix2(list(), name.c_str(), type | PSL_TYPE_NO_STAR_RULE) == 1;
}

bool has_suffix_below(const std::string& name, SuffixSection section) {
  // The list's "*.kawasaki.jp" makes a suffix of every name right below kawasaki.jp, whatever its label; those that it
  // excepts (city.kawasaki.jp) are not called like this.
  if (is_suffix("sallyport-asks." + name, section)) return true;
  static const Sections ancestors = read_ancestors();
  return ancestors[index_of(section)].contains(name);
}

std::string registrable_domain(const std::string& name) {
  if (!is_loaded()) return {};
  const char* const domain = psl_registrable_domain(list(), name.c_str());
  return domain != nullptr ? std::string(domain) : std::string();
}

}  // namespace sallyport::suffix_list
