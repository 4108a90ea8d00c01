"""Prompts for a job that reads them from a file: each tick of it asks for what lies there now."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(slots=True)
class Feed:
    """Writes the prompts file at `path`; no prompt is ever written twice."""

    path: Path
    prompts: int = 0

    def give(self, count: int) -> None:
        """Let the next tick ask for `count` new prompts; with none, the job cannot be planned."""
        lines = [f"soak picture {self.prompts + number}" for number in range(count)]
        self.prompts += max(count, 0)
        new = self.path.with_suffix(".new")
        new.write_text("\n".join(lines), "utf-8")
        new.replace(self.path)
