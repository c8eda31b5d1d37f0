"""Plots as SVG, of bars or of lines. Text and lines take the colour of a viewer with a light or a dark background."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, LEFT, RIGHT, TOP, ROW = 720, 170, 90, 54, 24
HEIGHT = 340  # of lines
COLOURS = ("#3b7dd8", "#e07b39", "#3a9d5d", "#a15cc2", "#c9475a", "#7a7a7a")
STYLE = (
    "text{font:13px system-ui,sans-serif;fill:#222}.title{font-weight:600}.axis{stroke:#999;stroke-width:1}"
    "@media(prefers-color-scheme:dark){text{fill:#ddd}svg{background:#0d1117}}"
)


@dataclass(frozen=True)
class Plot:
    """What both kinds have."""

    name: str  # of the file, without its ending
    title: str
    unit: str

    def svg(self) -> str:
        """The plot."""
        raise NotImplementedError

    def _document(self, height: int, parts: Sequence[str]) -> str:
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">'
            f"<title>{escape(self.title)}</title><style>{STYLE}</style>\n"
            f'<text class="title" x="10" y="22">{escape(self.title)}</text>\n' + "\n".join(parts) + "\n</svg>\n"
        )


@dataclass(frozen=True)
class Bars(Plot):
    """One bar for each name. Its length is the logarithm of its value, so that small ones can be seen as well."""

    values: Mapping[str, float]

    def svg(self) -> str:
        """The plot."""
        least, most = min(self.values.values()), max(self.values.values())
        low, high = math.floor(math.log10(least)), math.ceil(math.log10(most * 1.01))
        room = WIDTH - LEFT - RIGHT
        parts = [f'<text x="10" y="42">{escape(self.unit)}, on a logarithmic scale</text>']
        for at, (name, value) in enumerate(self.values.items()):
            y = TOP + at * ROW
            length = room * (math.log10(value) - low) / (high - low)
            parts += [
                f'<text x="{LEFT - 8}" y="{y + 15}" text-anchor="end">{escape(name)}</text>',
                (
                    f'<rect x="{LEFT}" y="{y + 3}" width="{max(length, 1):.1f}" height="{ROW - 7}"'
                    f' fill="{COLOURS[at % len(COLOURS)]}"/>'
                ),
                f'<text x="{LEFT + length + 6:.1f}" y="{y + 15}">{value:,.0f}</text>',
            ]
        return self._document(TOP + len(self.values) * ROW + 12, parts)


@dataclass(frozen=True)
class Lines(Plot):
    """Lines of points (x, y), both on logarithmic scales."""

    axis: str  # what x is
    lines: Mapping[str, Sequence[tuple[float, float]]]

    def svg(self) -> str:
        """The plot."""
        points = [point for line in self.lines.values() for point in line]
        xs, ys = [math.log10(x) for x, _ in points], [math.log10(max(y, 1e-3)) for _, y in points]
        x_low, x_high, y_low, y_high = min(xs), max(xs), math.floor(min(ys)), math.ceil(max(ys) + 1e-9)
        left, bottom = 70, HEIGHT - 44

        def place(x: float, y: float) -> tuple[float, float]:
            across = (math.log10(x) - x_low) / ((x_high - x_low) or 1)
            up = (math.log10(max(y, 1e-3)) - y_low) / ((y_high - y_low) or 1)
            return left + across * (WIDTH - left - 190), bottom - up * (bottom - TOP)

        parts = [
            f'<text x="10" y="42">{escape(self.unit)}</text>',
            f'<line class="axis" x1="{left}" y1="{bottom}" x2="{WIDTH - 180}" y2="{bottom}"/>',
            f'<line class="axis" x1="{left}" y1="{TOP}" x2="{left}" y2="{bottom}"/>',
            f'<text x="{(left + WIDTH - 190) // 2}" y="{HEIGHT - 6}" text-anchor="middle">{escape(self.axis)}</text>',
        ]
        for power in range(y_low, y_high + 1):
            _, y = place(10**x_low, 10.0**power)
            parts.append(f'<text x="{left - 8}" y="{y + 4:.1f}" text-anchor="end">{10.0**power:g}</text>')
        for value in sorted({x for x, _ in points}):
            x, _ = place(value, 10.0**y_low)
            parts.append(f'<text x="{x:.1f}" y="{bottom + 18}" text-anchor="middle">{value:,g}</text>')
        for at, (name, line) in enumerate(self.lines.items()):
            colour, places = COLOURS[at % len(COLOURS)], [place(*point) for point in line]
            path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
            parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2.5"/>')
            parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}"/>' for x, y in places]
            parts += [
                f'<rect x="{WIDTH - 165}" y="{TOP + at * 20}" width="12" height="12" fill="{colour}"/>',
                f'<text x="{WIDTH - 147}" y="{TOP + at * 20 + 11}">{escape(name)}</text>',
            ]
        return self._document(HEIGHT, parts)
