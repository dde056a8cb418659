// dlsym: the way to the driver of everything that is not linked with it: a statically linked CUDA runtime, ctypes,
// CuPy, JAX. Only a lookup, in a library that the caller names by its handle, of a name that is exactly that of a
// hooked CUDA function is answered with our function, and only where the answer is the function that ours calls.
//
// Everything else is a jump to the C library's dlsym with the caller's registers and return address as they were: for
// RTLD_NEXT and RTLD_DEFAULT it looks at who calls (LLVM's OpenMP finds itself again and again if that is somebody
// else). Nothing is allocated and no lock is taken on that way; the name is read, no more.
#include <dlfcn.h>

#include <atomic>

#include "interpose/hooks/entry_table.h"
#include "interpose/hooks/real.h"
#include "interpose/record/settings.h"

using namespace oomtrace;

extern "C" {
// For the code below; hidden by the version script.
__attribute__((visibility("hidden"))) DlsymFunction* oomtrace_real_dlsym;
__attribute__((visibility("hidden"))) int oomtrace_dlsym_wants(const char* name);
__attribute__((visibility("hidden"))) void* oomtrace_dlsym_exchange(void* handle, const char* name);
__attribute__((visibility("hidden"))) DlsymFunction* oomtrace_dlsym_resolve();
}

namespace oomtrace {
namespace {

// The versions under which glibc has exported dlsym: since 2.34 from libc itself, before from libdl.
constexpr const char* kDlsymVersions[] = {"GLIBC_2.34", "GLIBC_2.2.5", "GLIBC_2.17"};

}  // namespace

DlsymFunction* RealDlsym() {
  const std::atomic_ref<DlsymFunction*> shared(oomtrace_real_dlsym);
  DlsymFunction* known = shared.load(std::memory_order_relaxed);
  for (size_t i = 0; known == nullptr && i < sizeof(kDlsymVersions) / sizeof(*kDlsymVersions); ++i) {
    known = reinterpret_cast<DlsymFunction*>(dlvsym(RTLD_NEXT, "dlsym", kDlsymVersions[i]));
    shared.store(known, std::memory_order_relaxed);
  }
  return known;
}

bool DlsymHooked() { return SwitchedOn("OOMTRACE_DLSYM", true); }

}  // namespace oomtrace

// Called for names that begin with "cu".
int oomtrace_dlsym_wants(const char* name) {
  static const bool hooked = DlsymHooked();
  return hooked && FindCudaHook(name) != HookId::kCount;
}

void* oomtrace_dlsym_exchange(void* handle, const char* name) {
  DlsymFunction* real = RealDlsym();
  void* found = real != nullptr ? real(handle, name) : nullptr;
  if (found == nullptr) return nullptr;  // with the C library's own dlerror()
  const HookId id = FindCudaHook(name);
  return FindReal(id, nullptr) == found ? OurFunction(id) : found;
}

DlsymFunction* oomtrace_dlsym_resolve() { return RealDlsym(); }

#if defined(__x86_64__)
__asm__(R"(
  .text
  .globl dlsym
  .type dlsym, @function
  .p2align 4
dlsym:
  .cfi_startproc
  endbr64
  leaq 1(%rdi), %rax            # RTLD_NEXT is -1, RTLD_DEFAULT 0
  cmpq $1, %rax
  jbe 1f
  testq %rsi, %rsi
  je 1f
  cmpb $99, (%rsi)              # 'c'
  jne 1f
  cmpb $117, 1(%rsi)            # 'u'
  jne 1f
  pushq %rdi
  .cfi_adjust_cfa_offset 8
  pushq %rsi
  .cfi_adjust_cfa_offset 8
  subq $8, %rsp
  .cfi_adjust_cfa_offset 8
  movq %rsi, %rdi
  call oomtrace_dlsym_wants
  addq $8, %rsp
  .cfi_adjust_cfa_offset -8
  popq %rsi
  .cfi_adjust_cfa_offset -8
  popq %rdi
  .cfi_adjust_cfa_offset -8
  testl %eax, %eax
  jne oomtrace_dlsym_exchange
1:
  movq oomtrace_real_dlsym(%rip), %rax
  testq %rax, %rax
  je 2f
  jmp *%rax
2:
  pushq %rdi
  .cfi_adjust_cfa_offset 8
  pushq %rsi
  .cfi_adjust_cfa_offset 8
  subq $8, %rsp
  .cfi_adjust_cfa_offset 8
  call oomtrace_dlsym_resolve
  addq $8, %rsp
  .cfi_adjust_cfa_offset -8
  popq %rsi
  .cfi_adjust_cfa_offset -8
  popq %rdi
  .cfi_adjust_cfa_offset -8
  testq %rax, %rax
  je 3f
  jmp *%rax
3:
  ret                           # nullptr: this C library has no dlsym that can be found
  .cfi_endproc
  .size dlsym, .-dlsym
)");
#elif defined(__aarch64__)
__asm__(R"(
  .text
  .globl dlsym
  .type dlsym, %function
  .p2align 4
dlsym:
  .cfi_startproc
  bti c
  add x9, x0, #1                // RTLD_NEXT is -1, RTLD_DEFAULT 0
  cmp x9, #1
  b.ls 1f
  cbz x1, 1f
  ldrb w9, [x1]
  cmp w9, #99                   // 'c'
  b.ne 1f
  ldrb w9, [x1, #1]
  cmp w9, #117                  // 'u'
  b.ne 1f
  stp x29, x30, [sp, #-32]!
  stp x0, x1, [sp, #16]
  .cfi_adjust_cfa_offset 32
  .cfi_rel_offset x30, 8
  mov x0, x1
  bl oomtrace_dlsym_wants
  mov w9, w0
  ldp x0, x1, [sp, #16]
  ldp x29, x30, [sp], #32
  .cfi_adjust_cfa_offset -32
  .cfi_restore x30
  cbz w9, 1f
  b oomtrace_dlsym_exchange
1:
  adrp x9, oomtrace_real_dlsym
  ldr x16, [x9, #:lo12:oomtrace_real_dlsym]
  cbz x16, 2f
  br x16
2:
  stp x29, x30, [sp, #-32]!
  stp x0, x1, [sp, #16]
  .cfi_adjust_cfa_offset 32
  .cfi_rel_offset x30, 8
  bl oomtrace_dlsym_resolve
  mov x16, x0
  ldp x0, x1, [sp, #16]
  ldp x29, x30, [sp], #32
  .cfi_adjust_cfa_offset -32
  .cfi_restore x30
  cbz x16, 3f
  br x16
3:
  mov x0, #0                    // this C library has no dlsym that can be found
  ret
  .cfi_endproc
  .size dlsym, .-dlsym
)");
#else
#error "dlsym: write its jump for this processor"
#endif
