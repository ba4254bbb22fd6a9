"""Print what a rollout applies to a cluster for the packaged model, as YAML.

These are the objects of k8s/overlays/OVERLAY/server (serving.overlay) with the model's name and version, its image and
resources.serving in the pods of both Deployments, and what the last plan for a cluster advises; with
`serving.server: stand-in` the stand-in takes the place of TensorFlow Serving. To see what would change on a cluster:

    python -m scripts.manifests | kubectl diff --server-side -f -
"""

import sys

from ci.command import command


def manifests() -> None:
    """Render and print."""
    import yaml

    from ci import configuration
    from ci.packaging import package
    from ci.releases.version import Version
    from ci.rollout.cluster import planned
    from ci.rollout.cluster.manifests import image, put, render
    from ci.workspace import PACKAGE

    settings = configuration.effective()
    package.verify(PACKAGE, settings.packaging.verify_key)
    version = Version.load(PACKAGE)
    reference = image(version)
    objects = render(settings)
    put(objects, settings, version.number, reference, planned.read(settings.environment).fields)
    print(yaml.safe_dump_all(objects, sort_keys=False), end="")


main = command(__doc__, manifests)

if __name__ == "__main__":
    sys.exit(main())
