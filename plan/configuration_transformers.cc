#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "plan/configuration.h"

namespace oomtrace::plan {
namespace {

using Json = nlohmann::json;

class Reader {
 public:
  Reader(const Json& json, const std::string& file) : json_(json), file_(file) {}

  // The first of the names that is there and not null.
  void Whole(std::initializer_list<const char*> names, int64_t& into, bool needed = true) {
    for (const char* name : names) {
      const auto found = json_.find(name);
      if (found == json_.end() || found->is_null()) continue;
      if (!found->is_number_integer()) return Fail(absl::StrCat("\"", name, "\" is not a whole number"));
      into = found->get<int64_t>();
      return;
    }
    if (needed) Fail(absl::StrCat("\"", *names.begin(), "\" is missing"));
  }
  void Truth(const char* name, bool& into) {
    const auto found = json_.find(name);
    if (found != json_.end() && found->is_boolean()) into = found->get<bool>();
  }
  void Decimal(const char* name, double& into) {
    const auto found = json_.find(name);
    if (found != json_.end() && found->is_number()) into = found->get<double>();
  }
  std::string Text(const char* name) const {
    const auto found = json_.find(name);
    return found != json_.end() && found->is_string() ? found->get<std::string>() : "";
  }
  void Fail(const std::string& why) {
    if (status_.ok()) status_ = absl::InvalidArgumentError(absl::StrCat(file_, ": ", why));
  }
  const absl::Status& status() const { return status_; }

 private:
  const Json& json_;
  const std::string& file_;
  absl::Status status_;
};

void ReadGpt2(Reader& reader, Model& model) {
  model.family = Family::kGpt2;
  model.dropout = 0.1;
  model.bias = true;
  // The defaults of GPT2Config.
  model.vocabulary = 50257;
  reader.Whole({"n_layer", "num_hidden_layers"}, model.layers, false);
  reader.Whole({"n_head", "num_attention_heads"}, model.heads, false);
  reader.Whole({"n_embd", "hidden_size"}, model.hidden, false);
  reader.Whole({"vocab_size"}, model.vocabulary, false);
  reader.Whole({"n_positions", "n_ctx", "max_position_embeddings"}, model.positions, false);
  reader.Truth("tie_word_embeddings", model.tied);
  reader.Decimal("resid_pdrop", model.dropout);
  model.inner = 4 * model.hidden;
  reader.Whole({"n_inner"}, model.inner, false);
  model.key_heads = model.heads;
  if (model.heads > 0) model.head_width = model.hidden / model.heads;
  const std::string activation = reader.Text("activation_function");
  if (!activation.empty() && activation != "gelu_new")
    reader.Fail(absl::StrCat("\"activation_function\" ", activation, " is not modelled, only gelu_new"));
}

void ReadLlama(Reader& reader, const std::string& type, Model& model) {
  model.family = Family::kLlama;
  model.dropout = 0;
  reader.Whole({"num_hidden_layers"}, model.layers);
  reader.Whole({"num_attention_heads"}, model.heads);
  reader.Whole({"hidden_size"}, model.hidden);
  reader.Whole({"intermediate_size"}, model.inner);
  reader.Whole({"vocab_size"}, model.vocabulary);
  model.key_heads = model.heads;
  reader.Whole({"num_key_value_heads"}, model.key_heads, false);
  if (model.heads > 0) model.head_width = model.hidden / model.heads;
  if (type == "qwen3") model.head_width = 128;
  reader.Whole({"head_dim"}, model.head_width, false);
  reader.Whole({"max_position_embeddings"}, model.positions, false);
  model.tied = false;
  reader.Truth("tie_word_embeddings", model.tied);
  model.attention_bias = type == "qwen2";
  model.head_norm = type == "qwen3";
  bool attention_bias = false, mlp_bias = false;
  reader.Truth("attention_bias", attention_bias);
  reader.Truth("mlp_bias", mlp_bias);
  if (mlp_bias) reader.Fail("\"mlp_bias\": true is not modelled");
  if (attention_bias && type != "qwen2") reader.Fail("\"attention_bias\": true is not modelled");
}

}  // namespace

absl::StatusOr<Configuration> TransformersConfiguration(const std::string& text, const std::string& file) {
  const Json json = Json::parse(text, nullptr, false);
  if (!json.is_object()) return absl::InvalidArgumentError(absl::StrCat(file, ": not a JSON object"));
  Configuration configuration;
  Reader reader(json, file);
  const std::string type = reader.Text("model_type");
  configuration.model.name = absl::StrCat("Transformers, ", type);
  if (type == "gpt2") {
    ReadGpt2(reader, configuration.model);
  } else if (type == "llama" || type == "mistral" || type == "qwen2" || type == "qwen3") {
    ReadLlama(reader, type, configuration.model);
  } else {
    reader.Fail(absl::StrCat("\"model_type\" ", type.empty() ? "is missing" : absl::StrCat(type, " is not modelled"),
                             "; known are gpt2, llama, mistral, qwen2, qwen3. `oomtrace dryrun` runs any model"));
  }
  if (!reader.status().ok()) return reader.status();
  configuration.optimizer = Optimizer::kAdamwFused;
  return configuration;
}

}  // namespace oomtrace::plan
