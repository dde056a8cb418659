#include "interpose/python/native_module.h"

#include "interpose/hooks/collector.h"
#include "interpose/hooks/hook_states.h"
#include "interpose/hooks/nvml.h"
#include "interpose/python/code_lives.h"
#include "interpose/python/python_stack.h"
#include "interpose/record/events.h"
#include "interpose/record/process_info.h"
#include "interpose/record/settings.h"

// graphs.py to holders.py, zero-terminated; made by the build.
extern "C" const char oomtrace_holder_search[];

namespace oomtrace {
namespace {

using Long = unsigned long long;

PyObject* None() { return Python()->Py_BuildValue(""); }

template <typename... Targets>
bool Parse(PyObject* arguments, const char* format, Targets... targets) {
  return Python()->PyArg_ParseTuple(arguments, format, targets...) != 0;
}

// recording() -> a number that differs between a process and its forked child; 0 where nothing is recorded
PyObject* IsRecording(PyObject*, PyObject*) {
  Entry entry(Cause::kFact);
  const uintptr_t identity = entry ? reinterpret_cast<uintptr_t>(&entry.recorder()) : 0;
  return Python()->Py_BuildValue("K", static_cast<Long>(identity));
}

// phase(kind, identity)
PyObject* WritePhase(PyObject*, PyObject* arguments) {
  unsigned int kind;
  Long identity;
  if (!Parse(arguments, "IK", &kind, &identity)) return nullptr;
  if (Entry entry(Cause::kFact); entry) RecordPhase(entry.thread(), static_cast<wire::Phase>(kind), identity);
  if (static_cast<wire::Phase>(kind) == wire::Phase::kOptimizerStepEnd) CollectorStepEnd(identity);
  return None();
}

// role(address, bytes, role, name, owner, device)
PyObject* WriteRole(PyObject*, PyObject* arguments) {
  Long address, bytes, owner;
  unsigned int role, device;
  const char* name;
  if (!Parse(arguments, "KKIyKI", &address, &bytes, &role, &name, &owner, &device)) return nullptr;
  if (Entry entry(Cause::kFact); entry) {
    const uint32_t name_id = entry.recorder().facts().String(name);
    RecordTensorRole(entry.thread(), {address, bytes, role, name_id, owner, device});
  }
  return None();
}

// module(identity, root, path, type)
PyObject* WriteModule(PyObject*, PyObject* arguments) {
  Long identity, root;
  const char *path, *type;
  if (!Parse(arguments, "KKyy", &identity, &root, &path, &type)) return nullptr;
  if (Entry entry(Cause::kFact); entry) entry.recorder().facts().Module(identity, root, path, type);
  return None();
}

// optimizer(identity, type, parameter bytes, parameter elements, options)
PyObject* WriteOptimizer(PyObject*, PyObject* arguments) {
  Long identity, bytes, elements;
  const char *type, *options;
  if (!Parse(arguments, "KyKKy", &identity, &type, &bytes, &elements, &options)) return nullptr;
  if (Entry entry(Cause::kFact); entry) entry.recorder().facts().Optimizer(identity, type, bytes, elements, options);
  return None();
}

// holder(address, path)
PyObject* WriteHolder(PyObject*, PyObject* arguments) {
  Long address;
  const char* path;
  if (!Parse(arguments, "Ky", &address, &path)) return nullptr;
  if (Entry entry(Cause::kFact); entry) RecordHolder(entry.thread(), address, entry.recorder().facts().String(path));
  return None();
}

// private_segment(address, bytes, pool, device)
PyObject* WritePrivateSegment(PyObject*, PyObject* arguments) {
  Long address, bytes;
  unsigned int pool, device;
  if (!Parse(arguments, "KKII", &address, &bytes, &pool, &device)) return nullptr;
  if (Entry entry(Cause::kFact); entry) RecordPrivateSegment(entry.thread(), address, bytes, pool, device);
  return None();
}

// device(index, name, total bytes, capability major, minor, multiprocessors)
PyObject* WriteDevice(PyObject*, PyObject* arguments) {
  unsigned int index, major, minor, multiprocessors;
  Long total;
  const char* name;
  if (!Parse(arguments, "IyKIII", &index, &name, &total, &major, &minor, &multiprocessors)) return nullptr;
  if (Entry entry(Cause::kFact); entry)
    entry.recorder().facts().Device(index, name, total, major, minor, multiprocessors);
  return None();
}

// processes(device): asks NVML who is on it
PyObject* WriteProcesses(PyObject*, PyObject* arguments) {
  unsigned int device;
  if (!Parse(arguments, "I", &device)) return nullptr;
  if (Entry entry(Cause::kFact); entry) RecordProcessesOf(entry.thread(), device);
  return None();
}

// versions(python, torch, cuda)
PyObject* WriteVersions(PyObject*, PyObject* arguments) {
  const char *python, *torch, *cuda;
  if (!Parse(arguments, "yyy", &python, &torch, &cuda)) return nullptr;
  if (Entry entry(Cause::kFact); entry) WriteProcess(entry.recorder().facts(), {python, torch, cuda});
  return None();
}

// hooks(): which of them exist in this process
PyObject* WriteHookStates(PyObject*, PyObject*) {
  if (Entry entry(Cause::kFact); entry) WriteHooks(entry.recorder().facts());
  return None();
}

// note(text)
PyObject* WriteNote(PyObject*, PyObject* arguments) {
  const char* text;
  if (!Parse(arguments, "y", &text)) return nullptr;
  if (Entry entry(Cause::kFact); entry) entry.recorder().facts().Note(text);
  return None();
}

// thread_name(native id, name)
PyObject* WriteThreadName(PyObject*, PyObject* arguments) {
  unsigned int thread;
  const char* name;
  if (!Parse(arguments, "Iy", &thread, &name)) return nullptr;
  if (Entry entry(Cause::kFact); entry) entry.recorder().facts().ThreadName(thread, name);
  return None();
}

// thread_failed(): the calling thread ends of an out-of-memory error
PyObject* WriteThreadFailed(PyObject*, PyObject*) {
  if (Entry entry(Cause::kFact); entry) RecordThreadFailed(entry.thread());
  return None();
}

// model_move(arrived, left, trainable), in bytes
PyObject* WriteModelMove(PyObject*, PyObject* arguments) {
  unsigned long long arrived, left, trainable;
  if (!Parse(arguments, "KKK", &arrived, &left, &trainable)) return nullptr;
  if (Entry entry(Cause::kFact); entry) RecordModelMove(entry.thread(), arrived, left, trainable);
  return None();
}

// The calling thread's frames; nullptr where its interpreter's layout is not known.
const FrameLayout* FramesOfCaller(RawFrame* frames, uint32_t* count) {
  const FrameLayout* layout = LayoutOfInterpreter();
  const void* thread = Python()->PyGILState_GetThisThreadState();
  bool truncated;
  if (layout != nullptr && thread != nullptr) *count = ReadFrames(*layout, thread, frames, kMostFrames, &truncated);
  return thread != nullptr ? layout : nullptr;
}

// raw_stack() -> [(file, function, line)] as the raw walk sees it, innermost first; None where it cannot walk
PyObject* RawStackOfCaller(PyObject*, PyObject*) {
  const PyApi& python = *Python();
  RawFrame frames[kMostFrames];
  uint32_t count = 0;
  const FrameLayout* layout = FramesOfCaller(frames, &count);
  if (layout == nullptr) return None();
  PyObject* list = python.PyList_New(0);
  for (uint32_t i = 0; list != nullptr && i < count; ++i) {
    char file[4096], function[1024];
    const size_t file_size = FrameFile(*layout, frames[i], file, sizeof(file));
    const size_t function_size = FrameFunction(*layout, frames[i], function, sizeof(function));
    auto* code = reinterpret_cast<PyObject*>(const_cast<uint8_t*>(frames[i].code));
    PyObject* item =
        python.Py_BuildValue("(NNi)", python.PyUnicode_DecodeUTF8(file, static_cast<intptr_t>(file_size), "replace"),
                             python.PyUnicode_DecodeUTF8(function, static_cast<intptr_t>(function_size), "replace"),
                             python.PyCode_Addr2Line(code, frames[i].instruction));
    if (item == nullptr) {
      python.Py_DecRef(list);
      return nullptr;
    }
    python.PyList_Append(list, item);
    python.Py_DecRef(item);
  }
  return list;
}

// frame_slots() -> a list for each frame of this thread, innermost first, of the identities in its variables' slots
PyObject* FrameSlots(PyObject*, PyObject*) {
  const PyApi& python = *Python();
  RawFrame frames[kMostFrames];
  uint32_t frame_count = 0;
  const FrameLayout* layout = FramesOfCaller(frames, &frame_count);
  if (layout == nullptr) return None();
  PyObject* list = python.PyList_New(0);
  for (uint32_t i = 0; list != nullptr && i < frame_count; ++i) {
    PyObject* slots = python.PyList_New(0);
    const int count = VariableCount(*layout, frames[i]);
    for (int j = 0; slots != nullptr && j < count; ++j) {
      PyObject* identity = python.Py_BuildValue("K", static_cast<Long>(FrameLocal(*layout, frames[i], j)));
      if (identity == nullptr) break;
      python.PyList_Append(slots, identity);
      python.Py_DecRef(identity);
    }
    if (slots == nullptr) break;
    python.PyList_Append(list, slots);
    python.Py_DecRef(slots);
  }
  return list;
}

// watch_code() -> how many code objects have died since the first call; None where that cannot be seen
PyObject* WatchCodeObjects(PyObject*, PyObject*) {
  if (!WatchCode(PythonData("PyCode_Type"))) return None();
  return Python()->Py_BuildValue("K", static_cast<Long>(CodeDeaths()));
}

// search_source() -> the Python source of the search for holders
PyObject* SearchSource(PyObject*, PyObject*) { return Python()->Py_BuildValue("s", oomtrace_holder_search); }

// stacks_wanted() -> whether OOMTRACE_STACKS leaves them on
PyObject* StacksWanted(PyObject*, PyObject*) {
  return Python()->Py_BuildValue("i", SwitchedOn("OOMTRACE_STACKS", true) ? 1 : 0);
}

// timeline_window() -> (first, last) optimizer step of the timeline, counted from 1; None where none was asked for
PyObject* WindowOfTimeline(PyObject*, PyObject*) {
  const StepWindow* window = TimelineWindow();
  if (window == nullptr) return None();
  return Python()->Py_BuildValue("(KK)", static_cast<Long>(window->first), static_cast<Long>(window->last));
}

// use_stacks(trusted)
PyObject* UseStacks(PyObject*, PyObject* arguments) {
  int trusted;
  if (!Parse(arguments, "i", &trusted)) return nullptr;
  EnablePythonStacks(trusted != 0);
  return None();
}

// use_module_call(id of the code object of nn.Module's call, or 0)
PyObject* UseModuleCall(PyObject*, PyObject* arguments) {
  Long module_call;
  if (!Parse(arguments, "K", &module_call)) return nullptr;
  SetModuleCall(reinterpret_cast<const void*>(module_call));
  return None();
}

PyMethodDef functions[] = {
    {"recording", IsRecording, kVarArgs, nullptr},
    {"phase", WritePhase, kVarArgs, nullptr},
    {"role", WriteRole, kVarArgs, nullptr},
    {"module", WriteModule, kVarArgs, nullptr},
    {"optimizer", WriteOptimizer, kVarArgs, nullptr},
    {"holder", WriteHolder, kVarArgs, nullptr},
    {"private_segment", WritePrivateSegment, kVarArgs, nullptr},
    {"device", WriteDevice, kVarArgs, nullptr},
    {"processes", WriteProcesses, kVarArgs, nullptr},
    {"versions", WriteVersions, kVarArgs, nullptr},
    {"note", WriteNote, kVarArgs, nullptr},
    {"thread_name", WriteThreadName, kVarArgs, nullptr},
    {"thread_failed", WriteThreadFailed, kVarArgs, nullptr},
    {"model_move", WriteModelMove, kVarArgs, nullptr},
    {"search_source", SearchSource, kVarArgs, nullptr},
    {"hooks", WriteHookStates, kVarArgs, nullptr},
    {"raw_stack", RawStackOfCaller, kVarArgs, nullptr},
    {"frame_slots", FrameSlots, kVarArgs, nullptr},
    {"stacks_wanted", StacksWanted, kVarArgs, nullptr},
    {"timeline_window", WindowOfTimeline, kVarArgs, nullptr},
    {"use_stacks", UseStacks, kVarArgs, nullptr},
    {"watch_code", WatchCodeObjects, kVarArgs, nullptr},
    {"use_module_call", UseModuleCall, kVarArgs, nullptr},
};

}  // namespace

bool AddNativeFunctions(const PyApi& python, PyObject* globals) {
  for (PyMethodDef& definition : functions) {
    PyObject* function = python.PyCFunction_NewEx(&definition, nullptr, nullptr);
    if (function == nullptr || python.PyDict_SetItemString(globals, definition.name, function) != 0) return false;
    python.Py_DecRef(function);
  }
  return true;
}

}  // namespace oomtrace
