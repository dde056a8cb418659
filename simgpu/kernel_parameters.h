// Where the parameters of a kernel lie, as cuFuncGetParamInfo tells it: read from the code that nvcc compiled, so that
// the answers are those of a real driver.
//
// A cubin is an ELF image; the section .nv.info.<kernel> lists attributes, of which KPARAM_INFO describes one parameter
// each. Fat binaries hold one cubin for each architecture, compressed with zstd by nvcc of CUDA 12.8 and later (older
// ones, compressed with LZ4, and PTX are not read). Layouts as documented by the open tools that read them
// (cuda-binary-utilities' output, the fatbin parsers of Cricket and gpuocelot) and checked here against PyTorch's
// wheel.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace oomtrace::simgpu {

struct KernelParameter {
  uint32_t offset;  // bytes, in the parameter block
  uint32_t size;
};
using KernelParameters = std::vector<KernelParameter>;           // by index
using ParameterTable = std::map<std::string, KernelParameters>;  // by mangled name

// Of every kernel in an ELF image of `bytes`; empty where it is none.
ParameterTable ReadParameters(const char* image, size_t bytes);

// The same for an image without a known length, as cuModuleLoadData takes it; *bytes becomes the image's size, 0 where
// it is no ELF image.
ParameterTable ReadParametersOfImage(const void* image, size_t* bytes);

// The compressed cubins of a fat binary (the container that nvcc's wrapper points to), one at a time.
class FatBinaryImages {
 public:
  explicit FatBinaryImages(const char* container);
  // The next image, decompressed; false at the end. Images that cannot be read are left out.
  bool Next(std::vector<char>* image);

 private:
  const char* at_ = nullptr;
  const char* end_ = nullptr;
};

}  // namespace oomtrace::simgpu
