"""Bars as SVG, for a page of documentation: a name, a bar and a number each. It refuses to be a drawing library."""

from collections.abc import Mapping
from html import escape

_LINE, _LEFT, _WIDE = 26, 300, 420


def bars(title: str, values: Mapping[str, float]) -> str:
    """A picture of the values, the longest bar being the largest; a thin line marks 1."""
    most = max(*values.values(), 1.0)
    height = _LINE * (len(values) + 2)
    drawn = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_LEFT + _WIDE + 80} {height}" role="img">',
        f"<title>{escape(title)}</title>",
        "<style>text { font: 13px sans-serif }</style>",
        '<rect width="100%" height="100%" fill="#fff"/>',
        f'<text x="8" y="{_LINE - 8}" font-weight="bold">{escape(title)}</text>',
    ]
    for place, (name, value) in enumerate(values.items(), 1):
        top, long = place * _LINE, value / most * _WIDE
        drawn += [
            f'<text x="{_LEFT - 8}" y="{top + 17}" text-anchor="end">{escape(name)}</text>',
            f'<rect x="{_LEFT}" y="{top + 4}" width="{long:.1f}" height="{_LINE - 8}" fill="#2f6f9f"/>',
            f'<text x="{_LEFT + long + 6:.1f}" y="{top + 17}">{value:.2f}</text>',
        ]
    one = _LEFT + _WIDE / most
    drawn.append(f'<path d="M{one:.1f} {_LINE}V{height - _LINE}" stroke="#b00" stroke-dasharray="3 3"/></svg>')
    return "\n".join(drawn) + "\n"
