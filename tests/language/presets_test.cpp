// Presets: every file is whole, dated, and made of names that a policy could say itself.
#include "language/presets.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <string>

#include "language/preset_files.hpp"

namespace sallyport {
namespace {

std::size_t entries(std::string_view text) {
  std::size_t count = 0;
  for (std::size_t at = text.find("\n  - "); at != std::string_view::npos; at = text.find("\n  - ", at + 1)) ++count;
  return count;
}

TEST(Presets, EveryFileIsReadInFull) {
  ASSERT_GE(presets().size(), 11u);
  std::set<std::string_view> names;
  for (const Preset& preset : presets()) {
    SCOPED_TRACE(preset.name);
    EXPECT_TRUE(names.insert(preset.name).second);
    EXPECT_EQ(preset.domains.size(), entries(preset.text));  // none was refused
    EXPECT_FALSE(preset.domains.empty());
    EXPECT_FALSE(preset.ports.empty());
    EXPECT_EQ(preset.date.size(), 10u);
    EXPECT_TRUE(preset.source.starts_with("https://"));
    EXPECT_EQ(find_preset(preset.name), &preset);
  }
  for (const char* promised :
       {"pypi", "npm", "github", "debian", "crates", "docker-hub", "go", "rubygems", "maven", "anthropic", "openai"}) {
    EXPECT_NE(find_preset(promised), nullptr) << promised;
  }
}

TEST(Presets, OtherWordsAreUnderstood) {
  EXPECT_EQ(find_preset("pip"), nullptr);
  EXPECT_EQ(nearest_preset("pip"), "pypi");
  EXPECT_EQ(nearest_preset("githup"), "github");
  EXPECT_EQ(nearest_preset("zzzzzz"), "");
}

}  // namespace
}  // namespace sallyport
