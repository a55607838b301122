"""Drawings of a graph: as text, and as SVG.

Owns the layout. Pure. `bigpipe.streaming.graph.network` defines the graph.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from bigpipe.streaming.graph.network import Node

__all__ = ["as_svg", "as_text"]

OUTPUT = "(output)"
BOX_HEIGHT, GAP_X, GAP_Y, PORT_GAP, MARGIN, CHARACTER = 36, 110, 22, 22, 20, 7.5  # pixels
INK, FILL = "#234", "#eef3f8"
STROKE = f'fill="none" stroke="{INK}" marker-end="url(#tip)"'

Arrow = tuple[str, str, str]
"""Stage, stream, and stage that takes it."""


def _arrows(nodes: Sequence[Node], outputs: Iterable[str]) -> list[Arrow]:
    outputs = set(outputs)
    arrows = []
    for node in nodes:
        for stream in node.gives:
            arrows += [(node.name, stream, each.name) for each in nodes if stream in each.takes]
            if stream in outputs:
                arrows.append((node.name, stream, OUTPUT))
    return arrows


def _label(node: Node) -> str:
    return node.name + (f" x{node.copies}" if node.copies > 1 else "")


def _stream_label(stream: str, first: Mapping[str, tuple[Any, ...]]) -> str:
    return stream + (f" (from {len(first[stream])})" if stream in first else "")


def as_text(
    nodes: Sequence[Node],
    first: Mapping[str, tuple[Any, ...]],
    outputs: Sequence[str],
    *,
    with_streams: bool,
) -> str:
    """Return a drawing for a terminal: a row of stages on one line, others with a line per arrow.

    Parameters
    ----------
    nodes : sequence of Node
        The stages.
    first : mapping
        Elements with which streams begin.
    outputs : sequence of str
        Streams that the caller takes.
    with_streams : bool
        Whether to show the names of the streams.
    """
    arrows = _arrows(nodes, outputs)
    labels = {node.name: _label(node) for node in nodes} | {OUTPUT: OUTPUT}
    links = {
        arrow: f"--{_stream_label(arrow[1], first)}-->" if with_streams else "-->"
        for arrow in arrows
    }
    row = _row(nodes, arrows)
    if row is not None:
        text = labels[row[0][0]] if row else labels[nodes[0].name] if nodes else ""
        return text + "".join(f" {links[arrow]} {labels[arrow[2]]}" for arrow in row)
    width = max((len(labels[giver]) for giver, _, _ in arrows), default=0)
    lines = []
    before = None
    for arrow in arrows:
        giver = labels[arrow[0]] if arrow[0] != before else ""
        lines.append(f"{giver:<{width}} {links[arrow]} {labels[arrow[2]]}")
        before = arrow[0]
    return "\n".join(lines)


def _row(nodes: Sequence[Node], arrows: Sequence[Arrow]) -> list[Arrow] | None:
    """Return the arrows in order, if the stages are in a row."""
    if any(len(node.takes) > 1 or len(node.gives) > 1 for node in nodes):
        return None
    after = {giver: (giver, stream, taker) for giver, stream, taker in arrows}
    starts = [node.name for node in nodes if not node.takes]
    if len(after) != len(arrows) or len(starts) != 1:
        return None
    row: list[Arrow] = []
    at = starts[0]
    while at in after and len(row) < len(arrows):
        row.append(after[at])
        at = after[at][2]
    return row if len(row) == len(arrows) else None


def as_svg(
    nodes: Sequence[Node],
    first: Mapping[str, tuple[Any, ...]],
    outputs: Sequence[str],
    *,
    with_streams: bool,
) -> str:
    """Return a picture: stages in columns from left to right, with backward arrows below them.

    Parameters
    ----------
    nodes, first, outputs, with_streams
        As for `as_text`.
    """
    arrows = _arrows(nodes, outputs)
    labels = {node.name: _label(node) for node in nodes}
    if outputs:
        labels[OUTPUT] = OUTPUT
    boxes, width, height = _boxes(_columns(list(labels), arrows), labels, arrows)
    lines = []
    ports = {
        (name, side): _ports(box, side, name, arrows)
        for name, box in boxes.items()
        for side in (0, 2)
    }
    below = height
    for number, (giver, stream, taker) in enumerate(arrows):
        start, end = ports[giver, 0][number], ports[taker, 2][number]
        label = _stream_label(stream, first) if with_streams else ""
        is_back = end[0] <= start[0]
        if is_back or any(_is_between(box, start, end) for box in boxes.values()):
            below += GAP_Y
            lines.append(_line_below(start, end, label, below, 10 + 5 * (number % 5), is_back))
        else:
            lines.append(_line(start, end, label))
    height = below + (MARGIN if below > height else 0)
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" '
            f'width="{width:g}" height="{height:g}" font-family="sans-serif" font-size="13">',
            '<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" '
            'markerHeight="8" orient="auto">'
            f'<path d="M0 0L8 4L0 8z" fill="{INK}"/></marker></defs>',
            *lines,
            *(_drawn_box(boxes[name], label, name == OUTPUT) for name, label in labels.items()),
            "</svg>",
        ]
    )


def _columns(names: Sequence[str], arrows: Sequence[Arrow]) -> list[list[str]]:
    """Put each stage to the right of those from which it takes, except in loops."""
    after: dict[str, list[str]] = {name: [] for name in names}
    for giver, _, taker in arrows:
        after[giver].append(taker)
    order: list[str] = []
    seen: set[str] = set()

    def visit(name: str) -> None:
        seen.add(name)
        for each in after[name]:
            if each not in seen:
                visit(each)
        order.insert(0, name)

    starts = [name for name in names if not any(taker == name for _, _, taker in arrows)]
    for name in (*reversed(starts), *names):
        if name not in seen:
            visit(name)
    place = {name: i for i, name in enumerate(order)}
    level = dict.fromkeys(names, 0)
    for name in order:
        for taker in after[name]:
            if place[taker] > place[name]:
                level[taker] = max(level[taker], level[name] + 1)
    columns: list[list[str]] = [[] for _ in range(max(level.values(), default=-1) + 1)]
    for name in names:
        columns[level[name]].append(name)
    return columns


Box = tuple[float, float, float, float]
"""Left, top, width, height."""

Point = tuple[float, float]


def _boxes(
    columns: Sequence[Sequence[str]], labels: Mapping[str, str], arrows: Sequence[Arrow]
) -> tuple[dict[str, Box], float, float]:
    """Return the boxes, and their total width and height."""
    heights = {name: _height(name, arrows) for name in labels}
    needed = [sum(heights[name] + GAP_Y for name in column) - GAP_Y for column in columns]
    height = 2 * MARGIN + max(needed, default=0.0)
    boxes: dict[str, Box] = {}
    left: float = MARGIN + GAP_X / 3  # room for backward arrows
    for column, own_height in zip(columns, needed, strict=True):
        width = max(len(labels[name]) for name in column) * CHARACTER + 24
        top = (height - own_height) / 2
        for name in column:
            boxes[name] = (left, top, width, heights[name])
            top += heights[name] + GAP_Y
        left += width + GAP_X
    return boxes, left - GAP_X * 2 / 3 + MARGIN, height


def _height(name: str, arrows: Sequence[Arrow]) -> float:
    n_ports = max(sum(1 for arrow in arrows if arrow[side] == name) for side in (0, 2))
    return max(BOX_HEIGHT, (n_ports + 1) * PORT_GAP)


def _ports(box: Box, side: int, name: str, arrows: Sequence[Arrow]) -> dict[int, Point]:
    """Return where arrows leave a box (0) or reach it (2), by number."""
    left, top, width, height = box
    own = [number for number, arrow in enumerate(arrows) if arrow[side] == name]
    x = left if side == 2 else left + width
    return {number: (x, top + height * (i + 1) / (len(own) + 1)) for i, number in enumerate(own)}


def _line(start: Point, end: Point, label: str) -> str:
    (x1, y1), (x2, y2) = start, end
    path = f"M{x1:g} {y1:g}C{x1 + 40:g} {y1:g} {x2 - 40:g} {y2:g} {x2:g} {y2:g}"
    return f'<path d="{path}" {STROKE}/>' + _text((x1 + x2) / 2, (y1 + y2) / 2 - 4, label)


def _is_between(box: Box, start: Point, end: Point) -> bool:
    return start[0] < box[0] and box[0] + box[2] < end[0]


def _line_below(
    start: Point, end: Point, label: str, below: float, aside: float, is_back: bool
) -> str:
    """Lead an arrow below the boxes; it goes down and up between columns."""
    (x1, y1), (x2, y2) = start, end
    path = f"M{x1:g} {y1:g}h{aside:g}V{below:g}H{x2 - aside:g}V{y2:g}H{x2:g}"
    dashes = ' stroke-dasharray="5 4"' if is_back else ""
    return f'<path d="{path}" {STROKE}{dashes}/>' + _text((x1 + x2) / 2, below - 4, label)


def _text(x: float, y: float, label: str) -> str:
    if not label:
        return ""
    return (
        f'<text x="{x:g}" y="{y:g}" text-anchor="middle" fill="{INK}" font-size="11" '
        f'stroke="white" stroke-width="3" paint-order="stroke">{escape(label)}</text>'
    )


def _drawn_box(box: Box, label: str, is_output: bool) -> str:
    left, top, width, height = box
    fill, stroke = ("none", "none") if is_output else (FILL, INK)
    return (
        f'<rect x="{left:g}" y="{top:g}" width="{width:g}" height="{height:g}" rx="6" '
        f'fill="{fill}" stroke="{stroke}"/>'
        f'<text x="{left + width / 2:g}" y="{top + height / 2 + 5:g}" text-anchor="middle" '
        f'fill="{INK}">{escape(label)}</text>'
    )
