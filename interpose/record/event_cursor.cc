#include "interpose/record/event_cursor.h"

#include "interpose/record/wire.h"

namespace oomtrace {
namespace {

bool HasBlock(uint32_t kind) {
  return kind == wire::kDeviceAlloc || kind == wire::kDeviceFree || kind == wire::kHostCopy ||
         kind == wire::kTensorRole || kind == wire::kHolder;
}

}  // namespace

bool EventCursor::Next() {
  for (;;) {
    if (run_.Next(&ticks_, &event_.block)) {
      event_.kind = event_.block.alloc ? wire::kTensorAlloc : wire::kTensorFree;
      event_.ticks = ticks_;
      return true;
    }
    if (!records_.Next() || !records_.is_bytes()) return false;
    if (records_.field() != wire::kCompact) {
      Take(records_.field(), records_.bytes(), records_.size());
      return true;
    }
    if (!cleared_ && !blocks_->Clear()) {
      failed_ = true;
      return false;
    }
    cleared_ = true;
    run_.Begin(records_.bytes(), records_.size());
  }
}

void EventCursor::Take(uint32_t kind, const uint8_t* message, size_t size) {
  event_ = {};
  event_.kind = kind;
  event_.rest = message + size;  // fields stand in order of their numbers: ticks and block first
  event_.has_block = HasBlock(kind);
  const uint32_t last_delta = event_.has_block ? 2 : 1;
  WireReader fields(message, size);
  while (fields.Next()) {
    if (fields.field() > last_delta && fields.start() < event_.rest) event_.rest = fields.start();
    if (!fields.is_bytes() && fields.field() < ChunkEvent::kFields) event_.value[fields.field()] = fields.value();
  }
  event_.rest_size = static_cast<uint32_t>(message + size - event_.rest);
  event_.ticks = ticks_ += event_.value[1];
  if (!event_.has_block) return;
  rotated_ += static_cast<uint64_t>(WireReader::ZigZag(event_.value[2]));
  event_.address = BlockTable::Address(rotated_);
}

}  // namespace oomtrace
