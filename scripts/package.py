"""Assemble the model into an image that can be deployed: build/package/.

Writes image/ (an OCI image layout with the model below /models/NAME/VERSION), golden.json, manifest.json and
SHA256SUMS (`sha256sum -c` checks it). The same model gives the same image digest: nothing is built, files are placed.
"""

import sys
from datetime import date

from ci.command import parser, run


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    parser(__doc__, "package").parse_args(argv)
    return run(package)


def package() -> None:
    """Write the package and say what is in it."""
    from ci import configuration, lineage, workspace
    from ci.packaging.package import assemble

    settings = configuration.effective()
    summary = workspace.read_json(workspace.DATA / "summary.json")
    fields = workspace.read_json(workspace.MODEL / "signature.json")
    digests = {
        "data": summary["fingerprint"],
        "settings": lineage.settings_digest(),
        "code": lineage.code_digest(),
    }
    as_of = date.fromisoformat(summary["as_of"])
    with workspace.replacing(workspace.PACKAGE) as folder:
        manifest = assemble(folder, settings.model.name, settings.packaging.repository, as_of, digests, fields)
    print("package: on an empty base: this image carries the model, the machine carries the server")
    print(f"package: {manifest['image']['reference']} {manifest['image']['digest'][:19]} -> {workspace.PACKAGE}")


if __name__ == "__main__":
    sys.exit(main())
