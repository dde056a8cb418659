#include "analyzer/read/tables.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "analyzer/read/utf8.h"
#include "analyzer/read/wire.h"

namespace oomtrace {
namespace {

void MakeUtf8(std::string* text) { *text = ToUtf8(*text); }

template <typename Message>
bool Parse(std::string_view bytes, Message* message) {
  return message->ParseFromArray(bytes.data(), static_cast<int>(bytes.size()));
}

template <typename Message>
bool ParseById(std::string_view bytes, absl::flat_hash_map<uint32_t, Message>* table) {
  Message message;
  if (!Parse(bytes, &message)) return false;
  const uint32_t id = message.id();
  (*table)[id] = std::move(message);
  return true;
}

// Appends, or replaces the entry with the same key.
template <typename Message, typename Key>
bool ParseOnce(std::string_view bytes, Key key, std::vector<Message>* list) {
  Message message;
  if (!Parse(bytes, &message)) return false;
  const auto same = std::find_if(list->begin(), list->end(),
                                 [&](const Message& other) { return (other.*key)() == (message.*key)(); });
  if (same == list->end()) {
    list->push_back(std::move(message));
  } else {
    *same = std::move(message);
  }
  return true;
}

bool ParseString(std::string_view bytes, Tables* tables) {
  trace::String message;
  if (!Parse(bytes, &message)) return false;
  tables->strings[message.id()] = ToUtf8(message.value());
  return true;
}

bool ParseLibrary(std::string_view bytes, Tables* tables) {
  trace::Library message;
  if (!Parse(bytes, &message)) return false;
  tables->libraries[message.id()] = {ToUtf8(message.path()), message.file_bytes(), message.modified()};
  return true;
}

bool ParseModule(std::string_view bytes, Tables* tables) {
  trace::Module message;
  if (!Parse(bytes, &message)) return false;
  tables->modules[message.identity()] = message;
  tables->module_order.push_back(message.identity());
  return true;
}

bool ParseDevice(std::string_view bytes, Tables* tables) {
  if (!ParseOnce(bytes, &trace::Device::index, &tables->devices)) return false;
  for (trace::Device& device : tables->devices) MakeUtf8(device.mutable_name());
  return true;
}

bool ParseHook(std::string_view bytes, Tables* tables) {
  trace::Hook message;
  if (!Parse(bytes, &message)) return false;
  for (std::string* text : {message.mutable_name(), message.mutable_library(), message.mutable_reason()}) {
    MakeUtf8(text);
  }
  tables->hooks.push_back(std::move(message));
  return true;
}

bool ParseNote(std::string_view bytes, Tables* tables) {
  trace::Note message;
  if (!Parse(bytes, &message)) return false;
  tables->notes.push_back(ToUtf8(message.text()));
  return true;
}

bool ParseThreadName(std::string_view bytes, Tables* tables) {
  trace::ThreadName message;
  if (!Parse(bytes, &message)) return false;
  tables->thread_names[message.thread()] = ToUtf8(message.name());
  return true;
}

bool ParseUnknownRoute(std::string_view bytes, Tables* tables) {
  trace::UnknownRoute message;
  if (!Parse(bytes, &message)) return false;
  MakeUtf8(message.mutable_name());
  tables->unknown_routes.push_back(std::move(message));
  return true;
}

bool ParseSystem(std::string_view bytes, Tables* tables) {
  trace::System message;
  if (!Parse(bytes, &message)) return false;
  for (std::string* text : {message.mutable_driver(), message.mutable_cgroup(), message.mutable_container()}) {
    MakeUtf8(text);
  }
  tables->system = std::move(message);
  return true;
}

bool ParseProcess(std::string_view bytes, Tables* tables) {
  trace::Process message;
  if (!Parse(bytes, &message)) return false;
  for (std::string& argument : *message.mutable_argument()) MakeUtf8(&argument);
  for (std::string& variable : *message.mutable_environment()) MakeUtf8(&variable);
  for (std::string* text : {message.mutable_host(), message.mutable_executable(), message.mutable_working_directory(),
                            message.mutable_python_version(), message.mutable_torch_version(),
                            message.mutable_cuda_version(), message.mutable_recorder_version()}) {
    MakeUtf8(text);
  }
  tables->process = std::move(message);
  return true;
}

bool ParseRecord(uint32_t number, std::string_view bytes, Tables* tables) {
  switch (number) {
    case trace::Chunk::kStringFieldNumber:
      return ParseString(bytes, tables);
    case trace::Chunk::kFrameFieldNumber:
      return ParseById(bytes, &tables->frames);
    case trace::Chunk::kStackFieldNumber:
      return ParseById(bytes, &tables->stacks);
    case trace::Chunk::kLayoutFieldNumber:
      return ParseById(bytes, &tables->layouts);
    case trace::Chunk::kContextFieldNumber:
      return ParseById(bytes, &tables->contexts);
    case trace::Chunk::kNativeCallersFieldNumber:
      return ParseById(bytes, &tables->native_callers);
    case trace::Chunk::kSiteFieldNumber:
      return ParseById(bytes, &tables->sites);
    case trace::Chunk::kModuleFieldNumber:
      return ParseModule(bytes, tables);
    case trace::Chunk::kOptimizerFieldNumber:
      return ParseOnce(bytes, &trace::Optimizer::identity, &tables->optimizers);
    case trace::Chunk::kLibraryFieldNumber:
      return ParseLibrary(bytes, tables);
    case trace::Chunk::kProcessFieldNumber:
      return ParseProcess(bytes, tables);
    case trace::Chunk::kDeviceFieldNumber:
      return ParseDevice(bytes, tables);
    case trace::Chunk::kHookFieldNumber:
      return ParseHook(bytes, tables);
    case trace::Chunk::kNoteFieldNumber:
      return ParseNote(bytes, tables);
    case trace::Chunk::kThreadNameFieldNumber:
      return ParseThreadName(bytes, tables);
    case trace::Chunk::kUnknownRouteFieldNumber:
      return ParseUnknownRoute(bytes, tables);
    case trace::Chunk::kSystemFieldNumber:
      return ParseSystem(bytes, tables);
    default:
      return true;  // written by a later version
  }
}

void ReadChunkTables(const Chunk& chunk, Tables* tables, DamageLog* damage) {
  WireReader wire(chunk.payload);
  size_t record = 0;
  while (!wire.done()) {
    record = wire.offset();
    WireType type;
    const uint32_t number = wire.Tag(&type);
    if (!wire.ok()) break;
    if (type != WireType::kLength) {
      wire.Skip(type);
      continue;
    }
    const std::string_view bytes = wire.Bytes();
    if (wire.ok() && !ParseRecord(number, bytes, tables)) {
      damage->Add(absl::StrCat("chunk at byte ", chunk.offset, ": the record at byte ",
                               chunk.offset + kChunkHeaderSize + record, " does not decode; skipped"));
    }
  }
  if (!wire.ok()) {
    damage->Add(absl::StrCat("chunk at byte ", chunk.offset, ": the record at byte ",
                             chunk.offset + kChunkHeaderSize + record, " does not decode; names after it are lost"));
  }
}

}  // namespace

const std::string& Tables::String(uint32_t id) const {
  static const std::string* const kNone = new std::string;
  const auto found = strings.find(id);
  return found == strings.end() ? *kNone : found->second;
}

const std::string& Tables::LibraryPath(uint32_t id) const {
  static const std::string* const kNone = new std::string;
  const auto found = libraries.find(id);
  return found == libraries.end() ? *kNone : found->second.path;
}

Tables ReadTables(const std::vector<Chunk>& chunks, DamageLog* damage) {
  Tables tables;
  for (const Chunk& chunk : chunks) {
    if (chunk.kind == ChunkKind::kPermanent) ReadChunkTables(chunk, &tables, damage);
  }
  return tables;
}

}  // namespace oomtrace
