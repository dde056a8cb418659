#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "analyzer/explain/judge.h"
#include "analyzer/explain/render.h"
#include "nlohmann/json.hpp"

namespace oomtrace {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

Judgement Only(const std::string& text) {
  const std::vector<Judgement> judgements = Judge(text);
  EXPECT_THAT(judgements, SizeIs(1)) << text;
  return judgements.empty() ? Judgement{} : judgements.front();
}

std::string CauseOf(const std::string& text) { return Only(text).cause; }

std::string Torch(const std::string& wanted, const std::string& total, const std::string& free,
                  const std::string& processes, const std::string& allocated, const std::string& unallocated) {
  return "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate " + wanted +
         ". GPU 0 has a total capacity of " + total + " of which " + free + " is free. " + processes +
         "Of the allocated memory " + allocated + " is allocated by PyTorch, and " + unallocated +
         " is reserved by PyTorch but unallocated. If reserved but unallocated memory is large try setting "
         "PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True to avoid fragmentation.";
}

TEST(Judge, FullOfItsOwnTensors) {
  const Judgement judgement = Only(Torch("128.00 MiB", "12.00 GiB", "60.00 MiB", "", "11.00 GiB", "200.00 MiB"));
  EXPECT_EQ(judgement.cause, "full");
  EXPECT_THAT(judgement.headline, HasSubstr("11.00 GiB"));
}

TEST(Judge, LargerThanTheCardOrThanWhatItCanGive) {
  EXPECT_EQ(CauseOf(Torch("64.00 GiB", "40.00 GiB", "39.00 GiB", "", "0 bytes", "0 bytes")), "larger_than_card");
  EXPECT_EQ(CauseOf(Torch("39.80 GiB", "40.00 GiB", "39.00 GiB", "", "400.00 MiB", "0 bytes")), "larger_than_card");
}

TEST(Judge, ALimitIsNotTheCard) {
  const Judgement judgement =
      Only(Torch("500.00 MiB", "24.00 GiB", "15.00 GiB",
                 "Including non-PyTorch memory, this process has 8.50 GiB memory in use. 8.00 GiB allowed; ",
                 "7.80 GiB", "50.00 MiB"));
  EXPECT_EQ(judgement.cause, "memory_limit");
  EXPECT_THAT(judgement.headline, HasSubstr("8.00 GiB"));
}

TEST(Judge, IdleCacheWhereItIsLarge) {
  EXPECT_EQ(CauseOf(Torch("1.70 GiB", "6.00 GiB", "0 bytes", "", "2.93 GiB", "2.30 GiB")), "idle_cache");
  EXPECT_EQ(CauseOf(Torch("14.00 MiB", "24.00 GiB", "4.00 MiB", "", "22.50 GiB", "40.00 MiB")), "full")
      << "a little lies idle in every training";
}

TEST(Judge, OtherProcesses) {
  const std::string own = "Including non-PyTorch memory, this process has 6.40 GiB memory in use. ";
  EXPECT_EQ(CauseOf(Torch("400.00 MiB", "24.00 GiB", "100.00 MiB", "Process 41 has 17.20 GiB memory in use. " + own,
                          "6.00 GiB", "30.00 MiB")),
            "other_processes");
  // In a container its own process has the host's number, and no other sentence names it.
  EXPECT_EQ(CauseOf(Torch("400.00 MiB", "24.00 GiB", "100.00 MiB", "Process 41 has 23.50 GiB memory in use. ",
                          "22.90 GiB", "30.00 MiB")),
            "full");
  const Judgement beside = Only(Torch("400.00 MiB", "12.00 GiB", "200.00 MiB",
                                      "Process 41 has 1.90 GiB memory in use. Including non-PyTorch memory, this "
                                      "process has 9.60 GiB memory in use. ",
                                      "9.10 GiB", "200.00 MiB"));
  EXPECT_EQ(beside.cause, "full");
  EXPECT_THAT(beside.reasons, Contains(HasSubstr("Another process holds 1.90 GiB")));
  const Judgement judgement = Only(Torch(
      "400.00 MiB", "24.00 GiB", "100.00 MiB",
      "Process 41 has 17.20 GiB memory in use. Process 42 has 6.40 GiB memory in use. ", "6.00 GiB", "30.00 MiB"));
  EXPECT_EQ(judgement.cause, "other_processes");
  EXPECT_THAT(judgement.headline, HasSubstr("17.20 GiB"));
}

TEST(Judge, OutsideWithoutAListOfProcesses) {
  const Judgement judgement = Only(Torch("400.00 MiB", "24.00 GiB", "100.00 MiB", "", "6.00 GiB", "30.00 MiB"));
  EXPECT_EQ(judgement.cause, "outside_pytorch");
  EXPECT_THAT(judgement.unknown, Not(IsEmpty()));
}

TEST(Judge, FreeAfterwards) {
  EXPECT_EQ(CauseOf(Torch("394.00 MiB", "24.00 GiB", "8.68 GiB", "", "14.00 GiB", "200.00 MiB")), "free_afterwards");
}

TEST(Judge, PrivatePools) {
  EXPECT_EQ(CauseOf("CUDA out of memory. Tried to allocate 1.00 GiB. GPU 0 has a total capacity of 24.00 GiB of which "
                    "200.00 MiB is free. Of the allocated memory 22.00 GiB is allocated by PyTorch, with 6.00 GiB "
                    "allocated in private pools (e.g., CUDA Graphs), and 100.00 MiB is reserved by PyTorch but "
                    "unallocated."),
            "private_pools");
}

TEST(Judge, WhatIsNoLackOfDeviceMemory) {
  EXPECT_EQ(CauseOf("OutOfMemoryError: Tried to allocate more than 1EB memory."), "corrupt_size");
  EXPECT_EQ(CauseOf("step 3\nKilled\n"), "host_memory");
  EXPECT_EQ(CauseOf("slurmstepd: error: Detected 1 oom_kill event in StepId=3.batch."), "host_memory");
  EXPECT_EQ(CauseOf("RuntimeError: DataLoader worker is killed. It is possible that dataloader's workers are out of "
                    "shared memory. ERROR: Unexpected bus error encountered in worker. This might be caused by "
                    "insufficient shared memory (shm)."),
            "shared_memory");
  EXPECT_EQ(CauseOf("out of resource: shared memory, Required: 131072, Hardware limit: 101376."), "kernel_resources");
  EXPECT_THAT(Judge("ValueError: shapes do not match"), IsEmpty());
}

TEST(Judge, AppleAndTheAsynchronousAllocator) {
  const Judgement mps = Only(
      "RuntimeError: MPS backend out of memory (MPS allocated: 17.82 GiB, other allocations: 312.00 MiB, max allowed: "
      "18.13 GiB). Tried to allocate 512.00 MiB on private pool. Use PYTORCH_MPS_HIGH_WATERMARK_RATIO=0.0 to disable");
  EXPECT_EQ(mps.cause, "memory_limit");
  EXPECT_EQ(mps.message.wanted->bytes, 512 << 20);
  EXPECT_EQ(CauseOf("torch.OutOfMemoryError: Allocation on device 0 would exceed allowed memory. (out of memory)\n"
                    "Currently allocated     : 11.60 GiB\nRequested               : 1.00 GiB\n"
                    "Device limit            : 11.99 GiB\nFree (according to CUDA): 0 bytes\n"
                    "PyTorch limit (set by user-supplied memory fraction)\n"
                    "                        : 17179869184.00 GiB"),
            "full");
}

TEST(Judge, WordsAboutIt) {
  EXPECT_THAT(Judge("We prevented CUDA out of memory errors by reducing the batch size"), IsEmpty());
  EXPECT_THAT(Judge("RuntimeError: CUDA out of memory. "), SizeIs(1)) << "cut";
  EXPECT_THAT(
      Judge("ValueError: No available memory for the cache blocks.\nValueError: The model's max seq len (32768) is "
            "larger than the maximum number of tokens that can be stored in KV cache (17456)."),
      SizeIs(2));
  EXPECT_EQ(CauseOf("[rank3]: Last error:\n[rank3]: Cuda failure 2 'out of memory'"), "beside_pytorch");
  EXPECT_EQ(CauseOf("./run.sh: line 3: 12345 Killed   python train.py"), "host_memory");
}

TEST(Judge, WhereItWasRaised) {
  const std::string text = "  File \"/w/t.py\", line 9, in train\n    out = net(batch)\n" +
                           Torch("2.00 MiB", "12.00 GiB", "1.00 MiB", "", "11.50 GiB", "1.00 MiB");
  const std::string shown = RenderJudgements(Judge(text), false, 100);
  EXPECT_THAT(shown, HasSubstr("raised at /w/t.py:9 in train: out = net(batch)"));
  EXPECT_THAT(shown, HasSubstr("asked for by every tensor of up to 1 MiB"));
}

TEST(Render, JsonHasBytes) {
  const auto json = nlohmann::json::parse(RenderJudgementsJson(Judge(Torch(
      "128.00 MiB", "12.00 GiB", "60.00 MiB", "Process 3 has 11.90 GiB memory in use. ", "11.00 GiB", "200.00 MiB"))));
  const auto& message = json["messages"][0];
  EXPECT_EQ(message["requested"], 128 << 20);
  EXPECT_EQ(message["total"], 12LL << 30);
  EXPECT_EQ(message["processes"][0]["pid"], 3);
  EXPECT_EQ(message["cause"], "full");
  EXPECT_EQ(nlohmann::json::parse(RenderJudgementsJson({}))["messages"].size(), 0);
}

}  // namespace
}  // namespace oomtrace
