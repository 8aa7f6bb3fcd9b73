"""A run as a picture: bars of the main throughputs, in SVG."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from benchmarks.figures import NO_PEERS, OURS, Comparison, name_of

PANELS = {
    "drain": "Drain no-ops, jobs/s",
    "drain+2ms": "The same, 2 ms added to each round trip",
    "enqueue-one": "Enqueue one at a time, jobs/s",
    "enqueue-64": "Enqueue by 64 callers, jobs/s",
}
WIDTH, MARGIN, GAP = 900, 24, 36
BAR, STEP, HEAD = 14, 20, 30
LABEL, NUMBER = 74, 62
OURS_COLOUR, THEIR_COLOUR, INK, PALE = "#1f6feb", "#9aa4b2", "#1f2328", "#59636e"


def svg(comparisons: Mapping[str, Comparison], caption: str) -> str:
    """Return the picture of those panels for which there are figures.

    Raises:
        ValueError: there are none.
    """
    panels = [
        (title, bars)
        for name, title in PANELS.items()
        if name in comparisons and (bars := _bars(comparisons[name]))
    ]
    if not panels:
        raise ValueError(f"a picture needs one of {', '.join(PANELS)}")
    width = (WIDTH - 2 * MARGIN - GAP) / 2
    parts, top, bottom = [], float(MARGIN), float(MARGIN)
    for number, (title, bars) in enumerate(panels):
        column = number % 2
        if not column:
            top = bottom
        parts += _panel(title, bars, MARGIN + column * (width + GAP), top, width)
        bottom = max(bottom, top + HEAD + len(bars) * STEP + MARGIN / 2)
    height = bottom + MARGIN
    parts.append(_text(MARGIN, height - MARGIN / 2, caption, size=11, colour=PALE))
    return "\n".join([_opening(height), *parts, "</svg>", ""])


def _bars(comparison: Comparison) -> list[tuple[str, float]]:
    return [
        (label, value)
        for label in comparison.ranked()
        if name_of(label) not in NO_PEERS
        and (value := comparison.rows[label].median(comparison.headline)) is not None
    ]


def _opening(height: float) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height:.0f}" viewBox="0 0 {WIDTH} {height:.0f}" '
        f'font-family="system-ui, sans-serif" role="img" aria-label="aiorq2 beside other queues">\n'
        f'<rect width="{WIDTH}" height="{height:.0f}" rx="8" fill="#ffffff"/>'
    )


def _panel(
    title: str, bars: list[tuple[str, float]], left: float, top: float, width: float
) -> list[str]:
    longest = max(value for _, value in bars) or 1.0
    room = width - LABEL - NUMBER
    parts = [_text(left, top + 14, title, size=14, weight="600")]
    for number, (label, value) in enumerate(bars):
        y, length = top + HEAD + number * STEP, max(1.0, room * value / longest)
        ours = name_of(label) == OURS
        weight, colour = ("600", OURS_COLOUR) if ours else ("400", THEIR_COLOUR)
        parts += [
            _text(left + LABEL - 8, y + 11, label, anchor="end", weight=weight),
            f'<rect x="{left + LABEL:.1f}" y="{y:.1f}" width="{length:.1f}" height="{BAR}" rx="2" fill="{colour}"/>',
            _text(left + LABEL + length + 6, y + 11, f"{value:,.0f}", weight=weight),
        ]
    return parts


def _text(
    x: float,
    y: float,
    text: str,
    *,
    size: int = 12,
    anchor: str = "start",
    weight: str = "400",
    colour: str = INK,
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" font-weight="{weight}" '
        f'fill="{colour}">{escape(text)}</text>'
    )
