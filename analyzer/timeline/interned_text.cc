#include "analyzer/timeline/interned_text.h"

#include <mutex>

#include "absl/container/node_hash_set.h"

namespace oomtrace {

const std::string* InternedText::Intern(std::string_view text) {
  if (text.empty()) return nullptr;
  // Never destroyed: texts may be read by other objects' destructors.
  static std::mutex* const mutex = new std::mutex;
  static auto* const pool = new absl::node_hash_set<std::string>;
  const std::lock_guard<std::mutex> lock(*mutex);
  return &*pool->emplace(text).first;
}

const std::string& InternedText::Empty() {
  static const std::string* const empty = new std::string;
  return *empty;
}

}  // namespace oomtrace
