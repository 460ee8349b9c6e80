"""What is wanted of a page is what a parser of the whole page finds, at a fraction of the work."""

import gzip
import math
import resource
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from page_server import head, served, whole
from prometheus_client.parser import text_string_to_metric_families

from lab.metrics.exposition import (
    Family,
    Wanted,
    as_series,
    browse,
    scrape,
    series_name,
)
from lab.metrics.reading import Kind, Series

CAPTURED = gzip.decompress((Path(__file__).parent / "data/page-650-tables.txt.gz").read_bytes())

PAGE = b"""\
# HELP work_seconds How long work takes.\\n# TYPE is not a new line here
# TYPE work_seconds histogram
work_seconds_bucket{kind="a",le="0.5"} 1
work_seconds_bucket{kind="a",le="+Inf"} 3
work_seconds_sum{kind="a"} 1.25
work_seconds_count{kind="a"} 3
work_seconds_bucket{kind="b",le="0.5"} 0
work_seconds_bucket{kind="b",le="+Inf"} 1
work_seconds_sum{kind="b"} 2
work_seconds_count{kind="b"} 1
# TYPE work_seconds_more counter
work_seconds_more{kind="a"} 7
# TYPE sent_bytes_total counter
sent_bytes_total 4096
# TYPE held gauge
held -3
# TYPE delay_ms summary
delay_ms{quantile="0.5"} 2
delay_ms_sum 250
delay_ms_count 10
untyped_thing 9
"""


def read(page, *families):
    with served(whole(page)) as url:
        return scrape(url, Wanted(tuple(families)), timeout_s=10)


def values(page):
    return {series_name(sample): sample.value for sample in page.samples}


def test_wanted_families_are_given_and_no_others():
    page = read(PAGE, Family("work_seconds"), Family("held"), Family("absent"))
    assert values(page) == {
        'work_seconds{kind="a"}.sum': 1.25,
        'work_seconds{kind="a"}.count': 3,
        'work_seconds{kind="b"}.sum': 2,
        'work_seconds{kind="b"}.count': 1,
        "held": -3,
    }
    assert page.bytes_read == len(PAGE)
    assert page.cost_ns > 0
    assert {"work_seconds_more", "sent_bytes_total", "delay_ms"} < page.families
    assert "absent" not in page.families


def test_one_value_of_a_label_and_buckets_where_asked_for():
    page = read(PAGE, Family("work_seconds", "kind", ("b",), buckets=True))
    assert values(page) == {
        'work_seconds{kind="b",le="0.5"}.bucket': 0,
        'work_seconds{kind="b",le="+Inf"}.bucket': 1,
        'work_seconds{kind="b"}.sum': 2,
        'work_seconds{kind="b"}.count': 1,
    }


def test_series_have_kinds_and_units():
    wanted = ("work_seconds", "sent_bytes_total", "held", "delay_ms", "untyped_thing")
    page = read(PAGE, *(Family(name) for name in wanted))
    by_name = {series.name: series for series in as_series(page.samples)}
    assert by_name['work_seconds{kind="a"}.sum'] == Series(
        'work_seconds{kind="a"}.sum', Kind.COUNTER, "ns", 1_250_000_000
    )
    assert by_name['work_seconds{kind="a"}.count'].unit == "count"
    assert by_name["sent_bytes_total"] == Series("sent_bytes_total", Kind.COUNTER, "bytes", 4096)
    assert by_name["held"].kind is Kind.GAUGE
    assert by_name["delay_ms.sum"].value == 250_000_000
    assert by_name['delay_ms{quantile="0.5"}'].kind is Kind.GAUGE
    assert by_name["untyped_thing"].value == 9
    (named,) = as_series(read(PAGE, Family("held")).samples, in_seconds=("held",))
    assert (named.unit, named.value) == ("ns", -3_000_000_000)


def test_what_is_no_number_is_no_series():
    page = read(b"# TYPE a gauge\na NaN\n# TYPE b gauge\nb +Inf\n", Family("a"), Family("b"))
    assert len(page.samples) == 2
    assert list(as_series(page.samples)) == []


@pytest.mark.parametrize("size", [1, 7, 97, 1000])
def test_pieces_of_any_size_make_the_same_page(size):
    chunks = [PAGE[at : at + size] for at in range(0, len(PAGE), size)]
    body = b"".join(b"%x\r\n%s\r\n" % (len(each), each) for each in chunks) + b"0\r\n\r\n"
    with served((head(None, Transfer_Encoding="chunked"), body)) as url:
        page = scrape(url, Wanted((Family("work_seconds"),)), timeout_s=10)
    assert values(page) == values(read(PAGE, Family("work_seconds")))


def test_for_people_by_any_part_of_the_name():
    with served(whole(PAGE)) as url:

        def found(match, most=100):
            return values(browse(url, match, most=most, timeout_s=10))

        everything = found("")
        assert len(everything) == 11
        assert not any(".bucket" in name for name in everything)
        for name in everything:
            assert name in found(name)
        assert set(found('{kind="b"')) == {
            'work_seconds{kind="b"}.sum',
            'work_seconds{kind="b"}.count',
        }
        assert set(found(".sum")) == {name for name in everything if name.endswith(".sum")}
        crowded = browse(url, "", most=3, timeout_s=10)
        assert crowded.crowded == {"work_seconds": 4}
        assert set(values(crowded)) == {n for n in everything if not n.startswith("work_seconds{")}


def whole_parse(text):
    """All samples as the parser finds them in the whole page, by name and labels."""
    found = {}
    for metric in text_string_to_metric_families(text):
        for sample in metric.samples:
            labels = tuple(sorted(sample.labels.items()))
            found[metric.name, sample.name, labels] = sample.value
    return found


def sifted_parse(page):
    """The same of a page that was sifted, under the names that the parser gives."""
    found = {}
    for each in page.samples:
        name = each.family + (f"_{each.part}" if each.part else "")
        family = each.family
        if each.kind == "counter":
            family = family.removesuffix("_total")
            name = f"{family}_total"
        found[family, name, tuple(sorted(each.labels))] = each.value
    return found


def same(one, other):
    return one == other or (math.isnan(one) and math.isnan(other))


names = st.from_regex(r"[a-z]{1,2}(_[a-z])?(_total|_seconds|_bytes)?", fullmatch=True)
label_values = st.text(
    st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), max_size=8
) | st.sampled_from(['"', "\\", "a\nb", "{", "}", ",", "# TYPE", "=", " "])
numbers = st.floats() | st.integers(-(10**15), 10**15)


def rendered(value):
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


@st.composite
def pages(draw):
    lines = []
    # The parser takes the name of a counter for that without `_total`.
    distinct = st.lists(names, min_size=1, max_size=8, unique_by=lambda n: n.removesuffix("_total"))
    families = draw(distinct)
    for name in families:
        kind = draw(st.sampled_from(["counter", "gauge", "histogram", "untyped", "summary"]))
        if draw(st.booleans()):
            lines.append(f"# HELP {name} Words.")
        lines.append(f"# TYPE {name} {kind}")
        for value in draw(st.lists(label_values, max_size=3, unique=True)):
            label = f'k="{rendered(value)}"'
            parts = {"histogram": ("_bucket", "_sum", "_count"), "summary": ("_sum", "_count")}
            for part in parts.get(kind, ("",)):
                labels = f'{label},le="1"' if part == "_bucket" else label
                lines.append(f"{name}{part}{{{labels}}} {draw(numbers)!r}")
    return "\n".join(lines) + "\n", families


@settings(max_examples=60, deadline=None)
@given(page=pages(), data=st.data())
def test_sifting_never_changes_what_is_wanted(page, data):
    text, families = page
    wanted = data.draw(st.lists(st.sampled_from(families), unique=True))
    sifted = read(text.encode(), *(Family(name, buckets=True) for name in wanted))
    counters = {name for name in wanted if f"# TYPE {name} counter" in text}
    parsers_names = {n.removesuffix("_total") if n in counters else n for n in wanted}
    expected = {k: value for k, value in whole_parse(text).items() if k[0] in parsers_names}
    found = sifted_parse(sifted)
    assert found.keys() == expected.keys()
    assert all(same(found[key], expected[key]) for key in found)


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_one_value_of_a_label_whatever_it_is(data):
    chosen, other = data.draw(st.lists(label_values, min_size=2, max_size=2, unique=True))
    text = f'# TYPE a counter\na{{k="{rendered(chosen)}"}} 1\na{{k="{rendered(other)}"}} 2\n'
    page = read(text.encode(), Family("a", "k", (chosen,)))
    assert [(dict(each.labels)["k"], each.value) for each in page.samples] == [(chosen, 1)]


def test_a_captured_page_is_read_right_and_far_faster_than_whole():
    wanted = ("mz_catalog_transact_seconds", "mz_ts_oracle_seconds", "mz_slow_message_handling")
    began = time.perf_counter()
    expected = {k: v for k, v in whole_parse(CAPTURED.decode()).items() if k[0] in wanted}
    whole_s = time.perf_counter() - began
    page = read(CAPTURED, *(Family(name, buckets=True) for name in wanted))
    assert sifted_parse(page) == expected
    assert len(page.families) == 425
    # Some forty times faster when nothing else runs; the benchmark gives the figure.
    assert page.cost_ns / 1e9 < whole_s / 4


def test_memory_stays_flat_on_a_page_of_500_mb():
    many = b"".join(b'noise{shard="s%07d"} 12345678901\n' % number for number in range(26_000))
    times = 500_000_000 // len(many) + 1
    length = len(PAGE) + times * len(many)

    def parts(path):
        return (head(length), PAGE + many, *[many] * (times - 1))

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with served(parts) as url:
        page = scrape(url, Wanted((Family("work_seconds"),)), timeout_s=60)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert page.bytes_read == length > 500_000_000
    assert len(page.samples) == 4
    assert after - before < 40 * 1024
