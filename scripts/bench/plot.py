"""Charts as SVG, for a page of documentation: a name, a bar and a number each, on a light page and on a dark one.

Ratios are drawn from the line at 1, to the right what is faster and to the left what is slower, on a logarithmic scale
that all courses share; plain figures are drawn from 0. It refuses to be a drawing library.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

_LINE, _LEFT, _WIDE, _RIGHT, _TITLE = 24, 210, 470, 100, 34
_STEPS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500)
_STYLE = """<style>
svg { --page: #fff; --text: #1f2328; --faint: #59636e; --grid: #d1d9e0; --more: #1f6feb; --less: #c2570c; }
@media (prefers-color-scheme: dark) {
  svg { --page: #0d1117; --text: #f0f6fc; --faint: #9198a1; --grid: #3d444d; --more: #58a6ff; --less: #f0883e; }
}
text { font: 13px system-ui, sans-serif; fill: var(--text) }
.head { font-weight: 600 } .title { font-size: 16px; font-weight: 600 } .faint { font-size: 11px; fill: var(--faint) }
.page { fill: var(--page) } .more { fill: var(--more) } .less { fill: var(--less) }
.grid { stroke: var(--grid) } .one { stroke: var(--text) }
</style>"""


@dataclass(frozen=True, slots=True)
class Panel:
    """Bars under a heading. With `ratios` they are times as fast, otherwise figures in the unit."""

    heading: str
    values: Mapping[str, float]
    unit: str = "x"
    ratios: bool = True


def by_course(ratios: Mapping[str, float]) -> list[Panel]:
    """One panel for each course, of ratios that are named `COURSE archiver/OTHER`."""
    courses: dict[str, dict[str, float]] = {}
    for name, times in ratios.items():
        course, _, pair = name.rpartition(" ")
        courses.setdefault(course, {})[pair] = times
    return [Panel(course, values) for course, values in courses.items()]


def chart(title: str, panels: Sequence[Panel]) -> str:
    """All panels below each other, in one picture."""
    scale = _Scale([value for panel in panels if panel.ratios for value in panel.values.values()])
    drawn: list[str] = []
    top = _TITLE
    for panel in panels:
        drawn += _ratios(panel, top, scale) if panel.ratios else _figures(panel, top)
        top += _LINE * (len(panel.values) + 2)
    wide = _LEFT + _WIDE + _RIGHT
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide} {top}" width="{wide}" height="{top}" role="img">',
        f"<title>{escape(title)}</title>",
        _STYLE,
        '<rect class="page" width="100%" height="100%"/>',
        f'<text class="title" x="12" y="24">{escape(title)}</text>',
        *drawn,
        "</svg>\n",
    ])  # fmt: skip


class _Scale:
    """Where a ratio lies; the ends are steps that hold all values."""

    def __init__(self, values: Sequence[float]) -> None:
        least, most = min([0.5, *values]), max([2.0, *values])
        low = max((step for step in _STEPS if step <= least), default=_STEPS[0])
        high = min((step for step in _STEPS if step >= most), default=_STEPS[-1])
        self.steps = [step for step in _STEPS if low <= step <= high]

    def at(self, value: float) -> float:
        low, high = self.steps[0], self.steps[-1]
        share = math.log(min(max(value, low), high) / low) / math.log(high / low)
        return _LEFT + share * _WIDE


def _ratios(panel: Panel, top: int, scale: _Scale) -> list[str]:
    bottom = top + _LINE * (len(panel.values) + 1)
    drawn = [_heading(panel.heading, top)]
    for step in scale.steps:
        kind, x = "one" if step == 1 else "grid", scale.at(step)
        drawn.append(f'<path class="{kind}" d="M{x:.1f} {top + _LINE}V{bottom}"/>')
        drawn.append(f'<text class="faint" x="{x:.1f}" y="{bottom + 13}" text-anchor="middle">{step:g}</text>')
    for place, (name, value) in enumerate(panel.values.items(), 1):
        one, end = scale.at(1), scale.at(value)
        drawn += _bar(name, top + place * _LINE, (min(one, end), max(one, end)), "more" if value >= 1 else "less")
        drawn.append(_number(f"{value:.2f} {panel.unit}", top + place * _LINE, max(one, end)))
    return drawn


def _figures(panel: Panel, top: int) -> list[str]:
    most = max(panel.values.values(), default=0) or 1
    drawn = [_heading(panel.heading, top)]
    for place, (name, value) in enumerate(panel.values.items(), 1):
        end = _LEFT + value / most * _WIDE
        drawn += _bar(name, top + place * _LINE, (_LEFT, end), "more")
        drawn.append(_number(f"{value:,.0f} {panel.unit}", top + place * _LINE, end))
    return drawn


def _heading(text: str, top: int) -> str:
    return f'<text class="head" x="12" y="{top + 17}">{escape(text)}</text>'


def _bar(name: str, top: int, ends: tuple[float, float], kind: str) -> list[str]:
    return [
        f'<text x="{_LEFT - 10}" y="{top + 17}" text-anchor="end">{escape(name)}</text>',
        f'<rect class="{kind}" x="{ends[0]:.1f}" y="{top + 4}" width="{ends[1] - ends[0]:.1f}" height="{_LINE - 8}"/>',
    ]


def _number(text: str, top: int, end: float) -> str:
    return f'<text x="{end + 6:.1f}" y="{top + 17}">{escape(text)}</text>'
