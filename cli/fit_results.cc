#include "cli/fit_results.h"

#include <unistd.h>

#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <type_traits>

#include "absl/strings/str_cat.h"

namespace oomtrace {
namespace {

using Json = nlohmann::ordered_json;
namespace fs = std::filesystem;

// Calls `field(name, member)` for all that is kept of a trial.
template <typename T, typename Field>
void EachField(T& t, Field field) {
  field("fits", t.fits);
  field("peak", t.peak);
  field("reserved", t.reserved);
  field("left", t.left);
  field("total", t.total);
  field("steps", t.steps);
  field("step_noun", t.step_noun);
  field("summary", t.summary);
  field("ended", t.ended);
  field("remark", t.remark);
}

Json ToJson(const Trial& trial) {
  Json json = Json::object();
  EachField(trial, [&](const char* name, const auto& value) { json[name] = value; });
  return json;
}

template <typename T>
bool Holds(const Json& json) {
  if constexpr (std::is_same_v<T, std::string>) return json.is_string();
  if constexpr (std::is_same_v<T, bool>) return json.is_boolean();
  return json.is_number_integer();
}

bool FromJson(const Json& json, Trial& trial) {
  bool good = json.is_object();
  EachField(trial, [&](const char* name, auto& value) {
    using T = std::remove_reference_t<decltype(value)>;
    good = good && json.contains(name) && Holds<T>(json[name]);
    if (good) value = json[name].template get<T>();
  });
  return good;
}

Json ToJson(const Question& question) {
  Json json = Json::object();
  for (const auto& [name, value] : question) json[name] = value;
  return json;
}

absl::Status Refused(const fs::path& path, const std::string& why) {
  return absl::InvalidArgumentError(absl::StrCat("--results ", path.string(), ": ", why));
}

absl::Status CheckQuestion(const fs::path& path, const Json& kept, const Question& question) {
  for (const auto& [name, value] : question) {
    const std::string before = kept.contains(name) && kept[name].is_string() ? kept[name].get<std::string>() : "";
    if (before == value) continue;
    return Refused(path, absl::StrCat("its trials are those of another run: there ", name, " was ",
                                      before.empty() ? "not set" : before, ", now it is ",
                                      value.empty() ? "not set" : value, "; name another file, or remove this one"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<FitResults> FitResults::Open(const fs::path& path, const Question& question) {
  FitResults results;
  results.path_ = path;
  results.question_ = question;
  std::error_code ignored;
  if (path.empty() || !fs::exists(path, ignored)) return results;
  std::ifstream stream(path, std::ios::binary);
  const std::string text(std::istreambuf_iterator<char>(stream), {});
  const Json json = Json::parse(text, nullptr, false);
  const bool ours = json.is_object() && json.contains("question") && json["question"].is_object() &&
                    json.contains("trials") && json["trials"].is_object();
  if (!ours) return Refused(path, "this is no result file of oomtrace fit; it was left alone");
  if (const absl::Status same = CheckQuestion(path, json["question"], question); !same.ok()) return same;
  for (const auto& [key, value] : json["trials"].items()) {
    if (!FromJson(value, results.trials_[key])) return Refused(path, absl::StrCat("the trial ", key, " is damaged"));
  }
  return results;
}

const Trial* FitResults::Find(const std::string& key) const {
  const auto found = trials_.find(key);
  return found == trials_.end() ? nullptr : &found->second;
}

absl::Status FitResults::Add(const std::string& key, const Trial& trial) {
  trials_[key] = trial;
  if (path_.empty()) return absl::OkStatus();
  Json trials = Json::object();
  for (const auto& [name, one] : trials_) trials[name] = ToJson(one);
  const fs::path next = absl::StrCat(path_.string(), ".", getpid(), ".new");
  std::ofstream stream(next, std::ios::binary | std::ios::trunc);
  stream
      << Json({{"question", ToJson(question_)}, {"trials", trials}}).dump(2, ' ', false, Json::error_handler_t::replace)
      << "\n";
  stream.close();
  std::error_code error;
  if (stream.good()) fs::rename(next, path_, error);
  if (stream.good() && !error) return absl::OkStatus();
  std::error_code ignored;
  fs::remove(next, ignored);
  return absl::InvalidArgumentError(absl::StrCat("--results ", path_.string(), ": the file cannot be written"));
}

}  // namespace oomtrace
