#include "plan/render.h"

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "analyzer/diagnose/words.h"
#include "analyzer/render/page.h"
#include "plan/configuration.h"

namespace oomtrace::plan {
namespace {

using Json = nlohmann::ordered_json;

struct Line {
  Kind kind;
  const char* id;
  const char* title;
};
constexpr Line kLines[] = {{Kind::kParameter, "parameters", "parameters"},
                           {Kind::kGradient, "gradients", "gradients"},
                           {Kind::kOptimizer, "optimizer", "optimizer state"},
                           {Kind::kWeightCopy, "weight_copies", "weights cast by autocast"},
                           {Kind::kActivation, "activations", "activations"},
                           {Kind::kLogits, "logits", "logits and their gradients"},
                           {Kind::kTemporary, "temporary", "temporary"},
                           {Kind::kWorkspace, "workspaces", "cuBLAS workspaces"},
                           {Kind::kBatch, "batch", "token ids"}};

const char* Title(Kind kind) {
  for (const Line& line : kLines) {
    if (line.kind == kind) return line.title;
  }
  return "";
}

int64_t Bytes(const Estimate& estimate, Kind kind) { return estimate.at_peak[static_cast<size_t>(kind)]; }

// What the allocator rounds up.
int64_t Rounding(const Estimate& estimate) {
  int64_t sum = 0;
  for (const int64_t bytes : estimate.at_peak) sum += bytes;
  return estimate.peak_allocated - sum;
}

std::string Describe(const Answer& answer) {
  const Model& model = answer.question.model;
  const Training& training = answer.question.training;
  std::string text = absl::StrCat(model.name, ": ", model.layers, " layers, ", model.heads, " heads, hidden ",
                                  model.hidden, ", vocabulary ", model.vocabulary, "; ", training.sequence, " tokens; ",
                                  Name(training.precision), ", ", Name(training.optimizer));
  if (model.key_heads != model.heads) absl::StrAppend(&text, ", ", model.key_heads, " key-value heads");
  if (training.compile) absl::StrAppend(&text, ", compiled");
  if (training.checkpointing) absl::StrAppend(&text, ", activation checkpointing");
  return text;
}

void Breakdown(const Answer& answer, Page& page) {
  const Estimate& estimate = answer.breakdown;
  const Training& training = answer.question.training;
  page.Heading(absl::StrFormat("Micro-batch %d x %d, at its highest", training.batch, training.sequence));
  for (const Line& line : kLines) {
    const int64_t bytes = Bytes(estimate, line.kind);
    if (bytes > 0) page.Line(absl::StrFormat("  %-28s %12s", line.title, oomtrace::Bytes(bytes)));
  }
  page.Line(absl::StrFormat("  %-28s %12s", "rounding to 512 bytes", oomtrace::Bytes(Rounding(estimate))));
  page.Line(absl::StrFormat("  %-28s %12s", "allocated", oomtrace::Bytes(estimate.peak_allocated)));
  page.Line(absl::StrFormat("  %-28s %12s", "reserved by PyTorch", oomtrace::Bytes(estimate.peak_reserved)));
  page.Blank();
}

void Cards(const Answer& answer, Page& page) {
  std::string head = absl::StrFormat("%-12s %10s %12s %13s %11s %11s", "CARD", "MEMORY", "MICRO-BATCH", "ACCUMULATION",
                                     "RESERVED", "LEFT OVER");
  for (const int64_t batch : answer.question.batches) absl::StrAppendFormat(&head, " %10s", absl::StrCat("b=", batch));
  page.Heading(head);
  for (const CardRow& row : answer.cards) {
    std::string line = absl::StrFormat("%-12s %10s ", row.card.name, oomtrace::Bytes(row.card.total));
    if (row.largest == 0) {
      absl::StrAppendFormat(&line, "%12s %13s %11s %11s", "none", "", "", "");
    } else {
      absl::StrAppendFormat(&line, "%12d %13d %11s %11s", row.largest, row.accumulation,
                            oomtrace::Bytes(row.at_largest.peak_reserved), oomtrace::Bytes(row.left_over));
    }
    for (const Cell& cell : row.cells) {
      const std::string text = absl::StrFormat(" %10s", oomtrace::Bytes(cell.reserved));
      line += cell.fits ? text : page.Bad(text);
    }
    if (row.largest > 0 && row.tight) line += "  tight";
    page.Line(line);
  }
  page.Blank();
  for (const CardRow& row : answer.cards) {
    if (row.largest == 0) {
      const std::string what = row.dies_of ? absl::StrCat("; it would have no room for ", Title(*row.dies_of)) : "";
      page.Paragraph("", absl::StrCat(row.card.name, ": one sequence does not fit with that much to spare", what, "."));
    }
  }
}

Json ToJson(const Estimate& estimate) {
  Json json = Json::object();
  for (const Line& line : kLines) json[line.id] = Bytes(estimate, line.kind);
  json["rounding"] = Rounding(estimate);
  json["peak_allocated"] = estimate.peak_allocated;
  json["peak_reserved"] = estimate.peak_reserved;
  return json;
}

}  // namespace

std::string RenderText(const Answer& answer, bool color, int columns) {
  Page page(color, columns);
  page.Paragraph("", Describe(answer));
  page.Line(absl::StrFormat("%.2f million parameters", static_cast<double>(answer.breakdown.parameters) / 1e6));
  page.Blank();
  Breakdown(answer, page);
  Cards(answer, page);
  if (!answer.left_out.empty()) {
    page.Paragraph("", absl::StrCat("Left out, because the attention kernel that PyTorch takes there is not modelled: ",
                                    absl::StrJoin(answer.left_out, ", "), "."));
  }
  const int64_t effective = answer.question.effective_batch;
  page.Paragraph(
      "", absl::StrCat(
              "RESERVED is what PyTorch's allocator would take at most, beside a CUDA context of ",
              oomtrace::Bytes(answer.cards.empty() ? 0 : answer.cards.front().card.context),
              ". A micro-batch counts as fitting with ",
              absl::StrFormat("%.0f", Margin(answer.question.model, answer.question.training) * 100),
              " % of the card to spare",
              effective > 0 ? absl::StrCat("; ACCUMULATION makes ", effective, " sequences of it, rounded up") : "",
              ". An estimate from formulas (docs/plan.md); `oomtrace dryrun` runs the real script."));
  return page.text();
}

std::string RenderJson(const Answer& answer) {
  const Question& question = answer.question;
  Json json = {{"model", Describe(answer)},
               {"parameters", answer.breakdown.parameters},
               {"micro_batch", question.training.batch},
               {"effective_batch", question.effective_batch},
               {"basis", "estimated"},
               {"margin", Margin(question.model, question.training)},
               {"left_out", answer.left_out},
               {"breakdown", ToJson(answer.breakdown)}};
  Json cards = Json::array();
  for (const CardRow& row : answer.cards) {
    Json cells = Json::array();
    for (const Cell& cell : row.cells)
      cells.push_back({{"micro_batch", cell.batch}, {"peak_reserved", cell.reserved}, {"fits", cell.fits}});
    Json card = {{"gpu", row.card.name},
                 {"total", row.card.total},
                 {"context", row.card.context},
                 {"other_processes", row.other},
                 {"largest_micro_batch", row.largest},
                 {"accumulation", row.accumulation},
                 {"left_over", row.left_over},
                 {"tight", row.tight},
                 {"next_has_no_room_for", row.dies_of ? Title(*row.dies_of) : ""},
                 {"estimate", ToJson(row.at_largest)},
                 {"micro_batches", cells}};
    cards.push_back(card);
  }
  json["cards"] = cards;
  return json.dump(2);
}

}  // namespace oomtrace::plan
