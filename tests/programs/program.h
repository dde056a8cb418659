// A program with CUDA and without PyTorch, as far as its memory goes. Its ways to die are the same for each API below
// it: memory_runtime.c and memory_driver.c.
#pragma once

#include <stddef.h>

// All return 0, or the error that CUDA returned.
int TakeMemory(void** memory, size_t bytes);
int TakeMemoryInStreamOrder(void** memory, size_t bytes);
int GiveMemoryBack(void* memory);
int GiveMemoryBackInStreamOrder(void* memory);
// From now on the device's pool keeps what is freed into it.
int KeepWhatPoolsFree(void);
int AskDevice(size_t* free_bytes, size_t* total_bytes);
