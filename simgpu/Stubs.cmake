# Generates the stubs from imports/<soname>.txt and kernels.txt at configure time. See stub_macros.h.

# The status by which each library says "not supported".
set(SIMGPU_NOT_SUPPORTED
  libcublas.so.13=15 libcublasLt.so.13=15 libcuda.so.1=801 libcudart.so.13=801 libcudnn.so.9=3000 libcufft.so.12=16
  libcufile.so.0=5001 libcurand.so.10=201 libcupti.so.13=27 libcusolver.so.12=9 libcusparse.so.12=10
  libcusparseLt.so.0=10 libnccl.so.2=3 libnvidia-ml.so.1=3 libnvrtc.so.13=11 libnvshmem_host.so.3=1
  libcublas.so.12=15 libcublasLt.so.12=15 libcudart.so.12=801 libcufft.so.11=16 libcupti.so.12=27
  libcusolver.so.11=9 libnvToolsExt.so.1=0 libnvrtc.so.12=11)

function(simgpu_generate_stubs out)
  file(STRINGS ${CMAKE_CURRENT_SOURCE_DIR}/kernels.txt kernels REGEX "^lib")
  set(sources "")
  set(known "")
  foreach(entry IN LISTS SIMGPU_NOT_SUPPORTED)
    string(REGEX MATCH "^(.*)=(.*)$" _ ${entry})
    set(soname ${CMAKE_MATCH_1})
    set(error ${CMAKE_MATCH_2})
    set(list ${CMAKE_CURRENT_SOURCE_DIR}/imports/${soname}.txt)
    set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${list} ${CMAKE_CURRENT_SOURCE_DIR}/kernels.txt)
    # A function that CUDA 13's library has too is there already; the versions are the shells' (shell_version.c).
    file(STRINGS ${list} names)
    list(REMOVE_ITEM names ${known} cudaRuntimeGetVersion nvrtcVersion)
    list(APPEND known ${names})
    set(patterns "")
    foreach(kernel IN LISTS kernels)
      if(kernel MATCHES "^([^ ]+) (.*)$" AND CMAKE_MATCH_1 STREQUAL soname)
        list(APPEND patterns "^(${CMAKE_MATCH_2})$")
      endif()
    endforeach()
    set(text "#include \"simgpu/stub_macros.h\"\n\n")
    foreach(name IN LISTS names)
      set(line "SIMGPU_STUB(${name}, \"${soname}\", ${error})\n")
      foreach(pattern IN LISTS patterns)
        if(name MATCHES "${pattern}")
          set(line "SIMGPU_KERNEL(${name})\n")
        endif()
      endforeach()
      string(APPEND text "${line}")
    endforeach()
    set(source ${CMAKE_CURRENT_BINARY_DIR}/stubs/${soname}.cc)
    file(CONFIGURE OUTPUT ${source} CONTENT "${text}" @ONLY)
    list(APPEND sources ${source})
  endforeach()
  set(${out} ${sources} PARENT_SCOPE)
endfunction()
