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
  command
      .add_option("-o,--output", output,
                  "Write the trace to this file; an older trace there is renamed after the time at which it began")
      ->type_name("TRACE")
      ->check([](const std::string& name) { return std::string(name.empty() ? "the file name is empty" : ""); }, "");
}

// --timeline[=STEPS], as `run` and `dryrun` take it. "" where it was not given.
inline void AddTimelineOption(CLI::App& command, std::string& steps) {
  const auto check = [](const std::string& text) -> std::string {
    const size_t dash = text.find('-');
    const std::string last = dash == std::string::npos ? text : text.substr(dash + 1);
    const auto number = [](const std::string& part) {
      return !part.empty() && part.size() < 10 && part.find_first_not_of("0123456789") == std::string::npos &&
             part != "0";
    };
    const bool good = number(text.substr(0, dash)) && number(last) && std::stol(text) <= std::stol(last);
    return good ? "" : "expected a number of optimizer steps (3), or a range of them, counted from 1 (10-12)";
  };
  command
      .add_option("--timeline", steps,
                  "Also record what the GPU runs, in the first STEPS optimizer steps (3), or in steps A-B; needs CUPTI")
      ->type_name("STEPS")
      ->expected(0, 1)
      ->default_str("3")
      ->check(check);
}

}  // namespace oomtrace
