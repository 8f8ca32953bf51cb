// Two readers. What our plugins write has neither spaces nor escapes, and no objects in objects; of that the octets are
// the text already, once they have been looked at, and no tree of values is built. Everything else goes through a JSON
// parser. Both say the same (tests/audit/audit_detail_test.cpp).
#include "audit/audit_detail.hpp"

#include <array>
#include <cstddef>
#include <nlohmann/json.hpp>
#include <utility>

namespace sallyport {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::string_view kTargetParts[] = {"path", "query", "target"};
constexpr std::size_t kMostKeys = 16;    // of one plain object; more are for the parser
constexpr std::size_t kMostDigits = 15;  // of a plain number: no loss in any reader

bool is_target_part(std::string_view key) {
  for (const std::string_view part : kTargetParts) {
    if (key == part) return true;
  }
  return false;
}

// Steps over the plain form of a text. Every step is false where the text is anything else.
class Plain {
 public:
  explicit Plain(std::string_view text) : text_(text) {}

  bool at_end() const { return at_ == text_.size(); }
  bool next_is(char c) const { return at_ < text_.size() && text_[at_] == c; }
  bool take(char c) {
    if (!next_is(c)) return false;
    ++at_;
    return true;
  }
  std::size_t at() const { return at_; }
  std::string_view since(std::size_t start) const { return text_.substr(start, at_ - start); }

  // "…", printable ASCII without an escape; out is what stands inside.
  bool string(std::string_view& out) {
    if (!take('"')) return false;
    const std::size_t start = at_;
    while (at_ < text_.size() && text_[at_] >= 0x20 && text_[at_] < 0x7f && text_[at_] != '"' && text_[at_] != '\\')
      ++at_;
    out = since(start);
    return take('"');
  }
  // As it would be written: no sign, no leading zero, no fraction.
  bool number() {
    const std::size_t start = at_;
    while (at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9') ++at_;
    const std::string_view digits = since(start);
    return !digits.empty() && digits.size() <= kMostDigits && (digits.size() == 1 || digits[0] != '0');
  }
  bool word(std::string_view word) {
    if (text_.substr(at_, word.size()) != word) return false;
    at_ += word.size();
    return true;
  }
  bool scalar() {
    std::string_view unused;
    if (next_is('"')) return string(unused);
    return word("true") || word("false") || word("null") || number();
  }

 private:
  std::string_view text_;
  std::size_t at_ = 0;
};

// The members of one object; each key once. member: takes the value of a key, false if it is not plain.
template <typename Member>
bool plain_object(Plain& in, Member member) {
  if (!in.take('{')) return false;
  if (in.take('}')) return true;
  std::array<std::string_view, kMostKeys> keys;
  std::size_t count = 0;
  do {
    std::string_view key;
    if (count == kMostKeys || !in.string(key)) return false;
    for (std::size_t i = 0; i < count; ++i) {
      if (keys[i] == key) return false;
    }
    keys[count++] = key;
    if (!in.take(':') || !member(key)) return false;
  } while (in.take(','));
  return in.take('}');
}

std::string dumped(const Json& value) {
  return value.dump(-1, ' ', /*ensure_ascii=*/true, Json::error_handler_t::replace);
}

}  // namespace

AuditDetail::AuditDetail(std::string_view text, bool log_paths) {
  if (text.empty() || read_plain(text, log_paths)) return;
  clear();
  read_any(text, log_paths);
}

void AuditDetail::clear() noexcept {
  tls = dns = http = bytes = duration_ms = flow = raw = cause = {};
  dns_has_qtype = false;
  whole = true;
}

bool AuditDetail::read_plain(std::string_view text, bool log_paths) {
  Plain in(text);
  const auto object = [&](std::string_view& out, auto seen) {
    const std::size_t start = in.at();
    if (!plain_object(in, [&](std::string_view key) { return seen(key) && in.scalar(); })) return false;
    out = in.since(start);
    return true;
  };
  const auto number = [&](std::string_view& out) {
    const std::size_t start = in.at();
    if (!in.number()) return false;
    out = in.since(start);
    return true;
  };
  const auto any_key = [](std::string_view) { return true; };
  const bool is_plain = plain_object(in, [&](std::string_view key) {
    if (key == "dns") {
      return object(dns, [&](std::string_view inner) {
        dns_has_qtype |= inner == "qtype";
        return true;
      });
    }
    if (key == "tls") return object(tls, any_key);
    if (key == "http") return object(http, [&](std::string_view inner) { return log_paths || !is_target_part(inner); });
    if (key == "bytes") return in.next_is('{') ? object(bytes, any_key) : number(bytes);
    if (key == "duration_ms") return number(duration_ms);
    if (key == "flow") {
      const std::size_t start = in.at();
      std::string_view unused;
      if (!in.string(unused)) return false;
      flow = in.since(start);
      return true;
    }
    if (key == "raw") return in.string(raw);
    return key == "cause" && in.string(cause);
  });
  return is_plain && in.at_end();
}

void AuditDetail::read_any(std::string_view text, bool log_paths) {
  Json given = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!given.is_object()) {
    whole = false;
    return;
  }
  const auto keep = [this](std::string value) -> std::string_view { return kept_.emplace_front(std::move(value)); };
  for (auto& [key, value] : given.items()) {
    if (key == "dns" && value.is_object()) {
      dns_has_qtype = value.contains("qtype");
      dns = keep(dumped(value));
    } else if (key == "tls" && value.is_object()) {
      tls = keep(dumped(value));
    } else if (key == "http" && value.is_object()) {
      if (!log_paths) {
        for (const std::string_view part : kTargetParts) value.erase(std::string(part));
      }
      http = keep(dumped(value));
    } else if (key == "bytes" && (value.is_object() || value.is_number_unsigned())) {
      bytes = keep(dumped(value));
    } else if (key == "duration_ms" && value.is_number() && value >= 0) {
      duration_ms = keep(dumped(value));
    } else if (key == "flow" && value.is_string()) {
      flow = keep(dumped(value));
    } else if (key == "raw" && value.is_string()) {
      raw = keep(value.get<std::string>());
    } else if (key == "cause" && value.is_string()) {
      cause = keep(value.get<std::string>());
    } else {
      whole = false;
    }
  }
}

}  // namespace sallyport
