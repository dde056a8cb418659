// oomtrace plan: what a transformer's training will need, before it is run.
#include <algorithm>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "cli/gpu_choice.h"
#include "cli/subcommands.h"
#include "cli/terminal.h"
#include "plan/configuration.h"
#include "plan/render.h"
#include "simgpu/devices.h"

namespace oomtrace {
namespace {

constexpr char kFooter[] = R"(Examples:
  oomtrace plan --layers 12 --heads 12 --hidden 768 --seq 1024 --effective-batch 512
  oomtrace plan config/train_gpt2.py --gpu rtx4070,rtx4090
  oomtrace plan config.json --precision bf16 --checkpointing --gpu a100-80gb
  oomtrace plan --nanochat-depth 20 --gpu h100 --format json

A configuration is nanoGPT's (.py: its assignments are read, nothing is executed) or a Transformers config.json. Without
one, the model is nanoGPT's GPT. Flags win over the configuration. docs/plan.md has the formulas and how far off they
were. `oomtrace dryrun` runs the real script.

Exit status: 0, or 1 for wrong arguments or a model that is not known.)";

struct Options {
  std::string file;
  int64_t nanochat_depth = 0;
  std::optional<int64_t> layers, heads, key_heads, hidden, vocabulary, sequence, batch, accumulation, effective;
  std::optional<double> dropout;
  std::string precision, optimizer, gpus, batches = "1,2,4,8,16", other;
  bool compile = false, eager = false, checkpointing = false, bias = false;
  OutputOptions output;
};

absl::StatusOr<plan::Configuration> Configure(const Options& options) {
  if (options.nanochat_depth > 0) {
    if (!options.file.empty())
      return absl::InvalidArgumentError("--nanochat-depth and a configuration exclude each other");
    return plan::NanochatConfiguration(options.nanochat_depth);
  }
  if (!options.file.empty()) return plan::ReadConfiguration(options.file);
  plan::Configuration configuration;
  configuration.model.name = "GPT";
  configuration.evaluation = true;
  return configuration;
}

// A flag that the model of this family has no use for is refused: memory would be promised to a model that is not
// there.
absl::Status CheckFlags(const Options& options, const plan::Model& model) {
  const auto unused = [&](const char* flag, const char* models) {
    return absl::InvalidArgumentError(absl::StrCat(flag, ": ", model.name, " has none; it is for ", models));
  };
  using plan::Family;
  const bool llama = model.family == Family::kLlama, nano = model.family == Family::kNanoGpt;
  if (options.key_heads && !llama) return unused("--kv-heads", "Llama, Mistral and Qwen");
  if (options.dropout && !nano && model.family != Family::kGpt2) return unused("--dropout", "GPTs");
  if (options.bias && !nano) {
    if (model.family == Family::kGpt2)
      return absl::InvalidArgumentError("--bias: GPT-2 always has biases; the flag is for nanoGPT's GPT");
    return unused("--bias", "nanoGPT's GPT");
  }
  return absl::OkStatus();
}

// Sequences a step where no flag says it; 0: not known. nanochat keeps the tokens of a step, whatever the micro-batch.
int64_t EffectiveBatch(const Options& options, const plan::Configuration& configuration,
                       const plan::Training& training) {
  if (configuration.model.family == plan::Family::kNanochat && !options.accumulation)
    return *configuration.batch * *configuration.accumulation * *configuration.sequence /
           std::max<int64_t>(1, training.sequence);
  return configuration.accumulation || options.accumulation ? training.batch * training.accumulation : 0;
}

// The flags over the configuration.
absl::StatusOr<plan::Question> Ask(const Options& options) {
  absl::StatusOr<plan::Configuration> configuration = Configure(options);
  if (!configuration.ok()) return configuration.status();
  plan::Question question;
  plan::Model& model = question.model = configuration->model;
  plan::Training& training = question.training;
  if (const absl::Status status = CheckFlags(options, model); !status.ok()) return status;
  if (options.layers) model.layers = *options.layers;
  if (options.heads) model.heads = model.key_heads = *options.heads;
  if (options.key_heads) model.key_heads = *options.key_heads;
  if (options.hidden) model.hidden = *options.hidden;
  if (options.vocabulary) model.vocabulary = *options.vocabulary;
  if (options.dropout) model.dropout = *options.dropout;
  if (options.bias) model.bias = true;
  if (model.heads < 1) return absl::InvalidArgumentError(absl::StrCat("--heads ", model.heads, ": expected 1 or more"));
  if (options.hidden || options.heads) model.head_width = model.hidden / model.heads;
  if (options.hidden) model.inner = 4 * model.hidden;
  training.batch = options.batch.value_or(configuration->batch.value_or(1));
  training.sequence =
      options.sequence.value_or(configuration->sequence.value_or(std::min<int64_t>(model.positions, 1024)));
  if (model.family == plan::Family::kNanoGpt) model.positions = training.sequence;
  training.accumulation = options.accumulation.value_or(configuration->accumulation.value_or(1));
  training.precision = configuration->precision.value_or(plan::Precision::kAutocastBfloat16);
  training.optimizer = configuration->optimizer.value_or(plan::Optimizer::kAdamwFused);
  training.compile = options.compile || (configuration->compile.value_or(false) && !options.eager);
  training.checkpointing = options.checkpointing;
  training.evaluation = configuration->evaluation;
  if (training.batch < 1 || training.batch > 65536)
    return absl::InvalidArgumentError(absl::StrCat("--batch-size ", training.batch, ": expected 1 to 65536"));
  if (!options.precision.empty()) {
    const absl::StatusOr<plan::Precision> precision = plan::ParsePrecision(options.precision);
    if (!precision.ok()) return precision.status();
    training.precision = *precision;
  }
  if (!options.optimizer.empty()) {
    const absl::StatusOr<plan::Optimizer> optimizer = plan::ParseOptimizer(options.optimizer);
    if (!optimizer.ok()) return optimizer.status();
    training.optimizer = *optimizer;
  }
  question.effective_batch = options.effective.value_or(EffectiveBatch(options, *configuration, training));
  if (options.effective && *options.effective < 1)
    return absl::InvalidArgumentError("--effective-batch: expected 1 or more");
  for (absl::string_view part : absl::StrSplit(options.batches, ',', absl::SkipEmpty())) {
    int64_t batch = 0;
    if (!absl::SimpleAtoi(part, &batch) || batch < 1 || batch > 65536)
      return absl::InvalidArgumentError(
          absl::StrCat("--batches ", options.batches, ": expected numbers of 1 to 65536"));
    question.batches.push_back(batch);
  }
  if (const absl::Status status = plan::Check(model, training); !status.ok()) return status;
  return question;
}

absl::StatusOr<std::vector<plan::Card>> Cards(const std::string& names) {
  std::vector<plan::Card> cards;
  const auto add = [&](const simgpu::GpuModel& model, const std::string& name) {
    const bool there = std::any_of(cards.begin(), cards.end(), [&](const plan::Card& card) {
      return card.total == model.total_bytes && (card.name == name || card.name == model.name);
    });
    if (!there)
      cards.push_back({name, model.total_bytes, model.context_bytes, model.capability_major, model.capability_minor});
  };
  if (names.empty()) {
    for (const simgpu::GpuModel& model : simgpu::GpuModels()) add(model, model.name);
  }
  for (absl::string_view name : absl::StrSplit(names, ',', absl::SkipEmpty())) {
    const absl::StatusOr<simgpu::GpuModel> model = CardNamed(std::string(name));
    if (!model.ok()) return model.status();
    add(*model, simgpu::ParseBytes(std::string(name)) ? std::string(name) : model->name);
  }
  if (cards.empty()) return absl::InvalidArgumentError(absl::StrCat("--gpu ", names, ": expected a card or a size"));
  return cards;
}

int RunPlan(const Options& options) {
  absl::StatusOr<plan::Question> question = Ask(options);
  const absl::StatusOr<std::vector<plan::Card>> cards = Cards(options.gpus);
  const std::optional<int64_t> other = options.other.empty() ? 0 : simgpu::ParseBytes(options.other);
  absl::Status status = question.ok() ? cards.status() : question.status();
  if (status.ok() && !other)
    status = absl::InvalidArgumentError(absl::StrCat("--other ", options.other, ": not a size"));
  if (!status.ok()) {
    PrintError(absl::StrCat("plan: ", status.message()), "`oomtrace plan --help` shows what is possible");
    return kExitUsage;
  }
  question->other = *other;
  // A breakdown needs one card at least whose kernels are known.
  const auto known = [&](const plan::Card& card) {
    return plan::IsModelled(card, question->model, question->training.precision);
  };
  if (std::none_of(cards->begin(), cards->end(), known)) {
    PrintError("plan: the attention kernel that PyTorch takes on these cards is not modelled",
               "name a card of compute capability 8.0 or newer, or run `oomtrace dryrun`");
    return kExitUsage;
  }
  const plan::Answer answer = plan::AnswerOn(*question, *cards);
  if (options.output.format == "json") {
    std::printf("%s\n", plan::RenderJson(answer).c_str());
  } else {
    std::printf("%s", plan::RenderText(answer, UseColor(options.output.color), Columns()).c_str());
  }
  return kExitHealthy;
}

}  // namespace

void AddPlan(CLI::App& app, Invocation& invocation) {
  CLI::App* command = app.add_subcommand("plan", "Estimate a transformer's training memory before any run");
  auto options = std::make_shared<Options>();
  command->add_option("CONFIG", options->file, "A nanoGPT configuration (.py) or a Transformers config.json");
  command->add_option("--nanochat-depth", options->nanochat_depth, "nanochat's model of this depth")
      ->check(CLI::Range(1, 200));
  command->add_option("--layers", options->layers, "Blocks (12)");
  command->add_option("--heads", options->heads, "Attention heads (12)");
  command->add_option("--kv-heads", options->key_heads, "Heads of keys and values, of a Llama");
  command->add_option("--hidden", options->hidden, "Width of the stream (768)");
  command->add_option("--vocab", options->vocabulary, "Vocabulary (50304)");
  command->add_option("--seq", options->sequence, "Tokens of a sequence (1024)");
  command->add_option("--dropout", options->dropout, "Probability (0)")->check(CLI::Range(0.0, 0.99));
  command->add_flag("--bias", options->bias, "Biases in linear layers and norms");
  command->add_option("--precision", options->precision, "amp-bf16 (default), amp-fp16, bf16, fp32");
  command->add_option("--optimizer", options->optimizer, "adamw-fused (default), adamw, adamw-loop, sgd-momentum, sgd");
  command->add_flag("--compile", options->compile, "Under torch.compile")
      ->excludes(
          command->add_flag("--eager", options->eager, "Without torch.compile, whatever the configuration says"));
  command->add_flag("--checkpointing", options->checkpointing, "Activation checkpointing of each block");
  command->add_option("--batch-size", options->batch, "Micro-batch of the breakdown (the configuration's, or 1)");
  command->add_option("--accumulation", options->accumulation, "Micro-batches a step (the configuration's, or 1)");
  command->add_option("--effective-batch", options->effective, "Sequences a step: the accumulation follows from it")
      ->excludes("--accumulation");
  command->add_option("--batches", options->batches, "Micro-batches to show")->capture_default_str();
  command->add_option("--gpu", options->gpus, "Cards or sizes, with commas between (default: all of `oomtrace gpus`)");
  command->add_option("--other", options->other, "Memory that other processes hold on each card (default: none)");
  AddOutputOptions(*command, options->output);
  command->footer(kFooter);
  command->callback([options, &invocation] { invocation.exit_status = RunPlan(*options); });
}

}  // namespace oomtrace
