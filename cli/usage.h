// The "Usage:" line of a subcommand that takes a command after "--": CLI11 never sees that part.
#pragma once

#include <memory>
#include <string>
#include <utility>

#include "CLI/CLI.hpp"

namespace oomtrace {

class FixedUsage : public CLI::Formatter {
 public:
  explicit FixedUsage(std::string usage) : usage_(std::move(usage)) {}
  std::string make_usage(const CLI::App* app, std::string name) const override { return usage_ + "\n"; }

 private:
  std::string usage_;
};

inline void SetUsage(CLI::App& command, std::string usage) {
  command.formatter(std::make_shared<FixedUsage>("Usage: " + std::move(usage)));
}

// -o TRACE, as `run` and `dryrun` take it.
inline void AddOutputOption(CLI::App& command, std::string& output) {
  command.add_option("-o,--output", output, "Write the trace to this file (an older trace there is replaced)")
      ->type_name("TRACE")
      ->check([](const std::string& name) { return std::string(name.empty() ? "the file name is empty" : ""); }, "");
}

}  // namespace oomtrace
