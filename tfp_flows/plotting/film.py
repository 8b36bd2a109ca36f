"""Film: an animation that also saves itself as one small page."""

import base64
import io
from collections.abc import Callable
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
from matplotlib.animation import FuncAnimation
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from tfp_flows._core import files

__all__ = ["Film"]

_QUALITY = 75  # of WebP frames

_PLAYER = Template("""<div class="film" style="display: inline-block">
<img alt="Frame 1 of $count" src="$first" style="display: block; max-width: 100%">
<div style="display: flex; gap: .5em; align-items: center; padding: .3em">
<button type="button" style="min-width: 5em">Pause</button>
<input type="range" min="0" max="$last" value="0" aria-label="Frame"
style="flex: 1">
</div>
<script type="application/json">$frames</script>
<script>
(() => {
  const film = document.currentScript.parentElement;
  const data = film.querySelector("[type='application/json']");
  const frames = JSON.parse(data.textContent);
  const [image, slider, button] = ["img", "input", "button"].map(
    (name) => film.querySelector(name)
  );
  let timer = 0;
  const show = (i) => {
    slider.value = i;
    image.src = "data:image/webp;base64," + frames[i];
    image.alt = `Frame $${i + 1} of $${frames.length}`;
  };
  const stop = () => {
    clearTimeout(timer);
    timer = 0;
    button.textContent = "Play";
  };
  const step = () => {
    const i = (Number(slider.value) + 1) % frames.length;
    show(i);
    timer = setTimeout(step, i === frames.length - 1 ? $rest : $interval);
  };
  const play = () => {
    button.textContent = "Pause";
    timer = setTimeout(step, $interval);
  };
  button.addEventListener("click", () => (timer ? stop() : play()));
  slider.addEventListener("input", () => { stop(); show(Number(slider.value)); });
  play();
})();
</script>
</div>
""")
_PAGE = Template("""<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>$title</title></head>
<body>
$player</body>
</html>
""")


class Film(FuncAnimation):
    """An animation that plays on a page of its own, and may be discarded unseen."""

    def __init__(
        self,
        figure: Figure,
        draw: Callable[[Any], Any],
        *,
        interval: int,
        repeat_delay: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            figure, draw, interval=interval, repeat_delay=repeat_delay, **kwargs
        )
        self.figure, self.draw = figure, draw
        self.interval, self.repeat_delay = interval, repeat_delay

    def __del__(self) -> None:
        """Does nothing; matplotlib warns of animations that were never shown."""

    def _repr_html_(self) -> str:
        """Returns the player, which a notebook shows."""
        return self.to_jshtml()

    def save(self, filename: str | Path, *args: Any, **kwargs: Any) -> None:
        """Saves to a file; ".html" becomes one page that needs no other files.

        Args:
          filename: the path of the file.
          *args, **kwargs: as for `matplotlib.animation.Animation.save`; not used for
            ".html".
        """
        path = Path(filename)
        if path.suffix.lower() != ".html":
            super().save(filename, *args, **kwargs)
            return
        page = _PAGE.substitute(title=path.stem, player=self.to_jshtml())
        with files.beside(path) as unfinished:
            unfinished.write_text(page, encoding="utf-8")

    def to_jshtml(
        self,
        fps: float | None = None,
        embed_frames: bool = True,
        default_mode: str | None = None,
    ) -> str:
        """Returns a player as HTML: all frames, a button and a slider.

        Unlike matplotlib's player it loads nothing else, and its frames are small.

        Args:
          fps: frames per second; None takes them from `interval`.
          embed_frames, default_mode: ignored. Frames are always embedded, and the
            film is always repeated.
        """
        interval = self.interval if fps is None else 1000 / fps
        canvas = FigureCanvasAgg(self.figure)
        frames = []
        for frame in self.new_frame_seq():
            self.draw(frame)
            canvas.draw()
            file = io.BytesIO()
            image = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
            image.save(file, "webp", quality=_QUALITY)
            frames.append(base64.b64encode(file.getvalue()).decode("ascii"))
        listed = ", ".join(f'"{frame}"' for frame in frames)
        return _PLAYER.substitute(
            count=len(frames),
            last=len(frames) - 1,
            first=f"data:image/webp;base64,{frames[0]}",
            frames=f"[{listed}]",
            interval=round(interval),
            rest=round(interval) + self.repeat_delay,
        )
