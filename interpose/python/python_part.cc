#include "interpose/python/python_part.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>

#include "interpose/python/native_module.h"
#include "interpose/python/py_api.h"
#include "interpose/record/recorder.h"

// The source of python_part.py, zero-terminated; made by the build.
extern "C" const char oomtrace_python_part[];

namespace oomtrace {
namespace {

constexpr uint32_t Bit(PythonTask task) { return static_cast<uint32_t>(task); }

std::atomic<uint32_t> wanted{0};
std::atomic<bool> queued{false};
std::atomic<bool> running{false};  // the GIL changes hands between bytecodes: a second thread finds it so and leaves
std::atomic<bool> broken{false};   // the part failed to load: never tried again
std::atomic<bool> installed{false};
std::atomic<Recorder*> begun_for{nullptr};
PyObject* run_task = nullptr;  // the part's function; only touched with the GIL held

bool AlreadyDone(PythonTask task) {
  if (task == PythonTask::kInstall) return installed.load(std::memory_order_relaxed);
  if (task == PythonTask::kBegin) return begun_for.load(std::memory_order_relaxed) == Recorder::Current();
  return false;
}

// Whether `import torch` has finished, without importing anything.
bool TorchIsImported(const PyApi& python) {
  PyObject* modules = python.PyImport_GetModuleDict();
  for (const char* name : {"torch", "torch.nn", "torch.optim"})
    if (modules == nullptr || python.PyDict_GetItemString(modules, name) == nullptr) return false;
  return true;
}

bool Load(const PyApi& python) {
  PyObject* globals = python.PyDict_New();
  if (globals == nullptr) return false;
  PyObject* builtins = python.PyEval_GetBuiltins();
  if (builtins == nullptr || python.PyDict_SetItemString(globals, "__builtins__", builtins) != 0) return false;
  if (!AddNativeFunctions(python, globals)) return false;
  PyObject* code = python.Py_CompileString(oomtrace_python_part, "<oomtrace>", kFileInput);
  if (code == nullptr) return false;
  PyObject* result = python.PyEval_EvalCode(code, globals, globals);
  python.Py_DecRef(code);
  if (result == nullptr) return false;
  python.Py_DecRef(result);
  run_task = python.PyDict_GetItemString(globals, "run_task");  // borrowed from globals, which live on
  return run_task != nullptr;
}

enum class Outcome { kDone, kNotYet, kFailed };

Outcome Call(const PyApi& python, uint32_t tasks) {
  PyObject* result = python.PyObject_CallFunction(run_task, "I", tasks);
  if (result == nullptr) return Outcome::kFailed;
  const bool done = python.PyObject_IsTrue(result) == 1;
  python.Py_DecRef(result);
  return done ? Outcome::kDone : Outcome::kNotYet;
}

void MarkDone(uint32_t tasks) {
  if (tasks & Bit(PythonTask::kInstall)) installed.store(true, std::memory_order_relaxed);
  if (tasks & Bit(PythonTask::kBegin)) begun_for.store(Recorder::Current(), std::memory_order_relaxed);
}

void SayBroken() {
  broken.store(true, std::memory_order_relaxed);
  Entry entry(Cause::kFact);
  if (entry) entry.recorder().facts().Note("the Python part could not run: no names, owners and phases in this trace");
}

// With the GIL, in the main thread but for RunPythonPartOffMainThread. Leaves no exception behind, whatever happens.
int RunPendingCall(void*) {
  const PyApi& python = *Python();
  queued.store(false, std::memory_order_release);
  if (broken.load(std::memory_order_relaxed) || running.exchange(true)) return 0;
  PyObject *type, *value, *traceback;
  python.PyErr_Fetch(&type, &value, &traceback);
  if (TorchIsImported(python)) {
    const uint32_t tasks = wanted.exchange(0) | (installed.load() ? 0 : Bit(PythonTask::kInstall));
    const Outcome outcome = run_task != nullptr || Load(python) ? Call(python, tasks) : Outcome::kFailed;
    if (outcome == Outcome::kDone) MarkDone(tasks);
    if (outcome == Outcome::kNotYet) wanted.fetch_or(tasks);
    if (outcome == Outcome::kFailed) SayBroken();
  }
  python.PyErr_Clear();
  python.PyErr_Restore(type, value, traceback);
  running.store(false);
  return 0;
}

}  // namespace

void RequestPythonPart(PythonTask task) {
  if (AlreadyDone(task) || broken.load(std::memory_order_relaxed)) return;
  const PyApi* python = Python();
  if (python == nullptr || !python->Py_IsInitialized()) return;
  wanted.fetch_or(Bit(task));
  if (queued.exchange(true)) return;
  if (python->Py_AddPendingCall(RunPendingCall, nullptr) != 0) queued.store(false);  // the queue is full: next time
}

void PreparePythonPart() {
  if (Recorder::Current() == nullptr || installed.load() || running.exchange(true)) return;
  const PyApi* python = Python();
  if (python != nullptr && python->Py_IsInitialized() != 0 && python->PyGILState_Check() == 1) {
    PyObject *type, *value, *traceback;
    python->PyErr_Fetch(&type, &value, &traceback);
    // Should it fail, it is tried again once PyTorch is there.
    if (run_task != nullptr || Load(*python)) Call(*python, Bit(PythonTask::kPrepare));
    python->PyErr_Clear();
    python->PyErr_Restore(type, value, traceback);
  }
  running.store(false);
}

void RunPythonPartOffMainThread() {
  if (wanted.load(std::memory_order_relaxed) == 0 || broken.load(std::memory_order_relaxed)) [[likely]]
    return;
  const PyApi* python = Python();
  // A thread that Python does not know is one of the engine's own: its Python is the caller's.
  if (python == nullptr || syscall(SYS_gettid) == getpid() || python->PyGILState_GetThisThreadState() == nullptr)
    return;
  const int state = python->PyGILState_Ensure();
  RunPendingCall(nullptr);
  python->PyGILState_Release(state);
}

}  // namespace oomtrace
