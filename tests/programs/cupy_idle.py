"""CuPy's pool keeps 8000 MiB that the program let go; then somebody asks the device for 5 GiB past the pool."""

import cupy

arrays = [cupy.empty(100 << 20, dtype=cupy.uint8) for _ in range(80)]
del arrays
cupy.cuda.runtime.malloc(5 << 30)
