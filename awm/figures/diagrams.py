"""The four diagrams of the report, drawn from boxes, arrows and a little race track.

Each function takes nothing and returns a matplotlib Figure. Coordinates are tenths of the
column's width (0.7 inch), from the lower left; a phone is five of them wide.
"""

import numpy as np
from matplotlib.patches import Circle, FancyBboxPatch, PathPatch, Polygon
from matplotlib.path import Path
from matplotlib.transforms import Affine2D

from awm.figures import theme
from awm.figures.theme import INK, MUTED, PAPER, bare, drawing, figure, is_narrow, tint, width

_UNIT = theme.WIDTH / 10
#: Colour of each part.
WORLD, V, M, C = theme.OLIVE, theme.ORANGE, theme.BLUE, theme.VIOLET
ATTENTION = theme.VERMILION


@drawing
def mdp():
    """An agent and its environment, the loop of state, action and reward. Returns a Figure."""
    narrow = is_narrow()
    sheet = _Sketch(4.7 if narrow else 3.9)
    x, wide, tall, between = (2.85, 2.0, 1.25, "\n") if narrow else (5, 2.7, 0.95, "  ")
    state, reward, action = (0.35, 1.05, 4.6) if narrow else (1.4, 2.1, 8.2)
    above, below, middle = (3.95, 0.85, 2.55) if narrow else (3.15, 0.75, 2.1)
    left, right = x - wide / 2, x + wide / 2
    policy, dynamics = r"$\pi(a_t \mid s_t)$", r"$p(s_{t+1} \mid s_t, a_t)$"
    sheet.box(x, above, wide, tall, "Agent", C, f"policy{between}{policy}", 12)
    sheet.box(x, below, wide, tall, "Environment", WORLD, f"dynamics{between}{dynamics}", 12)

    around = ((right, above), (action, above), (action, below), (right, below))
    sheet.arrow(*around, color=C, width=1.8)
    sheet.text(action - 0.18, middle, "action", size=8.5, ha="right")
    sheet.text(action - 0.18, middle - 0.32, "$A_t$", C, 14, ha="right")

    # The dashed line is the tick of the clock: what the environment returns is of the next step.
    for at, apart, word, symbol in ((reward, 0.17, "reward", "R"), (state, -0.17, "state", "S")):
        low, high = below + apart, above - apart
        sheet.arrow((left, low), (at, low), (at, high), (left, high), color=WORLD, width=1.8)
        sheet.text(at + 0.12, middle, word, size=8.5, ha="left")
        sheet.text(at + 0.12, middle - 0.32, f"${symbol}_t$", WORLD, 14, ha="left")
        sheet.text(left - 0.38, low + 1.2 * apart, f"${symbol}_{{t+1}}$", WORLD, 10.5)
    tick, dashed = reward + (0.17 if narrow else 0.62), (0, (3, 2.5))
    sheet.line([tick] * 2, [below - 0.53, below + 0.53], color=MUTED, lw=1, ls=dashed, zorder=1.8)
    sheet.text(tick - 0.04, below + 0.68, "next step", size=7.5, ha="left")
    return sheet.figure


@drawing
def world_model():
    """V, M and C in the environment, with attention inside M. Returns a Figure.

    On a phone the frame is on top, and M reads from right to left.
    """
    narrow = is_narrow()

    def at(wide, upright):
        return upright if narrow else wide

    beside = at({}, {"ha": "left"})
    sheet = _Sketch(at(5.6, 9.0))
    sheet.area(*at((2.62, 0.78, 9.86, 5.45), (0.42, 0.78, 4.95, 6.72)), fill=tint(INK, 0.02))
    sheet.text(*at((1.15, 5.1), (1.1, 8.82)), "Environment", WORLD, 10, weight="bold")
    sheet.text(*at((6.2, 5.1), (0.65, 6.42)), "Agent", INK, 10, weight="bold", **beside)

    sheet.frame(*at((1.15, 4.15), (1.1, 7.95)), 1.3, turn=0.75)
    sheet.text(*at((1.15, 3.3), (1.1, 7.1)), "CarRacing-v3")
    around = ((1.75, 7.95), (3.85, 7.95), (3.85, 6.42))
    sheet.arrow(*at(((1.8, 4.15), (3.0, 4.15)), around), color=WORLD)
    sheet.text(*at((2.2, 4.36), (2.6, 8.16)), "$x_t$", WORLD, 11)
    sheet.text(*at((2.2, 3.95), (2.6, 7.75)), "64×64×3", size=7.5)

    sheet.encoder(*at((3.55, 4.15, 1.1, 1.4, "right"), (3.85, 6.0, 1.4, 0.84, "down")))
    sheet.text(*at((3.55, 5.1), (3.1, 6.0)), "Vision", ha=at("center", "right"))
    sheet.arrow(*at(((4.1, 4.15), (8.03, 4.15)), ((3.58, 5.0), (2.02, 5.0))), color=V)
    sheet.arrow(*at(((4.7, 4.15), (4.7, 2.27)), ((3.85, 5.58), (3.85, 2.27))), color=V)
    sheet.node(*at((4.7, 4.15), (3.85, 5.0)), "$z_t$", V)
    sheet.text(*at((5.1, 4.32), (3.93, 4.55)), "32 numbers", size=7.5, ha="left")

    sheet.box(*at((8.7, 4.15), (1.35, 5.0)), 1.34, 1.1, "C", C, "linear, 867\nparameters", 13)
    sheet.text(*at((8.7, 5.1), (1.35, 5.75)), "Controller")

    # M and its three organs.
    inside = at((3.35, 1.0, 8.2, 2.9), (0.65, 1.0, 4.75, 3.5))
    sheet.area(*inside, M, tint(M, 0.09), corner=0.16, z=1)
    sheet.text(*at((3.6, 2.63), (0.82, 3.25)), "M", M, 13, weight="bold", **beside)
    sheet.text(*at((8.0, 2.63), (4.6, 3.25)), "Memory", ha="right")
    attention, organ = at((4.7, 1.88, 1.24), (3.85, 1.88, 1.3)), {"size": 8.8, "strong": 0.22}
    sheet.box(*attention, 0.78, "attention", ATTENTION, "what matters?", 8.8)
    sheet.box(at(6.12, 2.55), 1.88, 0.94, 0.78, "LSTM", M, "what was", **organ)
    sheet.box(at(7.42, 1.33), 1.88, 1.1, 0.78, "MDN", M, "what may be", **organ)
    sheet.arrow(*at(((5.32, 1.88), (5.65, 1.88)), ((3.2, 1.88), (3.02, 1.88))), color=ATTENTION)
    sheet.arrow(*at(((6.59, 1.88), (6.87, 1.88)), ((2.08, 1.88), (1.88, 1.88))), color=M)
    start, end = at((6.12, 4.7), (2.55, 3.6))
    sheet.arrow((start, 1.49), (start, 1.2), (end, 1.2), (end, 1.49), color=M, dashed=True)
    sheet.text(at(5.41, 3.07), 1.33, "query", size=7.5)
    sheet.arrow(*at(((7.97, 1.88), (8.5, 1.88)), ((1.33, 2.27), (1.33, 2.58))), color=M)
    sheet.text(*at((8.56, 2.03), (1.4, 2.96)), "$p(z_{t+1}, r_t,$", M, 9, ha=at("left", "center"))
    done = at(r"$\quad\mathrm{done}_t)$", r"$\mathrm{done}_t)$")
    sheet.text(*at((8.56, 1.73), (1.4, 2.7)), done, M, 9, ha=at("left", "center"))

    up = ((6.12, 2.27), (6.12, 3.3), (8.45, 3.3), (8.45, 3.6))
    sheet.arrow(*at(up, ((2.55, 2.27), (2.55, 3.98), (1.35, 3.98), (1.35, 4.45))), color=M)
    sheet.node(*at((6.95, 3.3), (2.05, 3.98)), "$h_t$", M)
    sheet.text(*at((7.3, 3.46), (2.63, 3.78)), "256 numbers", size=7.5, ha="left")

    # The action: to the world, and to M, which must know what was done.
    out = ((9.37, 4.15), (9.66, 4.15), (9.66, 0.36), (1.15, 0.36), (1.15, 3.12))
    sheet.arrow(*at(out, ((0.68, 5.0), (0.2, 5.0), (0.2, 7.95), (0.45, 7.95))), color=C)
    into = ((2.98, 0.36), (2.98, 1.88), (4.08, 1.88))
    sheet.arrow(*at(into, ((0.2, 5.0), (0.2, 0.42), (4.1, 0.42), (4.1, 1.49))), color=C)
    sheet.node(*at((5.3, 0.36), (1.6, 0.42)), "$a_t$", C)
    sheet.text(*at((5.66, 0.55), (1.96, 0.6)), "steer, gas, brake", size=7.5, ha="left")
    return sheet.figure


@drawing
def rollout():
    """Steps of a rollout, unrolled in time: three, or two on a phone. Returns a Figure."""
    sheet, narrow = _Sketch(6.6), is_narrow()
    world, v, z, c, m = 5.53, 4.13, 3.32, 2.25, 0.6  # heights
    start, end, apart = (0.9, 4.95, 2.35) if narrow else (1.02, 9.9, 3.0)
    steps = ((2.3, "t-1", 0.15), (5.3, "t", 0.5), (8.3, "t+1", 0.95))
    steps = ((1.8, "t", 0.15), (4.15, "t+1", 0.5)) if narrow else steps
    sheet.area(start, 4.86, end, 6.2, tint(WORLD, 0.3), tint(WORLD, 0.06))
    sheet.text(0.12, world, "World", WORLD, 9.5, ha="left", weight="bold")
    parts = ("V", "sees", v, V), ("C", "acts", c, C), ("M", "remembers", m, M)
    for name, note, y, color in parts:
        sheet.text(0.12, y + 0.1, name, color, 9.5, ha="left", weight="bold")
        if not narrow:
            sheet.text(0.12, y - 0.14, note, size=7.5, ha="left")

    for n, (x, step, turn) in enumerate(steps, 1):
        first, last = n == 1, n == len(steps)
        sheet.text(x, 6.4, f"${step}$", size=11)

        # From the frame down to z; z reaches C from above, and M around C.
        sheet.frame(x, world, 1.12, turn)
        sheet.arrow((x, 4.97), (x, v + 0.32), color=WORLD)
        sheet.text(x + 0.12, 4.66, f"$x_{{{step}}}$", WORLD, 10, ha="left")
        sheet.encoder(x, v, 1.0, 0.64)
        sheet.arrow((x, v - 0.32), (x, z + 0.27), color=V)
        around = ((x + 0.27, z), (x + 0.78, z), (x + 0.78, 1.36), (x + 0.34, 1.36))
        sheet.arrow(*around, (x + 0.34, m + 0.35), color=V)
        sheet.arrow((x, z - 0.27), (x, c + 0.33), color=V)
        sheet.node(x, z, f"$z_{{{step}}}$", V)
        sheet.box(x, c, 1.0, 0.66, "C", C, size=12)
        sheet.box(x, m, 1.3, 0.7, "M", M, size=12)

        # The memory: into M, and up into C.
        sheet.arrow((x - (1.2 if first else apart - 0.65), m), (x - 0.65, m), color=M)
        sheet.arrow((x - 1.0, m), (x - 1.0, c), (x - 0.5, c), color=M)
        sheet.text(x - 1.08, 1.45, f"$h_{{{step}}}$", M, 10.5, ha="right")
        if last:
            sheet.arrow((x + 0.65, m), (end, m), color=M)

        # The action: down to M, and out to the world, where it makes the next frame. A gap in the
        # line that it crosses lets it pass over.
        sheet.arrow((x, c - 0.33), (x, m + 0.35), color=C)
        sheet.text(x - 0.1, 1.45, f"$a_{{{step}}}$", C, 10.5, ha="right")
        gap = {"color": PAPER, "linewidth": 4, "zorder": 1.5, "solid_capstyle": "butt"}
        sheet.line([x + 0.78] * 2, [c - 0.075, c + 0.075], **gap)
        out = ((x + 1.14, c), (x + 1.14, world), (end if last else x + apart - 0.56, world))
        sheet.arrow((x + 0.5, c), *(((end, c),) if last and narrow else out), color=C)
    return sheet.figure


@drawing
def dream_training():
    """C learns inside M's dream, then drives the real track. Returns a Figure."""
    narrow = is_narrow()
    sheet = _Sketch(9.6 if narrow else 4.6)
    sheet.move(0.12 * narrow, 5.1 * narrow)
    sheet.area(0.15, 0.2, 4.6, 4.4, tint(M, 0.35), tint(M, 0.05))
    sheet.text(0.42, 4.1, "In the dream", M, 10, ha="left", weight="bold")
    sheet.text(4.34, 4.1, "no simulator runs", ha="right")
    # The dream: M takes the environment's place.
    sheet.box(1.2, 2.95, 1.4, 0.9, "M", M, "dreams", 13)
    sheet.box(3.55, 2.95, 1.4, 0.9, "C", C, "evolves", 13)
    sheet.arrow((1.9, 3.15), (2.85, 3.15), color=M)
    sheet.text(2.37, 3.62, "$r_t$, done$_t$", M, 9)
    sheet.text(2.37, 3.37, "$z_{t+1}, h_{t+1}$", M, 9)
    sheet.arrow((2.85, 2.75), (1.9, 2.75), color=C)
    sheet.text(2.37, 2.53, "$a_t$", C, 10.5)
    temperature = r"temperature $\tau$ sets how" + "\nuncertain the dream is"
    sheet.text(1.4, 2.02, temperature, size=7.5, ha="left")
    sheet.arrow((1.2, 2.5), (1.2, 1.47), color=V, dashed=True)
    sheet.text(1.06, 2.0, "$z$", V, 10, ha="right")
    sheet.box(1.2, 1.05, 1.4, 0.84, "V", V, "decoder", 11)
    sheet.arrow((1.9, 1.05), (2.6, 1.05), color=V, dashed=True)
    sheet.frame(3.15, 1.05, 1.1, turn=0.7)
    sheet.text(3.84, 1.05, "only for\nour eyes", size=7.5, ha="left")

    sheet.move(-5.28 * narrow, 0)
    sheet.area(5.7, 0.2, 9.85, 4.4, tint(WORLD, 0.4), tint(WORLD, 0.06))
    sheet.text(5.97, 4.1, "On the track", WORLD, 10, ha="left", weight="bold")
    sheet.text(9.6, 4.1, "the test", ha="right")

    # The track: the same C, with V's z and M's h of the real world.
    sheet.box(6.75, 2.95, 1.3, 0.9, "C", C, "drives", 13)
    sheet.frame(9.0, 2.95, 1.2, turn=-0.6)
    sheet.arrow((7.4, 2.95), (8.4, 2.95), color=C)
    sheet.text(7.9, 3.15, "$a_t$", C, 10.5)
    sheet.arrow((9.0, 2.35), (9.0, 1.42), color=WORLD)
    sheet.text(9.12, 1.95, "$x_{t+1}$", WORLD, 9.5, ha="left")
    sheet.encoder(9.0, 1.05, 0.8, 0.92, "left")
    sheet.arrow((8.6, 1.05), (7.45, 1.05), color=V)
    sheet.arrow((8.0, 1.05), (8.0, 2.15), (7.2, 2.15), (7.2, 2.5), color=V)
    sheet.node(8.0, 1.05, "$z_{t+1}$", V)
    sheet.box(6.75, 1.05, 1.4, 0.84, "M", M, "remembers", 13)
    sheet.arrow((6.35, 1.47), (6.35, 2.5), color=M)
    sheet.arrow((6.78, 2.5), (6.78, 1.47), color=C)
    sheet.text(6.88, 1.8, "$a_t$", C, 10.5, ha="left")
    sheet.text(6.24, 1.98, "$h_{t+1}$", M, 9.5, ha="right")

    # There and back again.
    sheet.move(0, 0)
    if narrow:
        sheet.arrow((3.2, 5.3), (3.2, 4.4), color=C, width=2.4)
        sheet.text(3.35, 4.86, "same weights", C, 7.5, ha="left")
        sheet.arrow((1.1, 4.4), (1.1, 5.3), color=WORLD, width=1.6)
        sheet.text(1.25, 4.86, "rollouts\nteach V, M", WORLD, 7.5, ha="left")
        return sheet.figure
    sheet.arrow((4.25, 2.95), (6.1, 2.95), color=C, width=2.4)
    sheet.text(5.15, 3.3, "same\nweights", C, 7.5)
    sheet.arrow((5.7, 0.62), (4.6, 0.62), color=WORLD, width=1.6)
    sheet.text(5.15, 0.97, "rollouts\nteach V, M", WORLD, 7.5)
    return sheet.figure


class _Sketch:
    """A blank sheet, ten units wide, or five for a phone, with the diagrams' few shapes."""

    def __init__(self, height: float):
        self.figure = figure(height * _UNIT, "none")
        self.axes = self.figure.add_axes((0, 0, 1, 1))
        self.axes.set(xlim=(0, width() / _UNIT), ylim=(0, height), aspect="equal")
        bare(self.axes)
        self.move(0, 0)

    def move(self, right: float, up: float):
        """What is drawn from now on stands so far from where it says."""
        self.place = Affine2D().translate(right, up) + self.axes.transData

    def line(self, x, y, **style):
        return self.axes.plot(x, y, transform=self.place, **style)

    def text(self, x, y, text, color=MUTED, size=7.6, ha="center", **style):
        """Words, centred on (x, y) unless `ha` says left or right."""
        style = {"va": "center", "zorder": 5, "linespacing": 1.35, **style}
        self.axes.text(x, y, text, color=color, fontsize=size, ha=ha, transform=self.place, **style)

    def area(self, left, bottom, right, top, edge=theme.FAINT, fill=PAPER, corner=0.18, z=0.0):
        """A rounded rectangle; by default a quiet frame around parts that belong together."""
        box = f"round,pad=0,rounding_size={corner}"
        style = {"facecolor": fill, "edgecolor": edge, "zorder": z, "linewidth": 1.4 if z else 1}
        size = right - left, top - bottom
        return self.patch(FancyBboxPatch((left, bottom), *size, boxstyle=box, **style))

    def patch(self, patch):
        patch.set_transform(self.place)
        return self.axes.add_patch(patch)

    def shape(self, points, color, z, edge="none"):
        style = {"facecolor": color, "edgecolor": edge, "linewidth": 1.4 * (edge != "none")}
        self.patch(Polygon(points, joinstyle="round", zorder=z, **style))

    def box(self, x, y, width, height, text, color, note="", size=11.0, strong=0.14):
        """A part, centred on (x, y): a heavy name and, below it, a lighter note."""
        left, bottom = x - width / 2, y - height / 2
        self.area(left, bottom, left + width, bottom + height, color, tint(color, strong), 0.13, 2)
        lines = note.count("\n") + 1 if note else 0
        self.text(x, y + 0.115 * lines, text, color, size, weight="bold")
        self.text(x, y - 0.13 - 0.02 * lines, note)

    def encoder(self, x, y, width, height, toward="down"):
        """V: a trapezoid that narrows in the direction of compression, down, left or right."""
        corners = np.array([(-1, -1), (-1, 1), (1, 0.55), (1, -0.55)])
        if toward == "down":
            corners = corners[:, ::-1] * (1, -1)
        scale = np.array([-width if toward == "left" else width, height]) / 2
        self.shape(corners * scale + (x, y), tint(V), 2, V)
        self.text(x, y, "V", V, 12, weight="bold")

    def node(self, x, y, text, color):
        """A variable: a circle with a symbol in it."""
        style = {"facecolor": PAPER, "edgecolor": color, "linewidth": 1.4, "zorder": 3}
        self.patch(Circle((x, y), 0.27, **style))
        self.text(x, y, text, color, 11)

    def arrow(self, *points, color, dashed=False, width=None):
        """A line through the points with rounded corners, and an arrowhead at its end."""
        points = np.array(points, float)
        way = points[-1] - points[-2]
        way /= np.hypot(*way)
        end, neck = points[-1], points[-1] - 0.16 * way
        across = 0.078 * np.array([-way[1], way[0]])
        self.shape([end, neck + across, neck - across], color, 1.6)
        points[-1] = neck
        vertices, codes = [points[0]], [Path.MOVETO]
        for before, here, after in zip(points, points[1:], points[2:], strict=False):
            legs = [(leg, np.hypot(*leg)) for leg in (before - here, after - here)]
            radius = min(0.16, *(length / 2 for _, length in legs))
            into, out = (here + radius * leg / length for leg, length in legs)
            vertices += [into, here, out]
            codes += [Path.LINETO, Path.CURVE3, Path.CURVE3]
        path = Path([*vertices, neck], [*codes, Path.LINETO])
        style = {"linestyle": (0, (3.2, 2)) if dashed else "-", "capstyle": "butt", "zorder": 1.5}
        style["linewidth"] = width or (1.2 if dashed else 1.5)
        self.patch(PathPatch(path, fill=False, edgecolor=color, **style))

    def frame(self, x, y, size, turn):
        """A stylised CarRacing frame: grass, a road that bends by `turn`, the red car."""
        corner = np.array([x, y]) - size / 2
        square = (*corner, *(corner + size))
        grass = self.area(*square, "none", theme.GRASS, 0.05, 2)
        up = np.linspace(-0.1, 1.1, 40)
        across = 0.5 + turn * np.clip(up - 0.28, 0, None) ** 2
        road = corner[:, None] + size * np.array([across, up])
        for share, color in ((0.31, theme.CHALK), (0.26, theme.ROAD)):
            points = share * size * _UNIT * 72
            self.line(*road, color=color, linewidth=points, zorder=2.1, clip_path=grass)
        wheels = [(0.5 + x, 0.27 + y) for x in (-0.065, 0.065) for y in (-0.065, 0.055)]
        x, y = (corner + size * np.array(wheels)).T
        tyre = {"color": theme.TYRE, "linewidth": 0.032 * size * _UNIT * 72, "zorder": 2.2}
        tyre["transform"] = self.place
        self.axes.vlines(x, y - 0.032 * size, y + 0.032 * size, **tyre)
        half = np.array([(0.045, -0.1), (0.045, 0.06), (0.02, 0.11)])
        body = np.concatenate([half, half[::-1] * (-1, 1)])
        self.shape((body + (0.5, 0.27)) * size + corner, theme.CAR, 2.3)
        self.area(*square, WORLD, "none", 0.05, 2.5)
