// Every byte of the card at one moment, in seven rows that add up to its total.
#pragma once

#include "analyzer/diagnose/facts.h"

namespace oomtrace {

// Needs `facts.moment`, `oom` and `live`. Where a reading is older than the moment (the list of processes, the free
// bytes of a run that did not die), the rows that it feeds give way, so that the sum always holds.
report::DeviceTable MakeDeviceTable(const Timeline& timeline, const Facts& facts);

}  // namespace oomtrace
