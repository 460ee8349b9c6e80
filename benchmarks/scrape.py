"""Reading what is wanted of a page of 4 MB, against parsing it whole with prometheus-client."""

from __future__ import annotations

import argparse
import contextlib
import gzip
import http.client
import resource
import threading
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from time import perf_counter
from urllib.parse import urlsplit

from benchmarks.common import interleaved, machine, show
from lab.metrics.exposition import scrape
from lab.targets.materialize.metrics import wanted

CAPTURED = Path(__file__).parent.parent / "tests/metrics/data/page-650-tables.txt.gz"
_TIMEOUT_S = 300.0


def main() -> None:
    """Parse the command line, run, and print the ratio of the times and the growth of memory."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="rounds of ABBA (5)")
    parser.add_argument("--large", type=int, default=500, help="MB of the large page, 0 for none")
    options = parser.parse_args()
    print(machine())
    page = gzip.decompress(CAPTURED.read_bytes())
    with _served(page, 1) as url:
        _sifted(url), _whole(url)  # what has to be imported is imported
        ours, peer = interleaved(options.rounds, partial(_sifted, url), partial(_whole, url))
    show(f"page of {len(page) / 1e6:.1f} MB", ours, peer, unit="ms", aim="≤ 0.1")
    if options.large:
        times = round(options.large * 1e6 / len(page))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        with _served(page, times) as url:
            took = _sifted(url)
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1e3
        size = times * len(page) / 1e6
        print(f"page of {size:.0f} MB: {took / 1e3:.1f} s, memory grew by {grown:.1f} MB")


def _sifted(url: str) -> float:
    began = perf_counter()
    scrape(url, wanted(), timeout_s=_TIMEOUT_S)
    return (perf_counter() - began) * 1e3


def _whole(url: str) -> float:
    from prometheus_client.parser import text_string_to_metric_families

    began = perf_counter()
    where = urlsplit(url)
    connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=_TIMEOUT_S)
    with contextlib.closing(connection):
        connection.request("GET", where.path)
        text = connection.getresponse().read().decode()
    for _ in text_string_to_metric_families(text):
        pass
    return (perf_counter() - began) * 1e3


@contextlib.contextmanager
def _served(page: bytes, times: int) -> Iterator[str]:
    """Lend the address of a server whose page is ``page``, so many times in a row."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(page) * times))
            self.end_headers()
            for _ in range(times):
                self.wfile.write(page)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/metrics"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


if __name__ == "__main__":
    main()
