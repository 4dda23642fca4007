"""Passwords of databases: in the operating system's keyring or in the environment, and nowhere else.

The environment wins, for machines without a keyring and for services. `CASPARIAN_PASSWORD_` and the
name of the database, or of host and database, in capitals with `_` for everything but letters and
digits, is for that database; `CASPARIAN_PASSWORD` for whichever is asked for. An address comes out of
`with_secret` ready to connect; its text, key and repr never show what it carries.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

from casparian.domain.errors import EnvironmentProblem

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from casparian.domain.addresses import Address

SERVICE = "Casparian Flow"
VARIABLE = "CASPARIAN_PASSWORD"


def variables(address: Address) -> Iterator[str]:
    """The environment variables that are looked at for an address, the most particular first."""
    for name in (f"{address.host}_{address.database}", address.database):
        yield f"{VARIABLE}_{re.sub(r'[^A-Za-z0-9]+', '_', name).strip('_').upper()}"
    yield VARIABLE


def with_secret(address: Address, environ: Mapping[str, str] = os.environ) -> Address:
    """The address with its password, if one is known; a server may well ask for none."""
    if not address.is_server or address.password is not None:
        return address
    for name in variables(address):
        if name in environ:
            return address.with_password(environ[name])
    try:
        return address.with_password(_keyring().get_password(SERVICE, address.text))
    except EnvironmentProblem:
        return address


def keep(address: Address) -> None:
    """Put an address's password into the keyring, for the next start; without one it does nothing.

    Raises:
        EnvironmentProblem: there is no keyring, or it refuses.
    """
    if address.password is None:
        return
    try:
        _keyring().set_password(SERVICE, address.text, address.password)
    except EnvironmentProblem as error:
        raise EnvironmentProblem(
            "The password could not be kept", error.detail, _hint(address)
        ) from error


def forget(address: Address) -> None:
    """Take an address's password out of the keyring, if it is there."""
    try:
        _keyring().delete_password(SERVICE, address.text)
    except EnvironmentProblem:
        return


def _hint(address: Address) -> str:
    return f"Set the environment variable {next(variables(address))} to it instead"


class _Converted:
    """The keyring with its errors turned into ours."""

    def __init__(self, library: Any, errors: tuple[type[Exception], ...]) -> None:
        self._library = library
        self._errors = errors

    def get_password(self, service: str, name: str) -> str | None:
        found: str | None = self._call("get_password", service, name)
        return found

    def set_password(self, service: str, name: str, password: str) -> None:
        self._call("set_password", service, name, password)

    def delete_password(self, service: str, name: str) -> None:
        self._call("delete_password", service, name)

    def _call(self, verb: str, *arguments: str) -> Any:
        try:
            return getattr(self._library, verb)(*arguments)
        except self._errors as error:
            # Backends raise what their system raises, and some of them tell all they were given.
            raise EnvironmentProblem(
                "The keyring cannot be used", f"{type(error).__name__} from the system's keyring"
            ) from None


def _keyring() -> _Converted:
    import keyring
    import keyring.errors

    return _Converted(keyring, (keyring.errors.KeyringError, OSError, RuntimeError))
