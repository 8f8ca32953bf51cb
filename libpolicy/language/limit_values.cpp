// Values of `limits`: a number, for octets with a unit, over a period.
#include <algorithm>
#include <array>
#include <charconv>
#include <cstdint>
#include <limits>

#include "language/suggest.hpp"
#include "language/values.hpp"

namespace sallyport {
namespace {

struct Period {
  std::string_view word;
  std::uint32_t seconds;
};
constexpr Period kPeriods[] = {{"s", 1}, {"m", 60}, {"h", 3600}, {"day", 86400}};
// As other tools and people write them.
constexpr Period kOtherPeriods[] = {{"sec", 1},      {"second", 1},   {"seconds", 1},  {"min", 60},
                                    {"minute", 60},  {"minutes", 60}, {"hr", 3600},    {"hour", 3600},
                                    {"hours", 3600}, {"d", 86400},    {"days", 86400}, {"daily", 86400}};

struct Unit {
  std::string_view word;
  std::uint64_t octets;
};
constexpr std::uint64_t kKilo = 1000, kKibi = 1024;
constexpr Unit kUnits[] = {{"B", 1},
                           {"kB", kKilo},
                           {"MB", kKilo* kKilo},
                           {"GB", kKilo* kKilo* kKilo},
                           {"TB", kKilo* kKilo* kKilo* kKilo},
                           {"KiB", kKibi},
                           {"MiB", kKibi* kKibi},
                           {"GiB", kKibi* kKibi* kKibi},
                           {"TiB", kKibi* kKibi* kKibi* kKibi}};

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return out;
}

std::string_view period_word(std::uint32_t seconds) {
  for (const Period& period : kPeriods) {
    if (period.seconds == seconds) return period.word;
  }
  return "s";
}

// The unit that was most likely meant: "mb" is MB, "k" is kB, "bytes" is B. Empty: none.
std::string_view meant_unit(std::string_view word) {
  const std::string small = lower(word);
  if (small.empty() || small == "byte" || small == "bytes" || small == "octets") return "B";
  for (const Unit& unit : kUnits) {
    if (lower(unit.word) == small || lower(unit.word.substr(0, unit.word.size() - 1)) == small) return unit.word;
  }
  return {};
}

// Bits, which octets are not: "Mbit", "mbps", "Mb" is left to meant_unit().
bool means_bits(std::string_view word) {
  const std::string small = lower(word);
  return small.ends_with("bit") || small.ends_with("bits") || small.ends_with("bps");
}

// A text taken apart: digits, what follows them, the period.
struct Parts {
  std::string_view number, unit, period;
  bool has_period = false;
};

Parts split(std::string_view text) {
  Parts parts;
  const std::size_t slash = text.find('/');
  parts.has_period = slash != std::string_view::npos;
  if (parts.has_period) parts.period = text.substr(slash + 1);
  const std::string_view amount = text.substr(0, slash);
  const std::size_t digits = std::min(amount.find_first_not_of("0123456789"), amount.size());
  parts.number = amount.substr(0, digits);
  parts.unit = amount.substr(digits);
  return parts;
}

Problem out_of_range(std::string message, std::string repair) {
  return {"P057", std::move(message), std::move(repair), {}, 0, 0};
}

// example: a whole value of this kind, for repairs.
Parsed<RateModel> read_rate(std::string_view text, bool octets, std::string_view example) {
  Problem problem{"P056", in_ticks(text) + " is no limit", "write it as " + std::string(example), {}, 0, 0};
  const Parts parts = split(text);
  if (parts.number.empty()) {
    if (text.starts_with('-')) problem.message = "a limit is not negative: " + in_ticks(text);
    return problem;
  }
  if (text.find_first_of(" \t") != std::string_view::npos) {
    std::string together(text);
    std::erase_if(together, [](char c) { return c == ' ' || c == '\t'; });
    problem.message = "a blank inside " + in_ticks(text);
    problem.repair = std::holds_alternative<RateModel>(read_rate(together, octets, example))
                         ? "write " + together
                         : "write it as " + std::string(example);
    return problem;
  }
  const std::size_t at = parts.number.size();
  if (parts.unit.starts_with('.') || parts.unit.starts_with(',')) {
    problem.message = in_ticks(text) + " is no whole number";
    problem.repair = octets ? "use a smaller unit: 1500kB/s is 1.5 MB/s" : "use a longer period: 90/m is 1.5/s";
    problem.offset = at;
    problem.length = 1;
    return problem;
  }
  std::uint64_t scale = 1;
  if (octets) {
    const auto known =
        std::find_if(std::begin(kUnits), std::end(kUnits), [&](const Unit& unit) { return unit.word == parts.unit; });
    if (known == std::end(kUnits)) {
      const std::string_view meant = means_bits(parts.unit) ? std::string_view() : meant_unit(parts.unit);
      problem.message = parts.unit.empty() ? "an amount without a unit: " + in_ticks(text)
                                           : in_ticks(parts.unit) + " is no unit of octets";
      problem.repair = means_bits(parts.unit) ? "limits count octets: divide by 8, as 10Mbit/s is 1250kB/s"
                       : meant.empty()        ? "write B, kB, MB, GB, TB, KiB, MiB, GiB or TiB"
                                              : "did you mean " +
                                             in_ticks(std::string(parts.number) + std::string(meant) +
                                                      (parts.has_period ? "/" + std::string(parts.period) : "")) +
                                             "?";
      problem.offset = at;
      problem.length = parts.unit.size();
      return problem;
    }
    scale = known->octets;
  } else if (!parts.unit.empty()) {
    problem.message = in_ticks(parts.unit) + " has no meaning in a number of requests";
    problem.offset = at;
    problem.length = parts.unit.size();
    return problem;
  }
  if (!parts.has_period) {
    problem.message = in_ticks(text) + " has no period";
    problem.repair = "write what it is for each of: " + std::string(text) + "/s, /m, /h or /day";
    return problem;
  }
  const auto period = std::find_if(std::begin(kPeriods), std::end(kPeriods),
                                   [&](const Period& one) { return one.word == parts.period; });
  if (period == std::end(kPeriods)) {
    const std::string small = lower(parts.period);
    std::string_view meant;
    for (const Period& one : kPeriods) {
      if (one.word == small) meant = one.word;
    }
    for (const Period& one : kOtherPeriods) {
      if (one.word == small) meant = period_word(one.seconds);
    }
    problem.message = in_ticks(parts.period) + " is no period";
    problem.repair =
        meant.empty()
            ? "write s, m, h or day"
            : "did you mean " + in_ticks(std::string(text.substr(0, text.find('/') + 1)) + std::string(meant)) + "?";
    problem.offset = text.find('/') + 1;
    problem.length = std::max<std::size_t>(parts.period.size(), 1);
    return problem;
  }
  std::uint64_t number = 0;
  const auto [end, failure] = std::from_chars(parts.number.data(), parts.number.data() + parts.number.size(), number);
  if (failure != std::errc{} || number > std::numeric_limits<std::uint64_t>::max() / scale) {
    return out_of_range(in_ticks(text) + " is more than can be counted", "leave the key out: nothing is bound by it");
  }
  if (number == 0) {
    return out_of_range(in_ticks(text) + " allows nothing",
                        "to stop these flows, write a deny rule; or remove the key");
  }
  return RateModel{number * scale, period->seconds};
}

}  // namespace

Parsed<RateModel> read_request_rate(std::string_view text) {
  Parsed<RateModel> rate = read_rate(text, false, "600/m");
  if (const auto* value = std::get_if<RateModel>(&rate); value != nullptr && value->amount > kMostRequests) {
    return out_of_range(in_ticks(text) + " is more than can be counted",
                        "at most " + std::to_string(kMostRequests) + " a period; or leave the key out");
  }
  return rate;
}

Parsed<RateModel> read_octet_rate(std::string_view text, OctetLimit kind) {
  Parsed<RateModel> rate = read_rate(text, true, kind == OctetLimit::kQuota ? "100MB/day" : "10MB/s");
  const auto* value = std::get_if<RateModel>(&rate);
  if (value == nullptr) return rate;
  if (kind == OctetLimit::kQuota && value->seconds == 1) {
    Problem problem{"P056", "a quota for each second is a bandwidth", "write bandwidth: " + std::string(text), {}, 0,
                    0};
    problem.note = "upload and download have periods of m, h or day";
    return problem;
  }
  if (kind == OctetLimit::kQuota && value->amount > kMostQuota)
    return out_of_range(in_ticks(text) + " is more than can be counted", "at most 4TB a period; or leave the key out");
  // What a clock of nanoseconds can tell apart.
  if (kind == OctetLimit::kBandwidth && value->amount / value->seconds > kMostBandwidth)
    return out_of_range(in_ticks(text) + " is more than can be counted", "at most 1TB/s; or leave the key out");
  return rate;
}

std::string request_rate_text(const RateModel& rate) {
  return std::to_string(rate.amount) + "/" + std::string(period_word(rate.seconds));
}

std::string octet_rate_text(const RateModel& rate) {
  // The largest unit that leaves a whole number.
  const Unit* best = &kUnits[0];
  for (const Unit& unit : kUnits) {
    if (rate.amount % unit.octets == 0 && unit.octets > best->octets) best = &unit;
  }
  return std::to_string(rate.amount / best->octets) + std::string(best->word) + "/" +
         std::string(period_word(rate.seconds));
}

std::string limits_text(const LimitsModel& limits) {
  std::string out;
  const auto add = [&out](std::string text) { out += (out.empty() ? "" : ", ") + std::move(text); };
  if (limits.requests) add(request_rate_text(*limits.requests) + " requests");
  if (limits.connections)
    add(std::to_string(*limits.connections) + (*limits.connections == 1 ? " connection" : " connections"));
  if (limits.bandwidth) add(octet_rate_text(*limits.bandwidth));
  if (limits.upload) add(octet_rate_text(*limits.upload) + " up");
  if (limits.download) add(octet_rate_text(*limits.download) + " down");
  return out;
}

}  // namespace sallyport
