// A plugin's life, driven in this process: each call in its state, and in no other (PLG-02 and its siblings).
#include "host/worker/loaded_plugin.hpp"

#include <gmock/gmock.h>

#include "gate_fixture.hpp"

namespace sallyport {
namespace {

constexpr char kManifest[] =
    R"({"name":"probe","version":"1.0.0","needs":["policy.edge/1","policy.decision/1","policy.audit/1",)"
    R"("policy.sockets/1","policy.clients/1","policy.flow/1","policy.tasks/1"],"layers":["tcp"],)"
    R"("privileges":{},"config":{"type":"object","additionalProperties":false,"properties":{}}})";

class Loaded : public GateFixture {
 protected:
  Loaded() : plugin_("probe", &host_, &host_api()) { publish(allow("api.test")); }
  static void expect_wrong_state(const PluginError& error) {
    ASSERT_TRUE(error);
    EXPECT_THAT(*error, testing::HasSubstr("in the wrong state"));
  }
  LoadedPlugin plugin_;
  std::uint64_t left_ = 7;
};

TEST_F(Loaded, EachCallInItsState) {
  expect_wrong_state(plugin_.create("{}"));
  expect_wrong_state(plugin_.start());
  expect_wrong_state(plugin_.drain(1, left_));
  EXPECT_EQ(left_, 0u);
  expect_wrong_state(plugin_.stop());
  EXPECT_FALSE(plugin_.health());
  ASSERT_EQ(plugin_.load(PROBE_PLUGIN, kManifest), std::nullopt);
  EXPECT_TRUE(plugin_.load(PROBE_PLUGIN, kManifest)) << "loaded twice";
  expect_wrong_state(plugin_.start());
  ASSERT_EQ(plugin_.create("{}"), std::nullopt);
  expect_wrong_state(plugin_.create("{}"));
  expect_wrong_state(plugin_.drain(1, left_));
  EXPECT_FALSE(plugin_.health());
  ASSERT_EQ(plugin_.start(), std::nullopt);
  expect_wrong_state(plugin_.start());
  EXPECT_EQ(plugin_.health(), R"({"ok":true,"flows":0})");
  ASSERT_EQ(plugin_.drain(1, left_), std::nullopt);
  ASSERT_EQ(plugin_.drain(1, left_), std::nullopt) << "asked again how many are left";
  EXPECT_EQ(plugin_.health(), R"({"ok":true,"flows":0})");
  expect_wrong_state(plugin_.start());
  ASSERT_EQ(plugin_.stop(), std::nullopt);
  expect_wrong_state(plugin_.stop());
  expect_wrong_state(plugin_.drain(1, left_));
  EXPECT_FALSE(plugin_.health());
}

TEST_F(Loaded, AnotherManifestIsRefused) {
  const PluginError error = plugin_.load(PROBE_PLUGIN, "{}");
  ASSERT_TRUE(error);
  EXPECT_THAT(*error, testing::HasSubstr("differ"));
}

}  // namespace
}  // namespace sallyport
