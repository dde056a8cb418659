#include "plan/model.h"

namespace oomtrace::plan {

AttentionKernel ChooseAttention(const Card& card, const Model& model, Precision precision) {
  // aten/src/ATen/native/transformers/cuda/sdp_utils.cpp: flash attention needs half precision, compute capability 8.0
  // and heads of at most 256; cuDNN comes first on 9.0 and 10.0.
  constexpr int64_t kWidestFlashHead = 256, kWidestCudnnHead = 128;
  const bool half = precision != Precision::kFloat32;
  if (!half || card.capability_major < 8 || model.head_width > kWidestFlashHead || model.head_width % 8 != 0)
    return AttentionKernel::kEfficient;
  const bool cudnn_first = card.capability_major == 9 || card.capability_major == 10;
  return cudnn_first && model.head_width <= kWidestCudnnHead ? AttentionKernel::kCudnn : AttentionKernel::kFlash;
}

int64_t WorkspaceBytes(const Card& card) {
  // aten/src/ATen/cuda/CublasHandlePool.cpp, parseChosenWorkspaceSize: 32 MiB on Hopper, else :4096:2:16:8 (KiB).
  constexpr int64_t kKiB = 1024;
  return card.capability_major == 9 || card.capability_major == 10 ? 4096 * 8 * kKiB : (4096 * 2 + 16 * 8) * kKiB;
}

int CastWidth(Precision precision) {
  return precision == Precision::kAutocastBfloat16 || precision == Precision::kAutocastFloat16 ? 2 : 0;
}

int ParameterWidth(Precision precision) { return precision == Precision::kBfloat16 ? 2 : 4; }

}  // namespace oomtrace::plan
