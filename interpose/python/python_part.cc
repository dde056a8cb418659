#include "interpose/python/python_part.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>

#include "interpose/python/native_module.h"
#include "interpose/python/py_api.h"
#include "interpose/record/recorder.h"

// plain_part.py; and it with python_part.py and holders.py behind it. Zero-terminated; made by the build.
extern "C" const char oomtrace_plain_part[];
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
std::atomic<Recorder*> plain_begun_for{nullptr};
PyObject* run_task = nullptr;  // the part's function; only touched with the GIL held

bool AlreadyDone(PythonTask task) {
  if (task == PythonTask::kInstall) return installed.load(std::memory_order_relaxed);
  const Recorder* current = Recorder::Current();
  const bool begun = begun_for.load(std::memory_order_relaxed) == current;
  if (task == PythonTask::kBegin) return begun;
  if (task == PythonTask::kDeviceCall) return begun || plain_begun_for.load(std::memory_order_relaxed) == current;
  return false;
}

enum class Torch { kAbsent, kBeingImported, kImported };

// Without importing anything.
Torch StateOfTorch(const PyApi& python) {
  PyObject* modules = python.PyImport_GetModuleDict();
  if (modules == nullptr || python.PyDict_GetItemString(modules, "torch") == nullptr) return Torch::kAbsent;
  for (const char* name : {"torch.nn", "torch.optim"})
    if (python.PyDict_GetItemString(modules, name) == nullptr) return Torch::kBeingImported;
  return Torch::kImported;
}

// Runs `source` in a namespace of its own, which lives on. Its function of that name, borrowed; null: it failed.
PyObject* Load(const PyApi& python, const char* source, const char* function) {
  PyObject* globals = python.PyDict_New();
  if (globals == nullptr) return nullptr;
  PyObject* builtins = python.PyEval_GetBuiltins();
  if (builtins == nullptr || python.PyDict_SetItemString(globals, "__builtins__", builtins) != 0) return nullptr;
  if (!AddNativeFunctions(python, globals)) return nullptr;
  PyObject* code = python.Py_CompileString(source, "<oomtrace>", kFileInput);
  if (code == nullptr) return nullptr;
  PyObject* result = python.PyEval_EvalCode(code, globals, globals);
  python.Py_DecRef(code);
  if (result == nullptr) return nullptr;
  python.Py_DecRef(result);
  return python.PyDict_GetItemString(globals, function);
}

bool Succeeded(const PyApi& python, PyObject* result) {
  if (result == nullptr) return false;
  python.Py_DecRef(result);
  return true;
}

enum class Outcome { kDone, kNotYet, kFailed };

Outcome RunTasks(const PyApi& python, uint32_t tasks) {
  if (run_task == nullptr) run_task = Load(python, oomtrace_python_part, "run_task");
  if (run_task == nullptr) return Outcome::kFailed;
  PyObject* result = python.PyObject_CallFunction(run_task, "I", tasks);
  if (result == nullptr) return Outcome::kFailed;
  const bool done = python.PyObject_IsTrue(result) == 1;
  python.Py_DecRef(result);
  return done ? Outcome::kDone : Outcome::kNotYet;
}

// In a program that may yet import PyTorch: what is wanted stays wanted.
bool RunPlain(const PyApi& python) {
  static PyObject* run_plain = nullptr;
  Recorder* current = Recorder::Current();
  if (plain_begun_for.load(std::memory_order_relaxed) == current) return true;
  if (run_plain == nullptr) run_plain = Load(python, oomtrace_plain_part, "run_plain");
  if (run_plain == nullptr || !Succeeded(python, python.PyObject_CallFunction(run_plain, nullptr))) return false;
  plain_begun_for.store(current, std::memory_order_relaxed);
  return true;
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
  const Torch torch = StateOfTorch(python);
  if (torch == Torch::kImported) {
    uint32_t tasks = wanted.exchange(0) | (installed.load() ? 0 : Bit(PythonTask::kInstall));
    if ((tasks & Bit(PythonTask::kDeviceCall)) != 0 && !AlreadyDone(PythonTask::kBegin))
      tasks |= Bit(PythonTask::kBegin);
    const Outcome outcome = RunTasks(python, tasks);
    if (outcome == Outcome::kDone) MarkDone(tasks);
    if (outcome == Outcome::kNotYet) wanted.fetch_or(tasks);
    if (outcome == Outcome::kFailed) SayBroken();
  } else if (torch == Torch::kAbsent && (wanted.load() & Bit(PythonTask::kDeviceCall)) != 0 && !RunPlain(python)) {
    SayBroken();
  }
  python.PyErr_Clear();
  python.PyErr_Restore(type, value, traceback);
  running.store(false);
  return 0;
}

}  // namespace

void RequestPythonPart(PythonTask task) {
  if (AlreadyDone(task) || broken.load(std::memory_order_relaxed) || Recorder::Current() == nullptr) return;
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
    RunTasks(*python, Bit(PythonTask::kPrepare));
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
