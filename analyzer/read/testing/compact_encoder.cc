#include "analyzer/read/testing/compact_encoder.h"

#include <bit>

#include "trace.pb.h"

namespace oomtrace::testing {
namespace {

void Varint(std::string* out, uint64_t value, size_t at_least = 1) {
  for (size_t written = 1; value >= 0x80 || written < at_least; ++written) {
    out->push_back(static_cast<char>(value | 0x80));
    value >>= 7;
  }
  out->push_back(static_cast<char>(value));
}

uint64_t Slot(uint64_t rotated) { return rotated * 0x9e3779b97f4a7c15 >> 51; }

}  // namespace

void CompactEncoder::NewBlock(std::string* run, uint64_t rotated) {
  const auto difference = static_cast<int64_t>(rotated - last_new_);
  Varint(run, static_cast<uint64_t>(difference) << 1 ^ static_cast<uint64_t>(difference >> 63));
  last_new_ = rotated;
}

void CompactEncoder::Alloc(std::string* run, uint64_t time, uint64_t address, uint32_t site, uint32_t device) {
  const uint64_t rotated = std::rotr(address, 9);
  const auto known = slots_.find(Slot(rotated));
  const bool is_known = known != slots_.end() && known->second.rotated == rotated;
  Varint(run, time << 3 | (is_known ? 0 : 1));
  Varint(run, site);
  if (is_known) {
    Varint(run, Slot(rotated));
  } else {
    NewBlock(run, rotated);
  }
  slots_[Slot(rotated)] = {rotated, device};
}

void CompactEncoder::AllocWithoutSite(std::string* run, uint64_t time, uint64_t address, uint64_t bytes, uint32_t stack,
                                      uint32_t layout, uint32_t context, uint32_t device) {
  const uint64_t rotated = std::rotr(address, 9);
  Varint(run, time << 3 | 5);
  NewBlock(run, rotated);
  for (const uint64_t value : {bytes, uint64_t{stack}, uint64_t{layout}, uint64_t{context}, uint64_t{device}}) {
    Varint(run, value);
  }
  slots_[Slot(rotated)] = {rotated, device};
}

void CompactEncoder::Free(std::string* run, uint64_t time, uint64_t address, uint32_t device) {
  const uint64_t rotated = std::rotr(address, 9);
  const auto known = slots_.find(Slot(rotated));
  if (known != slots_.end() && known->second.rotated == rotated && known->second.device == device) {
    Varint(run, time << 3 | 2);
    Varint(run, Slot(rotated));
    return;
  }
  Varint(run, time << 3 | 3);
  Varint(run, device);
  NewBlock(run, rotated);
  slots_[Slot(rotated)] = {rotated, device};
}

void CompactEncoder::Reserved(std::string* run, uint64_t time, uint32_t device, uint64_t bytes) {
  Varint(run, time << 3 | 4);
  Varint(run, device);
  Varint(run, bytes);
}

std::string CompactHeader(size_t offset, size_t length) {
  std::string header;
  Varint(&header, trace::Chunk::kCompactFieldNumber << 3 | 2, 4 - offset % 4);
  Varint(&header, length, 4);
  return header;
}

}  // namespace oomtrace::testing
