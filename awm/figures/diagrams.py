"""The four diagrams of the report, drawn from boxes, arrows and a little race track.

Each function takes nothing and returns a matplotlib Figure. Coordinates are tenths of the
column's width (0.7 inch), from the lower left.
"""

import numpy as np
from matplotlib.patches import Circle, FancyBboxPatch, PathPatch, Polygon
from matplotlib.path import Path

from awm.figures.theme import (
    FAINT,
    INK,
    MUTED,
    PARTS,
    WIDTH,
    Canvas,
    bare,
    tint,
)

_UNIT = WIDTH / 10
_NOTE = 7.6


class _Sketch:
    """A blank sheet, ten units wide, with the few shapes that the diagrams are made of."""

    def __init__(self, height: float):
        self.figure = Canvas(figsize=(WIDTH, height * _UNIT), layout="none")
        self.axes = self.figure.add_axes((0, 0, 1, 1))
        self.axes.set(xlim=(0, 10), ylim=(0, height), aspect="equal")
        bare(self.axes)

    def box(self, x, y, width, height, text="", color=INK, note="", size=11, strong=0.14):
        """A rounded box centred on (x, y): a heavy name and, below it, a lighter note."""
        self.axes.add_patch(
            FancyBboxPatch(
                (x - width / 2, y - height / 2),
                width,
                height,
                boxstyle="round,pad=0,rounding_size=0.13",
                facecolor=tint(color, strong),
                edgecolor=color,
                linewidth=1.4,
                zorder=2,
            )
        )
        lines = note.count("\n") + 1 if note else 0
        self.text(x, y + 0.115 * lines, text, size=size, weight="bold", color=color)
        if note:
            self.text(x, y - 0.15 if lines == 1 else y - 0.17, note, size=_NOTE, color=MUTED)

    def encoder(self, x, y, width, height, text, color, toward="down"):
        """A trapezoid that narrows in the direction of compression: down, left or right."""
        narrow = 0.55
        if toward == "down":
            corners = [(-1, 1), (1, 1), (narrow, -1), (-narrow, -1)]
        else:
            corners = [(-1, -1), (-1, 1), (1, narrow), (1, -narrow)]
        scale = np.array([-width if toward == "left" else width, height]) / 2
        self.axes.add_patch(
            Polygon(
                np.array(corners) * scale + (x, y),
                closed=True,
                joinstyle="round",
                facecolor=tint(color),
                edgecolor=color,
                linewidth=1.4,
                zorder=2,
            )
        )
        self.text(x, y, text, size=12, weight="bold", color=color)

    def node(self, x, y, text, color, radius=0.27):
        """A variable: a circle with a symbol in it."""
        self.axes.add_patch(
            Circle((x, y), radius, facecolor="white", edgecolor=color, linewidth=1.4, zorder=3)
        )
        self.text(x, y, text, size=11, color=color, zorder=4)

    def group(self, left, bottom, right, top, color=FAINT, fill="white"):
        """A quiet frame around parts that belong together."""
        self.axes.add_patch(
            FancyBboxPatch(
                (left, bottom),
                right - left,
                top - bottom,
                boxstyle="round,pad=0,rounding_size=0.18",
                facecolor=fill,
                edgecolor=color,
                linewidth=1,
                zorder=0,
            )
        )

    def arrow(self, *points, color=INK, dashed=False, width=1.5, corner=0.16):
        """A line through the points with rounded corners, and an arrowhead at its end."""
        end, before = np.array(points[-1], float), np.array(points[-2], float)
        way = (end - before) / np.hypot(*(end - before))
        across = 0.078 * np.array([-way[1], way[0]])
        neck = end - 0.16 * way
        self.axes.add_patch(
            PathPatch(
                _rounded([*points[:-1], tuple(neck)], corner),
                edgecolor=color,
                linewidth=width,
                fill=False,
                capstyle="butt",
                zorder=1.5,
                linestyle=(0, (3.2, 2)) if dashed else "-",
            )
        )
        self.axes.add_patch(
            Polygon([end, neck + across, neck - across], facecolor=color, lw=0, zorder=1.6)
        )

    def bridge(self, x, y):
        """A gap in the upright line at (x, y), so that a later arrow passes over it."""
        self.axes.plot([x, x], [y - 0.075, y + 0.075], color="white", linewidth=4, zorder=1.5,
                       solid_capstyle="butt")  # fmt: skip

    def text(self, x, y, text, size=_NOTE, color=INK, align="center", zorder=5, **style):
        """Words on the sheet, centred on (x, y) unless `align` says left or right."""
        self.axes.text(
            x, y, text, fontsize=size, color=color, ha=align, va="center", zorder=zorder,
            linespacing=1.35, **style,
        )  # fmt: skip

    def frame(self, x, y, size=1.0, turn=0.0):
        """A stylised CarRacing frame: grass, a bending road, the red car. `turn` bends it."""
        left, bottom = x - size / 2, y - size / 2
        square = FancyBboxPatch(
            (left, bottom), size, size, boxstyle="round,pad=0,rounding_size=0.05",
            facecolor="#7dc77a", edgecolor="none", zorder=2,
        )  # fmt: skip
        self.axes.add_patch(square)
        up = np.linspace(-0.1, 1.1, 40)
        centre = 0.5 + turn * np.clip(up - 0.28, 0, None) ** 2
        slope = np.gradient(centre, up)
        normal = np.stack([np.ones_like(up), -slope]) / np.hypot(1, slope)
        line = np.stack([centre, up])
        for half, color in ((0.155, "white"), (0.13, "#6e7276")):
            edge = np.concatenate([(line - half * normal).T, (line + half * normal).T[::-1]])
            road = Polygon(edge * size + (left, bottom), facecolor=color, lw=0, zorder=2.1)
            self.axes.add_patch(road)
            road.set_clip_path(square)
        car = np.array([(-0.045, -0.1), (-0.045, 0.06), (-0.02, 0.11), (0.02, 0.11),
                        (0.045, 0.06), (0.045, -0.1)])  # fmt: skip
        body = Polygon((car + (0.5, 0.27)) * size + (left, bottom), facecolor="#d3272e", lw=0,
                       zorder=2.3)  # fmt: skip
        for wheel_x in (-0.065, 0.065):
            for wheel_y in (-0.065, 0.055):
                wheel = np.array([(-0.016, -0.032), (-0.016, 0.032), (0.016, 0.032),
                                  (0.016, -0.032)])  # fmt: skip
                place = (wheel + (0.5 + wheel_x, 0.27 + wheel_y)) * size + (left, bottom)
                self.axes.add_patch(Polygon(place, facecolor="#1d1f21", lw=0, zorder=2.2))
        self.axes.add_patch(body)
        self.axes.add_patch(
            FancyBboxPatch(
                (left, bottom),
                size,
                size,
                boxstyle="round,pad=0,rounding_size=0.05",
                facecolor="none",
                edgecolor=PARTS["environment"],
                linewidth=1.4,
                zorder=2.5,
            )
        )


def _rounded(points, corner: float) -> Path:
    """The path through `points` whose corners are arcs of about that radius."""
    points = [np.array(point, float) for point in points]
    vertices, codes = [points[0]], [Path.MOVETO]
    for before, here, after in zip(points, points[1:], points[2:], strict=False):
        into, out = before - here, after - here
        radius = min(corner, np.hypot(*into) / 2, np.hypot(*out) / 2)
        vertices += [
            here + radius * into / np.hypot(*into),
            here,
            here + radius * out / np.hypot(*out),
        ]
        codes += [Path.LINETO, Path.CURVE3, Path.CURVE3]
    return Path([*vertices, points[-1]], [*codes, Path.LINETO])


def mdp():
    """An agent and its environment, the loop of state, action and reward. Returns a Figure."""
    sheet = _Sketch(3.9)
    environment, agent = PARTS["environment"], PARTS["C"]
    sheet.box(5, 3.15, 2.7, 0.95, "Agent", agent, r"policy  $\pi(a_t \mid s_t)$", size=12)
    sheet.box(5, 0.75, 2.7, 0.95, "Environment", environment,
              r"dynamics  $p(s_{t+1} \mid s_t, a_t)$", size=12)  # fmt: skip

    sheet.arrow((6.35, 3.15), (8.2, 3.15), (8.2, 0.75), (6.35, 0.75), color=agent, width=1.8)
    sheet.text(8.38, 2.1, "action", color=MUTED, align="left", size=8.5)
    sheet.text(8.38, 1.78, "$A_t$", size=14, color=agent, align="left")

    # The dashed line is the tick of the clock: what the environment returns is of the next step.
    sheet.arrow((3.65, 0.92), (2.1, 0.92), (2.1, 2.98), (3.65, 2.98), color=environment, width=1.8)
    sheet.arrow((3.65, 0.58), (1.4, 0.58), (1.4, 3.32), (3.65, 3.32), color=environment, width=1.8)
    sheet.axes.plot([2.72, 2.72], [0.22, 1.28], color=MUTED, linewidth=1,
                    linestyle=(0, (3, 2.5)), zorder=1.8)  # fmt: skip
    sheet.text(2.72, 1.43, "next step", color=MUTED, size=7)
    sheet.text(3.18, 1.12, "$R_{t+1}$", size=10.5, color=environment)
    sheet.text(3.18, 0.37, "$S_{t+1}$", size=10.5, color=environment)
    sheet.text(1.22, 2.1, "state", color=MUTED, align="right", size=8.5)
    sheet.text(1.22, 1.78, "$S_t$", size=14, color=environment, align="right")
    sheet.text(2.28, 2.1, "reward", color=MUTED, align="left", size=8.5)
    sheet.text(2.28, 1.78, "$R_t$", size=14, color=environment, align="left")
    return sheet.figure


def world_model():
    """V, M and C in the environment, with attention inside M. Returns a Figure."""
    sheet = _Sketch(5.6)
    v, m, c, environment = (PARTS[part] for part in ("V", "M", "C", "environment"))
    attention = PARTS["attention"]

    sheet.group(2.62, 0.78, 9.86, 5.45, fill="#fafbfc")
    sheet.text(1.15, 5.1, "Environment", color=environment, weight="bold", size=10)
    sheet.text(6.2, 5.1, "Agent", color=INK, weight="bold", size=10)

    sheet.frame(1.15, 4.15, 1.3, turn=0.75)
    sheet.text(1.15, 3.3, "CarRacing-v3", color=MUTED)
    sheet.arrow((1.8, 4.15), (3.0, 4.15), color=environment)
    sheet.text(2.2, 4.36, "$x_t$", size=11, color=environment)
    sheet.text(2.2, 3.95, "64×64×3", color=MUTED, size=6.6)

    sheet.encoder(3.55, 4.15, 1.1, 1.4, "V", v, toward="right")
    sheet.text(3.55, 5.1, "Vision", color=MUTED)
    sheet.arrow((4.1, 4.15), (8.03, 4.15), color=v)
    sheet.arrow((4.7, 4.15), (4.7, 2.27), color=v)
    sheet.node(4.7, 4.15, "$z_t$", v)
    sheet.text(5.1, 4.32, "32 numbers", color=MUTED, align="left", size=7)

    sheet.box(8.7, 4.15, 1.34, 1.1, "C", c, "linear, 867\nparameters", size=13)
    sheet.text(8.7, 5.1, "Controller", color=MUTED)

    # M and its three organs.
    sheet.axes.add_patch(
        FancyBboxPatch(
            (3.35, 1.0),
            4.85,
            1.9,
            boxstyle="round,pad=0,rounding_size=0.16",
            facecolor=tint(m, 0.09),
            edgecolor=m,
            linewidth=1.4,
            zorder=1,
        )
    )
    sheet.text(3.6, 2.63, "M", size=13, weight="bold", color=m)
    sheet.text(8.0, 2.63, "Memory", color=MUTED, align="right")
    sheet.box(4.7, 1.88, 1.24, 0.78, "attention", attention, "what matters?", size=8.8)
    sheet.box(6.12, 1.88, 0.94, 0.78, "LSTM", m, "what was", size=8.8, strong=0.22)
    sheet.box(7.42, 1.88, 1.1, 0.78, "MDN", m, "what may be", size=8.8, strong=0.22)
    sheet.arrow((5.32, 1.88), (5.65, 1.88), color=attention)
    sheet.arrow((6.59, 1.88), (6.87, 1.88), color=m)
    sheet.arrow((6.12, 1.49), (6.12, 1.2), (4.7, 1.2), (4.7, 1.49), color=m, dashed=True, width=1.2)
    sheet.text(5.41, 1.33, "query", color=MUTED, size=7)
    sheet.arrow((7.97, 1.88), (8.5, 1.88), color=m)
    sheet.text(8.56, 2.03, "$p(z_{t+1}, r_t,$", size=9, color=m, align="left")
    sheet.text(8.56, 1.73, r"$\quad\mathrm{done}_t)$", size=9, color=m, align="left")

    sheet.arrow((6.12, 2.27), (6.12, 3.3), (8.45, 3.3), (8.45, 3.6), color=m)
    sheet.node(6.95, 3.3, "$h_t$", m)
    sheet.text(7.3, 3.46, "256 numbers", color=MUTED, align="left", size=7)

    # The action: to the world, and to M, which must know what was done.
    sheet.arrow((9.37, 4.15), (9.66, 4.15), (9.66, 0.36), (1.15, 0.36), (1.15, 3.12), color=c)
    sheet.arrow((2.98, 0.36), (2.98, 1.88), (4.08, 1.88), color=c)
    sheet.node(5.3, 0.36, "$a_t$", c)
    sheet.text(5.66, 0.55, "steer, gas, brake", color=MUTED, align="left", size=7)
    return sheet.figure


def rollout():
    """Three steps of a rollout, unrolled in time. Returns a Figure."""
    sheet = _Sketch(6.6)
    v, m, c, environment = (PARTS[part] for part in ("V", "M", "C", "environment"))
    frame_y, v_y, z_y, c_y, m_y = 5.53, 4.13, 3.32, 2.25, 0.6

    sheet.group(1.02, 4.86, 9.9, 6.2, fill=tint(environment, 0.06), color=tint(environment, 0.3))
    for name, note, y, color in (
        ("World", "", frame_y, environment),
        ("V", "sees", v_y, v),
        ("C", "acts", c_y, c),
        ("M", "remembers", m_y, m),
    ):
        sheet.text(0.12, y + (0.1 if note else 0), name, size=9.5, weight="bold", color=color,
                   align="left")  # fmt: skip
        sheet.text(0.12, y - 0.14, note, size=7, color=MUTED, align="left")

    for x, step, turn in ((2.3, "t-1", 0.15), (5.3, "t", 0.5), (8.3, "t+1", 0.95)):
        first, last = step == "t-1", step == "t+1"
        sheet.text(x, 6.4, rf"${step}$", size=11, color=MUTED)

        # From the frame down to z; z reaches C from above, and M around C.
        sheet.frame(x, frame_y, 1.12, turn=turn)
        sheet.arrow((x, 4.97), (x, v_y + 0.32), color=environment)
        sheet.text(x + 0.12, 4.66, rf"$x_{{{step}}}$", size=10, color=environment, align="left")
        sheet.encoder(x, v_y, 1.0, 0.64, "V", v)
        sheet.arrow((x, v_y - 0.32), (x, z_y + 0.27), color=v)
        sheet.arrow((x + 0.27, z_y), (x + 0.78, z_y), (x + 0.78, 1.36), (x + 0.34, 1.36),
                    (x + 0.34, m_y + 0.35), color=v)  # fmt: skip
        sheet.arrow((x, z_y - 0.27), (x, c_y + 0.33), color=v)
        sheet.node(x, z_y, rf"$z_{{{step}}}$", v)
        sheet.box(x, c_y, 1.0, 0.66, "C", c, size=12)
        sheet.box(x, m_y, 1.3, 0.7, "M", m, size=12)

        # The memory: into M, and up into C.
        start = x - 1.2 if first else x - 2.35
        sheet.arrow((start, m_y), (x - 0.65, m_y), color=m)
        sheet.arrow((x - 1.0, m_y), (x - 1.0, c_y), (x - 0.5, c_y), color=m)
        sheet.text(x - 1.08, 1.45, rf"$h_{{{step}}}$", size=10.5, color=m, align="right")
        if last:
            sheet.arrow((x + 0.65, m_y), (9.9, m_y), color=m)

        # The action: down to M, and out to the world, where it makes the next frame.
        sheet.arrow((x, c_y - 0.33), (x, m_y + 0.35), color=c)
        sheet.text(x - 0.1, 1.45, rf"$a_{{{step}}}$", size=10.5, color=c, align="right")
        sheet.bridge(x + 0.78, c_y)
        sheet.arrow((x + 0.5, c_y), (x + 1.14, c_y), (x + 1.14, frame_y),
                    (9.9 if last else x + 2.44, frame_y), color=c)  # fmt: skip
    return sheet.figure


def dream_training():
    """C learns inside M's dream, then drives the real track. Returns a Figure."""
    sheet = _Sketch(4.6)
    v, m, c, environment = (PARTS[part] for part in ("V", "M", "C", "environment"))

    sheet.group(0.15, 0.2, 4.6, 4.4, color=tint(m, 0.35), fill=tint(m, 0.05))
    sheet.text(0.42, 4.1, "In the dream", size=10, weight="bold", color=m, align="left")
    sheet.text(4.34, 4.1, "no simulator runs", color=MUTED, align="right")
    sheet.group(5.7, 0.2, 9.85, 4.4, color=tint(environment, 0.4), fill=tint(environment, 0.06))
    sheet.text(5.97, 4.1, "On the track", size=10, weight="bold", color=environment,
               align="left")  # fmt: skip
    sheet.text(9.6, 4.1, "the test", color=MUTED, align="right")

    # The dream: M takes the environment's place.
    sheet.box(1.2, 2.95, 1.4, 0.9, "M", m, "dreams", size=13)
    sheet.box(3.55, 2.95, 1.4, 0.9, "C", c, "evolves", size=13)
    sheet.arrow((1.9, 3.15), (2.85, 3.15), color=m)
    sheet.text(2.37, 3.62, "$r_t$, done$_t$", size=9, color=m)
    sheet.text(2.37, 3.37, "$z_{t+1}, h_{t+1}$", size=9, color=m)
    sheet.arrow((2.85, 2.75), (1.9, 2.75), color=c)
    sheet.text(2.37, 2.53, "$a_t$", size=10.5, color=c)
    sheet.text(1.4, 2.02, r"temperature $\tau$ sets how" + "\nuncertain the dream is", color=MUTED,
               align="left", size=7.2)  # fmt: skip
    sheet.arrow((1.2, 2.5), (1.2, 1.47), color=v, dashed=True, width=1.2)
    sheet.text(1.06, 2.0, "$z$", size=10, color=v, align="right")
    sheet.box(1.2, 1.05, 1.4, 0.84, "V", v, "decoder", size=11)
    sheet.arrow((1.9, 1.05), (2.6, 1.05), color=v, dashed=True, width=1.2)
    sheet.frame(3.15, 1.05, 1.1, turn=0.7)
    sheet.text(3.84, 1.05, "only for\nour eyes", color=MUTED, align="left", size=7.2)

    # The track: the same C, with V's z and M's h of the real world.
    sheet.box(6.75, 2.95, 1.3, 0.9, "C", c, "drives", size=13)
    sheet.frame(9.0, 2.95, 1.2, turn=-0.6)
    sheet.arrow((7.4, 2.95), (8.4, 2.95), color=c)
    sheet.text(7.9, 3.15, "$a_t$", size=10.5, color=c)
    sheet.arrow((9.0, 2.35), (9.0, 1.42), color=environment)
    sheet.text(9.12, 1.95, "$x_{t+1}$", size=9.5, color=environment, align="left")
    sheet.encoder(9.0, 1.05, 0.8, 0.92, "V", v, toward="left")
    sheet.arrow((8.6, 1.05), (7.45, 1.05), color=v)
    sheet.arrow((8.0, 1.05), (8.0, 2.15), (7.2, 2.15), (7.2, 2.5), color=v)
    sheet.node(8.0, 1.05, "$z_{t+1}$", v)
    sheet.box(6.75, 1.05, 1.4, 0.84, "M", m, "remembers", size=13)
    sheet.arrow((6.35, 1.47), (6.35, 2.5), color=m)
    sheet.arrow((6.78, 2.5), (6.78, 1.47), color=c)
    sheet.text(6.88, 1.8, "$a_t$", size=10.5, color=c, align="left")
    sheet.text(6.24, 1.98, "$h_{t+1}$", size=9.5, color=m, align="right")

    # There and back again.
    sheet.arrow((4.25, 2.95), (6.1, 2.95), color=c, width=2.4)
    sheet.text(5.15, 3.3, "same\nweights", color=c, size=7.4)
    sheet.arrow((5.7, 0.62), (4.6, 0.62), color=environment, width=1.6)
    sheet.text(5.15, 0.97, "rollouts\nteach V, M", color=environment, size=7.4)
    return sheet.figure
