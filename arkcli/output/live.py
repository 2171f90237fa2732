"""What is under way: a line on a terminal that is drawn again and again, and removed at the end."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from arkcli.output.screen import Screen

if TYPE_CHECKING:
    from rich.progress import Progress


class Live:
    """A progress bar on a terminal."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._bar: Progress | None = None

    @contextmanager
    def shown(self, total: int | None) -> Iterator["Live"]:
        """Shows the bar during a block. `total` is how much there is to do; None: unknown."""
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        words = TextColumn("{task.description}", markup=False)
        self._bar = Progress(
            words, BarColumn(), TimeElapsedColumn(), console=self._screen.console(), transient=True
        )  # fmt: skip
        self._bar.add_task("", total=total)
        try:
            with self._bar:
                yield self
        finally:
            self._bar = None

    def update(self, done: int, words: str) -> None:
        """Says how much is done, and what."""
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=done, description=words)

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Hides the bar during a block that writes to the same terminal."""
        if self._bar is None:
            yield
            return
        self._bar.stop()
        yield
        self._bar.start()
