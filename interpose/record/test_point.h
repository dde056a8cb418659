// Names the moments at which a process may die with a trace half-way through a change: between a record's bytes and its
// commit, between the stores that open, seal, recycle or fold chunks.
//
// Nothing at all in the recorder. With OOMTRACE_TEST_POINTS, which only tests/moments builds, each is a call of a
// function that the test's program defines, and that ends the process at the n-th of them.
#pragma once

#ifdef OOMTRACE_TEST_POINTS
namespace oomtrace {
void ReachTestPoint(const char* name);
}  // namespace oomtrace
#define OOMTRACE_TEST_POINT(name) ::oomtrace::ReachTestPoint(name)
#else
#define OOMTRACE_TEST_POINT(name) static_cast<void>(0)
#endif
