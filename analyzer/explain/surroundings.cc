#include "analyzer/explain/surroundings.h"

#include "absl/strings/str_cat.h"
#include "analyzer/explain/text.h"
#include "re2/re2.h"

namespace oomtrace {
namespace {

bool InPackages(std::string_view file) {
  return Contains(file, "site-packages") || Contains(file, "dist-packages") || Contains(file, "/lib/python") ||
         Contains(file, "torchinductor_") || file.starts_with("<frozen");
}

}  // namespace

Surroundings ReadSurroundings(std::string_view text) {
  static const RE2 kFrame(R"re(File "([^"]{1,1000})", line ([0-9]{1,9}), in ([^\s]{1,200}))re");
  static const RE2 kLoading(R"(from_pretrained|load_state_dict|_load_pretrained|torch\.load\(|load_checkpoint)");
  static const RE2 kBackward(R"(_engine_run_backward|\.backward\(|_tensor\.py", line \d+, in backward)");
  static const RE2 kOptimizer(R"(/optim/\w+\.py", line|optimizer\.step\(|_init_group|_multi_tensor_)");
  static const RE2 kEvaluating(R"(, in (?:\w*evaluat\w*|\w*validat\w*|eval_\w+|test_step|prediction_step)\b)");
  static const RE2 kGenerating(R"(, in (?:generate|_sample|_beam_search|_greedy_search)\b|\.generate\()");
  static const RE2 kTensor(R"(empty_strided_cuda\(\(([0-9, ]{1,200})\),\s?\([0-9, ]{0,200}\),\s?torch\.(\w{1,20})\))");
  static const RE2 kKilled(
      R"((?m)^\s*Killed\s*$|: line \d+:\s+\d+ Killed\b|exit(?:ed with)?(?: status| code)?:?\s+(?:137|-9)\b|signal 9 \(SIGKILL\)|\(exitcode\s?: -9\))");

  Surroundings around;
  size_t start = 0;
  bool want_statement = false;
  while (start < text.size()) {
    size_t end = text.find('\n', start);
    if (end == std::string_view::npos) end = text.size();
    const std::string_view line = text.substr(start, end - start);
    start = end + 1;
    std::string file, number, function;
    if (RE2::PartialMatch(Piece(line), kFrame, &file, &number, &function)) {
      want_statement = !InPackages(file);
      if (want_statement) {
        around.frame = Shortened(absl::StrCat(file, ":", number, function == "<module>" ? "" : " in " + function));
        around.statement.clear();
      }
    } else if (want_statement) {
      around.statement = Shortened(line);
      want_statement = false;
    }
    std::string shape, dtype;
    if (RE2::PartialMatch(Piece(line), kTensor, &shape, &dtype))
      around.compiled_tensor = absl::StrCat("(", Shortened(shape), ") ", dtype);
  }
  const auto has = [&](const RE2& pattern) { return RE2::PartialMatch(Piece(text), pattern); };
  around.loading = has(kLoading);
  around.backward = has(kBackward);
  around.optimizer = has(kOptimizer);
  around.evaluating = has(kEvaluating);
  around.generating = has(kGenerating);
  around.killed = has(kKilled);
  return around;
}

}  // namespace oomtrace
