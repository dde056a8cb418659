"""Keeps an array of each round: the pool that hands CuPy its memory grows until the device has none."""

import cupy

kept = []


def work(i):
    matrix = cupy.zeros((1024, 1024), dtype=cupy.float32)
    product = matrix @ matrix + i
    kept.append(cupy.zeros(1 << 26, dtype=cupy.uint8))
    return cupy.fft.rfft(product[0]).shape


for i in range(1000):
    work(i)
