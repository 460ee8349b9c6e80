"""Pages that do not come, come late, break off, or are something else."""

import socket

import pytest
from page_server import head, served, whole

from lab.core.errors import ExternalError, LabTimeoutError, PreconditionError
from lab.metrics.download import save
from lab.metrics.exposition import Family, Wanted, browse, scrape

PAGE = b"# TYPE a counter\na 1\n# TYPE b counter\nb 2\n"
WANTED = Wanted((Family("a"),))
CHUNKED = head(None, Transfer_Encoding="chunked")


def fault(parts, kind=ExternalError, timeout_s=5.0):
    with served(parts) as url, pytest.raises(kind) as caught:
        scrape(url, WANTED, timeout_s=timeout_s)
    error = caught.value
    assert error.what
    assert error.remedy
    return error


@pytest.mark.parametrize(
    "parts",
    [
        (head(len(PAGE)), PAGE[:-5]),
        (head(len(PAGE)), b""),
        (CHUNKED, b"%x\r\n" % len(PAGE), PAGE[:-9]),
        (CHUNKED, b"%x\r\n%s\r\n" % (len(PAGE), PAGE)),
        (CHUNKED, b"%x\r\n%s\r\nzz\r\n" % (len(PAGE), PAGE)),
        (head(None), PAGE[:-1]),
        (head(len(PAGE) - 1), PAGE[:-1]),
    ],
    ids=["short", "empty", "in a chunk", "no last chunk", "bad chunk", "no length", "half a line"],
)
def test_a_page_that_breaks_off(parts):
    assert fault(parts).code == "metrics.truncated"


def test_a_page_without_a_length_that_ends_with_a_line_is_whole():
    with served((head(None), PAGE)) as url:
        assert scrape(url, WANTED, timeout_s=5).samples[0].value == 1


@pytest.mark.parametrize(
    "parts",
    [
        (2.0, *whole(PAGE)),
        (head(len(PAGE)), PAGE[:20], 2.0, PAGE[20:]),
        (head(1000), *[part for _ in range(40) for part in (b"# x\n", 0.05)]),
    ],
    ids=["no answer", "stops", "drips"],
)
def test_a_page_that_is_slow(parts):
    error = fault(parts, LabTimeoutError, timeout_s=0.4)
    assert (error.code, error.exit_code) == ("metrics.slow", 124)


@pytest.mark.parametrize("status", ["404 Not Found", "503 Service Unavailable", "302 Found"])
def test_another_answer(status):
    body = b"not ready\n"
    error = fault((head(len(body), status), body))
    assert (error.code, error.exit_code) == ("metrics.unavailable", 6)
    assert status[:3] in error.why


def test_no_http_at_all():
    assert fault((b"E: this is a database\r\n",)).code == "metrics.unavailable"
    assert fault(()).code in {"metrics.truncated", "metrics.unavailable"}


def test_nothing_listens():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(ExternalError) as caught:
        scrape(f"http://127.0.0.1:{port}/metrics", WANTED, timeout_s=2)
    assert caught.value.code == "metrics.refused"


@pytest.mark.parametrize(
    "body",
    [
        b"<html><body>Welcome</body></html>\n",
        b"\n",
        b"# TYPE a counter\na one\n",
        b'# TYPE a counter\na{k="v} 1\n',
        b"# TYPE a counter\na\xff\xfe 1\n",
        b"x" * 3_000_000 + b"\n",
    ],
    ids=["html", "blank", "no number", "open quote", "not UTF-8", "one long line"],
)
def test_what_is_no_page_of_metrics(body):
    assert fault(whole(body)).code == "metrics.malformed"


def test_what_is_wrong_where_nothing_is_wanted_is_no_matter():
    with served(whole(PAGE + b"# TYPE c counter\nc one\n\xff\n")) as url:
        assert scrape(url, WANTED, timeout_s=5).samples[0].value == 1
        with pytest.raises(ExternalError):
            browse(url, "c", most=10, timeout_s=5)


def test_a_page_that_breaks_off_is_not_saved(tmp_path):
    target = tmp_path / "page.gz"
    target.write_text("what was there")
    for parts in ((head(len(PAGE)), PAGE[:-5]), (head(None), PAGE[:-1])):
        with served(parts) as url, pytest.raises(ExternalError):
            save(url, target, timeout_s=5)
    assert target.read_text() == "what was there"
    assert list(tmp_path.iterdir()) == [target]
    with served(whole(PAGE)) as url, pytest.raises(PreconditionError):
        save(url, tmp_path / "no" / "folder.gz", timeout_s=5)
