// The collector's states against functions that stand for CUPTI and note what is called.
#include "cupti/collector.h"

#include <gtest/gtest.h>

#include <cstring>
#include <set>
#include <string>
#include <vector>

namespace oomtrace::cupti {
namespace {

struct Fake {
  uint32_t version = 130001;
  CUptiResult version_result = CUPTI_SUCCESS;
  CUptiResult subscribe_result = CUPTI_SUCCESS;
  CUptiResult attribute_result = CUPTI_SUCCESS;
  std::set<uint32_t> enabled;
  std::vector<std::string> calls;
  std::vector<StateChange> states;
  std::vector<std::string> reasons;
};
Fake* fake = nullptr;

uint64_t ForeignClock() { return 1; }

Api FakeApi() {
  Api api = {};
  api.get_version = [](uint32_t* version) {
    *version = fake->version;
    return fake->version_result;
  };
  api.get_timestamp = [](uint64_t* time) {
    *time = 1000;
    return CUPTI_SUCCESS;
  };
  api.subscribe = [](CUpti_SubscriberHandle*, CUpti_CallbackFunc, void*) {
    fake->calls.push_back("subscribe");
    return fake->subscribe_result;
  };
  api.unsubscribe = [](CUpti_SubscriberHandle) {
    fake->calls.push_back("unsubscribe");
    return CUPTI_SUCCESS;
  };
  api.register_callbacks = [](CUpti_BuffersCallbackRequestFunc, CUpti_BuffersCallbackCompleteFunc) {
    fake->calls.push_back("register");
    return CUPTI_SUCCESS;
  };
  api.enable = [](CUpti_ActivityKind kind) {
    fake->enabled.insert(kind);
    return CUPTI_SUCCESS;
  };
  api.disable = [](CUpti_ActivityKind kind) {
    fake->enabled.erase(kind);
    return CUPTI_SUCCESS;
  };
  api.flush_all = [](uint32_t) {
    fake->calls.push_back("flush");
    return CUPTI_SUCCESS;
  };
  // Buffers of one record.
  api.next_record = [](uint8_t* buffer, size_t, CUpti_Activity** record) {
    if (*record != nullptr) return CUPTI_ERROR_MAX_LIMIT_REACHED;
    *record = reinterpret_cast<CUpti_Activity*>(buffer);
    return CUPTI_SUCCESS;
  };
  api.dropped_records = [](CUcontext, uint32_t, size_t* dropped) {
    *dropped = 0;
    return CUPTI_SUCCESS;
  };
  api.set_attribute = [](CUpti_ActivityAttribute, size_t*, void*) { return fake->attribute_result; };
  api.push_external_id = [](CUpti_ExternalCorrelationKind, uint64_t) { return CUPTI_SUCCESS; };
  api.pop_external_id = [](CUpti_ExternalCorrelationKind, uint64_t*) { return CUPTI_SUCCESS; };
  api.register_clock = [](CUpti_TimestampCallbackFunc clock) {
    fake->calls.push_back(clock == ForeignClock ? "foreign clock" : "own clock");
    return CUPTI_SUCCESS;
  };
  return api;
}

const Sink kSink = {[](const Activity&) {},
                    [](const Memory&) {},
                    [](const Resource&) {},
                    [](uint64_t, uint32_t) {},
                    [](const StateChange& change) {
                      fake->states.push_back(change);
                      fake->reasons.push_back(change.reason);
                    },
                    [](uint64_t) {}};

class CollectorTest : public ::testing::Test {
 protected:
  CollectorTest() { fake = &fake_; }
  void Start(bool timeline = true) { collector_.Start(FakeApi(), &kSink, {timeline, false}); }
  static bool Enabled(uint32_t kind) { return fake->enabled.contains(kind); }

  Fake fake_;
  CollectorState collector_;
};

TEST_F(CollectorTest, AWindowAddsKernelsAndTakesThemAway) {
  Start();
  EXPECT_EQ(collector_.state(), State::kMemory);
  EXPECT_TRUE(Enabled(CUPTI_ACTIVITY_KIND_MEMORY2));
  EXPECT_FALSE(Enabled(CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL));
  EXPECT_FALSE(collector_.Push(1));
  collector_.OpenWindow();
  EXPECT_EQ(collector_.state(), State::kTimeline);
  EXPECT_TRUE(Enabled(CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL));
  EXPECT_FALSE(Enabled(CUPTI_ACTIVITY_KIND_KERNEL)) << "it runs kernels one at a time";
  EXPECT_TRUE(collector_.Push(1));
  collector_.CloseWindow("over");
  EXPECT_EQ(collector_.state(), State::kMemory);
  EXPECT_FALSE(Enabled(CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL));
  EXPECT_TRUE(Enabled(CUPTI_ACTIVITY_KIND_MEMORY2));
  EXPECT_EQ(fake_.reasons.back(), "over");
}

TEST_F(CollectorTest, TheSubscriberIsHeldForTheProbeOnly) {
  Start();
  EXPECT_EQ(fake_.calls[0], "subscribe");
  EXPECT_EQ(fake_.calls[1], "unsubscribe");
}

TEST_F(CollectorTest, AnotherToolKeepsItOff) {
  fake_.subscribe_result = CUPTI_ERROR_MULTIPLE_SUBSCRIBERS_NOT_SUPPORTED;
  Start();
  EXPECT_EQ(collector_.state(), State::kOff);
  EXPECT_TRUE(fake_.enabled.empty());
  EXPECT_NE(fake_.reasons.back().find("another tool"), std::string::npos);
}

TEST_F(CollectorTest, NoWindowWithoutABoundForMemoryOnTheDevice) {
  fake_.attribute_result = CUPTI_ERROR_INVALID_PARAMETER;
  Start();
  collector_.OpenWindow();
  EXPECT_EQ(collector_.state(), State::kMemory);
  EXPECT_FALSE(Enabled(CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL));
}

TEST_F(CollectorTest, AnOldLibraryIsLeftAlone) {
  fake_.version = 17;
  Start();
  EXPECT_EQ(collector_.state(), State::kOff);
  EXPECT_TRUE(fake_.enabled.empty());
}

TEST_F(CollectorTest, StepsAsideAndComesBackWithItsOwnClock) {
  Start();
  collector_.OpenWindow();
  fake_.calls.clear();
  collector_.Yield("the profiler");
  EXPECT_EQ(collector_.state(), State::kYielded);
  EXPECT_TRUE(fake_.enabled.empty());
  EXPECT_EQ(fake_.calls, std::vector<std::string>{"flush"});
  collector_.Round(NowMs() + 10 * kResumeMs);
  EXPECT_EQ(collector_.state(), State::kYielded) << "the other client is not done";
  collector_.Resume(ForeignClock);
  collector_.Round(NowMs());
  EXPECT_EQ(collector_.state(), State::kYielded) << "it may still collect its buffers";
  fake_.calls.clear();
  collector_.Round(NowMs() + 2 * kResumeMs);
  EXPECT_EQ(collector_.state(), State::kTimeline) << "the window was open before";
  // The other's buffers go back to it before our callbacks replace its own.
  EXPECT_EQ(fake_.calls, (std::vector<std::string>{"flush", "own clock", "register"}));
  EXPECT_TRUE(Enabled(CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL));
  fake_.calls.clear();
  collector_.Yield("the profiler");
  EXPECT_EQ(fake_.calls, (std::vector<std::string>{"flush", "foreign clock"}));
}

TEST_F(CollectorTest, AWindowEndsWithTheShareOfTheTrace) {
  collector_.Start(FakeApi(), &kSink, {.timeline = true, .most_activities = 0});
  collector_.OpenWindow();
  collector_.Round(NowMs());
  EXPECT_EQ(collector_.state(), State::kTimeline) << "nothing ran yet";
  uint8_t* buffer = collector_.RequestBuffer();
  CUpti_ActivityMemset4 fill = {};
  fill.kind = CUPTI_ACTIVITY_KIND_MEMSET;
  fill.start = 2000;
  fill.end = 3000;
  std::memcpy(buffer, &fill, sizeof(fill));
  collector_.TakeBuffer(buffer, sizeof(fill));
  collector_.Round(NowMs());
  EXPECT_EQ(collector_.state(), State::kMemory);
  EXPECT_NE(fake_.reasons.back().find("share"), std::string::npos);
  collector_.OpenWindow();
  EXPECT_EQ(collector_.state(), State::kMemory);
}

TEST_F(CollectorTest, NothingIsCalledAfterTheEnd) {
  Start();
  collector_.Stop();
  EXPECT_EQ(collector_.state(), State::kDead);
  EXPECT_TRUE(fake_.enabled.empty());
  fake_.calls.clear();
  collector_.OpenWindow();
  collector_.Yield("the profiler");
  collector_.Round(NowMs());
  EXPECT_TRUE(fake_.calls.empty());
  EXPECT_TRUE(fake_.enabled.empty());
}

}  // namespace
}  // namespace oomtrace::cupti
