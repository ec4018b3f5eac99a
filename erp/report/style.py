"""One look for all figures: colour-blind safe, labelled directly, readable at the width of a phone."""

from __future__ import annotations

import math
import textwrap
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from erp.files import replacing
from erp.units import LOG_FROM

if TYPE_CHECKING:  # imported where something is drawn: a report without figures does not wait for it
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

# 5.2 inches at 150 dpi are 780 pixels: shown at 390, a 10 point letter is still 10 pixels high.
WIDTH = 5.2
DPI = 150

# Okabe and Ito's palette, told apart with any kind of colour vision.
BLUE, ORANGE, GREEN, VERMILLION = "#0072B2", "#E69F00", "#009E73", "#D55E00"
PINK, SKY, YELLOW, BLACK, GREY = "#CC79A7", "#56B4E9", "#F0E442", "#222222", "#767676"
PALETTE = (BLUE, ORANGE, GREEN, PINK, SKY, VERMILLION, YELLOW, "#444444")
COLOURS = {"router": BLUE, "oracle": GREEN, "category_mean": VERMILLION, "best_single": BLACK, "random": GREY}

STYLE = Path(__file__).with_name("figures.mplstyle")
_as_svg_too: ContextVar[bool] = ContextVar("_as_svg_too", default=False)


@contextmanager
def vector_figures() -> Iterator[None]:
    """While this is open, every ``canvas`` writes an SVG beside its PNG, from the same drawing."""
    before = _as_svg_too.set(True)
    try:
        yield
    finally:
        _as_svg_too.reset(before)


@contextmanager
def canvas(path: Path, height: float) -> Iterator[Figure]:
    """A figure of the shared style and width; on success it is written to ``path`` as PNG, in one step.

    Within ``vector_figures`` the same drawing is written as SVG too, under the same stem.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    style = mpl.rc_params_from_file(STYLE, use_default_template=False)
    with mpl.rc_context(style), warnings.catch_warnings():
        # A name in a script the font lacks is drawn with boxes; that is no reason to alarm or to fail.
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from font")
        warnings.filterwarnings("ignore", message=r".*[Ll]ayout not applied.*")
        figure = Figure(figsize=(WIDTH, height), dpi=DPI, layout="constrained")
        drawing = FigureCanvasAgg(figure)
        yield figure
        freeze(figure)  # `savefig` would find the layout again for each file, and draw twice to do so
        with replacing(path) as temporary:
            # A third less time than at zlib's usual level, and files of the same size.
            drawing.print_png(temporary, pil_kwargs={"compress_level": 3})  # type: ignore[no-untyped-call]
        if _as_svg_too.get():
            with replacing(path.with_suffix(".svg")) as temporary:
                FigureCanvasSVG(figure).print_svg(temporary, metadata={"Date": None})  # type: ignore[no-untyped-call]


TITLE_WIDTH = 68  # characters that fit a figure of the usual width


def title(figure: Figure, *lines: str) -> None:
    """What a figure shows, from its left edge: an axes' title would start at the axis and run out of the picture."""
    wrapped = [part for line in lines for part in textwrap.wrap(line, TITLE_WIDTH, subsequent_indent="    ")]
    figure.suptitle("\n".join(wrapped), x=0.012, ha="left", linespacing=1.3)


def heading(axes: Axes, text: str) -> None:
    """A panel's name from the figure's edge: right of the axis there is too little room."""
    axes.set_title("\n".join(" " * len(text.splitlines())), fontsize=9.5)
    axes.annotate(
        text, (0.012, 1), (0, 6), fontsize=9.5, xycoords=("figure fraction", "axes fraction"),
        textcoords="offset points", linespacing=1.3,
    ).set_in_layout(False)  # fmt: skip


def signed(value: float, digits: int) -> str:
    """A gain as a figure writes it: with its sign, and a minus that is one."""
    return "0" if value == 0 else "" if math.isnan(value) else f"{value:+.{digits}g}".replace("-", "\N{MINUS SIGN}")


def freeze(figure: Figure) -> None:
    """Settle the layout, so that positions in pixels stay what they are while labels are placed."""
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    if isinstance(engine := figure.get_layout_engine(), ConstrainedLayoutEngine):
        engine.execute(figure)
        figure.set_layout_engine("none")


def cost_axis(axes: Axes, low: float, high: float, label: str) -> None:
    """Limits, ticks and label of an x axis of costs (already scaled to ``label``'s unit)."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    axes.set_xlabel(label)
    if low > 0 and high / low >= LOG_FROM:
        axes.set_xscale("log")
        margin = (high / low) ** 0.06
        axes.set_xlim(low / margin, high * margin)
        axes.xaxis.set_major_locator(FixedLocator(_log_ticks(low / margin, high * margin)))
        axes.xaxis.set_minor_locator(NullLocator())
    else:
        margin = 0.06 * (high - low)
        axes.set_xlim(low - margin, high + margin)
        axes.xaxis.set_major_locator(nice_ticks(5))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.10g}"))


def nice_ticks(most: int) -> MaxNLocator:
    """At most ``most`` intervals, in steps a reader counts in."""
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(most, steps=[1, 2, 2.5, 5, 10])


def _log_ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 of each decade, or fewer where they would crowd."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for steps in ((1, 2, 5), (1, 3), (1,)):
        ticks = [step * 10.0**decade for decade in decades for step in steps]
        inside = [tick for tick in ticks if low <= tick <= high]
        if len(inside) <= 6:
            return inside
    return inside[:: math.ceil(len(inside) / 6)]


@dataclass(frozen=True)
class Label:
    """A text to be put beside one of several points.

    Attributes:
        text: what it says.
        anchors: (A, 2) points in data coordinates; beside any of them it is understood.
        colour: of the text.
        bold: whether it is to stand out.
        optional: left out rather than printed over another label.
    """

    text: str
    anchors: NDArray[np.float64]
    colour: str = BLACK
    bold: bool = False
    optional: bool = False


def place_labels(
    figure: Figure,
    axes: Axes,
    labels: Sequence[Label],
    curves: Sequence[NDArray[np.float64]],
    dots: NDArray[np.float64],
) -> None:
    """Put each label where it covers least: first come, first served; call after ``freeze``.

    Args:
        figure: the picture, which labels stay inside.
        axes: whose limits are final.
        labels: the most important first.
        curves: (P, 2) each, in data coordinates: lines that labels should keep off.
        dots: (D, 2) in data coordinates: marks that labels should keep off even more.
    """
    to_pixels: Callable[[NDArray[np.float64]], NDArray[np.float64]] = axes.transData.transform
    panel, picture = axes.get_window_extent(), figure.bbox
    frame = (panel.x0 + 3, panel.y0 + 3, picture.x1 - 4, panel.y1)  # the right margin is free for labels
    marks = [np.repeat(to_pixels(dots), 10, axis=0)] if len(dots) else []
    ink = np.concatenate([np.zeros((0, 2)), *[_dense(to_pixels(points)) for points in curves if len(points)], *marks])
    taken: list[NDArray[np.float64]] = []
    for label in labels:
        text = axes.text(
            0, 0, label.text, color=label.colour, fontsize=9.5, va="bottom", ha="left", zorder=6, linespacing=1.05
        )
        text.set_fontweight("bold" if label.bold else "normal")
        extent = text.get_window_extent()
        boxes, anchors, distance = _candidates(to_pixels(label.anchors), extent.width, extent.height)
        penalty = distance + _overlap(boxes, ink, taken, frame)
        best = int(penalty.argmin())
        if label.optional and penalty[best] > 1e4:
            text.remove()
            continue
        box = boxes[best]
        taken.append(box)
        text.set_transform(figure.dpi_scale_trans)  # inches, because an SVG has fewer pixels to one than a PNG
        text.set_position((float(box[0]) / figure.dpi, float(box[1]) / figure.dpi))
        if distance[best] > 40:  # far enough to wonder what it belongs to
            end = np.clip(anchors[best], box[:2], box[2:])
            axes.plot(
                *(np.stack([anchors[best], end]) / figure.dpi).T, color=label.colour, lw=0.6, alpha=0.7, zorder=2,
                transform=figure.dpi_scale_trans,
            )  # fmt: skip


def _candidates(
    anchors: NDArray[np.float64], width: float, height: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Boxes (C, 4) as x0, y0, x1, y1 around every anchor, nearest rings first; their anchors and a cost of distance."""
    boxes, owners, distances = [], [], []
    for ring, radius in enumerate((12.0, 22.0, 36.0, 54.0, 76.0)):
        for side, (dx, dy) in enumerate(((1, 0), (0, 1), (-1, 0), (0, -1), (1, 1), (-1, 1), (1, -1), (-1, -1))):
            lift = radius if dx == 0 or dy == 0 else radius * 0.7
            x = anchors[:, 0] + (lift * dx if dx else -width / 2) - (width if dx < 0 else 0)
            y = anchors[:, 1] + (lift * dy if dy else -height / 2) - (height if dy < 0 else 0)
            boxes.append(np.stack([x, y, x + width, y + height], axis=1))
            owners.append(anchors)
            distances.append(np.full(len(anchors), 25.0 * ring + side))
    return np.concatenate(boxes), np.concatenate(owners), np.concatenate(distances)


def _overlap(
    boxes: NDArray[np.float64],
    ink: NDArray[np.float64],
    taken: Sequence[NDArray[np.float64]],
    frame: tuple[float, float, float, float],
) -> NDArray[np.float64]:
    """(C,) cost of every box: out of the frame or over another label is worst, then points of curves and dots."""
    x0, y0, x1, y1 = boxes.T
    outside = (x0 < frame[0]) | (y0 < frame[1]) | (x1 > frame[2]) | (y1 > frame[3])
    cost = np.where(outside, 1e6, 0.0)
    for other in taken:
        crossing = (x0 < other[2] + 3) & (x1 > other[0] - 3) & (y0 < other[3] + 1) & (y1 > other[1] - 1)
        cost += np.where(crossing, 1e5, 0.0)
    if len(ink):
        x, y = ink[:, 0], ink[:, 1]
        inside = (x > x0[:, None] - 2) & (x < x1[:, None] + 2) & (y > y0[:, None]) & (y < y1[:, None])
        cost += 15.0 * inside.sum(axis=1)
    return cost


def _dense(points: NDArray[np.float64], step: float = 5.0) -> NDArray[np.float64]:
    """A polyline (P, 2) in pixels with a point at least every ``step`` pixels."""
    points = points[np.isfinite(points).all(axis=1)]
    if len(points) < 2:
        return points
    lengths = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(points, axis=0).T))])
    at = np.linspace(0, lengths[-1], min(int(lengths[-1] / step) + 2, 2000))
    return np.stack([np.interp(at, lengths, points[:, axis]) for axis in (0, 1)], axis=1)
