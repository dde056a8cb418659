// Field numbers of oomtrace.trace.Chunk (proto/trace.proto). A test compares them with the descriptor.
#pragma once

#include <cstdint>

namespace oomtrace::wire {

inline constexpr uint32_t kTensorAlloc = 1;
inline constexpr uint32_t kTensorFree = 2;
inline constexpr uint32_t kDeviceAlloc = 3;
inline constexpr uint32_t kDeviceFree = 4;
inline constexpr uint32_t kMemoryInfo = 5;
inline constexpr uint32_t kPhase = 6;
inline constexpr uint32_t kHostCopy = 7;
inline constexpr uint32_t kOutOfMemory = 8;
inline constexpr uint32_t kTensorRole = 9;
inline constexpr uint32_t kGpuProcesses = 10;
inline constexpr uint32_t kHolder = 11;
inline constexpr uint32_t kExit = 12;
inline constexpr uint32_t kCompact = 13;
inline constexpr uint32_t kCollectorState = 33;
inline constexpr uint32_t kGpuActivity = 34;
inline constexpr uint32_t kLaunch = 35;
inline constexpr uint32_t kCuptiMemory = 36;
inline constexpr uint32_t kCollectorClock = 37;
inline constexpr uint32_t kGpuResource = 38;
inline constexpr uint32_t kCorrelation = 39;
inline constexpr uint32_t kNvtxRange = 40;
inline constexpr uint32_t kString = 16;
inline constexpr uint32_t kFrame = 17;
inline constexpr uint32_t kStack = 18;
inline constexpr uint32_t kLayout = 19;
inline constexpr uint32_t kContext = 20;
inline constexpr uint32_t kModule = 21;
inline constexpr uint32_t kOptimizer = 22;
inline constexpr uint32_t kLibrary = 23;
inline constexpr uint32_t kProcess = 24;
inline constexpr uint32_t kDevice = 25;
inline constexpr uint32_t kHook = 26;
inline constexpr uint32_t kNote = 27;
inline constexpr uint32_t kSite = 28;
inline constexpr uint32_t kFoldedSteps = 29;
inline constexpr uint32_t kUnknownRoute = 30;
inline constexpr uint32_t kSystem = 41;
inline constexpr uint32_t kNativeCallers = 45;
inline constexpr uint32_t kRefusalText = 46;
inline constexpr uint32_t kPrivateSegment = 53;
inline constexpr uint32_t kFoldedCalls = 54;
inline constexpr uint32_t kThreadFailed = 60;
inline constexpr uint32_t kThreadName = 61;
inline constexpr uint32_t kThreadChange = 62;
inline constexpr uint32_t kModelMove = 63;

// Kinds of the events in a compact run.
enum class Compact : uint32_t {
  kAllocKnown = 0,
  kAllocNew = 1,
  kFreeKnown = 2,
  kFreeNew = 3,
  kReserved = 4,
  kAllocWithoutSite = 5,
};

enum class Phase : uint32_t {
  kBackwardBegin = 1,
  kBackwardEnd = 2,
  kOptimizerStepBegin = 3,
  kOptimizerStepEnd = 4,
  kTrainMode = 5,
  kEvalMode = 6,
  kZeroGrad = 7,
};

enum class OutOfMemorySource : uint32_t { kTorchReport = 1, kDeviceCall = 2, kException = 3 };

// What a device call gave out (MemoryKind).
enum class MemoryKind : uint32_t {
  kDevice = 0,
  kManaged = 1,
  kHost = 2,
  kRegistered = 3,
  kArray = 4,
  kPhysical = 5,
  kRetained = 6,
  kMapping = 7,
  kPooled = 8,
  kPool = 9,
  kGraph = 10,
  kImported = 11,
  kImportedPhysical = 12,
  kHostPhysical = 13,
  kMulticast = 14,
  kContext = 15,
  kCode = 16,
};

enum class RouteKind : uint32_t { kPrivateTable = 1, kBypassed = 2, kUnhookedFunction = 3 };

enum class HookState : uint32_t { kHooked = 1, kMissing = 2, kNotLoaded = 3, kDisabled = 4 };

}  // namespace oomtrace::wire
