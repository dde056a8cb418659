#include "analyzer/explain/candidates.h"

#include <algorithm>
#include <cstdlib>

#include "absl/strings/str_cat.h"

namespace oomtrace {
namespace {

constexpr int64_t kMiB = 1 << 20;
constexpr int64_t kSmallSegment = 2 * kMiB, kLargeSegment = 20 * kMiB, kRounding = 2 * kMiB;

// Words in the vocabulary, of the tokenizers that most published models use.
struct Vocabulary {
  int64_t words;
  const char* of;
};
constexpr Vocabulary kVocabularies[] = {
    {50257, "GPT-2"},         {50304, "GPT-2, padded"},     {32000, "Llama 1 and 2, Mistral"},
    {128256, "Llama 3"},      {151936, "Qwen 2 and 3"},     {152064, "Qwen 2, larger"},
    {256000, "Gemma"},        {262144, "Gemma 3"},          {32768, "Mistral v0.3"},
    {131072, "Mistral NeMo"}, {129280, "DeepSeek V3"},      {65536, "nanochat"},
    {30522, "BERT"},          {50265, "RoBERTa, BART"},     {32128, "T5"},
    {250002, "XLM-R"},        {51865, "Whisper"},           {100352, "OLMo 2, Phi-4"},
    {32064, "Phi-3"},         {49152, "StarCoder, SmolLM"},
};

// Hidden and feed-forward width.
struct Width {
  int64_t hidden;
  int64_t feed_forward;
  const char* of;
};
constexpr Width kWidths[] = {
    {1600, 6400, "GPT-2 XL"},          {2048, 8192, "Llama 3.2 1B"},         {3072, 8192, "Llama 3.2 3B, Phi-3"},
    {4096, 11008, "Llama 7B"},         {4096, 14336, "Llama 3 8B, Mistral"}, {5120, 13824, "Llama 13B"},
    {3584, 18944, "Qwen 2.5 7B"},      {8192, 28672, "Llama 70B"},           {5120, 27648, "Qwen 2.5 32B"},
    {4096, 16384, "a 4 x 4096 block"}, {2560, 10240, "a 4 x 2560 block"},    {5120, 20480, "a 4 x 5120 block"},
};

// What the allocator asks the device for.
int64_t Segment(int64_t bytes) {
  if (bytes <= kMiB) return kSmallSegment;
  if (bytes < 10 * kMiB) return kLargeSegment;
  return (bytes + kRounding - 1) / kRounding * kRounding;
}

bool IsHeadsInBatch(int64_t count) {
  for (const int64_t heads : {12, 16, 20, 24, 25, 32, 40}) {
    const int64_t batch = count / heads;
    if (batch > 0 && batch <= 64 && count % heads == 0 && (batch & (batch - 1)) == 0) return true;
  }
  return false;
}

std::string Bits(int64_t width) { return width == 2 ? "16 bits" : "32 bits"; }

}  // namespace

TensorSize TensorSizeOf(const Amount& wanted) {
  const int64_t whole = (wanted.bytes + kRounding / 2) / kRounding * kRounding;
  const bool one_size = wanted.rounding < kMiB && std::abs(wanted.bytes - whole) <= wanted.rounding;
  if (one_size && whole <= kSmallSegment) return {0, kMiB};
  if (one_size && whole == kLargeSegment) return {kMiB, kLargeSegment};
  if (one_size) return {whole - kRounding, whole};
  // Printed in GiB the figure is one of several multiples of 2 MiB.
  return {std::max<int64_t>(0, wanted.least() - kRounding), wanted.most()};
}

std::vector<std::string> TensorCandidates(const Amount& wanted, size_t most) {
  const bool one_size = wanted.rounding < kMiB && wanted.bytes % kRounding == 0;
  if (!one_size || wanted.bytes <= kLargeSegment) return {};
  // Exactly a weight's gradient, its optimizer state or its copy: few sizes, so a hit says more.
  std::vector<std::string> weights, logits, attention;
  for (const Width& width : kWidths) {
    for (const int64_t bytes : {2, 4}) {
      if (width.hidden * width.feed_forward * bytes != wanted.bytes) continue;
      weights.push_back(absl::StrCat(width.hidden, " x ", width.feed_forward, " in ", Bits(bytes),
                                     ": a feed-forward weight, its gradient or one state (", width.of, ")"));
    }
  }
  // Tokens of a batch: a power of two. Any number would fit everything.
  for (const Vocabulary& vocabulary : kVocabularies) {
    for (const int64_t bytes : {2, 4}) {
      const int64_t row = vocabulary.words * bytes;
      for (int64_t tokens = 256; tokens * row <= wanted.bytes; tokens *= 2) {
        if (Segment(tokens * row) != wanted.bytes) continue;
        logits.push_back(absl::StrCat(tokens, " tokens x ", vocabulary.words, " words in ", Bits(bytes),
                                      ": logits or their gradient (", vocabulary.of, ")"));
      }
    }
  }
  // Without a fused kernel: batch x heads x s x s.
  for (int64_t s = 512; s <= 16384; s *= 2) {
    for (const int64_t bytes : {4, 2}) {
      const int64_t square = s * s * bytes;
      if (wanted.bytes % square != 0 || !IsHeadsInBatch(wanted.bytes / square)) continue;
      attention.push_back(absl::StrCat(wanted.bytes / square, " x ", s, " x ", s, " in ", Bits(bytes),
                                       ": attention scores, batch x heads first, without a fused kernel"));
    }
  }
  // By turns: no kind may crowd out the others.
  std::vector<std::string> found;
  for (size_t i = 0; i < std::max({weights.size(), logits.size(), attention.size()}); ++i) {
    for (const auto* kind : {&weights, &logits, &attention}) {
      if (i < kind->size() && found.size() < most) found.push_back((*kind)[i]);
    }
  }
  return found;
}

}  // namespace oomtrace
