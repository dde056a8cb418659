#include "interpose/record/trace_name.h"

#include <fcntl.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

namespace oomtrace {
namespace {

const char* BaseName(const char* path) {
  const char* slash = strrchr(path, '/');
  return slash != nullptr ? slash + 1 : path;
}

bool IsPython(const char* program) { return strncmp(BaseName(program), "python", 6) == 0; }

// Without a directory and without the ending of a Python file; nothing that a shell or a file system minds.
void AddCleanName(const char* text, ProgramName* name) {
  const char* base = BaseName(text);
  size_t size = strlen(base);
  if (size > 3 && strcmp(base + size - 3, ".py") == 0) size -= 3;
  for (size_t i = 0; i < size && i < 100; ++i) {
    const char c = base[i];
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
                       c == '-' || c == '.' || (static_cast<unsigned char>(c) & 0x80);
    name->Add(plain ? &c : "_", 1);
  }
}

void AddHost(TracePath* path) {
  char host[65] = {};
  if (gethostname(host, sizeof(host) - 1) != 0 || host[0] == 0) strcpy(host, "localhost");
  if (char* dot = strchr(host, '.')) *dot = 0;
  path->Add(host);
}

void AddAbsolute(const char* text, size_t size, TracePath* path) {
  char directory[4096];
  if (text[0] != '/' && getcwd(directory, sizeof(directory)) != nullptr) {
    path->Add(directory);
    if (strcmp(directory, "/") != 0) path->Add("/");
  }
  path->Add(text, size);
}

void AddFromFile(const char* file, int attempt, TracePath* path) {
  if (attempt == 0) return AddAbsolute(file, strlen(file), path);
  constexpr char kEnding[] = ".oomtrace";
  size_t stem = strlen(file);
  const size_t ending = sizeof(kEnding) - 1;
  if (stem > ending && strcmp(file + stem - ending, kEnding) == 0) stem -= ending;
  AddAbsolute(file, stem, path);
  path->Add(".").AddNumber(static_cast<uint64_t>(getpid()));
  if (attempt > 1) path->Add("-").AddNumber(static_cast<uint64_t>(attempt));
  path->Add(kEnding);
}

}  // namespace

size_t ReadFile(const char* path, char* buffer, size_t capacity) {
  const int descriptor = open(path, O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) return 0;
  size_t size = 0;
  while (size < capacity) {
    const ssize_t count = read(descriptor, buffer + size, capacity - size);
    if (count <= 0) break;
    size += static_cast<size_t>(count);
  }
  close(descriptor);
  return size;
}

void ProgramFromCommandLine(const char* command_line, size_t size, ProgramName* name) {
  const char* end = command_line + size;
  const char* argument = command_line;
  const auto next = [&] {
    argument += strlen(argument) + 1;
    return argument < end;
  };
  if (size == 0) {
    name->Add("process");
    return;
  }
  const char* program = argument;
  if (!IsPython(program)) return AddCleanName(program, name);
  while (next()) {
    if (argument[0] != '-' || argument[1] == 0) return AddCleanName(argument[0] == '-' ? program : argument, name);
    if (strcmp(argument, "--check-hash-based-pycs") == 0 && !next()) break;
    if (argument[1] == '-' || argument[0] != '-') continue;
    // -m MODULE and -c CODE end the options, also behind others in one word (-um); -W and -X take a value.
    const char last = argument[strlen(argument) - 1];
    if (strchr(argument, 'm') == argument + strlen(argument) - 1 && last == 'm') {
      if (next()) return AddCleanName(argument, name);
      break;
    }
    if (last == 'c') break;
    if ((last == 'W' || last == 'X') && !next()) break;
  }
  AddCleanName(program, name);
}

void ComposeTracePath(int attempt, TracePath* path) {
  path->Clear();
  const char* file = getenv("OOMTRACE_FILE");
  if (file != nullptr && file[0] != 0) return AddFromFile(file, attempt, path);
  char command_line[4096] = {};
  const size_t size = ReadFile("/proc/self/cmdline", command_line, sizeof(command_line) - 1);
  ProgramName program;
  ProgramFromCommandLine(command_line, size, &program);
  const char* directory = getenv("OOMTRACE_DIR");
  if (directory != nullptr && directory[0] != 0) {
    AddAbsolute(directory, strlen(directory), path);
    path->Add("/");
  } else {
    AddAbsolute("", 0, path);
  }
  path->Add(program.c_str()).Add(".");
  AddHost(path);
  path->Add(".").AddNumber(static_cast<uint64_t>(getpid()));
  path->Add(".").AddNumber(static_cast<uint64_t>(time(nullptr)) + static_cast<uint64_t>(attempt));
  path->Add(".oomtrace");
}

}  // namespace oomtrace
