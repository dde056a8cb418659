// cuDNN's recurrent networks: PyTorch asks where each weight lies in one flat buffer, so shapes are real here.
//
// Layout, as PyTorch's own checks demand: for each pseudo-layer (layer x direction) the input matrices of all gates,
// then the recurrent ones, then the projection; after all matrices the biases in the same order.
#include <cstddef>
#include <cstdint>

#include "simgpu/api.h"

namespace {

constexpr int kSuccess = 0;
constexpr int kBadParameter = 2000;
constexpr int kMaxDimensions = 8;  // CUDNN_DIM_MAX

struct TensorDescriptor {
  int type;
  int dimensions;
  int size[kMaxDimensions];
  int stride[kMaxDimensions];
};

struct RnnDescriptor {
  int cell;  // 0 ReLU, 1 tanh, 2 LSTM, 3 GRU
  int type;
  int directions;
  int input_size;
  int hidden_size;
  int projected_size;
  int layers;
};

struct RnnDataDescriptor {
  int longest;
  int batch;
};

size_t BytesOf(int type) {
  switch (type) {
    case 1:  // CUDNN_DATA_DOUBLE
      return 8;
    case 2:  // CUDNN_DATA_HALF
    case 9:  // CUDNN_DATA_BFLOAT16
      return 2;
    default:
      return 4;
  }
}

int Gates(const RnnDescriptor& rnn) { return rnn.cell == 2 ? 4 : rnn.cell == 3 ? 3 : 1; }
bool Projects(const RnnDescriptor& rnn) { return rnn.projected_size != rnn.hidden_size; }
int PseudoLayers(const RnnDescriptor& rnn) { return rnn.layers * rnn.directions; }

int64_t InputColumns(const RnnDescriptor& rnn, int pseudo_layer) {
  return pseudo_layer < rnn.directions ? rnn.input_size : int64_t{rnn.projected_size} * rnn.directions;
}

// Elements of all matrices of one pseudo-layer.
int64_t MatrixElements(const RnnDescriptor& rnn, int pseudo_layer) {
  const int64_t gates = Gates(rnn);
  int64_t elements = gates * rnn.hidden_size * (InputColumns(rnn, pseudo_layer) + rnn.projected_size);
  if (Projects(rnn)) elements += int64_t{rnn.projected_size} * rnn.hidden_size;
  return elements;
}

int64_t MatricesBefore(const RnnDescriptor& rnn, int pseudo_layer) {
  int64_t elements = 0;
  for (int i = 0; i < pseudo_layer; ++i) elements += MatrixElements(rnn, i);
  return elements;
}

int64_t BiasElements(const RnnDescriptor& rnn) { return int64_t{2} * Gates(rnn) * rnn.hidden_size; }

void SetMatrix(void* descriptor, int type, int64_t rows, int64_t columns) {
  if (descriptor == nullptr) return;
  *static_cast<TensorDescriptor*>(descriptor) = {type,
                                                 3,
                                                 {1, static_cast<int>(rows), static_cast<int>(columns)},
                                                 {static_cast<int>(rows * columns), static_cast<int>(columns), 1}};
}

template <typename Descriptor>
int New(void** descriptor) {
  *descriptor = new Descriptor{};
  return kSuccess;
}

template <typename Descriptor>
int Delete(void* descriptor) {
  delete static_cast<Descriptor*>(descriptor);
  return kSuccess;
}

}  // namespace

SIMGPU_API int cudnnCreateTensorDescriptor(void** descriptor) { return New<TensorDescriptor>(descriptor); }
SIMGPU_API int cudnnDestroyTensorDescriptor(void* descriptor) { return Delete<TensorDescriptor>(descriptor); }
SIMGPU_API int cudnnCreateRNNDescriptor(void** descriptor) { return New<RnnDescriptor>(descriptor); }
SIMGPU_API int cudnnDestroyRNNDescriptor(void* descriptor) { return Delete<RnnDescriptor>(descriptor); }
SIMGPU_API int cudnnCreateRNNDataDescriptor(void** descriptor) { return New<RnnDataDescriptor>(descriptor); }
SIMGPU_API int cudnnDestroyRNNDataDescriptor(void* descriptor) { return Delete<RnnDataDescriptor>(descriptor); }

SIMGPU_API int cudnnSetTensorNdDescriptor(void* descriptor, int type, int dimensions, const int* size,
                                          const int* stride) {
  if (dimensions < 0 || dimensions > kMaxDimensions) return kBadParameter;
  auto* tensor = static_cast<TensorDescriptor*>(descriptor);
  tensor->type = type;
  tensor->dimensions = dimensions;
  for (int i = 0; i < dimensions; ++i) {
    tensor->size[i] = size[i];
    tensor->stride[i] = stride[i];
  }
  return kSuccess;
}

SIMGPU_API int cudnnGetTensorNdDescriptor(void* descriptor, int requested, int* type, int* dimensions, int* size,
                                          int* stride) {
  const auto* tensor = static_cast<const TensorDescriptor*>(descriptor);
  *type = tensor->type;
  *dimensions = tensor->dimensions;
  for (int i = 0; i < tensor->dimensions && i < requested; ++i) {
    size[i] = tensor->size[i];
    stride[i] = tensor->stride[i];
  }
  return kSuccess;
}

SIMGPU_API int cudnnSetRNNDescriptor_v8(void* descriptor, int, int cell, int, int direction, int, int type, int, int,
                                        int32_t input_size, int32_t hidden_size, int32_t projected_size, int32_t layers,
                                        void*, uint32_t) {
  const int directions = direction == 0 ? 1 : 2;
  *static_cast<RnnDescriptor*>(descriptor) = {cell, type, directions, input_size, hidden_size, projected_size, layers};
  return kSuccess;
}

SIMGPU_API int cudnnSetRNNDataDescriptor(void* descriptor, int, int, int longest, int batch, int, const int*, void*) {
  *static_cast<RnnDataDescriptor*>(descriptor) = {longest, batch};
  return kSuccess;
}

SIMGPU_API int cudnnGetRNNWeightSpaceSize(void*, void* descriptor, size_t* bytes) {
  const auto& rnn = *static_cast<const RnnDescriptor*>(descriptor);
  const int64_t elements = MatricesBefore(rnn, PseudoLayers(rnn)) + PseudoLayers(rnn) * BiasElements(rnn);
  *bytes = static_cast<size_t>(elements) * BytesOf(rnn.type);
  return kSuccess;
}

// The caller asks for the matrix or the bias: the other's two outputs are null then.
SIMGPU_API int cudnnGetRNNWeightParams(void*, void* descriptor, int32_t pseudo_layer, size_t, const void* weights,
                                       int32_t matrix, void* matrix_descriptor, void** matrix_address,
                                       void* bias_descriptor, void** bias_address) {
  const auto& rnn = *static_cast<const RnnDescriptor*>(descriptor);
  const int gates = Gates(rnn);
  const bool projection = matrix == 2 * gates;
  if (matrix < 0 || matrix > 2 * gates || pseudo_layer < 0 || pseudo_layer >= PseudoLayers(rnn)) return kBadParameter;
  const int64_t input_columns = InputColumns(rnn, pseudo_layer);
  const int64_t input_matrix = rnn.hidden_size * input_columns;
  const int64_t recurrent_matrix = int64_t{rnn.hidden_size} * rnn.projected_size;
  int64_t offset = MatricesBefore(rnn, pseudo_layer);
  if (matrix < gates) {
    offset += matrix * input_matrix;
    SetMatrix(matrix_descriptor, rnn.type, rnn.hidden_size, input_columns);
  } else if (!projection) {
    offset += gates * input_matrix + (matrix - gates) * recurrent_matrix;
    SetMatrix(matrix_descriptor, rnn.type, rnn.hidden_size, rnn.projected_size);
  } else {
    offset += gates * (input_matrix + recurrent_matrix);
    SetMatrix(matrix_descriptor, rnn.type, rnn.projected_size, rnn.hidden_size);
  }
  const int64_t element = static_cast<int64_t>(BytesOf(rnn.type));
  char* base = const_cast<char*>(static_cast<const char*>(weights));
  if (matrix_address != nullptr) {
    *matrix_address = projection && !Projects(rnn) ? nullptr : base + offset * element;
  }
  if (bias_address == nullptr) return kSuccess;
  *bias_address = nullptr;
  if (projection) return kSuccess;
  const int64_t bias =
      MatricesBefore(rnn, PseudoLayers(rnn)) + pseudo_layer * BiasElements(rnn) + int64_t{matrix} * rnn.hidden_size;
  SetMatrix(bias_descriptor, rnn.type, rnn.hidden_size, 1);
  *bias_address = base + bias * element;
  return kSuccess;
}

// cuDNN does not document these sizes. What must be there: for training the gates and the states of each time step
// (reserve), and one layer's gates as scratch space.
SIMGPU_API int cudnnGetRNNTempSpaceSizes(void*, void* descriptor, int mode, void* data, size_t* workspace,
                                         size_t* reserve) {
  const auto& rnn = *static_cast<const RnnDescriptor*>(descriptor);
  const auto& sequence = *static_cast<const RnnDataDescriptor*>(data);
  const size_t step = static_cast<size_t>(rnn.hidden_size) * static_cast<size_t>(sequence.batch) * BytesOf(rnn.type);
  const size_t steps = step * static_cast<size_t>(sequence.longest) * static_cast<size_t>(rnn.directions);
  constexpr int kTraining = 1;
  if (workspace != nullptr) *workspace = steps * static_cast<size_t>(Gates(rnn));
  if (reserve != nullptr) {
    *reserve = mode == kTraining ? steps * static_cast<size_t>(rnn.layers * (Gates(rnn) + 2)) : 0;
  }
  return kSuccess;
}
