#include "analyzer/explain/messages.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <iterator>
#include <map>
#include <random>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "analyzer/explain/candidates.h"
#include "analyzer/explain/render.h"

namespace oomtrace {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr double kMiB = 1 << 20, kGiB = 1 << 30;

// samples.txt: name -> text.
std::map<std::string, std::string> Samples() {
  std::ifstream file(SAMPLES);
  std::map<std::string, std::string> samples;
  std::string line, name;
  while (std::getline(file, line)) {
    if (line.starts_with("=== ")) {
      name = line.substr(4, line.find(' ', 4) - 4);
    } else if (!name.empty()) {
      samples[name] += line + "\n";
    }
  }
  return samples;
}

Message Only(const std::string& text) {
  const std::vector<Message> messages = FindMessages(text);
  EXPECT_THAT(messages, SizeIs(1)) << text;
  return messages.empty() ? Message{} : messages.front();
}

// As PyTorch prints it (c10/cuda/CUDACachingAllocator.cpp, format_size).
std::string Size(double bytes) {
  if (bytes <= 1024) return absl::StrFormat("%d bytes", static_cast<int64_t>(bytes));
  if (bytes <= kMiB) return absl::StrFormat("%.2f KiB", bytes / 1024);
  if (bytes <= kGiB) return absl::StrFormat("%.2f MiB", bytes / kMiB);
  return absl::StrFormat("%.2f GiB", bytes / kGiB);
}

void ExpectSays(const std::optional<Amount>& amount, double bytes, const char* what, const std::string& text) {
  ASSERT_TRUE(amount.has_value()) << what << " of: " << text;
  EXPECT_NEAR(static_cast<double>(amount->bytes), bytes, static_cast<double>(amount->rounding) + 1)
      << what << " of: " << text;
}

struct Figures {
  double wanted, total, free, allocated, unallocated, allowed;
};

Figures RandomFigures(std::mt19937* random) {
  const auto up_to = [&](double most) { return std::floor(most * static_cast<double>((*random)()) / 4294967296.0); };
  Figures figures = {};
  figures.total = kGiB + up_to(140 * kGiB);
  figures.wanted = 2 * kMiB * (1 + std::floor(up_to(figures.total) / (2 * kMiB)));
  figures.free = up_to(figures.total / 4);
  figures.allocated = up_to(figures.total / 2);
  figures.unallocated = up_to(figures.total / 8);
  figures.allowed = up_to(figures.total);
  return figures;
}

TEST(TorchMessage, FiguresOfEveryForm) {
  std::mt19937 random(7);
  for (int i = 0; i < 200; ++i) {
    const Figures f = RandomFigures(&random);
    const double reserved = f.allocated + f.unallocated;
    const std::string head = absl::StrCat("RuntimeError: CUDA out of memory. Tried to allocate ", Size(f.wanted));
    const std::string old_head = absl::StrCat(head, " (GPU 3; ", Size(f.total), " total capacity; ", Size(f.allocated),
                                              " already allocated; ", Size(f.free), " free; ");
    const std::string modern =
        absl::StrCat(" of which ", Size(f.free), " is free. Process 77 has ", Size(f.allowed),
                     " memory in use. Of the allocated memory ", Size(f.allocated), " is allocated by PyTorch, and ",
                     Size(f.unallocated), " is reserved by PyTorch but unallocated. If reserved but unallocated");
    for (const std::string& text :
         {absl::StrCat(old_head, Size(f.unallocated), " cached)"),                         // 1.0 to 1.3
          absl::StrCat(old_head, Size(reserved), " reserved in total by PyTorch)"),        // 1.4 to 2.0
          absl::StrCat(head, ". GPU 3 has a total capacty of ", Size(f.total), modern),    // 2.1
          absl::StrCat(head, ". GPU 3 has a total capacity of ", Size(f.total), modern)})  // 2.2 and newer
    {
      const Message message = Only(text);
      EXPECT_EQ(message.speaker, Speaker::kTorch);
      EXPECT_EQ(message.who, "PyTorch (CUDA)");
      EXPECT_EQ(message.device, 3);
      ExpectSays(message.wanted, f.wanted, "requested", text);
      ExpectSays(message.total, f.total, "total", text);
      ExpectSays(message.free, f.free, "free", text);
      ExpectSays(message.allocated, f.allocated, "allocated", text);
      ExpectSays(message.unallocated, f.unallocated, "unallocated", text);
      ExpectSays(message.reserved, reserved, "reserved", text);
    }
  }
}

TEST(TorchMessage, LimitPoolsAndProcesses) {
  const Message message = Only(
      "torch.OutOfMemoryError: HIP out of memory. Tried to allocate 20.00 MiB. GPU 1 has a total capacity of 8.00 GiB "
      "of "
      "which 1.00 GiB is free. Process 12 has 1.50 GiB memory in use. Process 13 has 17179869184.00 GiB memory in use. "
      "Including non-PyTorch memory, this process has 5.00 GiB memory in use. 4.80 GiB allowed; Of the allocated "
      "memory "
      "4.00 GiB is allocated by PyTorch, with 1.00 GiB allocated in private pools (e.g., HIP Graphs), and 512.00 MiB "
      "is "
      "reserved by PyTorch but unallocated. If ... PYTORCH_ALLOC_CONF=expandable_segments:True");
  EXPECT_EQ(message.who, "PyTorch (HIP)");
  EXPECT_EQ(message.allowed->bytes, std::llround(4.8 * kGiB));
  EXPECT_EQ(message.private_pools->bytes, 1 << 30);
  EXPECT_EQ(message.this_process->bytes, 5LL << 30);
  ASSERT_THAT(message.processes, SizeIs(2));
  EXPECT_EQ(message.processes[0].pid, 12);
  EXPECT_FALSE(message.processes[1].bytes) << "the driver could not tell: 2^64 - 1";
  EXPECT_TRUE(message.alloc_conf);
}

TEST(Messages, WrappedColouredPrefixedAndRepeated) {
  const std::string text =
      "step 1\n(EngineCore pid=9) ERROR \x1b[31mtorch.OutOfMemoryError: CUDA out of memory.\x1b[0m Tried to allocate\n"
      "  1.72 GiB. GPU 0 has a total capacity of\r\n  22.06 GiB of which 947.44 MiB is free.\n"
      "again: CUDA out of memory. Tried to allocate 1.72 GiB. GPU 0 has a total capacity of 22.06 GiB of which "
      "947.44 MiB is free.\n";
  const Message message = Only(text);
  EXPECT_EQ(message.times, 2);
  EXPECT_EQ(message.line, 2);
  ExpectSays(message.total, 22.06 * kGiB, "total", text);
}

TEST(Messages, TwoCardsAreTwoMessages) {
  const std::vector<Message> messages = FindMessages(
      "CUDA out of memory. Tried to allocate 64.00 MiB. GPU 0 has a total capacity of 8.00 GiB\n"
      "CUDA out of memory. Tried to allocate 64.00 MiB. GPU 1 has a total capacity of 8.00 GiB\n");
  EXPECT_THAT(messages, SizeIs(2));
}

TEST(Messages, OfOtherPrograms) {
  EXPECT_EQ(Only("cupy.cuda.memory.OutOfMemoryError: Out of memory allocating 8,000,000,000 bytes (allocated so far: "
                 "1,024 bytes, limit set to: 2,048 bytes).")
                .wanted->bytes,
            8000000000);
  const Message jax =
      Only("XlaRuntimeError: RESOURCE_EXHAUSTED: Failed to allocate request for 2.00GiB (2147483648B) on device");
  EXPECT_EQ(jax.wanted->bytes, 2LL << 30);
  const Message tensor = Only(
      "OOM when allocating tensor with shape[8,128,1024] and type half on /job:localhost/replica:0/task:0/device:GPU:2 "
      "by "
      "allocator GPU_2_bfc");
  EXPECT_EQ(tensor.wanted->bytes, 8 * 128 * 1024 * 2);
  EXPECT_EQ(tensor.shape, "(8, 128, 1024)");
  EXPECT_EQ(tensor.device, 2);
  EXPECT_EQ(
      Only("RuntimeError: [enforce fail at alloc_cpu.cpp:83] err == 0. DefaultCPUAllocator: can't allocate memory: "
           "you tried to allocate 4096 bytes. Error code 12")
          .speaker,
      Speaker::kHost);
  EXPECT_EQ(Only("triton.runtime.errors.OutOfResources: out of resource: shared memory, Required: 131072").speaker,
            Speaker::kKernel);
}

TEST(Messages, WordsThatAreNone) {
  for (const char* text :
       {"", "epoch 3 loss 0.31", "the model may run out of memory on small cards", "allocated 3.00 GiB",
        "GPU 0 has a total capacity of 8.00 GiB", "Killed it at the benchmark"}) {
    EXPECT_THAT(FindMessages(text), IsEmpty()) << text;
    EXPECT_FALSE(ReadSurroundings(text).killed) << text;
  }
}

TEST(Surroundings, TheInnermostFrameOfTheUser) {
  const Surroundings around = ReadSurroundings(
      "Traceback (most recent call last):\n"
      "  File \"/home/me/train.py\", line 41, in <module>\n    main()\n"
      "  File \"/home/me/train.py\", line 33, in evaluate_all\n    loss = model(x)\n"
      "  File \"/v/lib/python3.11/site-packages/torch/nn/modules/linear.py\", line 134, in forward\n    return "
      "F.linear()\n"
      "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.\n");
  EXPECT_EQ(around.frame, "/home/me/train.py:33 in evaluate_all");
  EXPECT_EQ(around.statement, "loss = model(x)");
  EXPECT_TRUE(around.evaluating);
  EXPECT_FALSE(around.backward);
}

TEST(Samples, EachIsKnown) {
  const auto samples = Samples();
  EXPECT_THAT(samples, SizeIs(33));
  for (const auto& [name, text] : samples) EXPECT_FALSE(FindMessages(text).empty()) << name << "\n" << text;
}

// By hand, from the posts that the samples are of.
TEST(Samples, TheCauseThatItsReadersFound) {
  const std::map<std::string, std::string> expected = {{"S01", "context"},
                                                       {"S03", "full"},
                                                       {"S05", "full"},
                                                       {"S07", "outside_pytorch"},
                                                       {"S09", "full"},
                                                       {"S11", "full"},
                                                       {"S13", "full"},
                                                       {"S15", "full"},
                                                       {"S17", "larger_than_card"},
                                                       {"S19", "idle_cache"},
                                                       {"S21", "full"},
                                                       {"S23", "full"},
                                                       {"S25", "idle_cache"},
                                                       {"S27", "full"},
                                                       {"S29", "full"},
                                                       {"S31", "memory_limit"},
                                                       {"S33", "memory_limit"},
                                                       {"S37", "full"},
                                                       {"S39", "larger_than_card"},
                                                       {"S41", "retry"},
                                                       {"S43", "context"},
                                                       {"S45", "beside_pytorch"},
                                                       {"S47", "maybe_memory"},
                                                       {"S49", "beside_pytorch"},
                                                       {"S51", "beside_pytorch"},
                                                       {"S53", "beside_pytorch"},
                                                       {"S55", "beside_pytorch"},
                                                       {"S57", "xla_preallocation"},
                                                       {"S59", "full"},
                                                       {"S61", "host_memory"},
                                                       {"S63", "serving_budget"}};
  const auto samples = Samples();
  for (const auto& [name, cause] : expected) {
    const std::vector<Judgement> judgements = Judge(samples.at(name));
    ASSERT_THAT(judgements, SizeIs(1)) << name;
    EXPECT_EQ(judgements[0].cause, cause) << name;
  }
}

// People paste what fits: a figure that is there must be the same one, cut anywhere.
TEST(Samples, CutAnywhereNoFigureIsWrong) {
  for (const auto& [name, text] : Samples()) {
    const std::vector<Message> whole = FindMessages(text);
    for (size_t size = 0; size < text.size(); ++size) {
      for (const Message& part : FindMessages(std::string_view(text).substr(0, size))) {
        const auto same = [&](const std::optional<Amount> Message::*figure) {
          if (!(part.*figure)) return true;
          for (const Message& full : whole) {
            if (full.*figure && (full.*figure)->bytes == (part.*figure)->bytes) return true;
          }
          return false;
        };
        EXPECT_TRUE(same(&Message::wanted) && same(&Message::total) && same(&Message::free) &&
                    same(&Message::allocated) && same(&Message::unallocated) && same(&Message::allowed))
            << name << " cut at " << size;
      }
    }
  }
}

TEST(Samples, DamagedNothingBreaks) {
  std::mt19937 random(11);
  const auto samples = Samples();
  for (int i = 0; i < 3000; ++i) {
    std::string text = std::next(samples.begin(), random() % samples.size())->second;
    for (int change = 0; change < 4 && !text.empty(); ++change) {
      const size_t at = random() % text.size();
      switch (random() % 3) {
        case 0:
          text[at] = static_cast<char>(random());
          break;
        case 1:
          text.erase(at, random() % 20);
          break;
        default:
          text.insert(at, std::string(random() % 20, "0123456789.,;\n\xff["[random() % 17]));
      }
    }
    const std::vector<Judgement> judgements = Judge(text);
    for (const Judgement& judgement : judgements) EXPECT_FALSE(judgement.headline.empty()) << text;
    EXPECT_FALSE(RenderJudgementsJson(judgements).empty());
  }
}

TEST(TensorSize, TheAllocatorsRounding) {
  const auto size = [](double mib) { return TensorSizeOf(*ParseAmount(absl::StrFormat("%.2f", mib), "MiB")); };
  EXPECT_EQ(size(2).most, 1 << 20);
  EXPECT_EQ(size(20).most, 20 << 20);
  EXPECT_EQ(size(20).above, 1 << 20);
  EXPECT_EQ(size(786).most, 786LL << 20);
  EXPECT_EQ(size(786).above, 784LL << 20);
  const TensorSize coarse = TensorSizeOf(*ParseAmount("1.70", "GiB"));
  EXPECT_LT(coarse.above, std::llround(1.695 * kGiB));
  EXPECT_GT(coarse.most, std::llround(1.70 * kGiB));
}

TEST(TensorCandidates, KnownOnes) {
  const auto of = [](const char* mib) { return TensorCandidates(*ParseAmount(mib, "MiB"), 100); };
  // nanoGPT: 8 x 1024 tokens over the padded vocabulary.
  EXPECT_THAT(of("786.00"), Contains(HasSubstr("8192 tokens x 50304 words in 16 bits")));
  EXPECT_THAT(of("786.00"), Contains(HasSubstr("4096 tokens x 50304 words in 32 bits")));
  EXPECT_THAT(of("172.00"), Contains(HasSubstr("4096 x 11008 in 32 bits")));
  EXPECT_THAT(of("192.00"), Contains(HasSubstr("192 x 512 x 512 in 32 bits")));
  EXPECT_THAT(of("20.00"), IsEmpty());
  EXPECT_THAT(TensorCandidates(*ParseAmount("1.70", "GiB"), 9), IsEmpty()) << "printed too coarsely";
}

}  // namespace
}  // namespace oomtrace
