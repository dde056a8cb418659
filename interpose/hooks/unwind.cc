#include "interpose/hooks/unwind.h"

#include <elf.h>
#include <sys/uio.h>
#include <unistd.h>

namespace oomtrace {
namespace {

// DWARF numbers of x86-64 registers.
constexpr uint64_t kFramePointer = 6;
constexpr uint64_t kStackPointer = 7;
// Encodings of pointers in .eh_frame: the only ones that GNU ld, gold, lld and mold write.
constexpr uint8_t kPcRelative4 = 0x1b;
constexpr uint8_t kUnsigned4 = 0x03;
constexpr uint8_t kHeaderRelative4 = 0x3b;
constexpr size_t kLargestRecord = 1024;  // of .eh_frame; longer ones are not understood
constexpr int kMostRemembered = 4;

template <typename T>
bool Read(uintptr_t from, T* value) {
  return CopyReadable(value, from, sizeof *value);
}

// The bytes of a record, read in order. Past the end everything is 0 and ok() is false.
class Bytes {
 public:
  Bytes(const uint8_t* data, size_t size) : at_(data), end_(data + size) {}

  bool ok() const { return ok_; }
  bool more() const { return ok_ && at_ < end_; }
  uint8_t Byte() {
    if (at_ >= end_) {
      ok_ = false;
      return 0;
    }
    return *at_++;
  }
  uint64_t Fixed(int bytes) {
    uint64_t value = 0;
    for (int i = 0; i < bytes; ++i) value |= static_cast<uint64_t>(Byte()) << (8 * i);
    return value;
  }
  uint64_t Unsigned() {
    uint64_t value = 0;
    for (int shift = 0;; shift += 7) {
      const uint8_t byte = Byte();
      if (shift < 64) value |= static_cast<uint64_t>(byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
  }
  int64_t Signed() {
    uint64_t value = 0;
    for (int shift = 0;;) {
      const uint8_t byte = Byte();
      if (shift < 64) value |= static_cast<uint64_t>(byte & 0x7f) << shift;
      shift += 7;
      if (byte >= 0x80) continue;
      if (shift < 64 && (byte & 0x40) != 0) value |= ~uint64_t{0} << shift;
      return static_cast<int64_t>(value);
    }
  }
  void Skip(uint64_t bytes) {
    if (bytes > static_cast<uint64_t>(end_ - at_)) {
      ok_ = false;
      at_ = end_;
    } else {
      at_ += bytes;
    }
  }

 private:
  const uint8_t* at_;
  const uint8_t* end_;
  bool ok_ = true;
};

// Where the caller's frame begins (the canonical frame address) and where it keeps its frame pointer.
struct Row {
  uint64_t base = kStackPointer;  // register
  int64_t offset = 0;
  bool dereference = false;  // a realigned stack: the address stands in memory at base + offset
  bool saved = false;        // the frame pointer, at the frame address + saved_at
  int64_t saved_at = 0;
  bool saved_in_frame = false;  // at this frame's own frame pointer + saved_at
};

struct Cie {
  uint64_t code_alignment = 1;
  int64_t data_alignment = 1;
  bool augmented = false;
  Row row;
};

// "breg6 offset" and "breg6 offset, deref": how compilers describe a realigned stack.
bool ReadExpression(Bytes& bytes, int64_t* offset, bool* dereference) {
  Bytes& at = bytes;
  const uint64_t length = at.Unsigned();
  constexpr uint8_t kBreg6 = 0x76, kDeref = 0x06;
  if (length < 2 || length > 8 || at.Byte() != kBreg6) return false;
  *offset = at.Signed();
  // A displacement of one byte leaves length - 2 bytes, of two length - 3.
  const uint64_t displacement = *offset >= -64 && *offset < 64 ? 1 : 2;
  *dereference = length == displacement + 2;
  if (*dereference && at.Byte() != kDeref) return false;
  return length == displacement + (*dereference ? 2u : 1u);
}

// Carries out the instructions up to `target`, counted from the function's beginning.
bool Run(Bytes bytes, const Cie& cie, uint64_t target, Row* row) {
  const Row initial = *row;
  Row remembered[kMostRemembered];
  int depth = 0;
  uint64_t location = 0;
  const auto advance = [&](uint64_t delta) { return (location += delta * cie.code_alignment) > target; };
  const auto save = [&](uint64_t reg, int64_t offset) {
    if (reg != kFramePointer) return;
    row->saved = true;
    row->saved_in_frame = false;
    row->saved_at = offset * cie.data_alignment;
  };
  const auto restore = [&](uint64_t reg) {
    if (reg == kFramePointer) row->saved = initial.saved;
  };
  while (bytes.more()) {
    const uint8_t operation = bytes.Byte();
    const uint8_t low = operation & 0x3f;
    switch (operation >> 6) {
      case 1:
        if (advance(low)) return true;
        continue;
      case 2:
        save(low, static_cast<int64_t>(bytes.Unsigned()));
        continue;
      case 3:
        restore(low);
        continue;
      default:
        break;
    }
    switch (low) {
      case 0x00:  // nop
        break;
      case 0x02:
      case 0x03:
      case 0x04:  // advance_loc1, 2, 4
        if (advance(bytes.Fixed(1 << (low - 2)))) return true;
        break;
      case 0x05: {  // offset_extended
        const uint64_t reg = bytes.Unsigned();
        save(reg, static_cast<int64_t>(bytes.Unsigned()));
        break;
      }
      case 0x06:  // restore_extended
        restore(bytes.Unsigned());
        break;
      case 0x07:  // undefined
      case 0x08:  // same_value
        if (bytes.Unsigned() == kFramePointer) row->saved = false;
        break;
      case 0x0a:  // remember_state
        if (depth == kMostRemembered) return false;
        remembered[depth++] = *row;
        break;
      case 0x0b:  // restore_state
        if (depth == 0) return false;
        *row = remembered[--depth];
        break;
      case 0x0c:  // def_cfa
        row->base = bytes.Unsigned();
        row->offset = static_cast<int64_t>(bytes.Unsigned());
        row->dereference = false;
        break;
      case 0x0d:  // def_cfa_register
        row->base = bytes.Unsigned();
        break;
      case 0x0e:  // def_cfa_offset
        row->offset = static_cast<int64_t>(bytes.Unsigned());
        break;
      case 0x0f:  // def_cfa_expression
        row->base = kFramePointer;
        if (!ReadExpression(bytes, &row->offset, &row->dereference)) return false;
        break;
      case 0x10: {  // expression
        const uint64_t reg = bytes.Unsigned();
        if (reg != kFramePointer) {
          bytes.Skip(bytes.Unsigned());
          break;
        }
        bool dereference = false;
        row->saved = row->saved_in_frame = true;
        if (!ReadExpression(bytes, &row->saved_at, &dereference) || dereference) return false;
        break;
      }
      case 0x11: {  // offset_extended_sf
        const uint64_t reg = bytes.Unsigned();
        save(reg, bytes.Signed());
        break;
      }
      case 0x2e:  // GNU_args_size
        bytes.Unsigned();
        break;
      default:
        return false;
    }
  }
  return bytes.ok();
}

// Reads a record of .eh_frame without its length; false where it is none.
bool ReadRecord(uintptr_t address, uint8_t (&record)[kLargestRecord], size_t* size) {
  uint32_t length = 0;
  if (!Read(address, &length) || length < 4 || length > kLargestRecord) return false;
  *size = length;
  return CopyReadable(record, address + 4, length);
}

bool ReadCie(uintptr_t address, Cie* cie) {
  uint8_t record[kLargestRecord];
  size_t size = 0;
  if (!ReadRecord(address, record, &size)) return false;
  Bytes bytes(record, size);
  if (bytes.Fixed(4) != 0) return false;  // not a CIE
  const uint8_t version = bytes.Byte();
  char augmentation[8] = {};
  for (size_t i = 0;; ++i) {
    if (i == sizeof augmentation) return false;
    augmentation[i] = static_cast<char>(bytes.Byte());
    if (augmentation[i] == 0) break;
  }
  cie->code_alignment = bytes.Unsigned();
  cie->data_alignment = bytes.Signed();
  if (version == 1) {
    bytes.Byte();  // register of the return address: 16
  } else {
    bytes.Unsigned();
  }
  if (augmentation[0] == 'z') {
    cie->augmented = true;
    bytes.Skip(bytes.Unsigned());
  } else if (augmentation[0] != 0) {
    return false;
  }
  return bytes.ok() && Run(bytes, *cie, ~uint64_t{0}, &cie->row);
}

// The function description entry that covers `pc`, by the table that is sorted by address; 0 where none does.
uintptr_t FindFde(uintptr_t header, uintptr_t pc) {
  struct {
    uint8_t version, frame_encoding, count_encoding, table_encoding;
    int32_t frame;
    uint32_t count;
  } head;
  if (!Read(header, &head) || head.version != 1 || head.frame_encoding != kPcRelative4 ||
      head.count_encoding != kUnsigned4 || head.table_encoding != kHeaderRelative4) {
    return 0;
  }
  struct {
    int32_t begin, fde;
  } entry;
  const uintptr_t table = header + sizeof head;
  const auto wanted = static_cast<int64_t>(pc - header);
  uint32_t low = 0, high = head.count;
  while (high - low > 1) {
    const uint32_t middle = low + (high - low) / 2;
    if (!Read(table + middle * sizeof entry, &entry)) return 0;
    (entry.begin <= wanted ? low : high) = middle;
  }
  if (head.count == 0 || !Read(table + low * sizeof entry, &entry) || entry.begin > wanted) return 0;
  return header + static_cast<uintptr_t>(static_cast<int64_t>(entry.fde));
}

bool FindRow(uintptr_t header, uintptr_t pc, Row* row) {
  const uintptr_t fde = FindFde(header, pc);
  uint8_t record[kLargestRecord];
  size_t size = 0;
  if (fde == 0 || !ReadRecord(fde, record, &size)) return false;
  Bytes bytes(record, size);
  const uintptr_t cie_address = fde + 4 - bytes.Fixed(4);
  const uintptr_t begin = fde + 8 + static_cast<uintptr_t>(static_cast<int64_t>(static_cast<int32_t>(bytes.Fixed(4))));
  const uint64_t range = bytes.Fixed(4);
  Cie cie;
  if (!bytes.ok() || pc < begin || pc - begin >= range || !ReadCie(cie_address, &cie)) return false;
  if (cie.augmented) bytes.Skip(bytes.Unsigned());
  *row = cie.row;
  return Run(bytes, cie, pc - begin, row);
}

}  // namespace

bool CopyReadable(void* to, uintptr_t from, size_t bytes) {
  const iovec target = {to, bytes};
  const iovec source = {reinterpret_cast<void*>(from), bytes};
  return process_vm_readv(getpid(), &target, 1, &source, 1, 0) == static_cast<ssize_t>(bytes);
}

uintptr_t FindEhFrameHeader(uintptr_t base) {
  Elf64_Ehdr elf;
  if (!Read(base, &elf) || elf.e_ident[EI_MAG0] != ELFMAG0 || elf.e_ident[EI_MAG1] != ELFMAG1) return 0;
  for (uint16_t i = 0; i < elf.e_phnum; ++i) {
    Elf64_Phdr segment;
    if (!Read(base + elf.e_phoff + i * sizeof segment, &segment)) return 0;
    if (segment.p_type == PT_GNU_EH_FRAME) return base + segment.p_vaddr;
  }
  return 0;
}

#if defined(__x86_64__)
bool UnwindStep(uintptr_t header, UnwindState* state) {
  Row row;
  // The call may be the function's last instruction: what it returns to is then another's.
  if (!FindRow(header, state->pc - 1, &row)) return false;
  if (row.base != kStackPointer && row.base != kFramePointer) return false;
  uintptr_t frame =
      (row.base == kStackPointer ? state->stack_pointer : state->frame_pointer) + static_cast<uintptr_t>(row.offset);
  if (row.dereference && !Read(frame, &frame)) return false;
  if (frame <= state->stack_pointer || !Read(frame - 8, &state->pc)) return false;
  if (row.saved) {
    const uintptr_t saved = (row.saved_in_frame ? state->frame_pointer : frame) + static_cast<uintptr_t>(row.saved_at);
    if (!Read(saved, &state->frame_pointer)) return false;
  }
  state->stack_pointer = frame;
  return state->pc != 0;
}
#else
bool UnwindStep(uintptr_t, UnwindState*) { return false; }
#endif

}  // namespace oomtrace
