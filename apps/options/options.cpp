#include "options/options.hpp"

#include <algorithm>
#include <string_view>

#include "language/suggest.hpp"

namespace sallyport {
namespace {

namespace po = boost::program_options;
using Texts = std::vector<std::string>;

std::string unknown(std::string name, const po::options_description& all) {
  name.erase(0, name.find_first_not_of('-'));
  std::vector<std::string_view> known;
  for (const auto& option : all.options()) known.push_back(option->long_name());
  const std::string_view near = nearest(name, known);
  return "unknown option --" + name + (near.empty() ? "" : "; did you mean --" + std::string(near) + "?");
}

bool is_empty(const po::variable_value& value) {
  if (const auto* text = boost::any_cast<std::string>(&value.value())) return text->empty();
  const auto* texts = boost::any_cast<Texts>(&value.value());
  return texts != nullptr && std::any_of(texts->begin(), texts->end(), [](const auto& text) { return text.empty(); });
}

}  // namespace

std::optional<std::string> read_options(const CommandLineForm& form, const Texts& arguments,
                                        po::variables_map& values) {
  namespace style = po::command_line_style;
  try {
    po::store(po::command_line_parser(arguments)
                  .options(form.options)
                  .positional(form.positional)
                  .style(style::unix_style & ~style::allow_guessing)
                  .run(),
              values);
    if (values.count("help") != 0) return std::nullopt;
    po::notify(values);
  } catch (const po::too_many_positional_options_error&) {
    return form.stray;
  } catch (const po::unknown_option& error) {
    return unknown(error.get_option_name(), form.options);
  } catch (const po::error& error) {
    return error.what();
  }
  for (const auto& [name, value] : values) {
    const bool takes_value = form.options.find(name, /*approx=*/false).semantic()->max_tokens() > 0;
    if (takes_value && !value.defaulted() && is_empty(value)) return "--" + name + " is empty";
  }
  return std::nullopt;
}

}  // namespace sallyport
