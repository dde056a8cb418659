# Each target does all of its own set-up, on a fresh Debian 12, Ubuntu 22.04 or 24.04. The work is in scripts/.
.PHONY: help setup build demo test test-all zoo matrix lint bench real-cards fuzz clean distclean
.NOTPARALLEL:

help:
	@echo "make demo      train a GPT-2 on a simulated 12 GB card until it runs out of memory, and say why"
	@echo "make test      build, C++ tests, Python tests with real PyTorch, lint (under half an hour on 2 cores)"
	@echo "make test-all  make test, the slow matrix, the recorder under sanitizers"
	@echo "make zoo       labelled scripts that die of memory: what the analyzer gets right (docs/zoo.md)"
	@echo "make matrix    what the recorder sees of PyTorch 2.4.1 to 2.15.0 (downloads 5 GB the first time)"
	@echo "make build     build/bin/oomtrace, build/lib/liboomtrace.so, build/lib/simgpu/"
	@echo "make lint      clang-format, clang-tidy, ruff"
	@echo "make bench     what recording costs, against PyTorch's own recorder; fails beyond bench/budget.json"
	@echo "make real-cards the simulated GPU against 415 published runs on a real A100 (docs/accuracy.md)"
	@echo "make fuzz      the trace reader and explain under libFuzzer, a minute each"
	@echo "make setup     system packages, .venv, NVIDIA headers: every other target does this first"
	@echo "make clean     remove what was built; make distclean: and what was downloaded"

setup:
	@scripts/setup test

build:
	@scripts/setup build
	@scripts/build oomtrace

demo:
	@scripts/setup demo
	@scripts/build oomtrace
	@scripts/demo

test:
	@scripts/setup test
	@scripts/build
	@scripts/test

test-all:
	@scripts/setup test
	@scripts/build
	@scripts/test --slow

zoo:
	@scripts/setup test
	@scripts/build
	@.venv/bin/python tests/zoo/run.py --proof --docs

matrix:
	@scripts/setup build
	@scripts/build
	@scripts/matrix

lint:
	@scripts/setup test
	@scripts/build
	@scripts/lint

bench:
	@scripts/setup demo
	@scripts/build
	@scripts/bench

real-cards:
	@scripts/setup test
	@scripts/build
	@.venv/bin/python bench/real_cards/compare.py mlp
	@.venv/bin/python bench/real_cards/compare.py timm

fuzz:
	@scripts/setup fuzz
	@scripts/fuzz

clean:
	@find build -mindepth 1 -maxdepth 1 ! -name cuda -exec rm -rf {} + 2>/dev/null || true

distclean:
	@rm -rf build .venv .matrix
