// The question of `oomtrace plan`: on which cards does which micro-batch fit.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "plan/model.h"
#include "plan/training.h"

namespace oomtrace::plan {

// A micro-batch counts as fitting where the played training fits into the card less this share of its memory: more than
// the reserved bytes were off by in docs/plan.md. Transformers' reserved bytes are known less well, nanochat's at few
// points.
double Margin(const Model& model, const Training& training);
// The attention kernel that this model would take on this card is modelled: the memory-efficient one in float32 only
// (in half precision trainings said to fit died), and never with grouped heads.
bool IsModelled(const Card& card, const Model& model, Precision precision);
// Fits with less than this share left over.
inline constexpr double kTight = 0.03;

struct Cell {
  int64_t batch = 0;
  int64_t reserved = 0;  // peak of PyTorch's allocator, on a card of any size
  bool fits = false;     // with the margin
};

struct CardRow {
  Card card;
  int64_t other = 0;         // bytes of other processes
  int64_t largest = 0;       // micro-batch; 0: not even one
  Estimate at_largest;       // of micro-batch 1 where none fits
  int64_t accumulation = 0;  // for the effective batch, rounded up
  int64_t left_over = 0;     // of the card, beside context, other processes and what PyTorch reserves
  bool tight = false;
  std::optional<Kind> dies_of;  // what the next larger micro-batch has no room for; none: it might just manage
  std::vector<Cell> cells;
};

struct Question {
  Model model;
  Training training;             // its micro-batch is that of the breakdown
  int64_t effective_batch = 0;   // sequences; 0: micro-batch x accumulation as given
  std::vector<int64_t> batches;  // columns
  int64_t other = 0;
};

struct Answer {
  Question question;
  Estimate breakdown;  // of the training's micro-batch, on the first card
  std::vector<CardRow> cards;
  std::vector<std::string> left_out;  // cards that are not modelled for this model
};

Answer AnswerOn(const Question& question, const std::vector<Card>& cards);

}  // namespace oomtrace::plan
