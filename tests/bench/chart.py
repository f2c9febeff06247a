"""Charts as SVG, readable on light and on dark pages: text and axes take their colours from what the reader prefers."""

import math
from html import escape

LIGHT = ["#2f6fb5", "#b8561b", "#3d7f4f", "#7b5ea7", "#a8456e", "#5f6b76", "#0f7f8c", "#8a6d00", "#c03a3a"]
DARK = ["#5b9be0", "#e08b4f", "#6cba80", "#b39ae0", "#de83aa", "#a9b4bf", "#4fc3d0", "#d0b23c", "#f08080"]


def colours(palette, page, words, quiet, grid):
    rules = f".page {{ fill: {page} }} text {{ fill: {words} }} .quiet {{ fill: {quiet} }} .axis {{ stroke: {quiet}; fill: none }} .grid {{ stroke: {grid} }}"
    rules += f" .bar {{ fill: {palette[0]} }} .slow {{ fill: {palette[1]} }}"
    return rules + "".join(f" .m{n} {{ fill: {colour} }} .l{n} {{ stroke: {colour}; fill: none }}" for n, colour in enumerate(palette))


STYLE = f"""<style>
{colours(LIGHT, "#ffffff", "#24292f", "#57606a", "#d0d7de")}
@media (prefers-color-scheme: dark) {{ {colours(DARK, "#0d1117", "#e6edf3", "#9198a1", "#3d444d")} }}
</style>"""


def ticks(most):
    """Four to ten round numbers from 0 to the first that is not below `most`."""
    size = 10 ** math.floor(math.log10(most))
    step = next(step * size for step in [0.2, 0.5, 1, 2] if most / (step * size) <= 6)
    return [step * n for n in range(math.ceil(most / step - 1e-9) + 1)]


def svg(width, height, body, title):
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" font-family="system-ui, sans-serif" font-size="12" role="img">'
    return "\n".join([head, f"<title>{escape(title)}</title>", STYLE, '<rect class="page" width="100%" height="100%" rx="6"/>', *body, "</svg>\n"])


def bars(title, panels, foot):
    """Horizontal bars of ratios on a logarithmic axis, from 1. A panel is its title and (label, (median, least, most))."""
    left, wide, each, width = 250, 480, 20, 790
    values = [value for _, rows in panels for _, ratio in rows for value in ratio]
    least, most = min([0.5, *values]), max([10, *values]) * 1.3
    place = lambda value: left + wide * math.log(value / least) / math.log(most / least)
    out, y = [f'<text x="10" y="20" font-size="15" font-weight="600">{escape(title)}</text>'], 50
    top = y - 8
    for name, rows in panels:
        out.append(f'<text x="10" y="{y + 13}" font-weight="600">{escape(name)}</text>')
        for label, (middle, low, high) in rows:
            start, end = sorted([place(1), place(middle)])
            out.append(f'<text x="{left - 8}" y="{y + 13}" text-anchor="end">{escape(label)}</text>')
            out.append(f'<rect class="{"bar" if middle >= 1 else "slow"}" x="{start:.1f}" y="{y + 2}" width="{max(end - start, 1):.1f}" height="{each - 6}" rx="2"/>')
            out.append(f'<path class="axis" d="M{place(low):.1f} {y + 9}H{place(high):.1f}"/>')
            said = f"{middle:.0f}" if middle >= 20 else f"{middle:.1f}" if middle >= 2 else f"{middle:.2f}"
            out.append(f'<text x="{max(place(high), place(middle), place(1)) + 6:.1f}" y="{y + 13}">{said}</text>')
            y += each
        y += 10
    at = [value for value in [0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000] if least <= value <= most]
    grid = [f'<path class="{"axis" if value == 1 else "grid"}" d="M{place(value):.1f} {top}V{y}"/><text class="quiet" x="{place(value):.1f}" y="{y + 14}" text-anchor="middle">{value:g}</text>' for value in at]
    out[1:1] = grid
    for line in foot:
        out.append(f'<text class="quiet" x="10" y="{y + 38}" font-size="11">{escape(line)}</text>')
        y += 16
    return svg(width, y + 34, out, title)


def fit(points):
    """Least squares, y = a + b x, and R²: how much of the scatter it explains."""
    n = len(points)
    mean_x, mean_y = sum(x for x, _ in points) / n, sum(y for _, y in points) / n
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    slope = sum((x - mean_x) * (y - mean_y) for x, y in points) / spread if spread else 0.0
    start = mean_y - slope * mean_x
    total = sum((y - mean_y) ** 2 for _, y in points)
    rest = sum((y - start - slope * x) ** 2 for x, y in points)
    return start, slope, 1 - rest / total if total else 1.0


def scatter(title, panels, across, foot):
    """Points with a fitted line, two panels a row. A panel is its title, the unit of a slope by 1,000 of x, and
    {series: [(x, y)]}; a series has the same colour in all of them."""
    wide, tall, margin = 350, 220, 70
    names = list(dict.fromkeys(name for _, _, series in panels for name in series))
    across_marks = ticks(max(x for _, _, series in panels for points in series.values() for x, _ in points))
    largest = across_marks[-1]
    each = tall + 90 + 18 * max(len(series) for _, _, series in panels)
    out = [f'<text x="10" y="20" font-size="15" font-weight="600">{escape(title)}</text>']
    for number, (name, unit, series) in enumerate(panels):
        left, top = number % 2 * (wide + margin + 10) + margin, 60 + number // 2 * each
        marks = ticks(max(y for points in series.values() for _, y in points) or 1.0)
        most = marks[-1]
        place = lambda x, y, left=left, top=top, most=most: (left + wide * x / largest, top + tall * (1 - y / most))
        out.append(f'<text x="{left}" y="{top - 14}" font-weight="600">{escape(name)}</text>')
        for mark in marks:
            y = place(0, mark)[1]
            out.append(f'<path class="grid" d="M{left} {y:.1f}h{wide}"/><text class="quiet" x="{left - 6}" y="{y + 4:.1f}" text-anchor="end">{mark:,g}</text>')
        for mark in across_marks:
            out.append(f'<text class="quiet" x="{place(mark, 0)[0]:.1f}" y="{top + tall + 16}" text-anchor="middle">{mark:,.0f}</text>')
        out.append(f'<path class="axis" d="M{left} {top}v{tall}h{wide}"/><text class="quiet" x="{left + wide / 2}" y="{top + tall + 34}" text-anchor="middle">{escape(across)}</text>')
        for index, kind in enumerate(series):
            start, slope, explained = fit(series[kind])
            (x1, y1), (x2, y2) = place(0, max(start, 0)), place(largest, start + slope * largest)
            out.append(f'<path class="l{names.index(kind) % 9}" d="M{x1:.1f} {y1:.1f}L{x2:.1f} {y2:.1f}"/>')
            out += [f'<circle class="m{names.index(kind) % 9}" cx="{place(*point)[0]:.1f}" cy="{place(*point)[1]:.1f}" r="3.5"/>' for point in series[kind]]
            y = top + tall + 56 + 18 * index
            out.append(f'<circle class="m{names.index(kind) % 9}" cx="{left + 4}" cy="{y - 4}" r="4"/><text x="{left + 14}" y="{y}">{escape(kind)}: {start:.2f} + {slope * 1000:.3g} {unit}, R² {explained:.3f}</text>')
    y = 60 + (len(panels) + 1) // 2 * each
    for line in foot:
        out.append(f'<text class="quiet" x="10" y="{y}" font-size="11">{escape(line)}</text>')
        y += 16
    return svg(2 * (wide + margin + 10) + 20, y, out, title)
