"""Windows event logs (`.evtx`) as one table of events.

The `evtx` library renders a record as JSON; this package makes typed columns of it, and sees to it that
nothing of a damaged log goes missing, which the library alone would let happen without a word.

Speed comes from cutting the text of a record where nearly all records have the same marks, and from decoding
what repeats between the marks once, into structs that know its shape exactly. A record of any other shape is
*odd*: it is taken apart by a table of places, becomes text, and is typed by the contract. Both ways give the
same row for the same record.

`reading` is the pass over a log that brings the others together: `log` and `chunk` know the structure of
the file and its damage, `rows` and `odd` take records apart, `columns` has the table's columns and their
types, and `library` what the `evtx` library gives.

Damage, and what becomes of it:

    file signature or header damaged         the chunks are read behind a header of our making; noted
    header older than the chunks             as in a log collected from a running system; noted
    header counts chunks that are not there  one quarantine row: `cut_short`
    last chunk cut                           what can be read of it goes to quarantine as text: `cut_chunk`
    chunk signature destroyed                its records are rows if its checksums prove it whole, else
                                             they go to quarantine as text: `lost_chunk_header`
    chunk of zeros amid others               one quarantine row: `empty_chunk`
    chunk checksum does not hold             its records are rows, as other readers have it; noted; those that
                                             lie behind damage go to quarantine as text: `bad_record`
    record that does not decode              one quarantine row with its bytes: `bad_record`
"""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO

from typing_extensions import override

from casparian.api import Batch, Output, ParseContext, Parser, Rejected
from casparian.parsers.evtx.columns import COLUMNS, TABLE
from casparian.parsers.evtx.log import Log
from casparian.parsers.evtx.reading import Reading

if TYPE_CHECKING:
    from collections.abc import Iterator


class EvtxParser(Parser):
    """Windows event logs, as written by the Event Log service since Windows Vista.

    One row for each record of every chunk that the file holds, in the order of the file, whatever its header
    says of their number: in a log taken from a running system the header is stale. A log that has come
    full circle starts in the middle; sort by `record_id` or `time`. Records that libraries call
    "recovered" (remains of overwritten records in unused space) are not part of the log and are not read.

    Limits, all of the library: of a string it gives what stands before a NUL, and leaves out lone surrogates;
    TimeCreated has microseconds, and a record with a TimeCreated beyond the year 9999 goes to quarantine.

    The columns are those of the XML element System, see
    https://learn.microsoft.com/windows/win32/wes/eventschema-systempropertiestype-complextype;
    the file format is described at
    https://github.com/libyal/libevtx/blob/main/documentation/Windows%20XML%20Event%20Log%20(EVTX).asciidoc.
    """

    name = "evtx"
    version = "1"
    topics = ("evtx",)
    outputs = (Output(TABLE, COLUMNS, "Event records of Windows event logs"),)
    libraries = ("evtx",)

    @override
    def parse(self, source: BinaryIO, context: ParseContext) -> Iterator[Batch | Rejected]:
        """Read every record of every chunk; see the package for what becomes of damage.

        Raises:
            ParserFault: the file is no event log, and there is no chunk of one in it.
        """
        return Reading(Log(source, context), context).items()
