"""A keyring in a file that CASPARIAN_TEST_KEYRING names, for machines that have none."""

from __future__ import annotations

import json
import os
from pathlib import Path

from keyring.backend import KeyringBackend
from keyring.errors import PasswordDeleteError


class FileKeyring(KeyringBackend):
    """Keeps what it is given, as a desktop's keyring would."""

    priority = 1

    def _read(self) -> dict[str, str]:
        path = Path(os.environ["CASPARIAN_TEST_KEYRING"])
        return json.loads(path.read_text()) if path.exists() else {}

    def _write(self, held: dict[str, str]) -> None:
        Path(os.environ["CASPARIAN_TEST_KEYRING"]).write_text(json.dumps(held))

    def get_password(self, service, username):
        return self._read().get(f"{service}\n{username}")

    def set_password(self, service, username, password):
        self._write(self._read() | {f"{service}\n{username}": password})

    def delete_password(self, service, username):
        held = self._read()
        if held.pop(f"{service}\n{username}", None) is None:
            raise PasswordDeleteError
        self._write(held)
