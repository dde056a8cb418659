// Formulas against sums made by hand, and the rules of the search.
#include <gtest/gtest.h>

#include "plan/cards.h"
#include "plan/configuration.h"
#include "plan/training.h"

namespace oomtrace::plan {
namespace {

constexpr int64_t kMiB = 1 << 20;

Card Ampere() { return {"card", 24 * 1024 * kMiB, 225 * kMiB, 8, 0}; }

int64_t Of(const Estimate& estimate, Kind kind) { return estimate.at_peak[static_cast<size_t>(kind)]; }

TEST(Play, Gpt2HasItsParameters) {
  Training training;
  training.batch = 1;
  const Estimate e = Play(Model(), training, Ampere(), kUnlimited);
  // 50304 x 768 + 1024 x 768 + 12 x (12 x 768 x 768 + 2 x 768) + 768: nanoGPT without biases.
  EXPECT_EQ(e.parameters, 38633472 + 786432 + 12 * (7077888 + 1536) + 768);
  EXPECT_EQ(Of(e, Kind::kParameter), 4 * e.parameters);
  // Two moments of four bytes, and a count of steps for each of 2 + 12 x 6 + 1 parameters.
  EXPECT_EQ(Of(e, Kind::kOptimizer), 8 * e.parameters + 4 * 75);
}

TEST(Play, ThePeakOfOneLayerIsTheSumOfWhatWasRecorded) {
  // One layer, batch 4 x 1024, bf16 autocast, one micro-batch: the highest moment is the gradient of log_softmax.
  Model model;
  model.layers = 1;
  Training training;
  training.batch = 4;
  const Estimate e = Play(model, training, Ampere(), kUnlimited);
  const int64_t n = 4096, c = 768, v = 50304;
  // bf16 logits, bf16 log-probabilities, their copy in float32 and its gradient.
  EXPECT_EQ(Of(e, Kind::kLogits), n * v * (2 + 2 + 4 + 4));
  // Stream: 3 in float32. A block: three norms' inputs are the stream; bf16: two norms' outputs, q k v, attention, MLP
  // before and after GELU, the head's input; numbers of each row: three norms' mean and deviation, 12 heads.
  const int64_t stream = 3 * n * c * 4 + n * c * 2 * (2 + 3 + 1 + 4 + 4 + 1);
  EXPECT_EQ(Of(e, Kind::kActivation), stream + n * 4 * (3 * 2 + 12) + 16);
  EXPECT_EQ(Of(e, Kind::kWeightCopy), 2 * (12 * c * c + v * c));
}

TEST(Play, AccumulationKeepsGradientsThroughTheForwardPass) {
  Training once, twice;
  once.batch = twice.batch = 2;
  twice.accumulation = 2;
  const Estimate a = Play(Model(), once, Ampere(), kUnlimited);
  const Estimate b = Play(Model(), twice, Ampere(), kUnlimited);
  EXPECT_GT(b.peak_allocated, a.peak_allocated + 4 * a.parameters - 64 * kMiB);
}

TEST(Play, CheckpointingKeepsOneStreamABlock) {
  Training plain, checkpointed;
  plain.batch = checkpointed.batch = 4;
  checkpointed.checkpointing = true;
  const Estimate a = Play(Model(), plain, Ampere(), kUnlimited);
  const Estimate b = Play(Model(), checkpointed, Ampere(), kUnlimited);
  EXPECT_LT(Of(b, Kind::kActivation), Of(a, Kind::kActivation) / 4);
  EXPECT_EQ(a.parameters, b.parameters);
}

TEST(Play, ForeachAdamwNeedsTheRootsOfAllSecondMoments) {
  // A batch so small that the step is the highest moment.
  Training fused, foreach;
  fused.sequence = foreach.sequence = 16;
  foreach
    .optimizer = Optimizer::kAdamwForeach;
  const Estimate a = Play(Model(), fused, Ampere(), kUnlimited);
  const Estimate b = Play(Model(), foreach, Ampere(), kUnlimited);
  // Beside the gradient of the loss, a number.
  EXPECT_EQ(Of(b, Kind::kTemporary), 4 * b.parameters + 4);
  EXPECT_GT(b.peak_allocated, a.peak_allocated);
}

TEST(Play, NanochatCountsWhatItsScriptPrints) {
  // Printed by scripts/base_train.py for --depth 4 and 6 with a vocabulary of 32768.
  for (const auto& [depth, parameters] : {std::pair<int64_t, int64_t>{4, 36700242}, {6, 73531538}}) {
    const Configuration c = NanochatConfiguration(depth);
    Training training;
    training.batch = 1;
    training.sequence = 256;
    training.precision = *c.precision;
    training.optimizer = *c.optimizer;
    training.compile = true;
    EXPECT_EQ(Play(c.model, training, Ampere(), kUnlimited).parameters, parameters);
  }
}

TEST(Answer, TheLargestFitsAndTheNextDoesNot) {
  Question question;
  question.effective_batch = 100;
  question.batches = {1, 8};
  const Answer answer = AnswerOn(question, {Ampere()});
  const CardRow& row = answer.cards[0];
  ASSERT_GT(row.largest, 1);
  const int64_t capacity =
      row.card.total - row.card.context - static_cast<int64_t>(row.card.total * Margin(Model(), Training()));
  Training training;
  training.batch = row.largest;
  training.accumulation = (100 + row.largest - 1) / row.largest;
  EXPECT_EQ(row.accumulation, training.accumulation);
  EXPECT_LE(Play(question.model, training, row.card, kUnlimited).peak_reserved, capacity);
  EXPECT_FALSE(Play(question.model, training, row.card, capacity).refused);
  training.batch = row.largest + 1;
  EXPECT_GT(Play(question.model, training, row.card, kUnlimited).peak_reserved, capacity);
  EXPECT_TRUE(row.cells[0].fits);
}

TEST(Answer, WhereTheStatesAloneAreTooLargeNothingFits) {
  Question question;
  question.model.layers = 48;
  question.model.heads = question.model.key_heads = 25;
  question.model.hidden = 1600;
  question.model.inner = 6400;
  // gpt2-xl on 24 GB: 1.56 billion parameters at 16 bytes are 23.2 GiB.
  const Answer answer = AnswerOn(question, {Ampere()});
  EXPECT_EQ(answer.cards[0].largest, 0);
}

}  // namespace
}  // namespace oomtrace::plan
