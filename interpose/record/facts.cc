#include "interpose/record/facts.h"

#include <limits.h>
#include <sys/stat.h>

#include <cstring>

#include "interpose/record/hash.h"
#include "interpose/record/test_point.h"
#include "interpose/record/wire.h"

namespace oomtrace {
namespace {

std::string_view Cut(std::string_view text, size_t most) {
  return std::string_view(text.data(), text.size() < most ? text.size() : most);
}

uint64_t HashText(std::string_view text) { return HashBytes(text.data(), text.size(), 1); }

struct FileState {
  uint64_t bytes = 0;
  uint64_t modified = 0;  // ns since 1970
};

FileState StateOf(std::string_view path) {
  char text[PATH_MAX];
  struct stat status;
  if (path.size() >= sizeof text) return {};
  memcpy(text, path.data(), path.size());
  text[path.size()] = '\0';
  if (stat(text, &status) != 0) return {};
  return {static_cast<uint64_t>(status.st_size),
          static_cast<uint64_t>(status.st_mtim.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(status.st_mtim.tv_nsec)};
}

}  // namespace

// The table's lock is held.
template <typename Table, typename Fill>
uint32_t Facts::AddLocked(Table& table, uint64_t hash, size_t most, Fill fill) {
  if (const uint32_t known = table.Find(hash)) return known;  // another thread was first
  if (table.full()) return 0;
  const uint32_t id = table.next_id();
  if (!WriteLocked(most, [&](ProtoWriter& proto) { fill(proto, id); })) return 0;
  OOMTRACE_TEST_POINT("facts: written, not yet known");
  table.Insert(hash);
  return id;
}

uint32_t Facts::StringLocked(std::string_view text) {
  text = Cut(text, kLongestString);
  return AddLocked(strings_, HashText(text), text.size() + 32, [&](ProtoWriter& proto, uint32_t id) {
    uint8_t* message = proto.Begin(wire::kString);
    proto.Uint(1, id);
    proto.Bytes(2, text.data(), text.size());
    proto.End(message);
  });
}

uint32_t Facts::String(std::string_view text) {
  if (text.empty()) return 0;
  if (const uint32_t known = strings_.Find(HashText(Cut(text, kLongestString)))) return known;
  SpinLockHolder hold(lock_);
  return StringLocked(text);
}

uint32_t Facts::Layout(const LayoutState& layout) {
  const uint32_t dimensions = Dimensions(layout);
  const uint64_t hash = HashOf(layout);
  if (const uint32_t known = layouts_.Find(hash)) return known;
  SpinLockHolder hold(lock_);
  return AddLocked(layouts_, hash, 32 + dimensions * 20, [&](ProtoWriter& proto, uint32_t id) {
    const auto packed = [&](uint32_t field, const int64_t* values) {
      if (values == nullptr || dimensions == 0) return;
      uint8_t* list = proto.Begin(field);
      for (uint32_t i = 0; i < dimensions; ++i) proto.Packed(static_cast<uint64_t>(values[i]));
      proto.End(list);
    };
    uint8_t* message = proto.Begin(wire::kLayout);
    proto.Uint(1, id);
    packed(2, layout.sizes);
    proto.Int(3, layout.dtype);
    packed(4, layout.strides);
    proto.End(message);
  });
}

uint32_t Facts::Context(const ContextState& context) {
  const uint64_t hash = HashOf(context);
  if (const uint32_t known = contexts_.Find(hash)) return known;
  SpinLockHolder hold(lock_);
  const uint32_t node = context.node != nullptr ? StringLocked(context.node) : 0;
  return AddLocked(contexts_, hash, 64, [&](ProtoWriter& proto, uint32_t id) {
    uint8_t* message = proto.Begin(wire::kContext);
    proto.Uint(1, id);
    proto.Bool(2, context.grad_mode);
    proto.Bool(3, context.inference_mode);
    proto.Bool(4, context.backward);
    proto.Uint(5, node);
    proto.Uint(7, context.forward_stack);
    proto.Uint(8, context.native);
    proto.Uint(9, static_cast<uint64_t>(context.stream));
    proto.End(message);
  });
}

uint32_t Facts::NativeCallers(const CodePlace* places, uint32_t count) {
  uint64_t hash = count;
  for (uint32_t i = 0; i < count; ++i) hash = Mix(hash ^ places[i].library, places[i].offset);
  if (const uint32_t known = native_callers_.Find(hash)) return known;
  SpinLockHolder hold(lock_);
  return AddLocked(native_callers_, hash, 48 + count * 15, [&](ProtoWriter& proto, uint32_t id) {
    uint8_t* message = proto.Begin(wire::kNativeCallers);
    proto.Uint(1, id);
    uint8_t* list = proto.Begin(2);
    for (uint32_t i = 0; i < count; ++i) proto.Packed(places[i].library);
    proto.End(list);
    list = proto.Begin(3);
    for (uint32_t i = 0; i < count; ++i) proto.Packed(places[i].offset);
    proto.End(list);
    proto.End(message);
  });
}

uint32_t Facts::Library(std::string_view path) {
  path = Cut(path, kLongestString);
  if (const uint32_t known = libraries_.Find(HashText(path))) return known;
  const FileState file = StateOf(path);
  SpinLockHolder hold(lock_);
  return AddLocked(libraries_, HashText(path), path.size() + 56, [&](ProtoWriter& proto, uint32_t id) {
    uint8_t* message = proto.Begin(wire::kLibrary);
    proto.Uint(1, id);
    proto.Bytes(2, path.data(), path.size());
    proto.Uint(3, file.bytes);
    proto.Uint(4, file.modified);
    proto.End(message);
  });
}

uint32_t Facts::AddFrame(uint64_t hash, std::string_view file, std::string_view function, uint32_t line) {
  SpinLockHolder hold(lock_);
  const uint32_t file_id = StringLocked(file);
  const uint32_t function_id = StringLocked(function);
  return AddLocked(frames_, hash, 48, [&](ProtoWriter& proto, uint32_t id) {
    uint8_t* message = proto.Begin(wire::kFrame);
    proto.Uint(1, id);
    proto.Uint(2, file_id);
    proto.Uint(3, function_id);
    proto.Uint(4, line);
    proto.End(message);
  });
}

uint32_t Facts::AddStack(uint64_t hash, const StackState& stack) {
  SpinLockHolder hold(lock_);
  return AddLocked(stacks_, hash, 64 + kMostFrames * 5, [&](ProtoWriter& proto, uint32_t id) {
    uint8_t* message = proto.Begin(wire::kStack);
    proto.Uint(1, id);
    uint8_t* list = proto.Begin(2);
    for (uint32_t i = 0; i < stack.count; ++i) proto.Packed(stack.frames[i]);
    proto.End(list);
    proto.Uint(3, stack.module);
    proto.Uint(4, stack.root_module);
    proto.Bool(5, stack.truncated);
    proto.End(message);
  });
}

uint32_t Facts::AddSite(uint64_t key, const SiteState& site) {
  SpinLockHolder hold(lock_);
  return AddLocked(sites_, key, 64, [&](ProtoWriter& proto, uint32_t id) {
    site_sizes_[id] = {site.bytes, site.device};
    uint8_t* message = proto.Begin(wire::kSite);
    proto.Uint(1, id);
    proto.Uint(2, site.bytes);
    proto.Uint(3, site.stack);
    proto.Uint(4, site.layout);
    proto.Uint(5, site.context);
    proto.Uint(6, site.device);
    proto.End(message);
  });
}

void Facts::Module(uint64_t identity, uint64_t root, std::string_view path, std::string_view type) {
  SpinLockHolder hold(lock_);
  const uint32_t path_id = path.empty() ? 0 : StringLocked(path);
  const uint32_t type_id = StringLocked(type);
  WriteLocked(64, [&](ProtoWriter& proto) {
    uint8_t* message = proto.Begin(wire::kModule);
    proto.Uint(1, identity);
    proto.Uint(2, root);
    proto.Uint(3, path_id);
    proto.Uint(4, type_id);
    proto.End(message);
  });
}

void Facts::Optimizer(uint64_t identity, std::string_view type, uint64_t bytes, uint64_t elements,
                      std::string_view options) {
  SpinLockHolder hold(lock_);
  const uint32_t type_id = StringLocked(type);
  const uint32_t options_id = options.empty() ? 0 : StringLocked(options);
  WriteLocked(64, [&](ProtoWriter& proto) {
    uint8_t* message = proto.Begin(wire::kOptimizer);
    proto.Uint(1, identity);
    proto.Uint(2, type_id);
    proto.Uint(3, bytes);
    proto.Uint(4, elements);
    proto.Uint(5, options_id);
    proto.End(message);
  });
}

void Facts::Device(uint32_t index, std::string_view name, uint64_t total, uint32_t major, uint32_t minor,
                   uint32_t multiprocessors) {
  name = Cut(name, 256);
  Write(384, [&](ProtoWriter& proto) {
    uint8_t* message = proto.Begin(wire::kDevice);
    proto.Uint(1, index);
    proto.Bytes(2, name.data(), name.size());
    proto.Uint(3, total);
    proto.Uint(4, major);
    proto.Uint(5, minor);
    proto.Uint(6, multiprocessors);
    proto.End(message);
  });
}

void Facts::Hook(std::string_view name, std::string_view library, uint32_t state, std::string_view reason) {
  name = Cut(name, 512);
  library = Cut(library, 512);
  reason = Cut(reason, 512);
  Write(2048, [&](ProtoWriter& proto) {
    uint8_t* message = proto.Begin(wire::kHook);
    proto.Bytes(1, name.data(), name.size());
    proto.Bytes(2, library.data(), library.size());
    proto.Uint(3, state);
    proto.Bytes(4, reason.data(), reason.size());
    proto.End(message);
  });
}

void Facts::Note(std::string_view text) {
  text = Cut(text, kLongestString);
  Write(text.size() + 32, [&](ProtoWriter& proto) {
    uint8_t* message = proto.Begin(wire::kNote);
    proto.Bytes(1, text.data(), text.size());
    proto.End(message);
  });
}

void Facts::ThreadName(uint32_t thread, std::string_view name) {
  name = Cut(name, 256);
  Write(name.size() + 32, [&](ProtoWriter& proto) {
    uint8_t* message = proto.Begin(wire::kThreadName);
    proto.Uint(1, thread);
    proto.Bytes(2, name.data(), name.size());
    proto.End(message);
  });
}

}  // namespace oomtrace
