"""Where a running stack answers, and how it introduces itself on the terminal."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.panel import Panel
from rich.table import Table

from repick.flower import USER


@dataclass(frozen=True, slots=True)
class Addresses:
    """`database_url` and `broker_url` contain passwords."""

    api_url: str
    api_key: str = field(repr=False)
    api_key_file: Path
    flower_url: str
    flower_password: str = field(repr=False)
    database_url: str = field(repr=False)
    broker_url: str = field(repr=False)
    data_dir: Path
    flower_user: str = USER

    @property
    def docs_url(self) -> str:
        return f"{self.api_url}/docs"

    @property
    def logs_dir(self) -> Path:
        return self.data_dir / "logs"

    def introduce(self, console: Console) -> None:
        """Print addresses, key and password; the key on a line of its own, to be copied whole."""
        console.print(self._panel())
        console.print(f"[bold]API key[/bold] {self.api_key}", soft_wrap=True, highlight=False)

    def _panel(self) -> Panel:
        grid = Table.grid(padding=(0, 2))
        grid.add_column(style="bold")
        grid.add_column(overflow="fold")
        grid.add_row("API", f"[link={self.docs_url}]{self.docs_url}[/link]")
        grid.add_row("API key", f"below, and in {self.api_key_file}")
        grid.add_row("Flower", f"[link={self.flower_url}]{self.flower_url}[/link]")
        grid.add_row("", f"user [bold]{self.flower_user}[/bold], password {self.flower_password}")
        grid.add_row("Logs", f"[dim]{self.logs_dir}[/dim]")
        return Panel(grid, title="Repick is up", border_style="green", expand=False)
