// Which libraries call CUDA's allocating functions past the hooks: their own symbol scope came first when they were
// loaded (RTLD_DEEPBIND), or they were bound before. They are named, and left as they are.
#pragma once

namespace oomtrace {

// Looks again if libraries were loaded since the last time. Takes the dynamic linker's locks: under no other lock.
void AuditBindings();

}  // namespace oomtrace
