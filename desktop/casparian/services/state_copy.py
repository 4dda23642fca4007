"""Taking the control plane elsewhere, and starting afresh: what `casparian state copy` and `reset` do.

Both are for a time when no program is at work on the store. Neither changes the settings: what is to be
used from then on is said there.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from casparian.credentials import with_secret
from casparian.domain.errors import UserProblem
from casparian.state import moving

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from casparian.domain.addresses import Address
    from casparian.domain.cancel import CancelToken
    from casparian.domain.jobs import Progress
    from casparian.settings import Settings
    from casparian.state.moving import Copied

logger = logging.getLogger(__name__)


def copy_state(
    settings: Settings,
    to: Address,
    *,
    cancel: CancelToken,
    on_progress: Callable[[Progress], None] = lambda _: None,
) -> Copied:
    """Copy the state store of these settings to an address where there is none, and compare the two.

    `sqlite` means the file in the home folder. The store itself is not changed; other programs that want
    to write to it wait meanwhile.

    Raises:
        UserProblem: the target holds a store already, is the store itself, or jobs run.
        EnvironmentProblem: one of the two cannot be used, or the copy is not what it should be.
        Cancelled: somebody asked to stop; nothing is left at the target.
    """
    origin, target = _place(settings, settings.state), _place(settings, to)
    if settings.state.key == to.key:
        raise UserProblem("The state store is there already", to.key, "Choose another place")
    copied = moving.copy_store(origin, target, cancel=cancel, on_progress=on_progress)
    logger.info("copied the state store from %s to %s", copied.origin, copied.target)
    return copied


def reset_state(settings: Settings) -> str:
    """Move the state store of these settings aside, dated; return where it is now. Outputs stay.

    It must be closed, also by other programs. The next start makes a new one.

    Raises:
        UserProblem: there is none.
        EnvironmentProblem: it is in use, or cannot be moved.
    """
    moved = moving.set_aside(_place(settings, settings.state), datetime.now(UTC))
    logger.info("moved the state store aside: %s", moved)
    return moved


def _place(settings: Settings, address: Address) -> Path | Address:
    return with_secret(address) if address.is_server else settings.state_path
