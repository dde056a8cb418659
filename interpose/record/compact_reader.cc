#include "interpose/record/compact_reader.h"

namespace oomtrace {

using wire::Compact;

bool CompactReader::Id(uint32_t* id) {
  uint64_t value;
  if (!run_.NextVarint(&value) || value > UINT32_MAX) return false;
  *id = static_cast<uint32_t>(value);
  return true;
}

bool CompactReader::KnownBlock() {
  if (!Id(&slot_) || slot_ >= BlockTable::kSlots) return false;
  rotated_ = blocks_->rotated(slot_);
  return true;
}

bool CompactReader::NewBlock() {
  uint64_t difference;
  if (!run_.NextVarint(&difference)) return false;
  rotated_ = last_new_block_ += static_cast<uint64_t>(WireReader::ZigZag(difference));
  slot_ = BlockTable::SlotOf(rotated_);
  return true;
}

bool CompactReader::Site(CompactEvent* event) {
  if (!Id(&event->site) || event->site >= kMostSites) return false;
  event->bytes = sites_[event->site].bytes;
  event->device = sites_[event->site].device;
  return true;
}

bool CompactReader::Next(uint64_t* ticks, CompactEvent* event) {
  uint64_t head;
  while (run_.NextVarint(&head)) {
    *event = {};
    *ticks += head >> 3 << ChunkWriter::kCompactTimeShift;
    event->ticks = *ticks;
    const auto kind = static_cast<Compact>(head & 7);
    bool whole = false;
    switch (kind) {
      case Compact::kReserved: {
        uint64_t bytes;
        if (!Id(&event->device) || event->device >= kDevices || !run_.NextVarint(&bytes)) return false;
        Reserved(event->device) = bytes;
        continue;
      }
      case Compact::kAllocKnown:
        whole = Site(event) && KnownBlock();
        break;
      case Compact::kAllocNew:
        whole = Site(event) && NewBlock();
        break;
      case Compact::kAllocWithoutSite:
        whole = NewBlock() && run_.NextVarint(&event->bytes) && Id(&event->stack) && Id(&event->layout) &&
                Id(&event->context) && Id(&event->device);
        break;
      case Compact::kFreeKnown:
        whole = KnownBlock();
        if (whole) event->device = blocks_->device(slot_);
        break;
      case Compact::kFreeNew:
        whole = Id(&event->device) && NewBlock();
        break;
    }
    if (!whole || event->device >= kDevices) return false;
    event->alloc = kind != Compact::kFreeKnown && kind != Compact::kFreeNew;
    blocks_->Put(slot_, rotated_, event->device);
    event->address = BlockTable::Address(rotated_);
    event->reserved = Reserved(event->device);
    return true;
  }
  return false;
}

}  // namespace oomtrace
