"""Makes the sample case in resources/sample: a small intrusion, told by the logs of four machines.

Everything in it is made up: the company, the people, the addresses (documentation ranges of RFC 5737
and names below .example of RFC 2606). The files are the same bytes each time. Some lines are broken on
purpose, so that what the program does with them can be seen; the case's README says which.

    python packaging/make_sample.py [FOLDER]
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import random
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

DEFAULT_FOLDER = Path(__file__).resolve().parents[1] / "resources" / "sample"
DAY = datetime(2024, 3, 5, tzinfo=UTC)
ATTACKER = "203.0.113.77"
COMMAND_SERVER = "cdn-sync.example"
WEB_SHELL = "/shop/uploads/receipt_8841.php"
LOADER = "Invoice_0305.pdf.exe"
IMPLANT = r"C:\Users\anna.berger\AppData\Roaming\odsync\odsync.exe"
STAFF = ("anna.berger", "j.okafor", "m.lindqvist", "p.duarte", "s.ito", "t.novak")
HOSTS = ("WKS-011", "WKS-012", "WKS-014", "WKS-017", "WKS-021", "FS01")

_T = TypeVar("_T")


class Chance:
    """Choices that are the same each time; built on the one method whose sequence Python promises."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def below(self, limit: int) -> int:
        """Return a whole number from 0 to limit - 1."""
        return int(self._random.random() * limit)

    def one_of(self, choices: Sequence[_T]) -> _T:
        """Return one of the choices."""
        return choices[self.below(len(choices))]


def at(clock: str, seconds: float = 0) -> datetime:
    """Return an instant of the day, some seconds after HH:MM:SS."""
    hours, minutes, second = map(int, clock.split(":"))
    return DAY + timedelta(hours=hours, minutes=minutes, seconds=second + seconds)


def stamp(moment: datetime) -> str:
    """Return an instant as RFC 3339 text in UTC."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def sha256(name: str) -> str:
    """Return a digest that stands for a program's content."""
    return hashlib.sha256(f"sample {name}".encode()).hexdigest()


def as_csv(rows: Iterable[Sequence[object]], delimiter: str = ",", line_end: str = "\n") -> bytes:
    """Write rows as delimited text."""
    out = io.StringIO()
    csv.writer(out, delimiter=delimiter, lineterminator=line_end).writerows(rows)
    return out.getvalue().encode()


def as_json_lines(rows: Iterable[object]) -> bytes:
    """Write one JSON value a line."""
    return b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows)


def with_faults(content: bytes, faults: dict[int, Callable[[bytes], bytes]]) -> bytes:
    """Break lines, counted from 1, each in its own way."""
    lines = content.split(b"\n")
    for number, broken in faults.items():
        lines[number - 1] = broken(lines[number - 1])
    return b"\n".join(lines)


def three_fields(line: bytes) -> bytes:
    """Cut a line of CSV off after three fields."""
    return b",".join(line.split(b",")[:3])


def open_quote(line: bytes) -> bytes:
    """Open a quote before the last field that is never closed."""
    rest, _, last = line.rpartition(b",")
    return rest + b',"' + last


def no_character(line: bytes) -> bytes:
    """Put a byte into the last text of a line that is no character in UTF-8 nor in windows-1252."""
    at_end = line.rindex(b"0")
    return line[:at_end] + b"\x81" + line[at_end:]


PAGES = (
    "/",
    "/shop",
    "/shop/cart",
    "/shop/search?q=gauge",
    "/about",
    "/contact",
    "/static/site.css",
)
BROWSERS = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) Gecko/20100101 Firefox/123.0",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 14_3) AppleWebKit/605.1.15 Version/17.3 Safari/605.1.15",
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/122.0.0.0 Safari/537.36",
)
SCANNER = "python-requests/2.31.0"


def access_log(chance: Chance) -> bytes:
    """WEB01's web server: customers, a scanner, a web shell that is uploaded and used."""
    rows: list[tuple[datetime, tuple[object, ...]]] = []
    for number in range(1150):
        moment = at("06:00:00", number * 45 + chance.below(40))
        client = f"198.51.100.{1 + chance.below(60)}"
        page = chance.one_of(PAGES)
        size = 900 + chance.below(40_000)
        rows.append((moment, (client, "GET", page, 200, size, "", chance.one_of(BROWSERS))))
    probes = (
        "/.git/config",
        "/admin",
        "/backup.zip",
        "/wp-login.php",
        "/phpmyadmin",
        "/.env",
        "/shop/login",
    )
    for number in range(70):
        page = probes[number % len(probes)] + ("" if number < len(probes) else f"?x={number}")
        rows.append((at("09:12:04", number * 1.5), (ATTACKER, "GET", page, 404, 196, "", SCANNER)))
    for number, text in enumerate(
        ("'", "' OR '1'='1", "' UNION SELECT NULL--", "' UNION SELECT 1,2,3--")
    ):
        page = f"/shop/search?q={text}"
        rows.append((at("09:31:10", number * 9), (ATTACKER, "GET", page, 500, 312, "", SCANNER)))
    dump = "/shop/search?q=' UNION SELECT login,password,3 FROM staff--"
    rows.append((at("09:33:02"), (ATTACKER, "GET", dump, 200, 18_224, "", SCANNER)))
    rows.append((at("09:47:51"), (ATTACKER, "POST", "/shop/login", 302, 0, "", BROWSERS[2])))
    rows.append(
        (at("10:02:17"), (ATTACKER, "POST", "/shop/receipts/upload", 201, 88, "", BROWSERS[2]))
    )
    for number, command in enumerate(
        ("whoami", "ipconfig /all", "net user", "net view", "type web.config")
    ):
        page = f"{WEB_SHELL}?c={command}"
        rows.append(
            (at("10:03:30", number * 21), (ATTACKER, "GET", page, 200, 420, "", BROWSERS[2]))
        )
    rows.sort(key=lambda row: row[0])
    header = ("time", "client_ip", "method", "path", "status", "bytes", "referrer", "user_agent")
    content = as_csv([header, *((stamp(moment), *rest) for moment, rest in rows)])
    return with_faults(content, {390: three_fields, 777: no_character, 1003: open_quote})


def vpn_sessions(chance: Chance) -> bytes:
    """The VPN gateway, semicolons and a decimal comma: one account is used from the attacker's address."""
    rows: list[tuple[datetime, tuple[object, ...]]] = []
    for day in range(-20, 1):
        for user in STAFF:
            start = DAY + timedelta(days=day, hours=7, seconds=chance.below(5400))
            end = start + timedelta(hours=6, seconds=chance.below(9000))
            size = f"{20 + chance.below(300)},{chance.below(10)}"
            client = f"192.0.2.{10 + STAFF.index(user)}"
            rows.append((start, (stamp(end), user, client, size, "yes")))
    rows.append((at("10:17:40"), (stamp(at("15:02:11")), "svc_print", ATTACKER, "1987,4", "no")))
    rows.sort(key=lambda row: row[0])
    header = ("started", "ended", "account", "client_ip", "megabytes", "second_factor")
    return as_csv([header, *((stamp(start), *rest) for start, rest in rows)], ";", "\r\n")


SITES = (
    ("https://mail.harrow.example/inbox", "Inbox"),
    ("https://intranet.harrow.example/", "Intranet"),
    ("https://weather.example/north", "Weather"),
    ("https://news.example/", "News of the day"),
    ("https://maps.example/route", "Maps"),
    ("https://docs.example/gauges/calibration", "Calibration tables"),
)


def browser_history(chance: Chance) -> bytes:
    """Anna Berger's browser: an invoice that she was sent a link to, and downloaded."""
    rows: list[tuple[datetime, tuple[object, ...]]] = []
    for number in range(260):
        url, title = chance.one_of(SITES)
        moment = at("06:50:00", number * 130 + chance.below(100))
        rows.append((moment, (url, title, 1 + chance.below(40), "false")))
    lure = "http://files-harrow.example/update/Invoice_0305.zip"
    rows.append(
        (
            at("10:26:03"),
            ("https://mail.harrow.example/inbox/4411", "Re: Invoice 0305 overdue", 1, "false"),
        )
    )
    rows.append((at("10:26:41"), (lure, "Invoice_0305.zip", 1, "true")))
    rows.sort(key=lambda row: row[0])
    header = ("visit_time", "url", "title", "visit_count", "is_download")
    return b"\xef\xbb\xbf" + as_csv([header, *((stamp(moment), *rest) for moment, rest in rows)])


PROGRAMS = (
    (r"C:\Windows\System32\svchost.exe", "svchost.exe -k netsvcs"),
    (r"C:\Windows\explorer.exe", "explorer.exe"),
    (r"C:\Program Files\Mozilla Firefox\firefox.exe", "firefox.exe -contentproc"),
    (r"C:\Program Files\Gauge\gauge.exe", "gauge.exe --calibrate"),
    (r"C:\Windows\System32\SearchIndexer.exe", "SearchIndexer.exe /Embedding"),
)


def processes(chance: Chance) -> bytes:
    """The process list of WKS-014, taken in the evening, with tabs between the fields."""
    rows: list[tuple[object, ...]] = []
    for number in range(120):
        path, line = chance.one_of(PROGRAMS)
        start = at("06:45:00", chance.below(30_000))
        rows.append(
            (
                4 + number * 4,
                4 + chance.below(number + 1) * 4,
                path,
                line,
                "anna.berger",
                stamp(start),
                sha256(path),
            )
        )
    loader = rf"C:\Users\anna.berger\Downloads\Invoice_0305\{LOADER}"
    shell = r"C:\Windows\System32\WindowsPowerShell\v1.0\powershell.exe"
    for pid, parent, path, line, clock in (
        (7312, 1840, loader, LOADER, "10:27:15"),
        (7420, 7312, shell, "powershell.exe -w hidden -enc SQBFAFgAIAAoAC4ALgAuACkA", "10:27:19"),
        (7508, 7420, IMPLANT, "odsync.exe --quiet", "10:27:31"),
        (
            9120,
            7508,
            r"C:\Users\Public\rar.exe",
            r"rar a -v400m -hp designs.rar \\FS01\designs",
            "13:31:08",
        ),
    ):
        rows.append((pid, parent, path, line, "anna.berger", stamp(at(clock)), sha256(path)))
    header = ("pid", "parent_pid", "path", "command_line", "account", "started", "sha256")
    return as_csv([header, *rows], "\t")


def autoruns(chance: Chance) -> bytes:
    """What WKS-014 starts by itself; one time is missing, so the column stays text."""
    rows: list[tuple[object, ...]] = []
    for number in range(60):
        path, _ = chance.one_of(PROGRAMS)
        moment = DAY - timedelta(days=30 + chance.below(700), seconds=chance.below(86_400))
        rows.append(
            (
                rf"HKLM\Software\Microsoft\Windows\CurrentVersion\Run\{number}",
                f"Entry {number}",
                path,
                "true",
                stamp(moment),
            )
        )
    rows[23] = (*rows[23][:4], "not recorded")
    rows.append(
        (
            r"HKCU\Software\Microsoft\Windows\CurrentVersion\Run\OneDrive Sync Helper",
            "OneDrive Sync Helper",
            IMPLANT,
            "false",
            stamp(at("10:27:40")),
        )
    )
    header = ("location", "entry", "path", "is_signed", "last_write")
    return as_csv([header, *rows], line_end="\r\n")


def edr_events(chance: Chance) -> bytes:
    """The sensor on all machines, as JSON Lines; three lines are broken."""
    events: list[dict[str, Any]] = []

    def tell(moment: datetime, host: str, kind: str, account: str, **detail: object) -> None:
        events.append(
            {
                "time": stamp(moment),
                "host": host,
                "event": kind,
                "account": account,
                "detail": detail,
            }
        )

    for number in range(760):
        moment, host = at("06:40:00", number * 50 + chance.below(45)), chance.one_of(HOSTS)
        path, line = chance.one_of(PROGRAMS)
        tell(
            moment,
            host,
            "process_start",
            chance.one_of(STAFF),
            path=path,
            command_line=line,
            sha256=sha256(path),
        )
    for number in range(90):
        tell(
            at("06:41:00", number * 410),
            chance.one_of(HOSTS),
            "logon",
            chance.one_of(STAFF),
            source_ip=f"10.20.1.{11 + chance.below(20)}",
            type=3,
        )
    loader = rf"C:\Users\anna.berger\Downloads\Invoice_0305\{LOADER}"
    tell(
        at("10:27:15"),
        "WKS-014",
        "process_start",
        "anna.berger",
        path=loader,
        command_line=LOADER,
        sha256=sha256(loader),
    )
    tell(
        at("10:27:29"),
        "WKS-014",
        "file_write",
        "anna.berger",
        path=IMPLANT,
        size=482_304,
        sha256=sha256(IMPLANT),
    )
    tell(
        at("10:27:40"),
        "WKS-014",
        "registry_write",
        "anna.berger",
        key=r"HKCU\Software\Microsoft\Windows\CurrentVersion\Run",
        value="OneDrive Sync Helper",
    )
    for number, host in enumerate(("FS01", "WKS-011", "WKS-021", "FS01")):
        tell(
            at("13:18:30", number * 44), host, "logon", "svc_print", source_ip="10.20.1.14", type=3
        )
    for part in range(1, 6):
        tell(
            at("13:31:20", part * 95),
            "WKS-014",
            "file_write",
            "anna.berger",
            path=rf"C:\Users\Public\designs.part{part}.rar",
            size=419_430_400,
            sha256=sha256(f"part {part}"),
        )
    tell(
        at("14:49:55"),
        "WKS-014",
        "file_delete",
        "anna.berger",
        path=r"C:\Users\Public\designs.part*.rar",
    )
    events.sort(key=lambda event: event["time"])
    content = as_json_lines(events)
    return with_faults(
        content,
        {
            305: lambda _: b"sensor restarted, buffer lost",
            612: lambda line: line[:97],
            741: no_character,
        },
    )


def proxy(chance: Chance) -> bytes:
    """The web proxy, as JSON Lines: ordinary traffic, a beacon about every minute, and an upload."""
    lines: list[dict[str, Any]] = []

    def tell(
        moment: datetime,
        client: str,
        method: str,
        host: str,
        path: str,
        *,
        sent: int,
        received: int,
    ) -> None:
        lines.append(
            {
                "ts": stamp(moment),
                "client": client,
                "method": method,
                "host": host,
                "path": path,
                "bytes_sent": sent,
                "bytes_received": received,
                "status": 200,
            }
        )

    sites = [url.split("/")[2] for url, _ in SITES]
    for number in range(880):
        client = f"10.20.1.{11 + chance.below(12)}"
        tell(
            at("06:45:00", number * 42 + chance.below(40)),
            client,
            "GET",
            chance.one_of(sites),
            "/",
            sent=300 + chance.below(900),
            received=1000 + chance.below(90_000),
        )
    tell(
        at("10:26:41"),
        "10.20.1.14",
        "GET",
        "files-harrow.example",
        "/update/Invoice_0305.zip",
        sent=410,
        received=512_884,
    )
    for number in range(240):
        moment = at("10:27:45", number * 60 + chance.below(7))
        tell(
            moment,
            "10.20.1.14",
            "GET",
            COMMAND_SERVER,
            f"/s/{sha256(str(number))[:8]}",
            sent=212,
            received=64,
        )
    for part in range(1, 6):
        tell(
            at("13:40:02", part * 740),
            "10.20.1.14",
            "POST",
            COMMAND_SERVER,
            f"/u/{part}",
            sent=419_431_022,
            received=31,
        )
    lines.sort(key=lambda line: line["ts"])
    return as_json_lines(lines)


def staff(_: Chance) -> bytes:
    """The staff list, as a JSON array."""
    hosts = ("WKS-014", "WKS-012", "WKS-013", "WKS-017", "WKS-021", "WKS-022")
    people: list[dict[str, object]] = [
        {"account": name, "host": host, "address": f"10.20.1.{host[-2:]}", "rooms": [101 + number]}
        for number, (name, host) in enumerate(zip(STAFF, hosts, strict=True))
    ]
    people.append({"account": "svc_print", "host": None, "address": None, "rooms": []})
    return json.dumps(people, indent=1).encode() + b"\n"


README = """\
# Sample case: the invoice of 5 March

Harrow Instruments, a maker of gauges, found that its drawings are for sale. These are the logs of
5 March 2024 from its web server, VPN gateway, web proxy, sensor, and the workstation of Anna Berger. All
of it is made up by `packaging/make_sample.py`: the company, the people, the addresses. Times are UTC.

| file | what it is | table |
| --- | --- | --- |
{files}

## What to look for

Someone at 203.0.113.77 probes the shop, reads the staff list through its search field, and leaves a web
shell. With a stolen account the same address is on the VPN. Anna Berger opens an invoice that is a program;
it hides in her start-up programs, and calls home about once a minute. In the afternoon drawings are packed
and carried out.

    -- who sent requests that failed, and what did the same address do elsewhere?
    SELECT client_ip, count(*) AS requests, count(*) FILTER (status >= 400) AS failed
    FROM access_log GROUP BY ALL ORDER BY failed DESC LIMIT 5;

    SELECT started, ended, account, client_ip, second_factor FROM vpn_sessions
    WHERE client_ip IN (SELECT client_ip FROM access_log WHERE status = 500);

    -- what started the program that now starts by itself?
    SELECT p.started, p.path, parent.path AS started_by
    FROM autoruns a JOIN processes p USING (path) LEFT JOIN processes parent ON parent.pid = p.parent_pid
    WHERE NOT a.is_signed;

    -- which host is called as regularly as a clock, and how much went there?
    SELECT host, count(*) AS calls, sum(bytes_sent) AS sent
    FROM proxy GROUP BY ALL ORDER BY sent DESC LIMIT 3;

## What is broken on purpose

Each of these is in the quarantine table beside its table, with its line and its reason; all else is in
the tables.

| file | line | what is wrong |
| --- | ---: | --- |
{faults}

In `autoruns.csv` one time reads `not recorded`, so the column `last_write` is text: a value is never
guessed or dropped to make a column fit. `TRY_CAST(last_write AS TIMESTAMPTZ)` reads the others. This file,
being prose, is listed as one that no parser here reads.
"""
FILES = {
    "web01/access_log.csv": (access_log, "the web server's log, as CSV", "access_log"),
    "gateway/vpn_sessions.csv": (
        vpn_sessions,
        "sessions of three weeks; semicolons and decimal commas",
        "vpn_sessions",
    ),
    "wks-014/browser_history.csv": (
        browser_history,
        "Anna Berger's browser; with a byte order mark",
        "browser_history",
    ),
    "wks-014/processes.tsv": (processes, "the process list; with tabs", "processes"),
    "wks-014/autoruns.csv": (autoruns, "what starts by itself", "autoruns"),
    "sensor/edr_events.jsonl": (
        edr_events,
        "the sensor on all machines, as JSON Lines",
        "edr_events",
    ),
    "gateway/proxy.jsonl": (proxy, "the web proxy, as JSON Lines", "proxy"),
    "staff.json": (staff, "accounts and machines, as a JSON array", "staff"),
}
FAULTS = (
    ("web01/access_log.csv", 390, "cut off after three fields"),
    ("web01/access_log.csv", 777, "a byte that is no character"),
    ("web01/access_log.csv", 1003, "a quote that is never closed"),
    ("sensor/edr_events.jsonl", 305, "not JSON"),
    ("sensor/edr_events.jsonl", 612, "cut off"),
    ("sensor/edr_events.jsonl", 741, "a byte that is no character"),
)


def make() -> dict[str, bytes]:
    """Return the case: the content of each file by its path."""
    case = {
        path: write(Chance(seed)) for seed, (path, (write, _, _)) in enumerate(FILES.items(), 2024)
    }
    files = "\n".join(
        f"| `{path}` | {what} | `{table}` |" for path, (_, what, table) in FILES.items()
    )
    faults = "\n".join(f"| `{path}` | {line} | {what} |" for path, line, what in FAULTS)
    case["README.md"] = README.format(files=files, faults=faults).encode()
    return case


def main() -> None:
    """Write the case into its folder, or the one that is named."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else DEFAULT_FOLDER
    for path, content in make().items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        print(f"{len(content):9,} bytes  {target}")


if __name__ == "__main__":
    main()
