# Targets of the template only: `make fork` drops them with this folder.
.PHONY: fork test-forks

fork: export FORK_NAME = $(call given,NAME)
fork: export FORK_REGISTRY = $(call given,REGISTRY)
fork: export FORK_EXAMPLE = $(call given,EXAMPLE)
fork: $(READY)  ## make this clone your own: NAME=model REGISTRY=host/team [EXAMPLE=text] [DRY_RUN=1]
	@python -m scripts.fork --name="$$FORK_NAME" --registry="$$FORK_REGISTRY" $${FORK_EXAMPLE:+"--example=$$FORK_EXAMPLE"} \
	  $(if $(call given,DRY_RUN),--dry-run)

test-forks: $(READY) ## make three forks of this commit as a user does, build in them, and merge what comes later
	@python -m pytest -m forks tests/e2e --timeout 1800 -q
