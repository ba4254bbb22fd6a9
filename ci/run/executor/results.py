"""What a build in pods leaves on this machine: its report and records, below `build/` as a local build has them."""

import io
import tarfile
from pathlib import Path, PurePosixPath

from ci import configuration, workspace
from ci.errors import StageError
from ci.stages import HANDED_OVER

FOLDERS = (
    workspace.EVALUATION,
    workspace.PLACEMENT,
    workspace.ROLLOUT,
    workspace.MONITORING,
    workspace.RETRAINING,
    workspace.REPORT,
)
FILES = (*HANDED_OVER, workspace.RUNS)
WANTED = tuple(str(path) for path in (*FOLDERS, *FILES))


def unpack(archive: bytes, context: str) -> list[Path]:
    """Put the results of an archive (tar) in the place of those that are there, and return what came.

    Only plain files of the wanted places are taken, whatever else is in it.

    Args:
        archive: the results.
        context: of the kubeconfig: what is the pod's own cluster there has this name here.

    Raises:
        StageError: it is no archive.
        InputError: the settings in it are none.
    """
    files: dict[Path, dict[Path, bytes]] = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            for member in tar:
                path = Path(PurePosixPath(member.name))
                place = next((each for each in (*FOLDERS, *FILES) if path == each or each in path.parents), None)
                content = tar.extractfile(member) if member.isfile() else None
                if place is None or content is None or ".." in path.parts:
                    continue
                files.setdefault(place, {})[path.relative_to(place)] = content.read()
    except tarfile.TarError as error:
        raise StageError(f"the results of the build cannot be read: {error}") from None
    for place, found in files.items():
        if place in FILES:
            workspace.write_bytes(place, found[Path()])
            continue
        with workspace.replacing(place) as folder:
            for name, each in found.items():
                workspace.write_bytes(folder / name, each)
    if workspace.SETTINGS in files:
        settings = configuration.effective()
        serving = settings.serving.model_copy(update={"context": context})
        workspace.write_text(workspace.SETTINGS, configuration.dump(settings.model_copy(update={"serving": serving})))
    return [*files]
