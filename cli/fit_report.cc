#include "cli/fit_report.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "analyzer/diagnose/words.h"
#include "analyzer/render/page.h"
#include "cli/invocation.h"

namespace oomtrace {
namespace {

using Json = nlohmann::ordered_json;

Values At(const FitReport& report, const FitRow& row, int64_t value) {
  Values values = row.fixed;
  values[report.varied.name] = absl::StrCat(value);
  return values;
}

std::vector<std::string> CommandAt(const FitReport& report, const FitRow& row, int64_t value) {
  const auto command = Fill(report.command, At(report, row, value));
  return command.ok() ? *command : std::vector<std::string>{};
}

// The words of the command that have places, filled.
std::string ChangedWords(const FitReport& report, const FitRow& row, int64_t value) {
  const std::vector<std::string> command = CommandAt(report, row, value);
  std::vector<std::string> words;
  for (size_t i = 0; i < command.size(); ++i) {
    if (command[i] == report.command[i]) continue;
    // A flag and its value as two words.
    if (i > 0 && report.command[i - 1].starts_with("-") && report.command[i - 1].find('=') == std::string::npos)
      words.push_back(command[i - 1]);
    words.push_back(command[i]);
  }
  return ShellQuoted(words);
}

// "batch_size=13: Out of memory in backward …".
void AddTrial(const FitReport& report, int64_t value, const Trial& trial, Page& page) {
  page.Paragraph("  ", absl::StrCat(report.varied.name, "=", value, ": ", trial.summary));
}

std::string Amount(const FitRow& row, std::optional<int64_t> largest) {
  if (!row.finished) return largest ? absl::StrCat(*largest, " or more") : "not known";
  return largest ? absl::StrCat(*largest) : "none";
}

void AddRow(const FitReport& report, const FitRow& row, Page& page) {
  const std::optional<int64_t> largest = row.largest();
  if (largest) {
    const Trial& trial = row.trials.at(*largest);
    page.Paragraph("  ", absl::StrCat(ChangedWords(report, row, *largest), " fits: ", trial.ended, "."));
    if (!trial.remark.empty()) page.Paragraph("  ", absl::StrCat("But ", trial.remark, "."));
  }
  const auto above = row.trials.find(largest ? *largest + 1 : report.varied.first);
  if (above != row.trials.end()) AddTrial(report, above->first, above->second, page);
  if (row.finished && largest == report.varied.last)
    page.Paragraph("  ", "The whole range fits; larger values were not tried.");
  if (!row.finished) page.Paragraph("  ", "The search did not end: see the error.");
  if (const auto turn = NotMonotone(row.tried())) {
    const std::optional<int64_t> below = LargestBelowFailure(row.tried());
    page.Paragraph("  ", absl::StrCat("Not monotone: ", turn->second, " fits, though ", turn->first, " does not. ",
                                      below ? absl::StrCat("Up to ", *below, " all that were tried fit. ") : "",
                                      "Not every value between was tried."));
  }
}

Json ToJson(const Trial& trial) {
  return {{"fits", trial.fits},    {"peak", trial.peak},           {"reserved", trial.reserved},
          {"left", trial.left},    {"total", trial.total},         {"steps", trial.steps},
          {"ended", trial.ended},  {"step_noun", trial.step_noun}, {"summary", trial.summary},
          {"remark", trial.remark}};
}

}  // namespace

Tried FitRow::tried() const {
  Tried tried;
  for (const auto& [value, trial] : trials) tried[value] = trial.fits;
  return tried;
}

std::string Described(const Values& values) { return absl::StrJoin(values, " ", absl::PairFormatter("=")); }

std::string RenderFitText(const FitReport& report, bool color, int columns) {
  Page page(color, columns);
  size_t card = 4, with = 0, value = report.varied.name.size();
  for (const FitRow& row : report.rows) {
    card = std::max(card, row.gpu.size());
    with = std::max(with, Described(row.fixed).size());
    value = std::max(value, Amount(row, row.largest()).size());
  }
  const auto line = [&](const std::string& a, const std::string& b, const std::string& c, const std::string& peak,
                        const std::string& reserved, const std::string& left) {
    const std::string fixed = with == 0 ? "" : absl::StrFormat("%-*s  ", static_cast<int>(with), b);
    return absl::StrFormat("%-*s  %s%*s  %12s  %12s  %12s", static_cast<int>(card), a, fixed, static_cast<int>(value),
                           c, peak, reserved, left);
  };
  page.Heading(line("CARD", "WITH", report.varied.name, "PEAK", "RESERVED", "LEFT"));
  for (const FitRow& row : report.rows) {
    const std::optional<int64_t> largest = row.largest();
    const Trial none, &best = largest ? row.trials.at(*largest) : none;
    const auto bytes = [&](int64_t n) { return largest ? Bytes(n) : std::string(); };
    page.Line(line(row.gpu, Described(row.fixed), Amount(row, largest), bytes(best.peak), bytes(best.reserved),
                   bytes(best.left)));
    AddRow(report, row, page);
  }
  page.Blank();
  page.Paragraph("", absl::StrCat("Every value named here was run on the simulated card, to its end or until ",
                                  Count(report.goal.steps, "step"), " were complete",
                                  report.goal.evaluation ? " and an evaluation after the first" : "",
                                  ". PEAK is the highest in tensors, RESERVED what PyTorch's allocator held for "
                                  "them, LEFT what the card had beside that, the CUDA context and others."));
  return page.text();
}

std::string RenderFitJson(const FitReport& report) {
  Json rows = Json::array();
  for (const FitRow& row : report.rows) {
    const std::optional<int64_t> largest = row.largest();
    const int64_t next = largest ? *largest + 1 : report.varied.first;
    const auto above = row.trials.find(next);
    const auto turn = NotMonotone(row.tried());
    const std::optional<int64_t> below = LargestBelowFailure(row.tried());
    Json tried = Json::object();
    for (const auto& [value, trial] : row.trials) tried[absl::StrCat(value)] = ToJson(trial);
    rows.push_back({{"gpu", row.gpu},
                    {"with", row.fixed},
                    {"finished", row.finished},
                    {"largest", largest ? Json(*largest) : Json()},
                    {"whole_range", row.finished && largest == report.varied.last},
                    {"command", largest ? Json(CommandAt(report, row, *largest)) : Json()},
                    {"at_largest", largest ? ToJson(row.trials.at(*largest)) : Json()},
                    {"next", above == row.trials.end() ? Json() : Json(next)},
                    {"at_next", above == row.trials.end() ? Json() : ToJson(above->second)},
                    {"monotone", !turn.has_value()},
                    {"largest_below_failure", below ? Json(*below) : Json()},
                    {"tried", tried}});
  }
  const Json json = {{"varied", report.varied.name},
                     {"first", report.varied.first},
                     {"last", report.varied.last},
                     {"steps", report.goal.steps},
                     {"evaluation", report.goal.evaluation},
                     {"basis", "simulated"},
                     {"rows", rows},
                     {"error", report.error}};
  return json.dump(2, ' ', false, Json::error_handler_t::replace);
}

}  // namespace oomtrace
