// NCCL. Ranks do not talk to each other: each answers a collective as if all ranks held what it holds itself. That is
// right for what data-parallel programs compare (shapes, counts, seeds), and memory does not depend on values. Copies
// follow the data rule (contents.h).
//
// Declared here and not through nccl.h: enumerations are passed as int, opaque handles as pointers.
#include <unistd.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <ctime>
#include <vector>

#include "simgpu/api.h"
#include "simgpu/api/runtime.h"
#include "simgpu/contents.h"

using namespace oomtrace::simgpu;

namespace {

constexpr int kSuccess = 0;
constexpr int kUnhandledCudaError = 1;
constexpr int kInvalidArgument = 4;
constexpr int kVersion = 22809;  // 2.28.9, of the torch 2.11 wheel

struct Communicator {
  int ranks;
  int rank;
  int device;
};

struct UniqueId {
  char bytes[128];
};

enum DataType { kInt8, kUint8, kInt32, kUint32, kInt64, kUint64, kHalf, kFloat, kDouble, kBfloat16 };
enum Operation { kSum, kProduct, kMax, kMin, kAverage };

size_t BytesOf(int type) {
  switch (type) {
    case kInt32:
    case kUint32:
    case kFloat:
      return 4;
    case kInt64:
    case kUint64:
    case kDouble:
      return 8;
    case kHalf:
    case kBfloat16:
      return 2;
    default:  // 8-bit integers and floats
      return 1;
  }
}

template <typename T>
void Combine(std::vector<char>& bytes, int operation, int ranks) {
  for (size_t at = 0; at + sizeof(T) <= bytes.size(); at += sizeof(T)) {
    T value;
    std::memcpy(&value, &bytes[at], sizeof value);
    value = operation == kProduct ? static_cast<T>(std::pow(value, ranks)) : static_cast<T>(value * ranks);
    std::memcpy(&bytes[at], &value, sizeof value);
  }
}

// bfloat16 is the upper half of a float. Halves are left as they are: what is reduced in half precision are
// gradients, which no kernel has written.
void CombineBfloat16(std::vector<char>& bytes, int operation, int ranks) {
  for (size_t at = 0; at + 2 <= bytes.size(); at += 2) {
    uint32_t bits = 0;
    std::memcpy(reinterpret_cast<char*>(&bits) + 2, &bytes[at], 2);
    float value;
    std::memcpy(&value, &bits, sizeof value);
    value = operation == kProduct ? std::pow(value, static_cast<float>(ranks)) : value * static_cast<float>(ranks);
    std::memcpy(&bytes[at], reinterpret_cast<const char*>(&value) + 2, 2);
  }
}

// recv = what reducing `ranks` copies of send gives.
void ReduceEqualRanks(const void* send, void* recv, size_t bytes, int type, int operation, int ranks) {
  if (send != recv) CopyBytes(recv, send, bytes);
  const bool unchanged = ranks == 1 || operation == kMax || operation == kMin || operation == kAverage;
  if (unchanged || bytes > kLargestRealCopy || !Contents::Get().Written(recv, bytes)) return;
  std::vector<char> values(bytes);
  Contents::Get().Download(values.data(), recv, bytes);
  switch (type) {
    case kInt8:
      Combine<int8_t>(values, operation, ranks);
      break;
    case kUint8:
      Combine<uint8_t>(values, operation, ranks);
      break;
    case kInt32:
      Combine<int32_t>(values, operation, ranks);
      break;
    case kUint32:
      Combine<uint32_t>(values, operation, ranks);
      break;
    case kInt64:
      Combine<int64_t>(values, operation, ranks);
      break;
    case kUint64:
      Combine<uint64_t>(values, operation, ranks);
      break;
    case kFloat:
      Combine<float>(values, operation, ranks);
      break;
    case kDouble:
      Combine<double>(values, operation, ranks);
      break;
    case kBfloat16:
      CombineBfloat16(values, operation, ranks);
      break;
    default:
      return;
  }
  Contents::Get().Upload(recv, values.data(), bytes);
}

char* At(void* base, size_t offset) { return static_cast<char*>(base) + offset; }
const char* At(const void* base, size_t offset) { return static_cast<const char*>(base) + offset; }

int Init(Communicator** communicator, int ranks, int rank) {
  if (ranks < 1 || rank < 0 || rank >= ranks) return kInvalidArgument;
  if (RequireCurrent() != Refusal::kNone) return kUnhandledCudaError;
  *communicator = new Communicator{ranks, rank, Machine::current_device()};
  return kSuccess;
}

}  // namespace

SIMGPU_API int ncclGetVersion(int* version) {
  *version = kVersion;
  return kSuccess;
}

SIMGPU_API const char* ncclGetErrorString(int error) { return error == kSuccess ? "no error" : "NCCL error"; }
SIMGPU_API const char* ncclGetLastError(Communicator*) { return ""; }

SIMGPU_API int ncclGetUniqueId(UniqueId* id) {
  *id = {};
  const long parts[] = {static_cast<long>(getpid()), static_cast<long>(std::time(nullptr))};
  std::memcpy(id->bytes, parts, sizeof parts);
  return kSuccess;
}

SIMGPU_API int ncclCommInitRank(Communicator** communicator, int ranks, UniqueId, int rank) {
  return Init(communicator, ranks, rank);
}

SIMGPU_API int ncclCommInitRankConfig(Communicator** communicator, int ranks, UniqueId, int rank, void*) {
  return Init(communicator, ranks, rank);
}

SIMGPU_API int ncclCommInitRankScalable(Communicator** communicator, int ranks, int rank, int, UniqueId*, void*) {
  return Init(communicator, ranks, rank);
}

SIMGPU_API int ncclCommInitAll(Communicator** communicators, int count, const int* devices) {
  for (int i = 0; i < count; ++i) communicators[i] = new Communicator{count, i, devices == nullptr ? i : devices[i]};
  return kSuccess;
}

// The size of the new group is known only to the ranks that share a color; the parent's stands for it.
SIMGPU_API int ncclCommSplit(Communicator* parent, int, int, Communicator** child, void*) {
  *child = new Communicator(*parent);
  return kSuccess;
}

SIMGPU_API int ncclCommDestroy(Communicator* communicator) {
  delete communicator;
  return kSuccess;
}

SIMGPU_API int ncclCommAbort(Communicator* communicator) { return ncclCommDestroy(communicator); }
SIMGPU_API int ncclCommFinalize(Communicator*) { return kSuccess; }

SIMGPU_API int ncclCommCount(Communicator* communicator, int* count) {
  *count = communicator->ranks;
  return kSuccess;
}

SIMGPU_API int ncclCommUserRank(Communicator* communicator, int* rank) {
  *rank = communicator->rank;
  return kSuccess;
}

SIMGPU_API int ncclCommCuDevice(Communicator* communicator, int* device) {
  *device = communicator->device;
  return kSuccess;
}

SIMGPU_API int ncclCommGetAsyncError(Communicator*, int* error) {
  *error = kSuccess;
  return kSuccess;
}

SIMGPU_API int ncclCommRegister(Communicator*, void* buffer, size_t, void** handle) {
  *handle = buffer;
  return kSuccess;
}

SIMGPU_API int ncclCommDeregister(Communicator*, void*) { return kSuccess; }
SIMGPU_API int ncclGroupStart() { return kSuccess; }
SIMGPU_API int ncclGroupEnd() { return kSuccess; }

SIMGPU_API int ncclMemAlloc(void** pointer, size_t bytes) {
  return cudaMalloc(pointer, bytes) == cudaSuccess ? kSuccess : kUnhandledCudaError;
}

SIMGPU_API int ncclMemFree(void* pointer) { return cudaFree(pointer) == cudaSuccess ? kSuccess : kUnhandledCudaError; }

// A scaled sum counts as a sum: its factor would be read on the device.
SIMGPU_API int ncclRedOpCreatePreMulSum(int* operation, void*, int, int, Communicator*) {
  *operation = kSum;
  return kSuccess;
}

SIMGPU_API int ncclRedOpDestroy(int, Communicator*) { return kSuccess; }

SIMGPU_API int ncclAllReduce(const void* send, void* recv, size_t count, int type, int operation,
                             Communicator* communicator, void*) {
  ReduceEqualRanks(send, recv, count * BytesOf(type), type, operation, communicator->ranks);
  return kSuccess;
}

SIMGPU_API int ncclReduce(const void* send, void* recv, size_t count, int type, int operation, int root,
                          Communicator* communicator, void*) {
  if (communicator->rank == root) {
    ReduceEqualRanks(send, recv, count * BytesOf(type), type, operation, communicator->ranks);
  }
  return kSuccess;
}

SIMGPU_API int ncclBroadcast(const void* send, void* recv, size_t count, int type, int root, Communicator* communicator,
                             void*) {
  if (communicator->rank == root && send != recv) CopyBytes(recv, send, count * BytesOf(type));
  return kSuccess;
}

SIMGPU_API int ncclBcast(void*, size_t, int, int, Communicator*, void*) { return kSuccess; }

SIMGPU_API int ncclAllGather(const void* send, void* recv, size_t count, int type, Communicator* communicator, void*) {
  const size_t bytes = count * BytesOf(type);
  for (int rank = 0; rank < communicator->ranks; ++rank) {
    if (At(recv, rank * bytes) != send) CopyBytes(At(recv, rank * bytes), send, bytes);
  }
  return kSuccess;
}

SIMGPU_API int ncclReduceScatter(const void* send, void* recv, size_t count, int type, int operation,
                                 Communicator* communicator, void*) {
  const size_t bytes = count * BytesOf(type);
  ReduceEqualRanks(At(send, communicator->rank * bytes), recv, bytes, type, operation, communicator->ranks);
  return kSuccess;
}

SIMGPU_API int ncclAlltoAll(const void* send, void* recv, size_t count, int type, Communicator* communicator, void*) {
  const size_t bytes = count * BytesOf(type);
  for (int rank = 0; rank < communicator->ranks; ++rank) {
    CopyBytes(At(recv, rank * bytes), At(send, communicator->rank * bytes), bytes);
  }
  return kSuccess;
}

SIMGPU_API int ncclSend(const void*, size_t, int, int, Communicator*, void*) { return kSuccess; }

SIMGPU_API int ncclRecv(void* recv, size_t count, int type, int, Communicator*, void*) {
  Contents::Get().Forget(recv, count * BytesOf(type));
  return kSuccess;
}
