"""Our own line icons, tinted by token when they are painted: a switch of the theme needs a repaint only."""

from __future__ import annotations

from functools import cache

from PySide6.QtCore import QByteArray, QPoint, QRect, QRectF, QSize, Qt
from PySide6.QtGui import QIcon, QIconEngine, QPainter, QPixmap
from PySide6.QtSvg import QSvgRenderer
from typing_extensions import override

from casparian.assets import folder
from casparian.ui import theme


@cache
def icon(name: str, token: theme.Token = "ink") -> QIcon:  # noqa: S107  (a colour, not a secret)
    """The icon `resources/icons/<name>.svg` in the colour of a token."""
    engine = _Tinted(name, token)
    _engines.append(engine)  # QIcon owns the C++ half only; the Python half must outlive it
    return QIcon(engine)


def pixmap(name: str, token: theme.Token = "ink", size: int = 16) -> QPixmap:  # noqa: S107
    """The icon as it looks in the theme that is on, for labels."""
    return icon(name, token).pixmap(QSize(size, size))


_engines: list[QIconEngine] = []


@cache
def _source(name: str) -> str:
    return (folder("icons") / f"{name}.svg").read_text("utf-8")


class _Tinted(QIconEngine):
    """Draws an SVG whose lines are `currentColor` in the colour of a token."""

    def __init__(self, name: str, token: theme.Token) -> None:
        super().__init__()
        self._name, self._token = name, token

    @override
    def paint(self, painter: QPainter, rect: QRect, mode: QIcon.Mode, state: QIcon.State) -> None:
        token: theme.Token = "edge" if mode is QIcon.Mode.Disabled else self._token
        svg = _source(self._name).replace("currentColor", theme.color(token).name())
        QSvgRenderer(QByteArray(svg.encode())).render(painter, QRectF(rect))

    @override
    def pixmap(self, size: QSize, mode: QIcon.Mode, state: QIcon.State) -> QPixmap:
        made = QPixmap(size)
        made.fill(Qt.GlobalColor.transparent)
        painter = QPainter(made)
        self.paint(painter, QRect(QPoint(0, 0), size), mode, state)
        painter.end()
        return made

    @override
    def scaledPixmap(
        self, size: QSize, mode: QIcon.Mode, state: QIcon.State, scale: float
    ) -> QPixmap:
        made = self.pixmap(size, mode, state)
        made.setDevicePixelRatio(scale)
        return made

    @override
    def clone(self) -> QIconEngine:
        copy = _Tinted(self._name, self._token)
        _engines.append(copy)
        return copy
