// The functions that the Python part calls to write into the trace: nothing else of the recorder is visible to Python.
#pragma once

#include "interpose/python/py_api.h"

namespace oomtrace {

// Puts them into `globals`. False, with an exception set, where the interpreter refuses.
bool AddNativeFunctions(const PyApi& python, PyObject* globals);

}  // namespace oomtrace
