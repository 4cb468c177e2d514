"""The picture of a simulated day: an SVG of four panels over one time axis."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from xml.sax.saxutils import escape

from trading.simulation.customers import Customers
from trading.simulation.day import MINUTE, Day, Minute

WIDTH, LEFT, RIGHT, TOP, GAP = 900, 64, 872, 104, 54
# Heights of a panel.
TALL, LOW = 170, 80
HOUR = timedelta(hours=1)
# The fuller side of a few open orders jumps; its mean over so many minutes is drawn.
CALM = 30
# Readable on any page: it brings its own ground, and a dark one where the reader's is dark.
STYLE = """
svg{--ground:#fff;--ink:#1c2430;--faint:#5d6878;--line:#e3e7ee;
--a:#0a7d59;--b:#b45309;--c:#2563eb;--band:#2563eb14}
@media (prefers-color-scheme:dark){svg{--ground:#12171f;--ink:#e8edf4;--faint:#98a4b5;--line:#29313d;
--a:#2ccf97;--b:#f5b83d;--c:#7aa7ff;--band:#7aa7ff1f}}
text{font:12px system-ui,'Segoe UI',Roboto,Helvetica,Arial,sans-serif;fill:var(--faint)}
.title{font-size:17px;font-weight:600;fill:var(--ink)}.head{font-weight:600;fill:var(--ink)}
.end{text-anchor:end}.mid{text-anchor:middle}
.a,.b,.c{fill:none;stroke:var(--a);stroke-width:1.6;stroke-linejoin:round}.b{stroke:var(--b)}.c{stroke:var(--c)}
.dash{stroke-dasharray:5 4}.grid{stroke:var(--line)}.axis{stroke:var(--faint)}
"""

Scale = Callable[[float], float]
Values = Sequence[float | None]


@dataclass(frozen=True, slots=True)
class Curve:
    """A line of a panel: its words in the legend, its style, a value each minute; it breaks at None."""

    words: str
    style: str
    values: Values


@dataclass(frozen=True, slots=True)
class Panel:
    """A strip of the picture; with neither bound it reaches from zero as far as its curves do."""

    words: str
    height: int
    curves: Sequence[Curve]
    bounds: tuple[float, float] | None = None
    unit: str = ""


def draw(day: Day, customers: Customers, name: str) -> str:
    """Return the SVG of a day: the rate, the orders of the window, the fuller side, the house's result."""
    minutes, panels, top = day.minutes, _panels(day), TOP
    bottom = TOP + sum(panel.height + GAP for panel in panels) - GAP
    span = (minutes[-1].at - minutes[0].at) / MINUTE
    x = _scale(0, span, LEFT, RIGHT)
    parts = [
        *_band("one side crowded", customers.crowded_hours, minutes, x, bottom),
        *_band("quick customers", customers.quick_hours, minutes, x, bottom),
    ]
    for panel in panels:
        parts += _panel(panel, x, top)
        top += panel.height + GAP
    parts += _hours(minutes, x, bottom)
    height = bottom + 52
    about = f"{len(day.placed):,} simulated orders of {customers.count:,} customers; {name}"
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" '
            f'height="{height}" role="img" aria-labelledby="t"><style>{STYLE}</style>',
            f'<rect width="{WIDTH}" height="{height}" rx="10" fill="var(--ground)"/>',
            f'<text id="t" class="title" x="{LEFT}" y="36">A day of the payout policy</text>',
            f'<text x="{LEFT}" y="56">{escape(about)}</text>',
            *parts,
            "</svg>\n",
        ]
    )


def _panels(day: Day) -> list[Panel]:
    policy, minutes = day.offer.policy, day.minutes
    low, high, fixed = (float(rate * 100) for rate in (policy.min_rate, policy.max_rate, policy.fixed_rate))
    rate = [
        Curve("policy", "a", [float(each.rate * 100) for each in minutes]),
        Curve(f"fixed {fixed:g} %", "b", [fixed] * len(minutes)),
        Curve(f"bounds {low:g} and {high:g} %", "c dash", [low] * len(minutes)),
        Curve("", "c dash", [high] * len(minutes)),
    ]
    shares = [None if (part := each.fuller_share) is None else float(part * 100) for each in minutes]
    house = [
        Curve("with the policy", "a", [float(each.house) for each in minutes]),
        Curve(f"at the fixed {fixed:g} %", "b", [float(each.house_fixed) for each in minutes]),
    ]
    ended = f"Orders ended in the last {day.offer.window // MINUTE} minutes"
    return [
        Panel("Payout rate", TALL, rate, (low - 5, high + 5), " %"),
        Panel(ended, LOW, [Curve("", "a", [each.orders for each in minutes])]),
        Panel(
            f"Share of the fuller side in the open stakes, mean of {CALM} minutes",
            LOW,
            [Curve("", "a", _calmed(shares))],
            (50, 100),
            " %",
        ),
        Panel("What the house has won, in units of money", TALL, house),
    ]


def _calmed(values: Values) -> Values:
    windows = (values[max(0, place - CALM) : place] for place in range(1, len(values) + 1))
    known = ([value for value in window if value is not None] for window in windows)
    return [sum(window) / len(window) if window else None for window in known]


def _scale(low: float, high: float, start: float, end: float) -> Scale:
    return lambda value: start + (value - low) / (high - low) * (end - start)


def _panel(panel: Panel, x: Scale, top: int) -> Iterator[str]:
    values = [value for curve in panel.curves for value in curve.values if value is not None]
    low, high = panel.bounds or (min([0.0, *values]), max([1.0, *values]))
    y = _scale(low, high, top + panel.height, top)
    yield f'<text class="head" x="{LEFT}" y="{top - 12}">{panel.words}</text>'
    for value in _round_values(low, high, panel.height // 28):
        yield f'<path class="grid" d="M{LEFT} {y(value):.1f}H{RIGHT}"/>'
        yield f'<text class="end" x="{LEFT - 8}" y="{y(value) + 4:.1f}">{value:,.10g}{panel.unit}</text>'
    end = RIGHT
    for curve in reversed(panel.curves):
        yield f'<path class="{curve.style}" d="{_steps(curve.values, x, y)}"/>'
        if curve.words:
            yield f'<text class="end" x="{end}" y="{top - 12}">{curve.words}</text>'
            end -= 7 * len(curve.words) + 30
            yield f'<path class="{curve.style}" d="M{end} {top - 16}h22"/>'
            end -= 16


def _steps(values: Values, x: Scale, y: Scale) -> str:
    """Return the path of values that stand until the next minute; what does not move is not repeated."""
    path, last = "", None
    for minute, value in enumerate(values):
        place = None if value is None else f"{y(value):.1f}"
        if place != last or minute == len(values) - 1:
            across = f"{x(minute):.1f}"
            path += f"H{across}" if last is not None else ""
            if place is not None:
                path += f"V{place}" if last is not None else f"M{across} {place}"
        last = place
    return path


def _round_values(low: float, high: float, most: int) -> list[float]:
    """Return the multiples of 1, 2 or 5 times a power of ten that lie between, `most` of them at most."""
    steps = (digit * 10.0**power for power in range(-3, 12) for digit in (1, 2, 5))
    step = next(each for each in steps if high // each + -low // each + 1 <= max(most, 2))
    return [step * number for number in range(-int(-low // step), int(high // step) + 1)]


def _band(
    words: str, hours: tuple[int, int], minutes: Sequence[Minute], x: Scale, bottom: int
) -> Iterator[str]:
    inside = [place for place, each in enumerate(minutes) if hours[0] <= each.at.hour < hours[1]]
    if inside:
        start, end = x(inside[0]), x(min(inside[-1] + 1, len(minutes) - 1))
        place = f'x="{start:.1f}" y="72" width="{end - start:.1f}" height="{bottom - 72}"'
        yield f'<rect {place} fill="var(--band)"/>'
        yield f'<text class="mid" x="{(start + end) / 2:.1f}" y="{bottom + 36}">{words}</text>'


def _hours(minutes: Sequence[Minute], x: Scale, bottom: int) -> Iterator[str]:
    step = max(1, round((minutes[-1].at - minutes[0].at) / (8 * HOUR)))
    yield f'<path class="axis" d="M{LEFT} {bottom}H{RIGHT}"/>'
    for place, each in enumerate(minutes):
        if each.at.minute == 0 and each.at.hour % step == 0:
            yield f'<path class="axis" d="M{x(place):.1f} {bottom}v5"/>'
            yield f'<text class="mid" x="{x(place):.1f}" y="{bottom + 20}">{each.at:%H:%M}</text>'
    yield f'<text class="end" x="{RIGHT}" y="{bottom + 36}">time (UTC)</text>'
