"""The ways of CuPy to memory and to kernels, each once; ends well where all of them work."""

import cupy
import numpy

host = numpy.arange(1000)
assert (cupy.asnumpy(cupy.asarray(host)) == host).all()
array = cupy.ones((256, 256), dtype=cupy.float32)
assert (array @ array).shape == (256, 256)  # cuBLAS
assert cupy.fft.fft(array[0]).shape == (256,)  # cuFFT
assert cupy.random.rand(8).shape == (8,)  # cuRAND
assert cupy.random.default_rng(0).random(8).shape == (8,)  # kernels of the wheel's own
assert cupy.sort(array[0]).shape == (256,)  # Thrust
assert cupy.linalg.solve(cupy.eye(8), cupy.zeros(8)).shape == (8,)  # cuSOLVER
kernel = cupy.RawKernel('extern "C" __global__ void nothing(float* x) {}', "nothing")  # NVRTC
kernel((1,), (1,), (array,))

pool = cupy.get_default_memory_pool()
held = pool.total_bytes()
assert held > 0
del array, kernel
pool.free_all_blocks()
assert pool.total_bytes() <= held
cupy.cuda.alloc_pinned_memory(1 << 20)
for allocator in (cupy.cuda.MemoryAsyncPool().malloc, cupy.cuda.MemoryPool(cupy.cuda.malloc_managed).malloc, None):
    with cupy.cuda.using_allocator(allocator):
        assert cupy.zeros(1 << 20, dtype=cupy.uint8).shape == (1 << 20,)
try:
    cupy.zeros(1 << 40, dtype=cupy.uint8)
except cupy.cuda.memory.OutOfMemoryError:
    print("survived")
