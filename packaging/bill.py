"""The list of parts (a software bill of materials) of a build, in CycloneDX 1.6 JSON."""

from __future__ import annotations

import os
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from cyclonedx.factory.license import LicenseFactory
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from casparian.services import components


def write_bill(path: Path, version: str, parts: Sequence[components.Component]) -> None:
    """Write the list; the same parts of the same commit give the same bytes."""
    bill = Bom()
    root = Component(
        name="casparian-flow",
        version=version,
        type=ComponentType.APPLICATION,
        bom_ref=f"casparian-flow@{version}",
        licenses=[LicenseFactory().make_from_string("Apache-2.0")],
    )
    bill.metadata.component = root
    bill.metadata.timestamp = datetime.fromtimestamp(int(os.environ["SOURCE_DATE_EPOCH"]), UTC)
    for part in parts:
        component = Component(
            name=part.name,
            version=part.version,
            type=ComponentType.LIBRARY,
            bom_ref=part.purl,
            purl=PackageURL.from_string(part.purl),
            licenses=[LicenseFactory().make_from_string(part.terms)] if part.terms else [],
        )
        bill.components.add(component)
        bill.register_dependency(root, [component])
    names = "\n".join(sorted(part.purl for part in parts))
    bill.serial_number = uuid.uuid5(uuid.NAMESPACE_URL, f"casparian-flow {version}\n{names}")
    path.write_text(JsonV1Dot6(bill).output_as_string(indent=1), "utf-8", newline="\n")
