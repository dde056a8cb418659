#pragma once

#include <string>
#include <string_view>

namespace oomtrace {

// Without the blanks around it and runs of them inside, at most 300 bytes and whole characters of UTF-8.
std::string Shortened(std::string_view text);

}  // namespace oomtrace
