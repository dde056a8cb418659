#include "analyzer/render/json.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace oomtrace {
namespace {

using Json = nlohmann::ordered_json;

void ExpectEveryFieldHasAValue(const Json& value, const std::string& path) {
  EXPECT_FALSE(value.is_null()) << path;
  if (!value.is_structured()) return;
  for (const auto& [key, element] : value.items()) ExpectEveryFieldHasAValue(element, path + "." + key);
}

report::Report Filled() {
  report::Report report;
  report.set_pattern("first_batch");
  report.add_causes()->set_id("fragmentation");
  report.mutable_culprit()->add_shape(65536);
  report.add_fixes()->set_id("micro_batch");
  report.add_owners()->add_shape(3);
  report.add_processes()->set_pid(7);
  report.mutable_out_of_memory()->add_stack()->set_line(3);
  report.add_evidence("e");
  return report;
}

// Scripts rely on these names.
TEST(Json, FieldsAreThoseOfTheContract) {
  const Json json = Json::parse(RenderJson(Filled()));
  for (const char* name : {"pattern", "confidence", "causes", "culprit", "device", "categories", "peak",
                           "steps_completed", "leak", "fixes"}) {
    EXPECT_TRUE(json.contains(name)) << name;
  }
  const std::vector<std::pair<std::string, std::vector<std::string>>> inside = {
      {"culprit", {"file", "line", "holder", "shape", "dtype", "bytes"}},
      {"device", {"total", "tensors", "cache", "other", "context", "other_processes", "free", "explained_share"}},
      {"categories",
       {"parameter", "gradient", "optimizer_state", "activation", "input", "temporary", "workspace", "unknown"}},
      {"peak", {"bytes", "phase", "step"}},
      {"leak", {"bytes_per_step", "site", "holder", "steps_to_oom"}}};
  for (const auto& [object, names] : inside) {
    for (const std::string& name : names) EXPECT_TRUE(json[object].contains(name)) << object << "." << name;
  }
  for (const char* name :
       {"id", "title", "change", "predicted_peak", "saving", "keeps_effective_batch", "basis", "price"}) {
    EXPECT_TRUE(json["fixes"][0].contains(name)) << name;
  }
  EXPECT_TRUE(json["causes"][0].contains("confidence"));
}

TEST(Json, EmptyFieldsArePresentAndTyped) {
  const Json json = Json::parse(RenderJson(report::Report()));
  EXPECT_TRUE(json["fixes"].is_array());
  EXPECT_TRUE(json["device"]["total"].is_number_integer());
  EXPECT_TRUE(json["culprit"]["holder"].is_string());
  EXPECT_TRUE(json["out_of_memory"]["happened"].is_boolean());
}

// A field of a type that the renderer does not know would come out as null.
TEST(Json, NoFieldIsNull) { ExpectEveryFieldHasAValue(Json::parse(RenderJson(Filled())), "report"); }

TEST(Json, LargeNumbersStayExact) {
  report::Report report;
  report.mutable_device()->set_total(9007199254740993);  // 2^53 + 1: a double cannot hold it
  EXPECT_EQ(Json::parse(RenderJson(report))["device"]["total"].get<int64_t>(), 9007199254740993);
}

TEST(Json, BytesThatAreNoTextDoNotBreakIt) {
  report::Report report;
  report.mutable_culprit()->set_file(std::string("/data/\xff\xfe.py"));
  EXPECT_NO_THROW({ EXPECT_TRUE(Json::accept(RenderJson(report))); });
}

}  // namespace
}  // namespace oomtrace
