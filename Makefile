# Short names for the scripts of tools/. Values are handed over in the environment exactly as typed:
# `value` stops make from expanding a $ in them.
.DEFAULT_GOAL := help
.SUFFIXES:
MAKEFLAGS += --no-builtin-rules
unexport PROMPT MODEL PORT
export LLORCH_PROMPT := $(value PROMPT)
export LLORCH_MODEL := $(value MODEL)
export LLORCH_UP_PORT := $(value PORT)

.PHONY: help run up down build test check models promises bench soak fuzz clean

help:  ## this list
	@grep -hE '^[a-z]+:.*##' Makefile | sed -E 's/:[^#]*## */\t/' | while IFS="$$(printf '\t')" read -r name text; do printf '  make %-10s %s\n' "$$name" "$$text"; done

run:  ## set-up, build, download smollm2, answer PROMPT="…" once (MODEL=… for another model)
	@tools/run.sh once

up:  ## the same, but the worker stays on port 8080 (PORT=…)
	@tools/run.sh up

down:  ## stops what `make up` left running
	@tools/run.sh down

build:  ## the release build: programs in build/bin
	@tools/run.sh build

test:  ## set-up, unit and end-to-end tests, most promises
	@tools/test.sh

check:  ## format, layers, clauses, tidy, sanitizers, 10 s of fuzzing (FULL=1: all of it)
	@tools/check.sh $(if $(FULL),--full)

models:  ## tries every model of the catalog and a tiny one of each family on each backend
	@.docs/testing/test_all_models.sh

promises:  ## measures the promises of docs/promises.md
	@tools/test.sh promises

bench:  ## compares the worker with llama-server on this machine
	@bench/compare.sh

soak:  ## simulated fleets and the promises, with long counts
	@tools/test.sh soak

fuzz:  ## a minute for each fuzz target (SECONDS_EACH=…)
	@tools/fuzz.sh $(or $(SECONDS_EACH),60)

clean:  ## removes build/ but keeps models, sources and llama.cpp's build
	@tools/clean.sh
