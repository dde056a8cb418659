#include "analyzer/explain/render.h"

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "analyzer/diagnose/words.h"
#include "analyzer/render/page.h"
#include "nlohmann/json.hpp"

namespace oomtrace {
namespace {

using Json = nlohmann::ordered_json;

void List(const char* heading, const std::vector<std::string>& entries, Page* page) {
  if (entries.empty()) return;
  page->Heading(heading);
  for (const std::string& entry : entries) page->Paragraph("  - ", entry);
  page->Blank();
}

void Put(const char* name, const std::optional<Amount>& amount, Json* json) {
  if (amount) (*json)[name] = amount->bytes;
}

Json ToJson(const Judgement& judgement) {
  const Message& message = judgement.message;
  Json json;
  json["cause"] = judgement.cause;
  json["confidence"] = judgement.confidence;
  json["headline"] = judgement.headline;
  json["source"] = message.who;
  json["quote"] = message.quote;
  json["line"] = message.line;
  json["times"] = message.times;
  if (message.device) json["device"] = *message.device;
  Put("requested", message.wanted, &json);
  Put("total", message.total, &json);
  Put("free", message.free, &json);
  Put("limit", message.allowed, &json);
  Put("allocated", message.allocated, &json);
  Put("unallocated", message.unallocated, &json);
  Put("reserved", message.reserved, &json);
  Put("private_pools", message.private_pools, &json);
  Put("this_process", message.this_process, &json);
  if (!message.processes.empty()) {
    for (const ProcessUse& use : message.processes) {
      Json process;
      process["pid"] = use.pid;
      Put("bytes", use.bytes, &process);
      json["processes"].push_back(std::move(process));
    }
  }
  if (!message.shape.empty()) {
    json["shape"] = message.shape;
    json["dtype"] = message.dtype;
  }
  json["reasons"] = judgement.reasons;
  json["tensor_candidates"] = judgement.candidates;
  json["unknown"] = judgement.unknown;
  json["next"] = judgement.next;
  return json;
}

}  // namespace

std::string RenderJudgements(const std::vector<Judgement>& judgements, bool color, int width) {
  Page page(color, width);
  bool first = true;
  for (const Judgement& judgement : judgements) {
    if (!first) page.Blank();
    first = false;
    std::string headline = judgement.headline;
    if (!headline.empty()) headline[0] = absl::ascii_toupper(static_cast<unsigned char>(headline[0]));
    page.Alert(headline);
    const std::string times = judgement.message.times > 1 ? absl::StrCat(", ", judgement.message.times, " times") : "";
    const std::string place =
        judgement.message.line > 0 ? absl::StrCat("line ", judgement.message.line, times, ", ") : std::string();
    page.Paragraph("", absl::StrCat(place, judgement.message.who, "; cause: ", judgement.cause, ", confidence ",
                                    Percent(judgement.confidence)));
    if (judgement.figures.empty()) page.Paragraph("", absl::StrCat("It says: ", judgement.message.quote));
    page.Blank();
    List("What it says", judgement.figures, &page);
    List("Why", judgement.reasons, &page);
    List("Tensors of that size (arithmetic, no proof)", judgement.candidates, &page);
    List("What it cannot say", judgement.unknown, &page);
    List("What to do", judgement.next, &page);
  }
  return page.text();
}

std::string RenderJudgementsJson(const std::vector<Judgement>& judgements) {
  Json json;
  json["messages"] = Json::array();
  for (const Judgement& judgement : judgements) json["messages"].push_back(ToJson(judgement));
  // A log may hold any bytes.
  return json.dump(2, ' ', false, Json::error_handler_t::replace);
}

}  // namespace oomtrace
