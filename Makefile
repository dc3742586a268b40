# Regard: `make demo` and `make test` do all their own set-up; `make help` lists the rest.
PREFIX ?= /usr/local
JOBS ?= $(shell nproc)
BUILD := build/release
CACHE := .cache
LAUNCHER := $(if $(shell command -v ccache),-DCMAKE_CXX_COMPILER_LAUNCHER=ccache)

MODEL := $(CACHE)/models/SmolLM2-135M-Instruct.Q4_1.gguf
DEMO_DATA := $(CACHE)/data/devils_dictionary.jsonl

.PHONY: help demo demo-from-scratch test test-gpu build program install bench bench-train format format-check lint dependencies clean

help:
	@echo "make demo                fine-tune SmolLM2-135M on The Devil's Dictionary (about 3 minutes, after a build)"
	@echo "make demo-from-scratch   train a tiny model from random weights (needs no download)"
	@echo "make test                build everything and run every test"
	@echo "make test-gpu            the tests that need an NVIDIA GPU; elsewhere they say so and are skipped"
	@echo "make program             build build/release/bin/regard and build/release/lib/libregard.so"
	@echo "make install PREFIX=DIR  install the library, headers, CMake and pkg-config files and the program"
	@echo "make bench               time the attention kernels;  make bench-train  time a training step"
	@echo "make format lint         clang-format in place; clang-tidy"

dependencies:
	@tools/install_dependencies.sh

$(BUILD)/build.ninja: | dependencies
	@cmake --preset release $(LAUNCHER) $(if $(WERROR),-DREGARD_WERROR=$(WERROR))

build: dependencies $(BUILD)/build.ninja
	@cmake --build --preset release -j $(JOBS)

# The program and the library, without tests and benchmarks: who comes for the demo need not wait for these.
program: dependencies $(BUILD)/build.ninja
	@cmake --build --preset release -j $(JOBS) --target regard_program

$(MODEL): | dependencies
	@tools/fetch_demo_model.sh $@

$(DEMO_DATA): tools/make_devils_dictionary.py | dependencies
	@mkdir -p $(dir $@)
	@python3 tools/make_devils_dictionary.py --output $@

demo: program $(MODEL) $(DEMO_DATA)
	@$(BUILD)/bin/regard train examples/demo.yml

demo-from-scratch: program $(DEMO_DATA)
	@$(BUILD)/bin/regard train examples/tiny-from-scratch.yml

test: build
	@ctest --preset release -j $(JOBS)

# One GPU, one test at a time: they share it.
test-gpu: build
	@ctest --preset release -L gpu -j 1 --verbose

install: program
	@cmake --install $(BUILD) --prefix $(PREFIX)

bench: build
	@$(BUILD)/bin/attention_bench

bench-train: program $(MODEL) $(DEMO_DATA)
	@tools/bench_train.sh $(BUILD)/bin/regard

SOURCES = $(shell git ls-files '*.h' '*.cc' '*.cuh')
format:
	@clang-format -i $(SOURCES)
format-check:
	@clang-format --dry-run -Werror $(SOURCES)
lint: build
	@tools/lint.sh $(BUILD)

clean:
	@rm -rf build
