// NVRTC: programs "compile" to an empty image. PyTorch's jiterator and fusers load it and launch its kernels.
#include <cstddef>
#include <cstring>
#include <set>
#include <string>

#include "simgpu/api.h"

namespace {

constexpr int kSuccess = 0;
constexpr char kImage[] = "// oomtrace simulated GPU: no code\n";

struct Program {
  std::set<std::string> names;
};

Program* From(void* program) { return static_cast<Program*>(program); }

int SizeOfImage(size_t* bytes) {
  *bytes = sizeof kImage;
  return kSuccess;
}

int CopyImage(char* image) {
  std::memcpy(image, kImage, sizeof kImage);
  return kSuccess;
}

}  // namespace

SIMGPU_API const char* nvrtcGetErrorString(int error) { return error == kSuccess ? "NVRTC_SUCCESS" : "NVRTC_ERROR"; }

SIMGPU_API int nvrtcCreateProgram(void** program, const char*, const char*, int, const char* const*,
                                  const char* const*) {
  *program = new Program;
  return kSuccess;
}

SIMGPU_API int nvrtcDestroyProgram(void** program) {
  delete From(*program);
  *program = nullptr;
  return kSuccess;
}

SIMGPU_API int nvrtcCompileProgram(void*, int, const char* const*) { return kSuccess; }

SIMGPU_API int nvrtcAddNameExpression(void* program, const char* expression) {
  From(program)->names.insert(expression);
  return kSuccess;
}

SIMGPU_API int nvrtcGetLoweredName(void* program, const char* expression, const char** lowered) {
  *lowered = From(program)->names.insert(expression).first->c_str();
  return kSuccess;
}

SIMGPU_API int nvrtcGetPTXSize(void*, size_t* bytes) { return SizeOfImage(bytes); }
SIMGPU_API int nvrtcGetPTX(void*, char* image) { return CopyImage(image); }
SIMGPU_API int nvrtcGetCUBINSize(void*, size_t* bytes) { return SizeOfImage(bytes); }
SIMGPU_API int nvrtcGetCUBIN(void*, char* image) { return CopyImage(image); }

SIMGPU_API int nvrtcGetProgramLogSize(void*, size_t* bytes) {
  *bytes = 1;
  return kSuccess;
}

SIMGPU_API int nvrtcGetProgramLog(void*, char* log) {
  *log = '\0';
  return kSuccess;
}
