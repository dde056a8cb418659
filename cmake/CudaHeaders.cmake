# oomtrace_cuda_headers: cuda.h, cuda_runtime_api.h and cupti.h, from an installed toolkit, else from NVIDIA's PyPI
# wheels that scripts/setup put under <build>/cuda. Headers only: nothing of NVIDIA's is linked. FindCUDAToolkit cannot be used: it
# insists on nvcc and on unversioned library links, which the wheels do not have.
find_path(OOMTRACE_CUDA_INCLUDE cuda_runtime_api.h
  HINTS ${CMAKE_SOURCE_DIR}/build/cuda/nvidia/cu13/include $ENV{CUDA_HOME}/include /usr/local/cuda/include)
find_path(OOMTRACE_CUPTI_INCLUDE cupti.h
  HINTS ${OOMTRACE_CUDA_INCLUDE} /usr/local/cuda/extras/CUPTI/include)
if(NOT OOMTRACE_CUDA_INCLUDE)
  message(FATAL_ERROR "cuda_runtime_api.h was not found. Run `make setup`, which fetches NVIDIA's header wheels, or set "
    "-DOOMTRACE_CUDA_INCLUDE=<toolkit>/include.")
endif()
add_library(oomtrace_cuda_headers INTERFACE)
target_include_directories(oomtrace_cuda_headers SYSTEM INTERFACE ${OOMTRACE_CUDA_INCLUDE})
if(OOMTRACE_CUPTI_INCLUDE)
  target_include_directories(oomtrace_cuda_headers SYSTEM INTERFACE ${OOMTRACE_CUPTI_INCLUDE})
endif()
