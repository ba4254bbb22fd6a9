"""Ask the registries what the tags in ci/images/images.yaml name now, and write the digests there.

The pods and Dockerfiles that name these images follow; comments stay. Commit what has changed. An image whose registry
does not answer keeps the digest it has, and the exit code is 1. Logins are those of `docker login`. Registries without
TLS are named by packaging.plain_http of pipeline.yaml.
"""

import sys

from ci.command import command


def pin_images() -> None:
    """Pin every image whose registry answers, and say what could not be pinned."""
    from pathlib import Path

    from ci import configuration
    from ci.errors import StageError
    from ci.registry import bases

    file = Path("pipeline.yaml")
    plain = configuration.read(file).packaging.plain_http if file.exists() else []
    digests: dict[str, str] = {}
    failures = []
    for listed in bases.read():
        try:
            digests[listed.name] = bases.look_up(listed, plain)
        except StageError as error:
            failures.append(f"{listed.name} is not pinned: {error}")
            continue
        now = "unchanged" if digests[listed.name] == listed.digest else digests[listed.name]
        print(f"pin_images: {listed.name} {listed.repository}:{listed.tag}: {now}")
    for path in bases.pin(digests):
        print(f"pin_images: {path} was changed")
    if failures:
        raise StageError("\n".join(failures))


main = command(__doc__, pin_images)

if __name__ == "__main__":
    sys.exit(main())
