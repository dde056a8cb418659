#include "simgpu/static_runtime.h"

#include <cuda.h>
#include <cuda_runtime_api.h>
#include <dlfcn.h>
#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "simgpu/api.h"
#include "simgpu/api/entry_points.h"

namespace oomtrace::simgpu {
namespace {

// NVIDIA's build of libcudart_static.a gives each of its objects such a symbol: it marks an image that has its own
// runtime, and no other library.
constexpr std::string_view kMark = "libcudart_static_";
// What nvcc makes of each source file with kernels: a constructor that registers them.
constexpr std::string_view kRegistration = "__sti____cudaRegisterAll";

// ---- the driver's functions, as a static runtime gets them ----------------------------------------------------------

void* AskDriver(const char* name) {
  static const auto get_proc_address = [] {
    using GetProcAddress = CUresult(const char*, void**, int, cuuint64_t, CUdriverProcAddressQueryResult*);
    void* driver = dlopen("libcuda.so.1", RTLD_NOW);
    return driver == nullptr ? nullptr : reinterpret_cast<GetProcAddress*>(dlsym(driver, "cuGetProcAddress_v2"));
  }();
  void* function = nullptr;
  if (get_proc_address == nullptr) return FindDriverFunction(name);
  get_proc_address(name, &function, CUDA_VERSION, CU_GET_PROC_ADDRESS_DEFAULT, nullptr);
  return function;
}

// A call of the driver in the runtime's place. cudaError_t and CUresult agree on every number that occurs here. The
// compiler makes it a jump, so that the return address is the program's own: it is what tells a recorder who called.
#define FORWARD(runtime, driver, parameters, arguments)                                   \
  int runtime##_forward parameters {                                                      \
    static const auto function = reinterpret_cast<int(*) parameters>(AskDriver(#driver)); \
    return function arguments;                                                            \
  }

FORWARD(cudaMalloc, cuMemAlloc, (void** pointer, size_t bytes), (pointer, bytes))
FORWARD(cudaMallocAsync, cuMemAllocAsync, (void** pointer, size_t bytes, void* stream), (pointer, bytes, stream))
FORWARD(cudaMallocFromPoolAsync, cuMemAllocFromPoolAsync, (void** pointer, size_t bytes, void* pool, void* stream),
        (pointer, bytes, pool, stream))
FORWARD(cudaMallocManaged, cuMemAllocManaged, (void** pointer, size_t bytes, unsigned int flags),
        (pointer, bytes, flags))
FORWARD(cudaMallocHost, cuMemAllocHost, (void** pointer, size_t bytes), (pointer, bytes))
FORWARD(cudaHostAlloc, cuMemHostAlloc, (void** pointer, size_t bytes, unsigned int flags), (pointer, bytes, flags))
FORWARD(cudaFree, cuMemFree, (void* pointer), (pointer))
FORWARD(cudaFreeAsync, cuMemFreeAsync, (void* pointer, void* stream), (pointer, stream))
FORWARD(cudaFreeHost, cuMemFreeHost, (void* pointer), (pointer))
FORWARD(cudaMemGetInfo, cuMemGetInfo, (size_t * free, size_t* total), (free, total))

#undef FORWARD

// Here a shell of each soname tells its own version (shell_version.c); a static runtime has no soname.
int cudaRuntimeGetVersion_forward(int* version) {
  *version = CUDART_VERSION;
  return 0;
}

struct Forward {
  std::string_view name;
  void* function;
};

#define ENTRY(name) \
  { #name, reinterpret_cast < void*>(name##_forward) }
const Forward kForwards[] = {
    ENTRY(cudaMalloc),        ENTRY(cudaMallocAsync),       ENTRY(cudaMallocFromPoolAsync),
    ENTRY(cudaMallocManaged), ENTRY(cudaMallocHost),        ENTRY(cudaHostAlloc),
    ENTRY(cudaFree),          ENTRY(cudaFreeAsync),         ENTRY(cudaFreeHost),
    ENTRY(cudaMemGetInfo),    ENTRY(cudaRuntimeGetVersion),
};
#undef ENTRY

// `name` without the suffix of functions that use a stream per thread: the simulated streams do not differ.
std::string WithoutStreamSuffix(std::string_view name) {
  for (const std::string_view suffix : {std::string_view("_ptsz"), std::string_view("_ptds")})
    if (name.ends_with(suffix)) name.remove_suffix(suffix.size());
  return std::string(name);
}

void* ReplacementFor(std::string_view name) {
  const std::string plain = WithoutStreamSuffix(name);
  for (const Forward& forward : kForwards)
    if (forward.name == plain) return forward.function;
  void* exact = FindOwnFunction(std::string(name).c_str());
  return exact != nullptr ? exact : FindOwnFunction(plain.c_str());
}

// ---- redirection ----------------------------------------------------------------------------------------------------

// jmp *0(%rip), and the address behind it.
struct __attribute__((packed)) Jump {
  uint8_t opcode[6] = {0xff, 0x25, 0, 0, 0, 0};
  uint64_t target;
};
static_assert(sizeof(Jump) <= 16, "functions are aligned to 16 bytes, so each has that many");

void Redirect(void* function, void* target) {
#if defined(__x86_64__)
  const auto page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  const auto begin = reinterpret_cast<uintptr_t>(function) & ~(page - 1);
  const auto end = reinterpret_cast<uintptr_t>(function) + sizeof(Jump);
  auto* pages = reinterpret_cast<void*>(begin);
  if (mprotect(pages, end - begin, PROT_READ | PROT_WRITE | PROT_EXEC) != 0) return;
  Jump jump;
  jump.target = reinterpret_cast<uint64_t>(target);
  std::memcpy(function, &jump, sizeof jump);
  mprotect(pages, end - begin, PROT_READ | PROT_EXEC);
#else
  static_cast<void>(function);
  static_cast<void>(target);
#endif
}

// The symbol table of an ELF file, mapped for reading; empty where the file has none.
class SymbolTable {
 public:
  explicit SymbolTable(const char* path) {
    const int descriptor = open(path, O_RDONLY | O_CLOEXEC);
    if (descriptor < 0) return;
    struct stat status;
    if (fstat(descriptor, &status) == 0 && status.st_size > static_cast<off_t>(sizeof(ElfW(Ehdr)))) {
      bytes_ = static_cast<size_t>(status.st_size);
      void* data = mmap(nullptr, bytes_, PROT_READ, MAP_PRIVATE, descriptor, 0);
      if (data != MAP_FAILED) data_ = static_cast<const char*>(data);
    }
    close(descriptor);
    if (data_ != nullptr) Find();
  }
  ~SymbolTable() {
    if (data_ != nullptr) munmap(const_cast<char*>(data_), bytes_);
  }
  SymbolTable(const SymbolTable&) = delete;
  SymbolTable& operator=(const SymbolTable&) = delete;

  size_t size() const { return count_; }
  const ElfW(Sym) & operator[](size_t i) const { return symbols_[i]; }
  std::string_view NameOf(size_t i) const {
    return symbols_[i].st_name < names_bytes_ ? names_ + symbols_[i].st_name : std::string_view();
  }

 private:
  bool Holds(uint64_t offset, uint64_t bytes) const { return offset <= bytes_ && bytes <= bytes_ - offset; }

  void Find() {
    const auto& header = *reinterpret_cast<const ElfW(Ehdr)*>(data_);
    if (std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 || header.e_shentsize != sizeof(ElfW(Shdr))) return;
    if (!Holds(header.e_shoff, uint64_t{header.e_shnum} * sizeof(ElfW(Shdr)))) return;
    const auto* sections = reinterpret_cast<const ElfW(Shdr)*>(data_ + header.e_shoff);
    for (size_t i = 0; i < header.e_shnum; ++i) {
      const ElfW(Shdr)& section = sections[i];
      if (section.sh_type != SHT_SYMTAB || section.sh_link >= header.e_shnum) continue;
      const ElfW(Shdr)& strings = sections[section.sh_link];
      // The last name ends with the table, so that no name reads beyond it.
      if (!Holds(section.sh_offset, section.sh_size) || !Holds(strings.sh_offset, strings.sh_size)) return;
      if (strings.sh_size == 0 || data_[strings.sh_offset + strings.sh_size - 1] != '\0') return;
      symbols_ = reinterpret_cast<const ElfW(Sym)*>(data_ + section.sh_offset);
      count_ = section.sh_size / sizeof(ElfW(Sym));
      names_ = data_ + strings.sh_offset;
      names_bytes_ = strings.sh_size;
      return;
    }
  }

  const char* data_ = nullptr;
  size_t bytes_ = 0;
  const ElfW(Sym) * symbols_ = nullptr;
  size_t count_ = 0;
  const char* names_ = nullptr;
  size_t names_bytes_ = 0;
};

struct Object {
  uintptr_t base;
  std::string path;
};

// Those that have not been looked at. An object that was unloaded and loaded again elsewhere is new.
std::vector<Object> NewObjects() {
  static std::mutex mutex;
  static auto* known = new std::set<std::pair<uintptr_t, std::string>>;
  struct Search {
    std::vector<Object> found;
  } search;
  std::lock_guard lock(mutex);
  dl_iterate_phdr(
      [](dl_phdr_info* info, size_t, void* data) {
        const char* path = info->dlpi_name[0] == '\0' ? "/proc/self/exe" : info->dlpi_name;
        if (path[0] == '/' && known->emplace(info->dlpi_addr, path).second)
          static_cast<Search*>(data)->found.push_back({info->dlpi_addr, path});
        return 0;
      },
      &search);
  return std::move(search.found);
}

void RedirectIn(const Object& object, bool run_registration) {
  const SymbolTable symbols(object.path.c_str());
  bool own_runtime = false;
  for (size_t i = 0; i < symbols.size() && !own_runtime; ++i) own_runtime = symbols.NameOf(i).starts_with(kMark);
  if (!own_runtime) return;
  std::vector<void (*)()> registrations;
  for (size_t i = 0; i < symbols.size(); ++i) {
    const ElfW(Sym)& symbol = symbols[i];
    if (ELF64_ST_TYPE(symbol.st_info) != STT_FUNC || symbol.st_shndx == SHN_UNDEF) continue;
    const std::string_view name = symbols.NameOf(i);
    void* function = reinterpret_cast<void*>(object.base + symbol.st_value);
    if (name.find(kRegistration) != std::string_view::npos)
      registrations.push_back(reinterpret_cast<void (*)()>(function));
    if (!name.starts_with("cuda") && !name.starts_with("__cuda")) continue;
    if (void* replacement = ReplacementFor(name)) Redirect(function, replacement);
  }
  if (!run_registration) return;
  for (auto* registration : registrations) registration();
}

// Before the program's own constructors.
__attribute__((constructor)) void RedirectAtStart() { RedirectStaticRuntimes(false); }

}  // namespace

void RedirectStaticRuntimes(bool run_registration) {
  for (const Object& object : NewObjects()) RedirectIn(object, run_registration);
}

}  // namespace oomtrace::simgpu

// Libraries that are loaded later. A bare name, and one that is relative to the caller, is looked up along the caller's
// own paths: there the real function must see the caller's return address, so the call is handed on as a jump. What
// such a library brings along is looked at with the next one.
SIMGPU_API void* dlopen(const char* file, int flags) {
  using Open = void*(const char*, int);
  static const auto real = reinterpret_cast<Open*>(dlsym(RTLD_NEXT, "dlopen"));
  if (file == nullptr || file[0] != '/') return real(file, flags);
  void* handle = real(file, flags);
  if (handle != nullptr) oomtrace::simgpu::RedirectStaticRuntimes(true);
  return handle;
}
