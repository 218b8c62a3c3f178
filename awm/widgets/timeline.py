"""Curves with a cursor: drawn once an episode, while the cursor alone moves with the frames."""

import ipywidgets

from awm.figures import timeline as drawing
from awm.figures.theme import INK


class Timeline(ipywidgets.Box):
    """Rows of `awm.figures.timeline` and a cursor over them; each is a widget of its own."""

    def __init__(self):
        here = {"grid_area": "1 / 1", "margin": "0"}
        self.plot, self.cursor = (ipywidgets.HTML(layout=here) for _ in range(2))
        self.steps, self._height = 1, 0
        super().__init__(
            [self.plot, self.cursor],
            layout={"display": "grid", "width": f"{drawing.WIDTH}px", "overflow": "hidden"},
        )

    def draw(self, rows, steps: int, xlabel: str = "step") -> None:
        """Other rows, over `steps` steps."""
        self.steps, self._height = steps, drawing.height_of(rows)
        self.plot.value = drawing.timeline_svg(rows, steps, xlabel)

    def move(self, step: int) -> None:
        """The cursor to a step."""
        self.cursor.value = (
            f'<div style="margin-left: {drawing.x_of(step, self.steps) - 1:.1f}px; width: 2px; '
            f'height: {self._height - drawing.BOTTOM}px; background: {INK}; opacity: .7"></div>'
        )
