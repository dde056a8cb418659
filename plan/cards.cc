#include "plan/cards.h"

#include <algorithm>
#include <map>
#include <tuple>

namespace oomtrace::plan {
namespace {

// No more is asked for: the answer would be of no use.
constexpr int64_t kLargestBatch = 65536;

class Player {
 public:
  explicit Player(const Question& question) : question_(question) {}

  Training At(int64_t batch) const {
    Training training = question_.training;
    training.batch = batch;
    if (question_.effective_batch > 0) training.accumulation = (question_.effective_batch + batch - 1) / batch;
    return training;
  }

  // On a card of any size; alike on cards with the same kernels and workspaces.
  const Estimate& Unlimited(int64_t batch, const Card& card) {
    const auto key = std::make_tuple(batch, ChooseAttention(card, question_.model, question_.training.precision),
                                     WorkspaceBytes(card));
    const auto found = unlimited_.find(key);
    if (found != unlimited_.end()) return found->second;
    return unlimited_[key] = Play(question_.model, At(batch), card, kUnlimited);
  }

  int64_t Capacity(const Card& card) const {
    return card.total - card.context - question_.other -
           static_cast<int64_t>(static_cast<double>(card.total) * Margin(question_.model, question_.training));
  }

  // With all that the allocator would take of a card of any size. On a smaller one it gives back what it holds unused
  // and may just manage; whether it does hangs on the order of sizes, and trainings said to fit so have died.
  bool Fits(int64_t batch, const Card& card) { return Unlimited(batch, card).peak_reserved <= Capacity(card); }

  int64_t Largest(const Card& card) {
    int64_t fits = 0, fails = 1;
    while (fails <= kLargestBatch && Fits(fails, card)) {
      fits = fails;
      fails *= 2;
    }
    while (fails - fits > 1) {
      const int64_t middle = fits + (fails - fits) / 2;
      (Fits(middle, card) ? fits : fails) = middle;
    }
    return fits;
  }

 private:
  const Question& question_;
  std::map<std::tuple<int64_t, AttentionKernel, int64_t>, Estimate> unlimited_;
};

CardRow Row(Player& player, const Question& question, const Card& card) {
  CardRow row;
  row.card = card;
  row.other = question.other;
  row.largest = player.Largest(card);
  const int64_t shown = std::max<int64_t>(row.largest, 1);
  row.accumulation = player.At(shown).accumulation;
  row.at_largest = player.Unlimited(shown, card);
  row.left_over = card.total - card.context - question.other - row.at_largest.peak_reserved;
  row.tight = static_cast<double>(row.left_over) < kTight * static_cast<double>(card.total);
  const Estimate next = Play(question.model, player.At(row.largest + 1), card, player.Capacity(card));
  if (next.refused) row.dies_of = next.refused_kind;
  for (const int64_t batch : question.batches)
    row.cells.push_back({batch, player.Unlimited(batch, card).peak_reserved, batch <= row.largest});
  return row;
}

}  // namespace

double Margin(const Model& model, const Training& training) {
  if (model.family == Family::kGpt2 || model.family == Family::kLlama) return 0.18;
  return training.compile ? 0.10 : 0.03;
}

bool IsModelled(const Card& card, const Model& model, Precision precision) {
  if (ChooseAttention(card, model, precision) != AttentionKernel::kEfficient) return true;
  return precision == Precision::kFloat32 && model.heads == model.key_heads;
}

Answer AnswerOn(const Question& question, const std::vector<Card>& cards) {
  Answer answer;
  answer.question = question;
  Player player(question);
  for (const Card& card : cards) {
    if (IsModelled(card, question.model, question.training.precision)) {
      answer.cards.push_back(Row(player, question, card));
    } else {
      answer.left_out.push_back(card.name);
    }
  }
  if (!answer.cards.empty()) answer.breakdown = player.Unlimited(question.training.batch, answer.cards.front().card);
  return answer;
}

}  // namespace oomtrace::plan
