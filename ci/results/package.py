"""Result of the package stage: the manifest of a package."""

from ci import workspace
from ci.results.file import Day, Digest, File, Result, Version
from ci.results.training import Signature
from ci.settings.kinds import Name


class Image(Result):
    """The image's reference and digest, and the reference of the image below the model; None for no base."""

    reference: str
    digest: Digest
    base: str | None


class Manifest(Result):
    """What a package holds: the model, its image, its signature, and the digest of all that it was made from."""

    model: Name
    version: Version
    as_of: Day
    image: Image
    signature: Signature
    digests: dict[str, str]


MANIFEST: File[Manifest] = File(workspace.PACKAGE / "manifest.json", Manifest)
