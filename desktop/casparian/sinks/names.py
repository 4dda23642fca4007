"""Names that a database takes: short enough, and still one for each of ours.

PostgreSQL cuts an identifier at 63 bytes without a word, so that two long names become one. Here a name
that is too long keeps its beginning and ends in eight digits of its hash. A name that only looks so is
shortened as well: what was shortened and what was not can never be the same.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from blake3 import blake3

from casparian.domain.errors import UserProblem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from casparian.domain.addresses import Address

POSTGRES_BYTES = 63
SQLSERVER_UNITS = 128
"""UTF-16 code units, which is what `sysname` counts."""

DEFAULT_FOLDER = "default"
"""Folder of the default workspace, whose tables go into the schema that the address names."""

_HASH = re.compile(r"_[0-9a-f]{8}")
_HASH_CHARS = 9


def utf8_size(text: str) -> int:
    """Bytes of a text, as PostgreSQL counts."""
    return len(text.encode())


def utf16_size(text: str) -> int:
    """Code units of a text, as SQL Server counts."""
    return len(text.encode("utf-16-le")) // 2


def fitted(name: str, limit: int, size: Callable[[str], int] = utf8_size) -> str:
    """The name itself if it fits, else its beginning, `_` and eight digits of its hash.

    NUL, which no database takes in a name, becomes U+2400.
    """
    name = name.replace("\0", "\u2400")
    length = size(name)
    looks_fitted = length > limit - 4 and _HASH.fullmatch(name[-_HASH_CHARS:])
    if length <= limit and not looks_fitted:
        return name
    digest = blake3(name.encode()).hexdigest()[:8]
    kept = name[: limit - _HASH_CHARS]
    while size(kept) > limit - _HASH_CHARS:
        kept = kept[:-1]
    return f"{kept}_{digest}"


def fitted_columns(
    table: str, names: Iterable[str], limit: int, size: Callable[[str], int] = utf8_size
) -> dict[str, str]:
    """Each column's name in the database.

    Raises:
        UserProblem: two of them would have one name there.
    """
    taken: dict[str, str] = {}
    for name in names:
        short = fitted(name, limit, size)
        if short in taken:
            raise UserProblem(
                f"The table {table} cannot be written",
                f"its columns {taken[short]} and {name} would have one name in the database",
                "Rename one of them in the contract",
            )
        taken[short] = name
    return {name: short for short, name in taken.items()}


def namespace(address: Address, folder: str) -> str:
    """The schema of a server that holds a workspace's tables."""
    if folder == DEFAULT_FOLDER:
        return address.schema
    return fitted(f"{address.schema}_{folder}", POSTGRES_BYTES)


def refuse_twins(table: str, names: Iterable[str]) -> None:
    """Refuse names of columns that differ in case only, for a database that does not tell them apart.

    Raises:
        UserProblem: there are such.
    """
    folded: dict[str, str] = {}
    for name in names:
        if (other := folded.setdefault(name.casefold(), name)) != name:
            raise UserProblem(
                f"The table {table} cannot be written",
                f"the database does not tell its columns {other} and {name} apart",
                "Rename one of them in the contract",
            )
