#include "analyzer/explain/judge_torch.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "analyzer/diagnose/words.h"
#include "analyzer/explain/candidates.h"

namespace oomtrace {
namespace {

constexpr int64_t kMiB = 1 << 20;
// CUDA's context, module code, cuBLAS and cuDNN of one process: 0.13 to 2.15 GiB in messages where one process had the
// card to itself (docs/explain.md).
constexpr int64_t kMostContext = 2200 * kMiB;
// Of what is reserved: less lies idle in every training, between blocks of unlike sizes.
constexpr double kIdleShare = 0.1;
constexpr size_t kCandidatesShown = 4;

constexpr char kRecord[] = "record the next run: oomtrace run -- python train.py; then oomtrace analyze";
constexpr char kNoCard[] =
    "without a free GPU: oomtrace dryrun --gpu CARD -- python train.py (oomtrace gpus lists the cards)";
constexpr char kMps[] = "PyTorch (MPS)";
constexpr char kWhose[] = "whose the bytes are: no error message lists tensors, modules or lines";

std::string On(const Message& message) {
  std::string text = message.device ? absl::StrCat(" on GPU ", *message.device) : "";
  if (message.total)
    absl::StrAppend(&text, message.device ? " (" : " on a card of ", Bytes(message.total->bytes),
                    message.device ? ")" : "");
  return text;
}

std::string About(const Amount& amount) {
  return amount.rounding > kMiB ? absl::StrCat("about ", Bytes(amount.bytes)) : Bytes(amount.bytes);
}

std::optional<Amount> Minus(const std::optional<Amount>& a, const std::optional<Amount>& b) {
  if (!a || !b) return std::nullopt;
  return Amount{a->bytes - b->bytes, a->rounding + b->rounding};
}

// total - free - reserved: this process's context and libraries, and every other process.
std::optional<Amount> Outside(const Message& message) {
  return Minus(Minus(message.total, message.free), message.reserved);
}

// Which of the processes that the message names is the one that died: the driver counts in the host's numbers, a
// container has its own.
struct Others {
  std::optional<Amount> bytes;  // of the others, together; nothing where the message does not tell
  int64_t count = 0;
  bool guessed = false;  // which one it is was told by its size
};

Others FindOthers(const Message& message) {
  Others others;
  std::vector<ProcessUse> rest = message.processes;
  if (!message.this_process) {
    // The one that holds what PyTorch has reserved, with a context: none of the others can be it.
    const int64_t held = message.reserved    ? message.reserved->least()
                         : message.allocated ? message.allocated->least()
                                             : -1;
    const auto itself = std::min_element(rest.begin(), rest.end(), [&](const ProcessUse& a, const ProcessUse& b) {
      const auto distance = [&](const ProcessUse& use) {
        const int64_t over = use.bytes ? use.bytes->most() - held : -1;
        return over < 0 ? INT64_MAX : over;
      };
      return distance(a) < distance(b);
    });
    if (held < 0 || itself == rest.end() || !itself->bytes || itself->bytes->most() < held) return others;
    rest.erase(itself);
    others.guessed = true;
  }
  Amount sum;
  for (const ProcessUse& use : rest) {
    if (!use.bytes) return others;
    sum.bytes += use.bytes->bytes;
    sum.rounding += use.bytes->rounding;
    ++others.count;
  }
  if (others.count > 0 || message.this_process || others.guessed) others.bytes = sum;
  return others;
}

std::string Setting(const Message& message) {
  return message.alloc_conf ? "PYTORCH_ALLOC_CONF=expandable_segments:True"
                            : "PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True";
}

void SayTensor(const Message& message, Judgement* judgement) {
  if (!message.wanted) return;
  const TensorSize size = TensorSizeOf(*message.wanted);
  if (size.above == 0) {
    judgement->unknown.push_back("which tensor was refused: 2.00 MiB is asked for by every tensor of up to 1 MiB");
  } else if (size.above == kMiB) {
    judgement->unknown.push_back("which tensor was refused: 20.00 MiB is asked for by every tensor of 1 to 10 MiB");
  } else {
    judgement->figures.push_back(absl::StrCat("the tensor itself: more than ", Bytes(size.above), ", at most ",
                                              Bytes(size.most), " (requests are rounded up to 2 MiB)"));
    judgement->candidates = TensorCandidates(*message.wanted, kCandidatesShown);
  }
}

// Of the ordered questions, the first that the figures answer with yes.
void JudgeFigures(const Message& message, const Surroundings& around, Judgement* judgement) {
  const auto set = [&](const char* cause, double confidence, std::string headline) {
    judgement->cause = cause;
    judgement->confidence = confidence;
    judgement->headline = std::move(headline);
  };
  const std::string wanted = message.wanted ? Bytes(message.wanted->bytes) : "memory";
  const auto next = [&](std::string text) { judgement->next.push_back(std::move(text)); };
  const auto reason = [&](std::string text) { judgement->reasons.push_back(std::move(text)); };
  const std::optional<Amount> outside = Outside(message);
  const Others others = FindOthers(message);
  const int64_t missing = message.wanted && message.free ? message.wanted->bytes - message.free->bytes : 0;

  if (message.wanted && message.total && message.wanted->least() > message.total->most()) {
    set("larger_than_card", 0.99,
        absl::StrCat("One request of ", wanted, " is larger than the whole card", On(message)));
    reason("an empty card could not serve it: freeing memory and allocator settings cannot help");
    next(
        "find the shape: a product of two long dimensions (sequence x sequence, every pair, all frames at once) is "
        "usual; compute it in chunks");
    return;
  }
  if (message.wanted && outside && message.allocated && outside->bytes >= 0 && outside->most() <= kMostContext &&
      message.wanted->least() > message.total->most() - outside->least()) {
    set("larger_than_card", 0.9, absl::StrCat("One request of ", wanted, " is as large as the card", On(message)));
    reason("beside CUDA's context an empty card could not serve it: freeing memory cannot help");
    next("find the shape at the raising line, and compute it in chunks");
    return;
  }
  const std::optional<Amount> room = Minus(message.allowed, message.reserved);
  if (message.allowed && message.wanted &&
      (room ? room->least() < message.wanted->most()
            : message.free && message.free->most() >= message.wanted->least())) {
    set("memory_limit", room ? 0.97 : 0.9,
        absl::StrCat("The limit of this process, ", Bytes(message.allowed->bytes), ", refused ", wanted, On(message),
                     ", not the card"));
    if (room) reason(absl::StrCat(Bytes(message.reserved->bytes), " reserved and ", wanted, " exceed the limit"));
    if (missing < 0) reason(absl::StrCat("the card had ", Bytes(message.free->bytes), " free"));
    next(
        "raise or remove the limit: torch.cuda.set_per_process_memory_fraction(), per_process_memory_fraction in "
        "PYTORCH_CUDA_ALLOC_CONF, or what the launcher sets");
    return;
  }
  if (message.wanted && message.private_pools && message.unallocated &&
      message.private_pools->least() >= message.wanted->most() &&
      message.unallocated->most() < message.wanted->least()) {
    set("private_pools", 0.8,
        absl::StrCat(wanted, " was refused", On(message), " while ", Bytes(message.private_pools->bytes),
                     " lay idle in private pools"));
    reason("memory of a private pool (CUDA graphs, MemPool) serves no ordinary allocation");
    next("let graphs share one pool (pool=graph.pool()), capture fewer sizes, or drop graphs that are not used");
    return;
  }
  const bool cached = message.wanted && message.unallocated && message.unallocated->least() >= message.wanted->most();
  const double idle =
      message.unallocated && message.reserved && message.reserved->bytes > 0
          ? static_cast<double>(message.unallocated->bytes) / static_cast<double>(message.reserved->bytes)
          : 0;
  if (cached && idle >= kIdleShare) {
    set("idle_cache", idle > 2 * kIdleShare ? 0.9 : 0.7,
        absl::StrCat("PyTorch held ", Bytes(message.unallocated->bytes), " in no tensor and still could not serve ",
                     wanted, On(message), ": fragmentation"));
    reason("what is reserved and unallocated would have been enough, but lies in pieces, or belongs to other streams");
    if (message.max_split_only) {
      next(
          "with PyTorch 2.2 or newer: PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True; before: max_split_size_mb:128");
    } else {
      next(absl::StrCat("set ", Setting(message), " (not on Windows): the pieces become one"));
    }
    next("give batches the same shapes (bucket by length, pad): varying sizes are what cuts the cache to pieces");
    return;
  }
  const bool would_do = others.bytes && others.count > 0 && others.bytes->least() >= missing && missing > 0;
  const std::string who =
      others.count == 1 ? "Another process holds " : absl::StrCat(others.count, " other processes hold ");
  if (would_do && message.total && others.bytes->bytes >= message.total->bytes / 4) {
    set("other_processes", others.guessed ? 0.7 : 0.9,
        absl::StrCat(who, Bytes(others.bytes->bytes), On(message), "; without it the request of ", wanted,
                     " would have fitted"));
    if (others.guessed) {
      reason(
          "which process is this one is told by its size: the driver names processes by the host's numbers, a "
          "container has its own");
    }
    next("nvidia-smi on the host says who they are; end them, or take another card: CUDA_VISIBLE_DEVICES");
    return;
  }
  if (outside && message.allocated && message.processes.empty() && outside->least() > kMostContext &&
      outside->bytes > message.total->bytes / 8) {
    set("outside_pytorch", 0.75,
        absl::StrCat(Bytes(outside->bytes), " of the card", On(message),
                     " belong neither to PyTorch nor to the free memory"));
    reason(
        "a process's own context and libraries take 0.1 to 2.2 GiB: the rest is other processes, or what extensions "
        "allocate beside PyTorch");
    next("nvidia-smi: are there other processes? Windows and desktops: the display, browsers, games");
    next(kRecord);
    judgement->unknown.push_back("how much of it is this process's own: the message does not list processes");
    return;
  }
  if (outside && message.allocated && message.total && outside->bytes > message.total->bytes / 3) {
    set("outside_pytorch", 0.7,
        absl::StrCat(Bytes(outside->bytes), " of ", Bytes(message.total->bytes), On({}),
                     " belong neither to PyTorch nor to the free memory"));
    reason("on a small card CUDA's context and libraries, the display and other processes weigh most");
    next("free the card of its display and of other processes, or take a larger one");
    return;
  }
  const bool room_left = message.wanted && message.free && message.free->least() >= message.wanted->most();
  const int64_t kept_back = std::max(256 * kMiB, message.total ? message.total->bytes / 50 : 0);
  if (room_left && message.free->bytes - message.wanted->bytes > kept_back) {
    set("free_afterwards", 0.6,
        absl::StrCat(wanted, " was refused", On(message), " although ", Bytes(message.free->bytes),
                     " were free afterwards"));
    reason(
        "either a limit of this process that the message does not name (set_per_process_memory_fraction, which "
        "PyTorch 2.1 to 2.4 do not print; MIG; a container)");
    reason("or the free memory, which is read after the refusal, came from a process that ended in between");
    next(
        "look for set_per_process_memory_fraction in the program and in what starts it; then watch nvidia-smi for "
        "short-lived processes");
    next(kRecord);
    return;
  }
  const bool share_known = message.total && message.allocated && message.total->bytes > 0;
  const double share =
      share_known ? static_cast<double>(message.allocated->bytes) / static_cast<double>(message.total->bytes) : 0;
  set("full",
      share > 0.8   ? 0.9
      : share_known ? 0.7
                    : 0.5,
      share_known ? absl::StrCat("The card is full of this process's own tensors: ", Bytes(message.allocated->bytes),
                                 On(message), "; ", wanted, " more did not fit")
                  : absl::StrCat(message.who, ": ", wanted, " did not fit", On(message)));
  if (would_do) {
    reason(absl::StrCat(who, Bytes(others.bytes->bytes), others.guessed ? " (told by its size)" : "",
                        ": without it this request would have fitted"));
    next("nvidia-smi on the host says who else is on the card");
  }
  if (room_left) {
    reason(absl::StrCat(Bytes(message.free->bytes),
                        " counted as free: the driver does not give every free byte to one "
                        "request"));
  }
  if (cached) {
    reason(absl::StrCat(Bytes(message.unallocated->bytes), " (", Percent(idle),
                        " of what is reserved) lay idle in pieces, as in every training: ", Setting(message),
                        " may save this request, hardly the next"));
  }
  if (message.wanted && message.total && message.wanted->bytes * 20 < message.total->bytes) {
    reason("the request is small against the card: what filled it before is the question, not this request");
  } else if (message.wanted && message.total && message.wanted->bytes * 4 > message.total->bytes) {
    reason("the request alone is more than a quarter of the card: its size is the question");
  }
  if (message.allocated && message.total && message.allocated->bytes > message.total->bytes) {
    reason("tensors exceed the card: an allocator beside PyTorch's own (managed memory, a pool that sleeps) is in use");
  }
  next(kRecord);
  if (around.loading) {
    next("load in 16 bits or less (torch_dtype, quantization), or onto several cards (device_map)");
  } else if (around.evaluating) {
    next("evaluate under torch.no_grad() and with a smaller batch");
  } else {
    next("meanwhile: half the micro-batch and twice the accumulation steps keep the effective batch");
  }
  next(kNoCard);
}

// Apple's GPU shares the computer's memory: a limit of PyTorch's own, and other programs, are all that can refuse.
void JudgeMps(const Message& message, Judgement* judgement) {
  judgement->cause = "memory_limit";
  judgement->confidence = message.allowed ? 0.9 : 0.6;
  judgement->headline = absl::StrCat("PyTorch's limit for Apple's GPU",
                                     message.allowed ? absl::StrCat(", ", Bytes(message.allowed->bytes), ",") : "",
                                     " refused ", message.wanted ? Bytes(message.wanted->bytes) : "memory");
  judgement->reasons.push_back("the GPU shares the computer's memory, and PyTorch takes a part of it at most");
  judgement->next.push_back("a smaller batch or model; close other programs");
  judgement->next.push_back(
      "PYTORCH_MPS_HIGH_WATERMARK_RATIO=0.0 lifts the limit; the system may come to a halt, as the message says");
  judgement->unknown.push_back(kWhose);
}

}  // namespace

void SayFigures(const Message& message, Judgement* judgement) {
  const auto say = [&](const char* what, const std::optional<Amount>& amount) {
    if (amount) judgement->figures.push_back(absl::StrCat(what, ": ", About(*amount)));
  };
  const bool host = message.speaker == Speaker::kHost || message.on_host;
  say(host ? "requested of the host" : "requested from the device", message.wanted);
  say("card, as CUDA sees it", message.total);
  say("free after the refusal", message.free);
  say("limit of this process", message.allowed);
  say("in PyTorch's tensors", message.allocated);
  say("reserved by PyTorch, in no tensor", message.unallocated);
  say("idle in private pools (CUDA graphs), counted among the tensors", message.private_pools);
  say("this process altogether", message.this_process);
  for (const ProcessUse& use : message.processes) {
    judgement->figures.push_back(absl::StrCat(
        "process ", use.pid, ": ", use.bytes ? About(*use.bytes) : std::string("the driver could not tell how much")));
  }
  if (const auto outside = Outside(message); outside && outside->bytes > 0 && message.allocated) {
    judgement->figures.push_back(
        absl::StrCat("outside PyTorch: ", About(*outside),
                     " (total - free - reserved: CUDA's context, libraries, other processes)"));
  }
}

void JudgeTorch(const Message& message, const Surroundings& around, Judgement* judgement) {
  SayFigures(message, judgement);
  if (message.who == kMps) {
    JudgeMps(message, judgement);
    return;
  }
  JudgeFigures(message, around, judgement);
  SayTensor(message, judgement);
  if (judgement->cause == "full" || judgement->cause == "idle_cache") judgement->unknown.push_back(kWhose);
  if (message.wanted && (!message.total || !message.allocated))
    judgement->unknown.push_back("the message is cut: its figures of the card or of PyTorch are missing");
}

}  // namespace oomtrace
