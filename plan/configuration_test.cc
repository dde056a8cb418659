#include "plan/configuration.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace oomtrace::plan {
namespace {

using ::testing::HasSubstr;

TEST(NanoGptConfiguration, AssignmentsWinOverTheDefaultsOfTrainPy) {
  const auto c = NanoGptConfiguration(
      "# comment\nbatch_size = 64  # more\nblock_size=256\nn_layer = 6\nn_head "
      "= 6\nn_embd = 384\ndropout = 0.2\n"
      "wandb_run_name = 'a=b # c' + str(1)\ngradient_accumulation_steps = 5 * "
      "8\ncompile = False\ndtype = 'float16'\n",
      "x.py");
  ASSERT_TRUE(c.ok()) << c.status();
  EXPECT_EQ(c->model.layers, 6);
  EXPECT_EQ(c->model.inner, 4 * 384);
  EXPECT_EQ(c->model.head_width, 64);
  EXPECT_EQ(c->model.vocabulary, 50304);
  EXPECT_EQ(c->model.positions, 256);
  EXPECT_EQ(c->batch, 64);
  EXPECT_EQ(c->accumulation, 40);
  EXPECT_EQ(c->compile, false);
  EXPECT_EQ(c->precision, Precision::kAutocastFloat16);
  EXPECT_DOUBLE_EQ(c->model.dropout, 0.2);
}

TEST(NanoGptConfiguration, PretrainedNamesGiveTheShape) {
  const auto c = NanoGptConfiguration("init_from = 'gpt2-xl'\nbatch_size = 1\n", "x.py");
  ASSERT_TRUE(c.ok());
  EXPECT_EQ(c->model.layers, 48);
  EXPECT_EQ(c->model.hidden, 1600);
  EXPECT_EQ(c->model.heads, 25);
  EXPECT_EQ(c->model.vocabulary, 50257);
  EXPECT_TRUE(c->model.bias);
}

TEST(NanoGptConfiguration, WhatCannotBeReadIsNamedWithItsLine) {
  EXPECT_THAT(NanoGptConfiguration("\nn_layer = layers()\n", "x.py").status().message(), HasSubstr("x.py:2: n_layer"));
  EXPECT_THAT(NanoGptConfiguration("init_from = 'bert'\n", "x.py").status().message(), HasSubstr("gpt2-medium"));
  EXPECT_FALSE(NanoGptConfiguration("n_head = 0\n", "x.py").ok());
  EXPECT_THAT(NanoGptConfiguration("batch_size = 64\n", "x.py").status().message(), HasSubstr("not a nanoGPT"));
  EXPECT_THAT(NanoGptConfiguration("", "x.py").status().message(), HasSubstr("oomtrace dryrun"));
  EXPECT_FALSE(NanoGptConfiguration("batch_size = 99999999999 * 99999999999\n", "x.py").ok());
}

TEST(TransformersConfiguration, GroupedHeadsAndTyingOfTheLlamaFamily) {
  const auto c = TransformersConfiguration(
      R"({"model_type": "qwen2", "hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 24,
          "num_attention_heads": 14, "num_key_value_heads": 2, "vocab_size": 151936, "tie_word_embeddings": true})",
      "config.json");
  ASSERT_TRUE(c.ok()) << c.status();
  EXPECT_EQ(c->model.key_heads, 2);
  EXPECT_EQ(c->model.head_width, 64);
  EXPECT_TRUE(c->model.tied);
  EXPECT_TRUE(c->model.attention_bias);
}

TEST(TransformersConfiguration, OtherArchitecturesAreRefusedByName) {
  EXPECT_THAT(TransformersConfiguration(R"({"model_type": "bert"})", "c.json").status().message(),
              HasSubstr("bert is not modelled"));
  EXPECT_THAT(TransformersConfiguration(R"({"model_type": "llama"})", "c.json").status().message(),
              HasSubstr("\"num_hidden_layers\" is missing"));
  EXPECT_THAT(TransformersConfiguration("[1", "c.json").status().message(), HasSubstr("not a JSON object"));
}

TEST(Check, RefusesWhatIsNoModel) {
  Model model;
  EXPECT_TRUE(Check(model, {}).ok());
  model.head_width = 63;
  EXPECT_FALSE(Check(model, {}).ok());
  Training longer;
  longer.sequence = 2048;
  EXPECT_FALSE(Check(Model(), longer).ok());
}

}  // namespace
}  // namespace oomtrace::plan
