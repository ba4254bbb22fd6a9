"""The picture of a plan: nodes as bars, pods as blocks, free space in white."""

from collections.abc import Iterator, Sequence
from html import escape

from ci.placement.inventory import Node, Pod
from ci.placement.model import Problem, Solution

_COLOURS = ("#08306b", "#2f7fbf", "#7f2704", "#e6862f", "#00441b", "#55a868", "#54278f", "#b39ddb")
_HEIGHT, _GAP, _LEFT, _TOP = 190, 34, 64, 48


def draw(tasks: Sequence[Pod], nodes: Sequence[Node], problem: Problem, solution: Solution) -> str:
    """Return an SVG: a row for each resource, a bar for each node, its height being all that pods may have of it.

    What already runs is grey, and a task's block has its group's colour; dark and light colours take turns, so that
    neighbours differ in greyscale too. The same plan gives the same text.
    """
    shown = [name for name in problem.resources if name in ("cpu", "memory")] or problem.resources[:1]
    groups = sorted({task.group for task in tasks})
    colour = {group: _COLOURS[index % len(_COLOURS)] for index, group in enumerate(groups)}
    step = max(1.6, min(34.0, 1000 / len(nodes)))
    width = max(560.0, _LEFT + step * len(nodes) + 16)
    named = step >= 9
    height = _TOP + len(shown) * (_HEIGHT + _GAP) + (70 if named else 16)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height}" width="{width:g}" '
        f'height="{height}" font-family="sans-serif" font-size="12" role="img">',
        f"<title>{len(tasks)} tasks on {solution.objective} of {len(nodes)} nodes</title>",
        f'<rect width="{width:g}" height="{height}" fill="white"/>',
        *_legend([("running already", "#c9c9c9"), *((group, colour[group]) for group in groups)]),
    ]
    for row, resource in enumerate(shown):
        base = _TOP + row * (_HEIGHT + _GAP) + _HEIGHT
        parts.append(f'<text x="4" y="{base - _HEIGHT / 2:g}">{escape(resource)}</text>')
        for j, node in enumerate(nodes):
            here = [tasks[i] for i, at in enumerate(solution.node_of) if at == j]
            parts += _bar(node, here, resource, colour, _LEFT + j * step, base, step * (0.8 if step > 3 else 1))
    if named:
        base = _TOP + len(shown) * (_HEIGHT + _GAP) - _GAP + 12
        parts += [
            f'<text transform="translate({_LEFT + (j + 0.4) * step:.1f} {base}) rotate(55)" '
            f'font-size="{min(11, step):.1f}">{escape(node.name)}</text>'
            for j, node in enumerate(nodes)
        ]
    return "\n".join([*parts, "</svg>\n"])


def _bar(
    node: Node, tasks: Sequence[Pod], resource: str, colour: dict[str, str], x: float, base: float, width: float
) -> Iterator[str]:
    """Yield a node's frame and in it, from the bottom, what runs and what is planned."""
    whole = max(1, node.allocatable.get(resource, 0))
    dashes = "" if node.ready and not node.unschedulable else ' stroke-dasharray="3 3"'
    yield _block(x, base - _HEIGHT, width, _HEIGHT, "white", f' stroke="#999" stroke-width="0.6"{dashes}', node.name)
    level = whole - node.free.get(resource, 0)
    yield _block(x, base - _HEIGHT * level / whole, width, _HEIGHT * level / whole, "#c9c9c9", "", node.name)
    for task in tasks:
        part = task.requests.get(resource, 0)
        level += part
        edge = ' stroke="white" stroke-width="0.7"' if width > 3 else ""
        y = base - _HEIGHT * level / whole
        yield _block(x, y, width, _HEIGHT * part / whole, colour[task.group], edge, f"{task.name} on {node.name}")


def _block(x: float, y: float, width: float, height: float, fill: str, extra: str, title: str) -> str:
    size = f'x="{x:.2f}" y="{y:.2f}" width="{width:.2f}" height="{height:.2f}"'
    return f'<rect {size} fill="{fill}"{extra}><title>{escape(title)}</title></rect>'


def _legend(entries: Sequence[tuple[str, str]]) -> Iterator[str]:
    x = float(_LEFT)
    for name, fill in entries:
        yield f'<rect x="{x:g}" y="14" width="12" height="12" fill="{fill}"/>'
        yield f'<text x="{x + 17:g}" y="24">{escape(name)}</text>'
        x += 34 + 7 * len(name)
