"""How somebody likes to see the columns of a table, kept from one day to the next and from case to case.

Columns are known by name: a table that has gained or lost some keeps what was said of the others.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from PySide6.QtCore import QSettings

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class ColumnLayout:
    """Order, visibility and widths of the columns of a table."""

    order: tuple[str, ...] = ()
    """From left to right; those it does not name follow as they come."""
    hidden: frozenset[str] = frozenset()
    widths: dict[str, int] = field(default_factory=dict)
    """Pixels, of those columns that were given another width than what fits them."""
    frozen: int = 0
    """How many at the left stay in sight."""

    def to_json(self) -> str:
        """Return it as text."""
        return json.dumps(
            {
                "order": self.order,
                "hidden": sorted(self.hidden),
                "widths": self.widths,
                "frozen": self.frozen,
            }
        )

    @classmethod
    def from_json(cls, text: str) -> Self | None:
        """Read what `to_json` wrote; None where the text is anything else."""
        try:
            read = json.loads(text)
            return cls(
                tuple(map(str, read["order"])),
                frozenset(map(str, read["hidden"])),
                {str(name): max(int(width), 1) for name, width in read["widths"].items()},
                max(int(read["frozen"]), 0),
            )
        except (ValueError, KeyError, TypeError, AttributeError):
            return None


class ColumnLayouts:
    """The layouts of all tables, in the file in which the window keeps where things were."""

    def __init__(self, path: Path) -> None:
        self._settings = QSettings(str(path), QSettings.Format.IniFormat)

    def get(self, table: str) -> ColumnLayout | None:
        """Return the layout of a table; None where nobody has changed it."""
        text = self._settings.value(_key(table))
        return ColumnLayout.from_json(text) if isinstance(text, str) else None

    def put(self, table: str, layout: ColumnLayout) -> None:
        """Keep the layout of a table."""
        self._settings.setValue(_key(table), layout.to_json())


def _key(table: str) -> str:
    # A slash in a name would make a group of it.
    return f"columns/{table.replace('/', '|')}"
