"""Assemble the model into an image that can be deployed: build/package/.

Writes image/ (an OCI image layout: the base that packaging.base names, or none, and on it the model below
/models/NAME/VERSION), golden.json, reference.json, sbom.cdx.json (CycloneDX), card.md (the model card), manifest.json
with every digest, prior.json (what the search found) if tuning.warm_start is set, signature.json if
packaging.signing_key is set, and SHA256SUMS (`sha256sum -c` checks it). The same model on the same base gives the same
image digest: nothing is built, files are placed.
"""

import sys

from ci.command import command


def package() -> None:
    """Write the package and say what is in it."""
    from ci import configuration, lineage, workspace
    from ci.packaging.package import assemble
    from ci.packaging.prior import known
    from ci.registry import bases
    from ci.results.data import SUMMARY
    from ci.results.training import SIGNATURE, TRIALS

    settings = configuration.effective()
    summary, fields = SUMMARY.read(), SIGNATURE.plain()
    digests = {
        "data": summary.fingerprint,
        "settings": lineage.settings_digest(),
        "code": lineage.code_digest(),
    }
    found = known(TRIALS.read(), settings.tuning.objective.direction) if settings.tuning.warm_start else None
    base = bases.get(settings.packaging.base, settings.packaging.plain_http)
    with workspace.replacing(workspace.PACKAGE) as folder:
        manifest = assemble(
            folder, settings.model.name, settings.packaging, summary.as_of, digests, fields, base, found
        )
    if base is None:
        print("package: on an empty base: this image carries the model, the machine carries the server")
    elif base.pinned:
        print(f"package: on {base.reference}")
    else:
        print(f"package: on {base.reference}, which is not pinned: `make pin-images` writes the digest down")
    print(f"package: {manifest['image']['reference']} {manifest['image']['digest'][:19]} -> {workspace.PACKAGE}")


main = command(__doc__, package)

if __name__ == "__main__":
    sys.exit(main())
