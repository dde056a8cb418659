// The driver's private tables of functions: no hook follows what is called through them. The table is handed on
// untouched; which one it was goes into the trace.
#include <cuda.h>

#include "interpose/hooks/device_hook.h"
#include "interpose/hooks/unknown_routes.h"
#include "interpose/record/text.h"

using namespace oomtrace;

namespace {

struct KnownTable {
  unsigned char id[16];
  const char* name;
  bool may_allocate;
};

constexpr KnownTable kKnownTables[] = {
#include "interpose/hooks/export_tables.def"
};

using TableName = Text<120>;

TableName NameOf(const unsigned char* id, const char* known) {
  constexpr char kDigits[] = "0123456789abcdef";
  TableName name;
  for (int i = 0; i < 16; ++i) {
    if (i == 4 || i == 6 || i == 8 || i == 10) name.Add("-");
    const char digits[] = {kDigits[id[i] >> 4], kDigits[id[i] & 15], 0};
    name.Add(digits);
  }
  if (known != nullptr) name.Add(" ").Add(known);
  return name;
}

}  // namespace

OOMTRACE_EXPORT CUresult cuGetExportTable(const void** table, const CUuuid* id) {
  const HookSite site = OOMTRACE_SITE(kCuGetExportTable);
  const CUresult result = CallReal<CUresult>(site, table, id);
  if (result != CUDA_SUCCESS || id == nullptr) return result;
  unsigned char bytes[16];
  __builtin_memcpy(bytes, id->bytes, sizeof(bytes));
  const KnownTable* known = nullptr;
  for (const KnownTable& candidate : kKnownTables)
    if (__builtin_memcmp(candidate.id, bytes, sizeof(bytes)) == 0) known = &candidate;
  const TableName name = NameOf(bytes, known != nullptr ? known->name : nullptr);
  NoteUnknownRoute(wire::RouteKind::kPrivateTable, {name.c_str(), name.size()}, site.caller,
                   known == nullptr || known->may_allocate);
  return result;
}
