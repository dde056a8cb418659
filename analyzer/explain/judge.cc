#include "analyzer/explain/judge.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "analyzer/diagnose/words.h"
#include "analyzer/explain/judge_torch.h"

namespace oomtrace {
namespace {

constexpr size_t kMostText = 64 << 20;  // bytes that are read; an error stands at the end of what is longer

constexpr char kRecord[] = "record the next run: oomtrace run -- python train.py; then oomtrace analyze";

void SayWhen(const Surroundings& around, std::vector<std::string>* reasons) {
  if (!around.frame.empty()) {
    reasons->push_back(
        absl::StrCat("raised at ", around.frame, around.statement.empty() ? "" : absl::StrCat(": ", around.statement)));
  }
  if (!around.compiled_tensor.empty())
    reasons->push_back(absl::StrCat("code of torch.compile was making a tensor ", around.compiled_tensor));
  if (around.evaluating) {
    reasons->push_back("an evaluation was running: it may lack torch.no_grad(), or have a larger batch than training");
  } else if (around.loading) {
    reasons->push_back("a model or a checkpoint was being loaded: the batch size has no part in it");
  } else if (around.optimizer) {
    reasons->push_back("an optimizer was running: its states are made in its first step and stay");
  } else if (around.backward) {
    reasons->push_back("a backward was running");
  } else if (around.generating) {
    reasons->push_back("text was being generated: the cache of keys and values grows with every token");
  }
}

struct Words {
  Speaker speaker;
  const char* cause;
  double confidence;
  const char* headline;  // behind "<who>: "
  const char* reason;
  const char* next;
};

constexpr Words kWords[] = {
    {Speaker::kTorchCorrupt, "corrupt_size", 0.99,
     "a size that no tensor has was asked for: a bug, not a lack of memory",
     "a negative or uninitialised length was taken for a size; a smaller batch does not help",
     "look at the shapes at the raising line; an index or length tensor may hold garbage"},
    {Speaker::kTorchRetry, "retry", 0.9, "one cudaMalloc failed; PyTorch then emptied its cache and tried again",
     "once with a size: the second try succeeded, and the job went on; twice with the same size: an out-of-memory "
     "error "
     "follows",
     "the card is at its limit even where the job lives: oomtrace run -- python train.py shows how near"},
    {Speaker::kLibrary, "beside_pytorch", 0.85, "its own allocation on the device failed, beside PyTorch's allocator",
     "PyTorch's cache is not emptied for it: the job may die with gigabytes idle in the cache",
     "leave room beside PyTorch: torch.cuda.set_per_process_memory_fraction(0.9), or torch.cuda.empty_cache() before "
     "the library is first used"},
    {Speaker::kDriver, "beside_pytorch", 0.8, "the device had no room for an allocation outside PyTorch's allocator",
     "the message has no figures", kRecord},
    {Speaker::kMaybe, "maybe_memory", 0.5, "an error that a full card causes, and other faults cause, too",
     "the library could not get its workspace or handle; wrong shapes, dtypes or versions end the same way",
     "run it with a tiny batch: if the error stays, memory is not the cause (CUDA_LAUNCH_BLOCKING=1 finds the call)"},
    {Speaker::kRmm, "full", 0.6, "its memory pool could not grow", "the message has no figures of the card",
     "a smaller partition, or rmm.reinitialize(managed_memory=True); oomtrace run records programs without PyTorch, "
     "too"},
    {Speaker::kCuda, "full", 0.6, "the device had no room", "other processes are not told apart from this one's memory",
     "nvidia-smi shows who holds the card; oomtrace run records programs without PyTorch, too"},
    {Speaker::kServing, "serving_budget", 0.9, "its budget does not fit, before anything was refused",
     "the engine plans weights, activations and KV cache as a share of the card",
     "free the card of other processes; lower the longest sequence (--max-model-len), or change "
     "--gpu-memory-utilization (vLLM) or --mem-fraction-static (SGLang)"},
    {Speaker::kHost, "host_memory", 0.9, "the host's memory ran out, not the card's",
     "nothing of it is device memory: a smaller GPU batch helps only where batches are built on the host",
     "fewer DataLoader workers and less prefetch, memory-mapped data, a larger memory limit of the job"},
    {Speaker::kSharedMemory, "shared_memory", 0.9, "shared memory (/dev/shm) ran out, not the card's",
     "DataLoader workers hand their batches over through it; containers get 64 MiB by default",
     "docker run --ipc=host or --shm-size=8g; or num_workers=0"},
    {Speaker::kKernel, "kernel_resources", 0.97, "a kernel needs more on-chip memory than this GPU has",
     "shared memory and registers of a multiprocessor are not device memory: it does not matter how full the card is",
     "smaller block sizes or fewer stages in the kernel; a GPU of the generation it was tuned for"},
};

void JudgeXla(const Message& message, Judgement* judgement) {
  SayFigures(message, judgement);
  const std::string wanted = message.wanted ? Bytes(message.wanted->bytes) : "memory";
  judgement->cause = "xla_preallocation";
  judgement->confidence = 0.7;
  judgement->headline = absl::StrCat(message.who, " found no room for ", wanted, " in the pool that it keeps itself");
  judgement->reasons.push_back(
      "XLA takes 75 % of the card at start and serves from it: the card may have room that the pool may not use");
  judgement->next.push_back(
      "XLA_PYTHON_CLIENT_MEM_FRACTION=.95, or XLA_PYTHON_CLIENT_PREALLOCATE=false where several processes share the "
      "card");
  judgement->next.push_back("the BufferAssignment figures below the message say what the compiled program needs");
}

void JudgeTensorFlow(const Message& message, Judgement* judgement) {
  SayFigures(message, judgement);
  judgement->cause = message.on_host ? "host_memory" : "full";
  judgement->confidence = message.on_host ? 0.97 : 0.8;
  const std::string size = message.wanted ? absl::StrCat(", ", Bytes(message.wanted->bytes)) : "";
  judgement->headline =
      absl::StrCat("TensorFlow found no room ", message.on_host ? "in the host's memory" : "on the device",
                   " for a tensor ", message.shape, " ", message.dtype, size);
  if (message.on_host) {
    judgement->reasons.push_back("the tensor was for the CPU: the card has nothing to do with it");
    judgement->next.push_back("give the job more host memory, or load and convert in pieces");
  } else {
    judgement->reasons.push_back("TensorFlow takes the whole card at start, so nvidia-smi says nothing about it");
    judgement->next.push_back("TF_GPU_ALLOCATOR=cuda_malloc_async against fragmentation; a smaller batch");
  }
}

void JudgeCupy(const Message& message, Judgement* judgement) {
  SayFigures(message, judgement);
  const bool limit = message.allowed && message.allowed->bytes > 0;
  judgement->cause = limit ? "memory_limit" : "full";
  judgement->confidence = 0.8;
  judgement->headline =
      absl::StrCat("CuPy's pool ", limit ? "reached its limit" : "found no room on the device",
                   message.wanted ? absl::StrCat(" with a request of ", Bytes(message.wanted->bytes)) : "");
  judgement->next.push_back(limit ? "raise the limit: CUPY_GPU_MEMORY_LIMIT or MemoryPool.set_limit()"
                                  : "cupy.get_default_memory_pool().free_all_blocks() between phases; smaller arrays");
  judgement->next.push_back("oomtrace run records programs without PyTorch, too");
}

void JudgeRuntime(const Message& message, const Surroundings& around, Judgement* judgement) {
  judgement->cause = "context";
  judgement->confidence = 0.6;
  judgement->headline = absl::StrCat(message.who, " had no room, outside PyTorch's allocator");
  judgement->reasons.push_back(
      "PyTorch's own refusals have figures; without them it was the context itself (the first touch of the card), "
      "pinned host memory, or an extension");
  if (around.loading) judgement->reasons.push_back("a model was being moved to the card");
  judgement->next.push_back("nvidia-smi: is the card full of other processes, or of a dead job's?");
  judgement->next.push_back(kRecord);
}

Judgement JudgeOne(const Message& message, const Surroundings& around) {
  Judgement judgement;
  judgement.message = message;
  switch (message.speaker) {
    case Speaker::kTorch:
      JudgeTorch(message, around, &judgement);
      break;
    case Speaker::kXla:
      JudgeXla(message, &judgement);
      break;
    case Speaker::kTensorFlow:
      JudgeTensorFlow(message, &judgement);
      break;
    case Speaker::kCupy:
      JudgeCupy(message, &judgement);
      break;
    case Speaker::kRuntime:
      JudgeRuntime(message, around, &judgement);
      break;
    default:
      SayFigures(message, &judgement);
      for (const Words& words : kWords) {
        if (words.speaker != message.speaker) continue;
        judgement.cause = words.cause;
        judgement.confidence = words.confidence;
        judgement.headline = absl::StrCat(message.who, ": ", words.headline);
        judgement.reasons.push_back(words.reason);
        judgement.next.push_back(words.next);
      }
  }
  SayWhen(around, &judgement.reasons);
  return judgement;
}

}  // namespace

std::vector<Judgement> Judge(std::string_view text) {
  if (text.size() > kMostText) text.remove_prefix(text.size() - kMostText);
  const Surroundings around = ReadSurroundings(text);
  std::vector<Judgement> judgements;
  for (const Message& message : FindMessages(text)) judgements.push_back(JudgeOne(message, around));
  if (judgements.empty() && around.killed) {
    Message killed;
    killed.speaker = Speaker::kHost;
    killed.who = "the operating system";
    killed.quote = "Killed";
    Judgement judgement = JudgeOne(killed, around);
    judgement.confidence = 0.6;
    judgement.headline = "The process was killed: mostly because the host's memory ran out, not the card's";
    judgement.reasons.insert(judgement.reasons.begin(),
                             "a full card never kills: it raises an exception; SIGKILL comes from the kernel's OOM "
                             "killer, a batch system or a person");
    judgement.next.insert(judgement.next.begin(),
                          "dmesg | grep -i 'killed process' on the host says whether it was the kernel");
    judgements.push_back(std::move(judgement));
  }
  return judgements;
}

}  // namespace oomtrace
