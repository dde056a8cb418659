// The environment that a command is started with: a copy of ours with some variables changed.
#pragma once

#include <map>
#include <string>
#include <vector>

namespace oomtrace {

class Environment {
 public:
  // A copy of this process's environment.
  static Environment Inherited();

  void Set(const std::string& name, const std::string& value) { variables_[name] = value; }
  void Unset(const std::string& name) { variables_.erase(name); }
  bool Has(const std::string& name) const { return variables_.contains(name); }
  // "" where the variable is not set.
  std::string Get(const std::string& name) const;

  // Puts the libraries in front of whatever LD_PRELOAD holds already; one that is there already is not repeated.
  void Preload(const std::vector<std::string>& libraries);

  // "NAME=value" lines, for execve.
  std::vector<std::string> Lines() const;

 private:
  std::map<std::string, std::string> variables_;
};

}  // namespace oomtrace
