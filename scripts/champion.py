"""Write down what is serving, and what its search found, before the build: build/champion.json, build/prior.json.

The test stage compares this build's model with it. Its content is digest, version, as_of and release, or null when
nothing was ever released. Of several environments it is what serves in the last one. If the serving release was built
from the inputs that are checked out now, it is the champion that release was compared with, so that a rerun changes
nothing. Two cases are errors, as the next model would be compared with nothing: a server runs but does not answer, or
it serves a version that no release records.

With tuning.warm_start the search begins with what the champion's has found; prior.json is null without it, without a
champion, and of one that was built without it.
"""

import os
import sys

from ci.command import command


def champion() -> None:
    """Write the champion and say which it is."""
    from ci import configuration, lineage, workspace
    from ci.errors import StageError
    from ci.parameters import PULL_REQUEST
    from ci.releases import ledger
    from ci.results.build import CHAMPION
    from ci.results.training import KNOWN, PRIOR
    from ci.rollout import place as places
    from ci.rollout.decision import Phase

    settings = configuration.effective()
    place = places.look(settings.last())
    last, phases = place.ledger.last(), place.where.phases()
    if hung := next((digest for digest, phase in phases.items() if phase is Phase.UNREACHABLE), None):
        raise StageError(place.where.failure(hung))
    place.require_agreement()
    if last and phases.get(last["digest"]) not in (Phase.SERVING, Phase.ROLLING):
        print(f"champion: nothing serves; taking release {last['release']}, the last that was verified")
    # A pull request's build is of other code than what is checked out here, and is compared with what serves now.
    inputs = "" if os.environ.get(PULL_REQUEST) else lineage.inputs_digest()
    found = ledger.champion(last, inputs)
    prior = None
    if found and settings.tuning.warm_start:
        known = KNOWN.read_if_there(place.ledger.evidence(found["digest"]) / KNOWN.path.name)
        prior = known and {"digest": found["digest"], "trials": [trial.model_dump() for trial in known]}
    CHAMPION.write(found)
    PRIOR.write(prior)
    name = f"version {found['version']} of release {found['release']}" if found else "none"
    again = f" (release {last['release']} was built from these inputs)" if last and last["inputs"] == inputs else ""
    print(f"champion: {name}{again} -> {workspace.CHAMPION}")
    if settings.tuning.warm_start:
        said = f"the {len(prior['trials'])} best trials of its search" if prior else "nothing: its search kept none"
        print(f"champion: tuning begins with {said} -> {workspace.PRIOR}")


main = command(__doc__, champion)

if __name__ == "__main__":
    sys.exit(main())
