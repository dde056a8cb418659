// The interpreter's C functions, found in the process at run time: the recorder is built without Python's headers and
// linked without Python, and works with a static interpreter, with libpython, and in processes that have neither.
#pragma once

#include <cstddef>
#include <cstdint>

namespace oomtrace {

struct PyObject;  // opaque here
using PyFunction = PyObject*(PyObject* self, PyObject* arguments);

struct PyMethodDef {  // Include/methodobject.h, the stable ABI
  const char* name;
  PyFunction* function;
  int flags;
  const char* documentation;
};
inline constexpr int kVarArgs = 1;      // METH_VARARGS
inline constexpr int kFileInput = 257;  // Py_file_input

#define OOMTRACE_PYTHON_FUNCTIONS(F)                                       \
  F(int, Py_IsInitialized, ())                                             \
  F(const char*, Py_GetVersion, ())                                        \
  F(int, Py_AddPendingCall, (int (*)(void*), void*))                       \
  F(void*, PyGILState_GetThisThreadState, ())                              \
  F(int, PyGILState_Ensure, ())                                            \
  F(void, PyGILState_Release, (int))                                       \
  F(int, PyCode_Addr2Line, (PyObject*, int))                               \
  F(PyObject*, Py_CompileString, (const char*, const char*, int))          \
  F(PyObject*, PyEval_EvalCode, (PyObject*, PyObject*, PyObject*))         \
  F(PyObject*, PyEval_GetBuiltins, ())                                     \
  F(PyObject*, PyImport_GetModuleDict, ())                                 \
  F(PyObject*, PyDict_New, ())                                             \
  F(int, PyDict_SetItemString, (PyObject*, const char*, PyObject*))        \
  F(PyObject*, PyDict_GetItemString, (PyObject*, const char*))             \
  F(PyObject*, PyObject_CallFunction, (PyObject*, const char*, ...))       \
  F(PyObject*, PyCFunction_NewEx, (PyMethodDef*, PyObject*, PyObject*))    \
  F(PyObject*, PyUnicode_DecodeUTF8, (const char*, intptr_t, const char*)) \
  F(PyObject*, PyList_New, (intptr_t))                                     \
  F(int, PyList_Append, (PyObject*, PyObject*))                            \
  F(PyObject*, Py_BuildValue, (const char*, ...))                          \
  F(int, PyArg_ParseTuple, (PyObject*, const char*, ...))                  \
  F(void, PyErr_Fetch, (PyObject**, PyObject**, PyObject**))               \
  F(void, PyErr_Restore, (PyObject*, PyObject*, PyObject*))                \
  F(void, PyErr_Clear, ())                                                 \
  F(int, PyObject_IsTrue, (PyObject*))                                     \
  F(int, PyGILState_Check, ())                                             \
  F(void, Py_DecRef, (PyObject*))

struct PyApi {
#define OOMTRACE_MEMBER(result, name, parameters) result(*name) parameters;
  OOMTRACE_PYTHON_FUNCTIONS(OOMTRACE_MEMBER)
#undef OOMTRACE_MEMBER
};

// nullptr where this process has no interpreter, or not all of the functions. Any thread.
const PyApi* Python();

// Address of a variable of the interpreter, nullptr where it has none of this name. Takes the dynamic linker's lock.
void* PythonData(const char* name);

}  // namespace oomtrace
