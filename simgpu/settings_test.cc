#include "simgpu/settings.h"

#include <gtest/gtest.h>

#include <map>
#include <string>

namespace oomtrace::simgpu {
namespace {

std::map<std::string, std::string> environment;

Settings Read(std::map<std::string, std::string> variables) {
  environment = std::move(variables);
  return ReadSettings([](const char* name) -> const char* {
    const auto it = environment.find(name);
    return it == environment.end() ? nullptr : it->second.c_str();
  });
}

TEST(Settings, WithoutAGpuThereIsNoDevice) {
  EXPECT_FALSE(Read({}).gpu);
  EXPECT_FALSE(Read({{"OOMTRACE_SIM_GPU", ""}}).gpu);
  EXPECT_EQ(Read({}).error, "");
}

TEST(Settings, TheCardGivesTheDefaults) {
  const Settings settings = Read({{"OOMTRACE_SIM_GPU", "a100-40gb"}});
  ASSERT_TRUE(settings.gpu);
  EXPECT_EQ(settings.devices, 1);
  EXPECT_EQ(settings.memory.total, settings.gpu->total_bytes);
  EXPECT_EQ(settings.memory.context, kDefaultContextBytes);
  EXPECT_EQ(settings.memory.other, 0);
}

TEST(Settings, VariablesOverride) {
  const Settings settings = Read({{"OOMTRACE_SIM_GPU", "h100"},
                                  {"OOMTRACE_SIM_CAPACITY", "8GiB"},
                                  {"OOMTRACE_SIM_OTHER", "1.5GiB"},
                                  {"OOMTRACE_SIM_CONTEXT", "1048576"},
                                  {"OOMTRACE_SIM_DEVICES", "4"},
                                  {"OOMTRACE_SIM_LOG", "1"}});
  ASSERT_TRUE(settings.gpu) << settings.error;
  EXPECT_EQ(settings.memory.total, int64_t{8} << 30);
  EXPECT_EQ(settings.memory.other, int64_t{3} << 29);
  EXPECT_EQ(settings.memory.context, 1 << 20);
  EXPECT_EQ(settings.devices, 4);
  EXPECT_TRUE(settings.log);
}

TEST(Settings, NonsenseIsSaidAndLeavesNoDevice) {
  const Settings unknown = Read({{"OOMTRACE_SIM_GPU", "rtx9999"}});
  EXPECT_FALSE(unknown.gpu);
  EXPECT_NE(unknown.error.find("rtx4070"), std::string::npos) << "the known cards are listed";
  for (const char* name :
       {"OOMTRACE_SIM_CAPACITY", "OOMTRACE_SIM_OTHER", "OOMTRACE_SIM_CONTEXT", "OOMTRACE_SIM_DEVICES"}) {
    const Settings settings = Read({{"OOMTRACE_SIM_GPU", "t4"}, {name, "many"}});
    EXPECT_FALSE(settings.gpu) << name;
    EXPECT_NE(settings.error.find(name), std::string::npos);
    EXPECT_NE(settings.error.find("many"), std::string::npos);
  }
}

TEST(Settings, CudaVisibleDevicesSelectsAndOrders) {
  const auto visible = [](const char* list) {
    return Read({{"OOMTRACE_SIM_GPU", "t4"}, {"OOMTRACE_SIM_DEVICES", "4"}, {"CUDA_VISIBLE_DEVICES", list}}).visible;
  };
  EXPECT_EQ(visible("2,0"), (std::vector<int>{2, 0}));
  EXPECT_EQ(visible("1"), std::vector<int>{1});
  EXPECT_EQ(visible("0,9,1"), std::vector<int>{0});
  EXPECT_EQ(visible("-1"), std::vector<int>{});
  EXPECT_EQ(visible(""), std::vector<int>{});
  EXPECT_EQ(Read({{"OOMTRACE_SIM_GPU", "t4"}, {"OOMTRACE_SIM_DEVICES", "2"}}).visible, (std::vector<int>{0, 1}));
}

TEST(Settings, ZeroDevicesMeansNone) {
  const Settings settings = Read({{"OOMTRACE_SIM_GPU", "t4"}, {"OOMTRACE_SIM_DEVICES", "0"}});
  EXPECT_FALSE(settings.gpu);
  EXPECT_EQ(settings.error, "");
}

}  // namespace
}  // namespace oomtrace::simgpu
