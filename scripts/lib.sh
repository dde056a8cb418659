# Shared by the scripts in this folder; sourced with the repository root as working directory.

say() { printf '    %s\n' "$*"; }

# fail WHAT ADVICE
fail() {
  printf 'error: %s\n       %s\n' "$1" "$2" >&2
  exit 1
}

# step NAME COMMAND…: runs the command, says how long it took and returns its status.
step() {
  local name=$1 begin=$SECONDS status=0
  shift
  printf '==> %s\n' "$name"
  "$@" || status=$?
  local took=$((SECONDS - begin))
  [ $took -lt 2 ] || say "$took s"
  return $status
}

# The first CMake that is new enough, or nothing.
cmake_program() {
  local candidate version
  for candidate in cmake .venv/bin/cmake; do
    version=$("$candidate" --version 2>/dev/null | sed -n '1s/.*version //p') || continue
    [ -n "$version" ] || continue
    if printf '3.25\n%s\n' "$version" | sort -V -C; then
      echo "$candidate"
      return
    fi
  done
}
