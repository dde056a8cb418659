#include "analyzer/timeline/dtype.h"

#include <iterator>

#include "absl/strings/str_cat.h"

namespace oomtrace {
namespace {

struct Dtype {
  const char* name;
  int64_t bits;
};

// PyTorch stores the unsigned and signed integers below eight bits a byte an element; float4 holds two in a byte, and
// its size counts the pairs.
constexpr Dtype kDtypes[] = {
    {"uint8", 8},
    {"int8", 8},
    {"int16", 16},
    {"int32", 32},
    {"int64", 64},
    {"float16", 16},
    {"float32", 32},
    {"float64", 64},
    {"complex32", 32},
    {"complex64", 64},
    {"complex128", 128},
    {"bool", 8},
    {"qint8", 8},
    {"quint8", 8},
    {"qint32", 32},
    {"bfloat16", 16},
    {"quint4x2", 8},
    {"quint2x4", 8},
    {"bits1x8", 8},
    {"bits2x4", 8},
    {"bits4x2", 8},
    {"bits8", 8},
    {"bits16", 16},
    {"float8_e5m2", 8},
    {"float8_e4m3fn", 8},
    {"float8_e5m2fnuz", 8},
    {"float8_e4m3fnuz", 8},
    {"uint16", 16},
    {"uint32", 32},
    {"uint64", 64},
    {"uint1", 8},
    {"uint2", 8},
    {"uint3", 8},
    {"uint4", 8},
    {"uint5", 8},
    {"uint6", 8},
    {"uint7", 8},
    {"int1", 8},
    {"int2", 8},
    {"int3", 8},
    {"int4", 8},
    {"int5", 8},
    {"int6", 8},
    {"int7", 8},
    {"float8_e8m0fnu", 8},
    {"float4_e2m1fn_x2", 8},
};

bool Known(int32_t scalar_type) { return scalar_type >= 0 && scalar_type < static_cast<int32_t>(std::size(kDtypes)); }

}  // namespace

std::string DtypeName(int32_t scalar_type) {
  return Known(scalar_type) ? kDtypes[scalar_type].name : absl::StrCat("dtype ", scalar_type);
}

int64_t DtypeBits(int32_t scalar_type) { return Known(scalar_type) ? kDtypes[scalar_type].bits : 0; }

}  // namespace oomtrace
