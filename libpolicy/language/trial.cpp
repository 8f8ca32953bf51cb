#include "language/trial.hpp"

#include <array>
#include <charconv>
#include <chrono>
#include <cstdio>

#include "language/suggest.hpp"
#include "language/trial_keys.hpp"

namespace sallyport {
namespace {

// `digits` of them at the front of text, taken off it.
std::optional<int> number(std::string_view& text, std::size_t digits) {
  if (text.size() < digits) return std::nullopt;
  int value = 0;
  const auto [end, failure] = std::from_chars(text.data(), text.data() + digits, value);
  if (failure != std::errc{} || end != text.data() + digits || text.front() == '-') return std::nullopt;
  text.remove_prefix(digits);
  return value;
}

bool take(std::string_view& text, std::string_view any_of) {
  if (text.empty() || any_of.find(text.front()) == std::string_view::npos) return false;
  text.remove_prefix(1);
  return true;
}

std::optional<std::int64_t> date(std::string_view& text) {
  const auto year = number(text, 4);
  if (!year || !take(text, "-")) return std::nullopt;
  const auto month = number(text, 2);
  if (!month || !take(text, "-")) return std::nullopt;
  const auto day = number(text, 2);
  if (!day) return std::nullopt;
  const std::chrono::year_month_day when{std::chrono::year(*year), std::chrono::month(static_cast<unsigned>(*month)),
                                         std::chrono::day(static_cast<unsigned>(*day))};
  if (!when.ok() || *year < 1970) return std::nullopt;
  return std::int64_t{std::chrono::sys_days(when).time_since_epoch().count()} * 86400;
}

// "hh:mm", and ":ss" if seconds.
std::optional<std::int64_t> clock(std::string_view& text, bool seconds) {
  const auto hour = number(text, 2);
  if (!hour || *hour > 23 || !take(text, ":")) return std::nullopt;
  const auto minute = number(text, 2);
  if (!minute || *minute > 59) return std::nullopt;
  std::int64_t total = *hour * 3600 + *minute * 60;
  if (!seconds) return total;
  if (!take(text, ":")) return std::nullopt;
  const auto second = number(text, 2);
  if (!second || *second > 60) return std::nullopt;  // a leap second
  return total + *second;
}

}  // namespace

std::optional<std::int64_t> read_time(std::string_view text) {
  const std::optional<std::int64_t> day = date(text);
  if (!day) return std::nullopt;
  if (text.empty()) return day;
  if (!take(text, "Tt ")) return std::nullopt;
  const std::optional<std::int64_t> time = clock(text, true);
  if (!time) return std::nullopt;
  if (take(text, ".")) {
    if (text.empty() || text.front() < '0' || text.front() > '9') return std::nullopt;
    while (take(text, "0123456789")) {
    }
  }
  std::int64_t offset = 0;
  if (!take(text, "Zz")) {
    const bool behind = !text.empty() && text.front() == '-';
    if (!take(text, "+-")) return std::nullopt;
    const std::optional<std::int64_t> by = clock(text, false);
    if (!by) return std::nullopt;
    offset = behind ? -*by : *by;
  }
  const std::int64_t seconds = *day + *time - offset;
  if (!text.empty() || seconds <= 0) return std::nullopt;
  return seconds;
}

std::string time_text(std::int64_t seconds) {
  const std::chrono::sys_seconds when{std::chrono::seconds(seconds)};
  const auto day = std::chrono::floor<std::chrono::days>(when);
  const std::chrono::year_month_day date(day);
  const std::chrono::hh_mm_ss time(when - day);
  std::array<char, 40> text;
  const int length = std::snprintf(text.data(), text.size(), "%04d-%02u-%02uT%02d:%02d:%02dZ", int{date.year()},
                                   unsigned{date.month()}, unsigned{date.day()}, static_cast<int>(time.hours().count()),
                                   static_cast<int>(time.minutes().count()), static_cast<int>(time.seconds().count()));
  return {text.data(), static_cast<std::size_t>(length)};
}

std::vector<std::string> trials_on(const PolicyModel& model, std::int64_t now) {
  std::vector<std::string> trials;
  const auto add = [&](const std::optional<ObserveModel>& trial, const std::string& who) {
    if (trial && now < trial->until) trials.push_back(who + " until " + time_text(trial->until));
  };
  add(model.observe, "everyone");
  for (const ClientModel& client : model.clients) add(client.observe, "client " + in_ticks(client.name));
  return trials;
}

std::optional<ObserveModel> read_trial(policy::v1::Mode mode, const std::string& until, const Place* mode_place,
                                       const Place* until_place, const std::string& path, const std::string& what,
                                       std::int64_t now, Reporter& reporter) {
  const bool observe = mode == policy::v1::MODE_OBSERVE;
  const auto at = [&path](std::string_view key) {
    return path.empty() ? std::string(key) : path + "." + std::string(key);
  };
  if (until_place != nullptr && until_place->explicit_null) return std::nullopt;  // reported
  if (!observe) {
    if (until_place != nullptr && (mode_place == nullptr || mode == policy::v1::MODE_ENFORCE)) {
      reporter.error("P045", until_place->key, at("until"), "`until` without `mode: observe`",
                     "a trial ends, a policy does not: add mode: observe, or remove until");
    }
    return std::nullopt;
  }
  if (until_place == nullptr) {
    reporter.error("P045", mode_place->value, at("mode"), "a trial of " + what + " without an end",
                   "add `until`, such as until: 2027-01-01: while it lasts nothing is stopped");
    return std::nullopt;
  }
  const std::optional<std::int64_t> end = read_time(until);
  if (!end) {
    reporter.error("P045", until_place->value, at("until"), in_ticks(until) + " is no date and no time",
                   "write a date, 2027-01-01, or a time, 2027-01-01T12:00:00Z");
    return std::nullopt;
  }
  if (now > 0 && *end <= now) {
    reporter.warning("P046", until_place->value, at("until"), "the trial of " + what + " has ended",
                     "it is enforced; remove mode and until, or set a later end");
  }
  return ObserveModel{*end};
}

}  // namespace sallyport
