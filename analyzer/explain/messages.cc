#include "analyzer/explain/messages.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "absl/strings/ascii.h"
#include "analyzer/explain/figures.h"
#include "analyzer/explain/text.h"
#include "re2/re2.h"
#include "re2/set.h"

namespace oomtrace {
namespace {

constexpr size_t kLongestMessage = 4000;  // bytes of one message with figures, its log prefixes included

// The text without terminal colours and carriage returns, lines joined: messages are wrapped by logs and by people.
struct Flat {
  std::string text;
  std::vector<size_t> line_starts;  // in `text`

  int64_t LineOf(size_t at) const {
    return std::upper_bound(line_starts.begin(), line_starts.end(), at) - line_starts.begin();
  }
};

Flat Flatten(std::string_view text) {
  static const RE2 kColour("\x1b\\[[0-9;?]*[A-Za-z]");
  std::string clean(text);
  RE2::GlobalReplace(&clean, kColour, "");
  Flat flat;
  flat.text.reserve(clean.size());
  bool start = true;
  for (const char c : clean) {
    if (start) flat.line_starts.push_back(flat.text.size());
    start = c == '\n';
    const bool control = absl::ascii_iscntrl(static_cast<unsigned char>(c));
    flat.text += control ? ' ' : c;
  }
  return flat;
}

struct Family {
  Speaker speaker;
  const char* who;
  const char* pattern;
  Fill* fill;
  bool continues = false;  // figures follow the match
};

// The first that fits at a place is the one: narrow ones stand before wide ones.
constexpr Family kFamilies[] = {
    {Speaker::kTorchCorrupt, "PyTorch", R"(Tried to allocate more than 1EB memory)", Nothing},
    {Speaker::kTorch, "PyTorch (MPS)", R"(MPS backend out of memory)", FillMps, true},
    {Speaker::kTorch, "PyTorch", R"((?:\w+ out of memory\.\s+)?Tried to allocate\s+[0-9.]+\s?(?:bytes|[KMGT]i?B))",
     FillTorch, true},
    {Speaker::kTorch, "PyTorch",
     R"((?:Error|ERROR|error):? +(?:CUDA|HIP|XPU|NPU|MUSA|MLU|HPU) out of memory\b|\b(?:CUDA|HIP|XPU|NPU|MUSA|MLU|HPU) out of memory\. )",
     FillTorch, true},
    {Speaker::kTorchRetry, "PyTorch's allocator",
     R"(memory allocation failed with OOM on device \d+ while trying to allocate \d+ bytes \(free: \d+, total: \d+\))",
     FillRetry},
    {Speaker::kXla, "XLA (JAX or TensorFlow)",
     R"(RESOURCE_EXHAUSTED:[^\n]{0,80}?(?:[Oo]ut of memory|Failed to allocate|OOM)[^\n]{0,60}?(?:allocat\w+|request for)\s+[0-9][0-9.,]*\s?(?:bytes|[KMGT]i?B))",
     FillXla},
    {Speaker::kXla, "XLA (JAX or TensorFlow)",
     R"((?:Out of memory while trying to allocate|Failed to allocate request for)\s+[0-9][0-9.,]*\s?(?:bytes|[KMGT]i?B))",
     FillXla},
    {Speaker::kXla, "XLA (JAX or TensorFlow)", R"(RESOURCE_EXHAUSTED:[^\n]{0,80}?[Oo]ut of memory)", Nothing},
    {Speaker::kCuda, "TensorFlow",
     R"(Allocator \(GPU_\d+_bfc\) ran out of memory trying to allocate [0-9.]+\s?[KMGT]iB)", FillAmount},
    {Speaker::kTorch, "PyTorch (cudaMallocAsync)", R"(Allocation on device \d+ would exceed allowed memory)", FillAsync,
     true},
    {Speaker::kTensorFlow, "TensorFlow", R"(OOM when allocating tensor with shape\s?\[[0-9, ]*\] and type \w+ on \S+)",
     FillTensorFlow},
    {Speaker::kCupy, "CuPy",
     R"(Out of memory allocating [0-9,]+ bytes(?: \(allocated so far: [0-9,]+ bytes(?:, limit set to: [0-9,]+ bytes)?\))?)",
     FillCupy},
    {Speaker::kRmm, "RMM (RAPIDS)", R"(std::bad_alloc: out_of_memory|RMM failure at|Maximum pool size exceeded)",
     Nothing},
    {Speaker::kCuda, "PaddlePaddle", R"(Out of memory error on GPU \d+\.)", FillPaddle, true},
    {Speaker::kCuda, "ONNX Runtime", R"(Failed to allocate memory for requested buffer of size \d+)", FillExact},
    {Speaker::kCuda, "llama.cpp", R"(allocating [0-9.]+ [KMGT]iB on device \d+: cudaMalloc failed: out of memory)",
     FillAmount},
    {Speaker::kServing, "the serving engine",
     R"((?i)free memory on device [^(]{0,40}\([0-9./]+ GiB\) on startup is less than desired)", FillServing, true},
    {Speaker::kServing, "the serving engine",
     R"(max seq len \(\d+\) is larger than the maximum number of tokens that can be stored in (?:the )?KV cache \(\d+\))",
     Nothing},
    {Speaker::kServing, "the serving engine",
     R"(No available memory for the cache blocks|larger than the maximum number of tokens that can be stored in (?:the )?KV cache|Not enough memory\. Please try to increase --mem-fraction-static|KV cache is needed, which is larger than the available KV cache memory)",
     Nothing},
    {Speaker::kLibrary, "cuBLAS", R"(CUBLAS_STATUS_ALLOC_FAILED)", Nothing},
    {Speaker::kMaybe, "cuBLAS", R"(CUBLAS_STATUS_NOT_INITIALIZED)", Nothing},
    {Speaker::kLibrary, "cuDNN", R"(CUDNN_STATUS_ALLOC_FAILED|CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED)",
     Nothing},
    {Speaker::kMaybe, "cuDNN",
     R"(CUDNN_STATUS_NOT_INITIALIZED|Unable to find a valid cuDNN algorithm to run convolution|unable to find an engine to execute this computation)",
     Nothing},
    {Speaker::kLibrary, "cuFFT", R"(CUFFT_ALLOC_FAILED)", Nothing},
    {Speaker::kLibrary, "cuSOLVER", R"(CUSOLVER_STATUS_ALLOC_FAILED)", Nothing},
    {Speaker::kLibrary, "cuSPARSE", R"(CUSPARSE_STATUS_(?:ALLOC_FAILED|INSUFFICIENT_RESOURCES))", Nothing},
    {Speaker::kLibrary, "cuRAND", R"(CURAND_STATUS_ALLOCATION_FAILED)", Nothing},
    {Speaker::kLibrary, "NCCL",
     R"((?:NCCL WARN[^\n]{0,40}?|Last error:[^\n]{0,30}?)Cuda failure (?:\d+ )?'?out of memory)", Nothing},
    {Speaker::kLibrary, "bitsandbytes", R"(Error out of memory at line \d+ in file \S{0,200}?ops\.cu)", Nothing},
    {Speaker::kDriver, "the CUDA driver",
     R"(CUDA_ERROR_OUT_OF_MEMORY|CUresult error\s+result=2\b|CUDA driver error: out of memory)", Nothing},
    {Speaker::kRuntime, "the CUDA runtime",
     R"(cuda runtime error \(2\)\s?:\s?out of memory|THCudaCheck FAIL [^\n]{0,200}?error=2\s?:\s?out of memory|cudaErrorMemoryAllocation|cudaMalloc failed:\s?out of memory|CUDA [Ee]rror:? ?(?:\d+ )?\(?:?\s?out of memory)",
     Nothing},
    {Speaker::kRuntime, "the HIP runtime", R"(HIP error:\s?out of memory|hipErrorOutOfMemory)", Nothing},
    {Speaker::kHost, "PyTorch's CPU allocator",
     R"(DefaultCPUAllocator: (?:can't allocate memory|not enough memory): you tried to allocate \d+ bytes)", FillExact},
    {Speaker::kHost, "NumPy", R"(Unable to allocate [0-9.]+ [KMGT]iB for an array with shape \([0-9, ]*\))",
     FillAmount},
    {Speaker::kHost, "the kernel's OOM killer",
     R"((?:Memory cgroup out|Out) of memory: Kill(?:ed)? process \d+|oom-kill:constraint|OOMKilled|[Dd]etected \d+ oom[-_]kill event|oom_reaper)",
     Nothing},
    {Speaker::kHost, "the operating system",
     R"(\[WinError 1455\]|\[Errno 12\] Cannot allocate memory|(?:^|\s)MemoryError(?:$|\s|:)|terminate called after throwing an instance of 'std::bad_alloc')",
     Nothing},
    {Speaker::kHost, "the CUDA runtime", R"(cudaHostAlloc[^\n]{0,60}?out of memory)", Nothing},
    {Speaker::kSharedMemory, "PyTorch's DataLoader",
     R"(insufficient shared memory \(shm\)|workers are out of shared memory|killed by signal: Bus error|unable to (?:open|write to|mmap) (?:shared memory|file <)|No space left on device: '/dev/shm)",
     Nothing},
    {Speaker::kHost, "PyTorch's DataLoader",
     R"(DataLoader worker \(pid\(?s?\)? ?[0-9, ]+\) (?:is killed by signal: Killed|exited unexpectedly))", Nothing},
    {Speaker::kKernel, "Triton", R"(out of resource: (?:shared memory|registers|threads|tensor memory))", Nothing},
};

struct Compiled {
  std::vector<std::unique_ptr<RE2>> patterns;
  RE2::Set any{RE2::Options(), RE2::UNANCHORED};

  Compiled() {
    for (const Family& family : kFamilies) {
      patterns.push_back(std::make_unique<RE2>(family.pattern));
      any.Add(family.pattern, nullptr);
    }
    any.Compile();
  }
};

constexpr size_t kMpsFigures = 200;  // bytes between the two sentences of Apple's message, at most

struct Place {
  size_t begin = 0, end = 0;
  size_t family = 0;
};

// Where each family's sentences stand; of those that overlap the earlier family's counts.
std::vector<Place> FindPlaces(const std::string& text) {
  static const Compiled* const compiled = new Compiled();
  std::vector<int> present;
  compiled->any.Match(text, &present);
  std::sort(present.begin(), present.end());
  std::vector<Place> places;
  for (const int family : present) {
    const RE2& pattern = *compiled->patterns[static_cast<size_t>(family)];
    re2::StringPiece found;
    size_t from = 0;
    while (from < text.size() && pattern.Match(text, from, text.size(), RE2::UNANCHORED, &found, 1)) {
      const auto begin = static_cast<size_t>(found.data() - text.data());
      const size_t end = begin + std::max<size_t>(found.size(), 1);
      places.push_back({begin, end, static_cast<size_t>(family)});
      from = end;
    }
  }
  std::sort(places.begin(), places.end(), [](const Place& a, const Place& b) {
    return a.begin != b.begin ? a.begin < b.begin : a.family < b.family;
  });
  std::vector<Place> kept;
  for (const Place& place : places) {
    // Apple's message says what was tried in a sentence of its own.
    const bool of_mps = !kept.empty() && kFamilies[kept.back().family].fill == FillMps &&
                        kFamilies[place.family].fill == FillTorch && place.begin < kept.back().end + kMpsFigures;
    if (of_mps) continue;
    if (!kept.empty() && place.begin < kept.back().end) {
      if (place.family < kept.back().family) kept.back() = place;
      continue;
    }
    kept.push_back(place);
  }
  return kept;
}

bool SameFigures(const std::optional<Amount>& a, const std::optional<Amount>& b) {
  return a.has_value() == b.has_value() && (!a || a->bytes == b->bytes);
}

// The same message printed again: by a logger and the traceback, by each rank's wrapper.
bool SameMessage(const Message& a, const Message& b) {
  if (a.speaker == Speaker::kServing && a.quote != b.quote)
    return false;  // of a chain of its complaints each says more
  return a.speaker == b.speaker && a.who == b.who && a.device == b.device && a.shape == b.shape &&
         SameFigures(a.wanted, b.wanted) && SameFigures(a.total, b.total) && SameFigures(a.free, b.free) &&
         SameFigures(a.allocated, b.allocated);
}

}  // namespace

std::vector<Message> FindMessages(std::string_view text) {
  const Flat flat = Flatten(text);
  std::vector<Message> messages;
  const std::vector<Place> places = FindPlaces(flat.text);
  for (size_t i = 0; i < places.size(); ++i) {
    const Place& place = places[i];
    const Family& family = kFamilies[place.family];
    const size_t next = i + 1 < places.size() ? places[i + 1].begin : flat.text.size();
    const std::string_view match = std::string_view(flat.text).substr(place.begin, place.end - place.begin);
    const size_t room = std::min(next - place.end, kLongestMessage);
    const std::string_view after = family.continues ? std::string_view(flat.text).substr(place.end, room) : "";
    Message message;
    message.speaker = family.speaker;
    message.who = family.who;
    message.quote = Shortened(match);
    message.line = flat.LineOf(place.begin);
    family.fill(match, after, &message);
    const auto known = std::find_if(messages.begin(), messages.end(),
                                    [&](const Message& other) { return SameMessage(other, message); });
    if (known != messages.end()) {
      ++known->times;
    } else {
      messages.push_back(std::move(message));
    }
  }
  return messages;
}

}  // namespace oomtrace
