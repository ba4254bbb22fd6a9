# Targets of the template only: `make fork` drops them with this folder.
.PHONY: fork test-forks

fork: $(READY)  ## make this clone your own: NAME=model REGISTRY=host/team [EXAMPLE=text] [DRY_RUN=1]
	@python -m scripts.fork --name "$$NAME" --registry "$$REGISTRY" $${EXAMPLE:+"--example=$$EXAMPLE"} $${DRY_RUN:+--dry-run}

test-forks: $(READY)  ## make three forks, run the pipeline in each and the tests of one: minutes to first green
	@python -m pytest -m forks tests/e2e/test_forks.py --timeout 1500
