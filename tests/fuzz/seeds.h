// Well-formed traces to mutate: small, and between them with every kind of chunk, record and field.
#pragma once

#include <string>
#include <vector>

namespace oomtrace::fuzz {

std::vector<std::string> Seeds();

}  // namespace oomtrace::fuzz
