# Every target calls the same `python -m scripts.X` lines as the Jenkinsfile. `make` alone prints this list.
PYTHON ?= python3.11
EXECUTOR ?= auto
export CLUSTER ?= model-pipeline
export PATH := $(CURDIR)/.venv/bin:$(PATH)
READY := .venv/.ready
REQUIREMENTS := requirements.txt requirements-dev.txt $(wildcard model/requirements.txt)

.PHONY: help setup ci check test test-e2e test-cluster test-long mutants conformance doctor cluster cluster-delete jenkins jenkins-build jenkins-delete push-demo lint report year serve promote stop pin-images prune update clean

help:           ## print this list
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):[^#]*## /\1|/' | awk -F'|' '{printf "  make %-12s %s\n", $$1, $$2}'

setup: $(READY) ## create .venv with the pinned packages
$(READY): $(REQUIREMENTS)
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11, 2) <= sys.version_info[:3] < (3, 12))' 2>/dev/null || \
	  { echo "setup: Python 3.11 is needed, 3.11.2 or newer: name it, as in \`make PYTHON=/usr/bin/python3.11\`"; exit 2; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || \
	  { echo "setup: Python's venv module is missing: on Debian, \`apt-get install python3-venv\`"; exit 2; }
	$(PYTHON) -m venv .venv
	.venv/bin/pip install --quiet --disable-pip-version-check $(REQUIREMENTS:%=-r %)
	@touch $@

ci: $(READY)    ## run the whole pipeline; SET="as_of=2013-07-01 seed=3" overrides settings (with spaces in a value: PIPELINE_SET)
	@python -m scripts.pipeline --executor $(EXECUTOR) $(SET:%=--set %)

check: $(READY) ## try model/ on a few rows, in seconds: what does not fit, and how to mend it
	@python -m scripts.configure $(SET:%=--set %) && python -m scripts.check

test: $(READY)  ## run the tests, on every core: about 10 minutes on two
	@python -m pytest --numprocesses logical --dist loadfile --no-loadscope-reorder

test-e2e: $(READY)  ## run whole builds that are killed, repeated or months apart
	@python -m pytest -m e2e tests/e2e tests/ci/rollout/test_deploy.py --timeout 1200 --numprocesses logical --dist loadfile --no-loadscope-reorder

test-cluster: $(READY)  ## run the tests that make a Kubernetes cluster: needs kind, kubectl, kwok, docker, skopeo
	@python -m pytest -m 'cluster and not long' tests/cluster --timeout 1500

test-long: $(READY)  ## try about 100,000 mutated inputs (FUZZ_FACTOR times those of `make test`), a quarter and looks that are killed, and the long drills on a cluster
	@FUZZ_FACTOR=$${FUZZ_FACTOR:-30} python -m pytest -m fuzz tests/fuzz --timeout 1200 --numprocesses logical --dist load
	@python -m pytest -m 'long and not cluster' tests/benchmarks tests/scripts --timeout 3600
	@python -m pytest -m 'cluster and long' tests/cluster --timeout 3600

year: $(READY)  ## live a year with the real commands by three policies: about 40 minutes on two cores; QUICK=1: a quarter, 8
	@python -m benchmarks.year $(if $(call given,QUICK),--quick)

mutants: $(READY) ## change single lines of decisions and guards: do the fast tests notice? (about 20 minutes)
	@python -m tests.mutants

lint: $(READY)  ## check format, lint and types
	@ruff format --check . && ruff check . && mypy

conformance: $(READY)  ## try this machine's own Docker and Kind: the REST contract, a rollout, a tuning Job
	@python -m tests.conformance

doctor: $(READY) ## say what this machine lacks to run everything on Kind, and what to do about it
	@python -m scripts.doctor $(SET:%=--set %)

cluster: $(READY) ## make or mend the cluster of Kind, CLUSTER=model-pipeline, with its registry and images
	@python -m scripts.cluster create $(SET:%=--set %)

cluster-delete: $(READY) ## delete that cluster and the registry
	@python -m scripts.cluster delete

jenkins: $(READY) ## put a Jenkins controller on that cluster, and say how to reach it
	@python -m scripts.jenkins create $(SET:%=--set %)

# What `make` was given as NAME=VALUE is in the environment of its commands: only the names pass through this line.
GIVEN = $(foreach name,$(.VARIABLES),$(if $(filter command,$(firstword $(origin $(name)))),$(name)))
given = $(if $(filter $(1),$(GIVEN)),$($(1)))
OWN = CLUSTER PYTHON EXECUTOR SET JOB BRANCH REQUEST MAKEFLAGS MAKEOVERRIDES

jenkins-build: export JENKINS_JOB = $(call given,JOB)
jenkins-build: export JENKINS_BRANCH = $(call given,BRANCH)
jenkins-build: export JENKINS_REQUEST = $(call given,REQUEST)
jenkins-build: $(READY) ## start a build on Jenkins and follow its log: make jenkins-build AS_OF=2013-07-01
	@python -m scripts.jenkins_build $(addprefix --from=,$(filter-out $(OWN),$(GIVEN)))

jenkins-delete: $(READY) ## delete that controller and all that belongs to it
	@python -m scripts.jenkins delete

push-demo: $(READY) ## serve this clone to that controller: from then on `git push demo` starts a build
	@python -m scripts.jenkins push $(if $(call given,BRANCH),--branch="$$BRANCH")

report: $(READY) ## write the report of what the last build left
	@python -m scripts.report

serve: $(READY) ## serve the last verified model and print a request that works
	@python -m scripts.serve

promote: $(READY) ## roll out in environment TO=production what was verified in the one before; BY=name approves it
	@python -m scripts.promote --to="$$TO" --approved-by="$$BY"

stop: $(READY)  ## end the server
	@python -m scripts.stop

pin-images: $(READY) ## write the digests of the base images into ci/images/images.yaml
	@python -m scripts.pin_images

prune: $(READY) ## delete images of old releases and unused DVC cache
	@python -m scripts.prune

update: $(READY) ## merge a newer version of the template: FROM=upstream/main
	@python -m scripts.update $${FROM:+"--from=$$FROM"}

-include examples/fork.mk

clean:          ## remove everything that was built, the served releases too
	@if [ -x .venv/bin/python ] && [ -d build ]; then .venv/bin/python -m scripts.stop; fi
	rm -rf build .dvc/cache .dvc/tmp
