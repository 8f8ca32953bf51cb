#include "support/config.hpp"

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>
#include <set>

#include "names/address.hpp"

namespace sallyport::net {
namespace {

using Json = nlohmann::json;
using std::chrono::milliseconds;

// Levenshtein distance, for "did you mean"; keys are short.
std::size_t distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t above = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, diagonal + (a[i - 1] != b[j - 1])});
      diagonal = above;
    }
  }
  return row[b.size()];
}

bool parse_number(std::string_view text, std::uint64_t& out) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  return error == std::errc() && end == text.data() + text.size() && !text.empty();
}

std::string duration_text(milliseconds value) {
  const auto ms = value.count();
  if (ms % 3'600'000 == 0) return std::to_string(ms / 3'600'000) + "h";
  if (ms % 1000 == 0) return std::to_string(ms / 1000) + "s";
  return std::to_string(ms) + "ms";
}

bool parse_duration(std::string_view text, milliseconds& out) {
  std::size_t digits = 0;
  while (digits < text.size() && text[digits] >= '0' && text[digits] <= '9') ++digits;
  std::uint64_t count = 0;
  if (digits > 12 || !parse_number(text.substr(0, digits), count)) return false;
  const std::string_view unit = text.substr(digits);
  std::uint64_t scale = 0;
  if (unit == "ms") scale = 1;
  if (unit == "s") scale = 1000;
  if (unit == "m") scale = 60'000;
  if (unit == "h") scale = 3'600'000;
  out = milliseconds(count * scale);
  return scale != 0;
}

bool parse_upstream(std::string_view text, Upstream& out) {
  std::string_view host = text;
  std::uint64_t port = out.port;
  const bool bracketed = text.starts_with('[');
  if (bracketed) {
    const std::size_t close = text.find(']');
    if (close == std::string_view::npos) return false;
    host = text.substr(1, close - 1);
    const std::string_view rest = text.substr(close + 1);
    if (!rest.empty() && (!rest.starts_with(':') || !parse_number(rest.substr(1), port))) return false;
  } else if (std::count(text.begin(), text.end(), ':') == 1) {
    const std::size_t colon = text.find(':');
    host = text.substr(0, colon);
    if (!parse_number(text.substr(colon + 1), port)) return false;
  }
  const Result<Address> address = Address::parse(host);
  if (!address.ok() || port == 0 || port > 65535 || (bracketed && !address->is_v6())) return false;
  out = {*address, static_cast<std::uint16_t>(port)};
  return true;
}

}  // namespace

struct ConfigReader::State {
  Json json = Json::object();
  std::set<std::string, std::less<>> asked;
  std::vector<std::pair<std::string, std::string>> errors;  // pointer, text

  // nullptr: absent, the default applies.
  const Json* find(std::string_view key) {
    asked.emplace(key);
    const auto it = json.find(std::string(key));
    return it == json.end() ? nullptr : &*it;
  }
};

ConfigReader::ConfigReader(std::string_view text) : state_(std::make_unique<State>()) {
  if (text.empty()) return;
  state_->json = Json::parse(text.begin(), text.end(), nullptr, /*allow_exceptions=*/false);
  if (!state_->json.is_object()) {
    fail("", state_->json.is_discarded() ? "the config is not valid JSON" : "the config is not a JSON object");
    state_->json = Json::object();
  }
}

ConfigReader::~ConfigReader() = default;

void ConfigReader::fail(std::string pointer, std::string text) {
  state_->errors.emplace_back(std::move(pointer), std::move(text));
}

std::vector<std::string> ConfigReader::strings(std::string_view key, std::vector<std::string> preset) {
  const Json* value = state_->find(key);
  if (!value) return preset;
  const std::string pointer = "/" + std::string(key);
  // Where nothing is preset, nothing is an answer too: no upstreams means that no name is looked up.
  if (!value->is_array() || (value->empty() && !preset.empty())) {
    fail(pointer, std::string(key) + ": expected a list of text" + (preset.empty() ? "" : " with at least one entry"));
    return preset;
  }
  std::vector<std::string> out;
  for (std::size_t i = 0; i < value->size(); ++i) {
    if ((*value)[i].is_string() && !(*value)[i].get_ref<const std::string&>().empty()) {
      out.push_back((*value)[i].get<std::string>());
    } else {
      fail(pointer + "/" + std::to_string(i), std::string(key) + ": expected text");
    }
  }
  return out;
}

std::string ConfigReader::word(std::string_view key, std::string preset, const std::vector<std::string>& words) {
  const Json* value = state_->find(key);
  if (!value) return preset;
  if (value->is_string() && std::find(words.begin(), words.end(), value->get<std::string>()) != words.end()) {
    return value->get<std::string>();
  }
  std::string list;
  for (const std::string& w : words) list += (list.empty() ? "" : ", ") + w;
  const std::string shown = value->is_string() ? value->get<std::string>() : value->dump(-1, ' ', true);
  fail("/" + std::string(key),
       std::string(key) + ": `" + shown.substr(0, 40) + "` is not known; expected one of: " + list);
  return preset;
}

bool ConfigReader::boolean(std::string_view key, bool preset) {
  const Json* value = state_->find(key);
  if (!value) return preset;
  if (value->is_boolean()) return value->get<bool>();
  fail("/" + std::string(key), std::string(key) + ": expected true or false");
  return preset;
}

std::uint64_t ConfigReader::number(std::string_view key, std::uint64_t preset, std::uint64_t least,
                                   std::uint64_t most) {
  const Json* value = state_->find(key);
  if (!value) return preset;
  if (value->is_number_unsigned()) {
    const auto n = value->get<std::uint64_t>();
    if (n >= least && n <= most) return n;
  }
  fail("/" + std::string(key),
       std::string(key) + ": expected a number from " + std::to_string(least) + " to " + std::to_string(most));
  return preset;
}

milliseconds ConfigReader::duration(std::string_view key, milliseconds preset, milliseconds least, milliseconds most) {
  const Json* value = state_->find(key);
  if (!value) return preset;
  milliseconds out{};
  if (value->is_string() && parse_duration(value->get_ref<const std::string&>(), out) && out >= least && out <= most)
    return out;
  fail("/" + std::string(key), std::string(key) + ": expected a duration from " + duration_text(least) + " to " +
                                   duration_text(most) + ", such as \"" + duration_text(preset) + "\"");
  return preset;
}

std::vector<Upstream> ConfigReader::upstreams(std::string_view key) {
  std::vector<Upstream> out;
  const std::vector<std::string> texts = strings(key, {});
  for (std::size_t i = 0; i < texts.size(); ++i) {
    Upstream upstream;
    if (parse_upstream(texts[i], upstream)) {
      out.push_back(upstream);
    } else {
      fail("/" + std::string(key) + "/" + std::to_string(i),
           std::string(key) + ": `" + texts[i].substr(0, 60) +
               "` is not an address; expected 9.9.9.9, 127.0.0.53:53, ::1 or [::1]:53");
    }
  }
  return out;
}

void ConfigReader::object(std::string_view key, const std::function<void(ConfigReader&)>& read) {
  const Json* value = state_->find(key);
  ConfigReader inner({});
  const std::string name(key);
  if (value && !value->is_object()) {
    fail("/" + name, name + ": expected a group of keys");
  } else if (value) {
    inner.state_->json = *value;
  }
  read(inner);
  inner.unknown_keys();
  for (const auto& [pointer, text] : inner.state_->errors) fail("/" + name + pointer, name + "." + text);
}

void ConfigReader::unknown_keys() {
  for (const auto& [key, value] : state_->json.items()) {
    if (state_->asked.contains(key)) continue;
    std::string text = "unknown key `" + key.substr(0, 40) + "`";
    for (const std::string& known : state_->asked) {
      if (distance(known, key) <= 2) text += "; did you mean `" + known + "`?";
    }
    fail("/" + key, text);
  }
}

policy::Status ConfigReader::status() {
  unknown_keys();
  if (state_->errors.empty()) return {};
  std::string all;
  for (const auto& [pointer, text] : state_->errors) all += (all.empty() ? "" : "; ") + text;
  return {POLICY_INVALID, all, state_->errors.front().first};
}

}  // namespace sallyport::net
