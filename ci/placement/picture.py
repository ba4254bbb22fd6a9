"""The picture of a plan: nodes as bars, pods as blocks, free space nearly white."""

from collections.abc import Iterator, Sequence
from html import escape
from itertools import cycle

from ci.placement.inventory import Node, Pod
from ci.placement.packing.problem import Problem
from ci.placement.packing.solution import Solution

_COLOURS = ("#08306b", "#2f7fbf", "#7f2704", "#e6862f", "#00441b", "#55a868", "#54278f", "#b39ddb")
_MOST = 2000
"""Nodes that are drawn at most."""
_HEIGHT, _GAP, _LEFT, _TOP, _BUSY, _FREE = 190, 34, 96, 48, "#bdbdbd", "#eef3f8"


def draw(pods: Sequence[Pod], nodes: Sequence[Node], problem: Problem, solution: Solution) -> str:
    """Return an SVG: a row for each resource, a bar for each node, its height being all that pods may have of it.

    Nodes of the plan come first; of thousands only the first are drawn, and the title says so. What already runs is
    grey, and a pod's block has its group's colour; dark and light colours take turns, so that neighbours differ in
    greyscale too. The same plan gives the same text.
    """
    shown = [name for name in problem.resources if name in ("cpu", "memory")] or list(problem.resources[:1])
    colour = dict(zip(sorted({pod.group for pod in pods}), cycle(_COLOURS), strict=False))
    legend = [("running already", _BUSY), ("free", _FREE), *colour.items()]
    on: dict[int, list[Pod]] = {}
    for pod, j in zip(pods, solution.node_of, strict=True):
        on.setdefault(j, []).append(pod)
    order = sorted(range(len(nodes)), key=lambda j: (j not in on, j))[:_MOST]
    step = max(2.0, min(60.0, 1000 / len(order)))
    bar, named = step * (0.8 if step > 3 else 1), step >= 9
    width = _LEFT + max(step * len(order) + 60, sum(34 + 7 * len(name) for name, _ in legend))
    bottom = _TOP + len(shown) * (_HEIGHT + _GAP) - _GAP
    parts, x = [], _LEFT
    for name, fill in legend:
        parts.append(_block(x, 14, 12, 12, fill) + f'<text x="{x + 17}" y="24">{escape(name)}</text>')
        x += 34 + 7 * len(name)
    for row, resource in enumerate(shown):
        base = _TOP + row * (_HEIGHT + _GAP) + _HEIGHT
        parts.append(f'<text x="4" y="{base - _HEIGHT / 2:g}">{escape(resource)}</text>')
        parts.append(_block(_LEFT, base, step * len(order), 0.6, "#555"))
        for share in (0, 50, 100):
            y = base - _HEIGHT * share / 100 + 4
            parts.append(f'<text x="{_LEFT - 5}" y="{y:g}" text-anchor="end" font-size="10">{share} %</text>')
        for place, j in enumerate(order):
            parts += _bar(nodes[j], on.get(j, ()), resource, colour, _LEFT + place * step, base, bar)
    for place, j in enumerate(order if named else ()):
        turned = f'transform="translate({_LEFT + (place + 0.4) * step:.1f} {bottom + 12}) rotate(55)"'
        parts.append(f'<text {turned} font-size="{min(11, step):.1f}">{escape(nodes[j].name)}</text>')
    height = bottom + (100 if named else 16)
    size, view = f'width="{width:g}" height="{height}"', f'viewBox="0 0 {width:g} {height}"'
    more = f", {len(order)} of which are shown" if len(order) < len(nodes) else ""
    title = f"<title>{len(pods)} pods on {solution.objective} of {len(nodes)} nodes{more}</title>"
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {view} {size} font-family="sans-serif" font-size="12" role="img">'
    return "\n".join([head, title, f'<rect {size} fill="white"/>', *parts, "</svg>\n"])


def _bar(
    node: Node, pods: Sequence[Pod], resource: str, colour: dict[str, str], x: float, base: float, width: float
) -> Iterator[str]:
    """Yield a node's free space, framed where there is room, and in it what runs and what is planned, from the bottom.

    A node that takes no pods is left white, and its frame is dashed.
    """
    whole = max(1, node.allocatable.get(resource, 0))
    usable = node.ready and not node.unschedulable
    dashes = "" if usable else ' stroke-dasharray="3 3"'
    frame = f' stroke="#999" stroke-width="0.6"{dashes}' if width > 3 else ""
    edge = ' stroke="white" stroke-width="0.7"'
    yield _block(x, base - _HEIGHT, width, _HEIGHT, _FREE if usable else "white", frame, node.name)
    level = whole - node.free.get(resource, 0)
    yield _block(x, base - _HEIGHT * level / whole, width, _HEIGHT * level / whole, _BUSY, "", node.name)
    for pod in pods:
        part = pod.requests.get(resource, 0)
        level += part
        y, title = base - _HEIGHT * level / whole, f"{pod.name} on {node.name}"
        yield _block(x, y, width, _HEIGHT * part / whole, colour[pod.group], edge * (width > 3), title)


def _block(x: float, y: float, width: float, height: float, fill: str, extra: str = "", title: str = "") -> str:
    size = f'x="{x:.2f}" y="{y:.2f}" width="{width:.2f}" height="{height:.2f}"'
    return f'<rect {size} fill="{fill}"{extra}>{f"<title>{escape(title)}</title>" if title else ""}</rect>'
