// oomtrace explain: what can be known from the text of an error alone.
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "analyzer/explain/judge.h"
#include "analyzer/explain/render.h"
#include "analyzer/read/file_header.h"
#include "cli/subcommands.h"
#include "cli/terminal.h"

namespace oomtrace {
namespace {

constexpr char kFooter[] = R"(Examples:
  oomtrace explain train.log
  python train.py 2>&1 | oomtrace explain
  oomtrace explain < error.txt
  oomtrace explain --format json train.log | jq -r '.messages[0].cause'

Reads logs and tracebacks of PyTorch (0.4 and newer; CUDA, ROCm, XPU, MPS), cuBLAS, cuDNN, NCCL, JAX, TensorFlow, CuPy,
vLLM and others. An error's text has totals only: who owns the bytes, a recorded run says (oomtrace run).

Exit status: 0 no such message in the text, 3 at least one, 1 wrong arguments or a file that cannot be read.)";

struct Options {
  std::string file = "-";
  OutputOptions output;
};

// Nothing where it cannot be read.
std::optional<std::string> ReadAll(const std::string& file) {
  if (file == "-") return std::string(std::istreambuf_iterator<char>(std::cin), {});
  std::error_code error;
  if (std::filesystem::is_directory(file, error)) return std::nullopt;
  std::ifstream stream(file, std::ios::binary);
  if (!stream) return std::nullopt;
  std::string text(std::istreambuf_iterator<char>(stream), {});
  if (stream.bad()) return std::nullopt;
  return text;
}

int Explain(const Options& options) {
  if (options.file == "-" && isatty(STDIN_FILENO) == 1)
    std::fprintf(stderr, "oomtrace: paste the error, then Ctrl-D\n");
  const std::optional<std::string> text = ReadAll(options.file);
  if (!text) {
    PrintError(absl::StrCat("cannot read ", ShellQuoted({options.file})), "name a log, or pipe the error to stdin");
    return kExitUsage;
  }
  const std::vector<Judgement> judgements = Judge(*text);
  if (options.output.format == "json") {
    std::printf("%s\n", RenderJudgementsJson(judgements).c_str());
  } else if (judgements.empty()) {
    std::printf("No out-of-memory message was found in %s.\n",
                options.file == "-" ? "the text" : ShellQuoted({options.file}).c_str());
    if (text->starts_with(kTraceMagic)) std::printf("It is a trace: oomtrace analyze reads it.\n");
  } else {
    std::printf("%s", RenderJudgements(judgements, UseColor(options.output.color), Columns()).c_str());
  }
  return judgements.empty() ? kExitHealthy : kExitOutOfMemory;
}

}  // namespace

void AddExplain(CLI::App& app, Invocation& invocation) {
  CLI::App* command = app.add_subcommand("explain", "Say what an out-of-memory error's text tells, without a trace");
  auto options = std::make_shared<Options>();
  command->add_option("FILE", options->file, "A log or the error's text; - or nothing: stdin");
  AddOutputOptions(*command, options->output);
  command->footer(kFooter);
  command->callback([options, &invocation] { invocation.exit_status = Explain(*options); });
}

}  // namespace oomtrace
