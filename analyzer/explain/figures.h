// The figures of one message, by whose message it is. `match` is the sentence that it was known by, `after` what
// follows in the text, up to the next message.
#pragma once

#include <string_view>

#include "analyzer/explain/messages.h"

namespace oomtrace {

using Fill = void(std::string_view match, std::string_view after, Message* message);

Fill FillTorch, FillMps, FillAsync, FillRetry, FillExact, FillAmount, FillXla, FillTensorFlow, FillCupy, FillPaddle,
    FillServing, Nothing;

}  // namespace oomtrace
