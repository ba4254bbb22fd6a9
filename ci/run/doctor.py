"""All checks of this machine, in the order in which people mend things."""

import shutil
from pathlib import Path

from ci.run import checks, clusters, local_registry
from ci.run.checks import Finding
from ci.run.programs import attempt


def examine(name: str, port: int) -> list[Finding]:
    """Return what each check found.

    Args:
        name: of the cluster that `make ci` would use.
        port: of the settings, for the model.
    """
    found = [checks.python(), checks.repository(), *checks.for_kind()]
    usable = not any(each.wrong for each in checks.for_kind())
    cluster, holder = checks.Finding("cluster", "not looked for"), ""
    if usable:
        cluster, holder = look(name, port)
    registry = usable and local_registry.running()
    return [
        *found,
        checks.room(*checks.engine()),
        checks.disk(shutil.disk_usage(images_folder()).free),
        cluster,
        checks.port(port, holder),
        answers() if registry else checks.port(local_registry.PORT, way_out=""),
    ]


def look(name: str, port: int) -> tuple[Finding, str]:
    """Return what there is of the cluster, and what the port leads to if it is the cluster's."""
    seen = clusters.look(name, patience=0)
    if not seen.listed:
        return Finding("cluster", f"none: `make ci` makes {name}"), ""
    if not seen.answers:
        return Finding(
            "cluster", f"{name} does not answer", f"`make cluster-delete CLUSTER={name}`, then `make ci`"
        ), ""
    if not seen.marked:
        return Finding("cluster", f"{name} is not this pipeline's", "use another: `make ci CLUSTER=ANOTHER`"), ""
    if seen.damage:
        return Finding("cluster", *clusters.damaged(name, seen)), ""
    if unready := [node for node, why in seen.nodes.items() if why]:
        return Finding("cluster", f"{name}: not ready: {', '.join(unready)}", "`kubectl describe nodes` says why"), ""
    holder = f"the cluster {name}" if seen.port == port else ""
    return Finding("cluster", f"{name}: {len(seen.nodes)} nodes are ready"), holder


def answers() -> Finding:
    """Check that the registry that runs answers at its port."""
    from ci import http

    name, anew = f"port {local_registry.PORT}", "`docker rm -f kind-registry`, and `make ci` makes it anew"
    theirs = "it was not made here: `docker port kind-registry` says where it listens; or delete it with its images:"
    mend = anew if local_registry.ours() else f"{theirs} {anew}"
    try:
        http.session().get(f"http://{local_registry.HOST}/v2/", timeout=5).raise_for_status()
    except OSError as error:  # what requests raises is one
        return Finding(name, f"the registry {local_registry.NAME} runs, but does not answer ({error})", mend)
    return Finding(name, f"leads to the registry {local_registry.NAME}")


def images_folder() -> Path:
    """Return where Docker keeps images, if that is a folder of this machine; else the current one."""
    told = attempt("docker", "info", "--format", "{{.DockerRootDir}}", timeout=20).stdout.strip()
    return Path(told) if told.startswith("/") and Path(told).is_dir() else Path()
