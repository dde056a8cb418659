#include <algorithm>
#include <array>
#include <initializer_list>
#include <map>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "plan/configuration.h"

namespace oomtrace::plan {
namespace {

struct Value {
  std::string text;
  int line = 0;
};
using Values = std::map<std::string, Value>;

bool IsName(absl::string_view text) {
  if (text.empty() || absl::ascii_isdigit(static_cast<unsigned char>(text[0]))) return false;
  for (const char c : text) {
    if (!absl::ascii_isalnum(static_cast<unsigned char>(c)) && c != '_') return false;
  }
  return true;
}

// Up to a "#" that is not in a string.
absl::string_view WithoutComment(absl::string_view line) {
  char quote = 0;
  for (size_t i = 0; i < line.size(); ++i) {
    if (quote != 0) {
      if (line[i] == quote) quote = 0;
    } else if (line[i] == '"' || line[i] == '\'') {
      quote = line[i];
    } else if (line[i] == '#') {
      return line.substr(0, i);
    }
  }
  return line;
}

Values Assignments(const std::string& text) {
  Values values;
  int number = 0;
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    ++number;
    const std::pair<absl::string_view, absl::string_view> sides =
        absl::StrSplit(WithoutComment(line), absl::MaxSplits('=', 1));
    const absl::string_view name = absl::StripTrailingAsciiWhitespace(sides.first);
    if (IsName(name)) values[std::string(name)] = {std::string(absl::StripAsciiWhitespace(sides.second)), number};
  }
  return values;
}

class Reader {
 public:
  Reader(const std::string& text, std::string file) : values_(Assignments(text)), file_(std::move(file)) {}

  bool HasAnyOf(std::initializer_list<absl::string_view> names) const {
    return std::any_of(names.begin(), names.end(),
                       [&](absl::string_view name) { return values_.contains(std::string(name)); });
  }

  void Whole(const std::string& name, int64_t& into) {
    const auto found = values_.find(name);
    if (found == values_.end()) return;
    int64_t product = 1;
    for (absl::string_view factor : absl::StrSplit(found->second.text, '*')) {
      int64_t number = 0;
      const bool read = absl::SimpleAtoi(absl::StripAsciiWhitespace(factor), &number);
      if (!read || number < 0 || __builtin_mul_overflow(product, number, &product))
        return Fail(*found, "expected a whole number, or a product of them");
    }
    into = product;
  }

  void Decimal(const std::string& name, double& into) {
    const auto found = values_.find(name);
    if (found != values_.end() && !absl::SimpleAtod(found->second.text, &into)) Fail(*found, "expected a number");
  }

  void Truth(const std::string& name, bool& into) {
    const auto found = values_.find(name);
    if (found == values_.end()) return;
    if (found->second.text != "True" && found->second.text != "False") return Fail(*found, "expected True or False");
    into = found->second.text == "True";
  }

  void Text(const std::string& name, std::string& into) {
    const auto found = values_.find(name);
    if (found == values_.end()) return;
    const std::string& text = found->second.text;
    const bool quoted = text.size() >= 2 && (text[0] == '\'' || text[0] == '"') && text.back() == text[0];
    if (!quoted) return Fail(*found, "expected a string");
    into = text.substr(1, text.size() - 2);
  }

  void Fail(const std::string& name, const std::string& expected) {
    const auto found = values_.find(name);
    if (found != values_.end()) Fail(*found, expected);
  }

  const absl::Status& status() const { return status_; }

 private:
  void Fail(const Values::value_type& value, const std::string& expected) {
    if (!status_.ok()) return;
    status_ = absl::InvalidArgumentError(
        absl::StrCat(file_, ":", value.second.line, ": ", value.first, " = ", value.second.text, ": ", expected));
  }

  Values values_;
  std::string file_;
  absl::Status status_;
};

struct Pretrained {
  const char* name;
  int64_t layers, heads, hidden;
};
// GPT.from_pretrained of nanoGPT's model.py.
constexpr std::array<Pretrained, 4> kPretrained = {
    {{"gpt2", 12, 12, 768}, {"gpt2-medium", 24, 16, 1024}, {"gpt2-large", 36, 20, 1280}, {"gpt2-xl", 48, 25, 1600}}};

}  // namespace

absl::StatusOr<Configuration> NanoGptConfiguration(const std::string& text, const std::string& file) {
  Reader reader(text, file);
  if (!reader.HasAnyOf({"block_size", "n_layer", "n_head", "n_embd", "init_from", "gradient_accumulation_steps"})) {
    return absl::InvalidArgumentError(absl::StrCat(
        file,
        ": not a nanoGPT configuration: none of block_size, n_layer, n_head, n_embd, init_from and "
        "gradient_accumulation_steps is assigned there. A script is measured by oomtrace dryrun -- python ",
        file));
  }
  Configuration configuration;
  Model& model = configuration.model;
  int64_t batch = 12, block = 1024, accumulation = 5 * 8;
  bool compile = true;
  std::string start = "scratch", dtype = "bfloat16";
  reader.Whole("batch_size", batch);
  reader.Whole("block_size", block);
  reader.Whole("gradient_accumulation_steps", accumulation);
  reader.Whole("n_layer", model.layers);
  reader.Whole("n_head", model.heads);
  reader.Whole("n_embd", model.hidden);
  reader.Whole("vocab_size", model.vocabulary);
  reader.Decimal("dropout", model.dropout);
  reader.Truth("bias", model.bias);
  reader.Truth("compile", compile);
  reader.Text("init_from", start);
  reader.Text("dtype", dtype);
  model.positions = block;
  if (start != "scratch" && start != "resume") {
    const Pretrained* known = nullptr;
    for (const Pretrained& one : kPretrained) {
      if (start == one.name) known = &one;
    }
    if (!known) {
      reader.Fail("init_from", "expected 'scratch', 'resume', 'gpt2', 'gpt2-medium', 'gpt2-large' or 'gpt2-xl'");
      return reader.status();
    }
    model.layers = known->layers;
    model.heads = known->heads;
    model.hidden = known->hidden;
    model.vocabulary = 50257;
    model.bias = true;
  }
  if (dtype != "float32" && dtype != "bfloat16" && dtype != "float16")
    reader.Fail("dtype", "expected 'float32', 'bfloat16' or 'float16'");
  if (!reader.status().ok()) return reader.status();
  if (model.heads < 1) return absl::InvalidArgumentError(absl::StrCat(file, ": n_head is ", model.heads));
  model.name = start == "scratch" || start == "resume" ? "nanoGPT" : absl::StrCat("nanoGPT, ", start);
  model.key_heads = model.heads;
  model.head_width = model.hidden / model.heads;
  model.inner = 4 * model.hidden;
  configuration.batch = batch;
  configuration.sequence = block;
  configuration.accumulation = accumulation;
  configuration.compile = compile;
  configuration.precision = dtype == "float32"    ? Precision::kFloat32
                            : dtype == "bfloat16" ? Precision::kAutocastBfloat16
                                                  : Precision::kAutocastFloat16;
  configuration.optimizer = Optimizer::kAdamwFused;
  configuration.evaluation = true;
  return configuration;
}

}  // namespace oomtrace::plan
