// Text of the application as valid UTF-8: what is not becomes U+FFFD, so that every report can be printed as JSON.
#pragma once

#include <string>
#include <string_view>

namespace oomtrace {

std::string ToUtf8(std::string_view bytes);

}  // namespace oomtrace
