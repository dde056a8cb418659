// What every reader of an error's text does with pieces of it.
#pragma once

#include <string>
#include <string_view>

#include "re2/re2.h"

namespace oomtrace {

inline bool Contains(std::string_view text, std::string_view part) { return text.find(part) != std::string_view::npos; }

// As RE2 takes it.
inline re2::StringPiece Piece(std::string_view text) { return {text.data(), text.size()}; }

// Without the blanks around it and runs of them inside, at most 300 bytes and whole characters of UTF-8.
std::string Shortened(std::string_view text);

}  // namespace oomtrace
