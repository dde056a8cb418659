#include "analyzer/read/record.h"

#include <algorithm>
#include <bit>

#include "analyzer/read/wire.h"
#include "trace.pb.h"

namespace oomtrace {
namespace {

using Fields = trace::Chunk;

constexpr uint64_t kMostBytes = 1ull << 48;
// A program may ask for anything; what is beyond this is told as this much, so that sums stay in 64 bits.
constexpr uint64_t kMostAsked = 1ull << 60;
constexpr uint64_t kMostDevices = 256;
constexpr uint64_t kMostId = UINT32_MAX;

constexpr uint32_t Bit(uint32_t number) { return 1u << number; }

// Which field numbers of an event hold sizes, device indices and ids, by the number of the event in trace::Chunk.
struct Meaning {
  uint32_t sizes = 0;
  uint32_t ids = 0;
  uint32_t device = 7;
};

Meaning MeaningOf(uint32_t type) {
  switch (type) {
    case Fields::kTensorAllocFieldNumber:
      return {Bit(3) | Bit(8), Bit(4) | Bit(5) | Bit(6)};
    case Fields::kTensorFreeFieldNumber:
      return {Bit(3) | Bit(8), 0};
    case Fields::kDeviceAllocFieldNumber:
      return {Bit(3), Bit(4) | Bit(5) | Bit(6) | Bit(8) | Bit(9) | Bit(10) | Bit(11)};
    case Fields::kDeviceFreeFieldNumber:
      return {Bit(13), Bit(5) | Bit(6) | Bit(11)};
    case Fields::kMemoryInfoFieldNumber:
      return {Bit(8) | Bit(9), 0};
    case Fields::kPhaseFieldNumber:
      return {0, Bit(2)};
    case Fields::kHostCopyFieldNumber:
      return {Bit(3), 0};
    case Fields::kOutOfMemoryFieldNumber:
      return {Bit(3) | Bit(8) | Bit(9) | Bit(10) | Bit(11), Bit(2) | Bit(4) | Bit(5) | Bit(6) | Bit(12)};
    case Fields::kRefusalTextFieldNumber:
    case Fields::kThreadFailedFieldNumber:
      return {0, Bit(2)};
    case Fields::kModelMoveFieldNumber:
      return {Bit(2) | Bit(3) | Bit(4), 0};
    case Fields::kFoldedCallsFieldNumber:
      return {Bit(2) | Bit(3), 0};
    case Fields::kPrivateSegmentFieldNumber:
      return {Bit(3), Bit(4)};
    case Fields::kTensorRoleFieldNumber:
      return {Bit(3), Bit(4) | Bit(5) | Bit(8)};
    case Fields::kGpuProcessesFieldNumber:
      return {Bit(3) | Bit(4), 0, 2};
    case Fields::kFoldedStepsFieldNumber:
      return {Bit(2) | Bit(3) | Bit(4) | Bit(5), Bit(6)};
    case Fields::kHolderFieldNumber:
      return {0, Bit(3)};
    default:
      return {};
  }
}

// Of the fields whose bits are set.
bool AllBelow(const Record& record, uint32_t fields, uint64_t most) {
  for (; fields != 0; fields &= fields - 1)
    if (record.field[static_cast<size_t>(std::countr_zero(fields))] > most) return false;
  return true;
}

constexpr uint32_t kAsked = 3;  // the bytes asked for, in both messages that can be a refusal

bool IsRefusal(const Record& record) {
  constexpr uint32_t kResult = 8;
  return record.type == Fields::kOutOfMemoryFieldNumber ||
         (record.type == Fields::kDeviceAllocFieldNumber && record.field[kResult] != 0);
}

}  // namespace

bool DecodeFields(Record* record) {
  record->present = 0;
  record->field.fill(0);
  WireReader wire(record->bytes);
  while (!wire.done()) {
    WireType type;
    const uint32_t number = wire.Tag(&type);
    if (!wire.ok()) return false;
    if (type == WireType::kVarint && number < Record::kFields) {
      record->field[number] = wire.Varint();
      record->present |= Bit(number);
    } else {
      wire.Skip(type);
    }
  }
  return wire.ok();
}

bool Plausible(Record* record) {
  Meaning meaning = MeaningOf(record->type);
  if (IsRefusal(*record)) {
    meaning.sizes &= ~Bit(kAsked);
    record->field[kAsked] = std::min(record->field[kAsked], kMostAsked);
  }
  return AllBelow(*record, meaning.sizes, kMostBytes) && AllBelow(*record, meaning.ids, kMostId) &&
         record->field[meaning.device] < kMostDevices;
}

}  // namespace oomtrace
