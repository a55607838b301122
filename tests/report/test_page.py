"""The page of a run: what it is given, that it is safe, and that it works in a browser."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess

import pytest

from bigpipe import JournalError
from bigpipe.report import html, write_page
from tests.pipes import Doubler, fail
from tests.report.runs import GIB, attempt, failed, many, record, sample

NASTY = "</script><script>alert('<b>&amp;\"\udcff \U0001f600\u2028</script>-->"
BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
needs_browser = pytest.mark.skipif(BROWSER is None, reason="there is no Chromium")


def figures_of(page):
    """The data that the script of a page reads."""
    return json.loads(re.search(r'id="data">(.*?)</script>', page, re.DOTALL)[1])


def seen(path, script, tmp_path):
    """Open a page in a browser, run a script there after its own; return what that returns."""
    page = path.read_text("ascii")
    caught = "<script>window.problems = []; onerror = (text) => { problems.push(text); };</script>"
    asked = (
        "<script>const told = document.createElement('pre'); told.id = 'told';"
        f"try {{ told.textContent = JSON.stringify((() => {{ {script} }})()); }}"
        "catch (error) { problems.push(String(error)); }"
        "told.dataset.problems = problems.join('; ');"
        "document.body.replaceChildren(told);</script>"
    )
    changed = tmp_path / "asked.html"
    changed.write_text(page.replace("<body>", "<body>" + caught) + asked, "ascii")
    command = [BROWSER, "--headless=new", "--no-sandbox", "--disable-gpu", "--dump-dom"]
    command += ["--disable-crash-reporter", f"--user-data-dir={tmp_path / 'browser'}"]
    command += ["--window-size=1200,900", changed.as_uri()]
    ran = subprocess.run(
        command, capture_output=True, text=True, timeout=100, check=True, cwd=tmp_path
    )
    found = re.search(r'<pre id="told" data-problems="(.*?)">(.*?)</pre>', ran.stdout, re.DOTALL)
    assert found, ran.stdout[-2000:]
    assert found[1] == ""
    return json.loads(found[2].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))


def test_page_is_one_file_that_needs_nothing_else(tmp_path):
    write_page(many(10), tmp_path / "run.html")
    page = (tmp_path / "run.html").read_text("ascii")
    assert "default-src 'none'" in page
    assert not re.search(r"(?:src|href)\s*=|@import|url\(|https?:", page)
    assert not re.search(r"/\*(?:style|script|data)\*/", page)


def test_nothing_in_a_name_or_message_is_markup():
    files = [attempt(0, name=NASTY, outname=NASTY), failed(1, name=NASTY, error=NASTY)]
    run = record(files, keywords={NASTY: NASTY}, about={"folder": NASTY})
    run.title = NASTY
    page = html.page_of(run)
    page.encode("ascii")
    assert page.count("</script>") == html.page_of(record([])).count("</script>")
    assert NASTY not in page
    data = figures_of(page)
    assert (data["title"], data["keywords"]) == (NASTY, {NASTY: NASTY})


def test_names_leave_out_what_they_share():
    names = ["raw/a.fits", "raw/b.fits", "raw/b.fits", "", "r\u00e4w/a", "r\u00e4w/b", NASTY]
    column = html.shortened(names)
    before, back = "", []
    for n, rest in zip(column[::2], column[1::2], strict=True):
        back.append(before := before[:n] + rest)
    assert back == names
    assert column[2:4] == [4, "b.fits"]


def test_page_of_many_files_takes_a_few_megabytes(tmp_path):
    write_page(many(50_000), tmp_path / "run.html")
    assert (tmp_path / "run.html").stat().st_size < 5e6


def test_failures_are_grouped_the_most_frequent_first():
    other = ("data_process", "ValueError")
    files = [attempt(0), failed(1, kind=other), *(failed(i) for i in range(2, 50))]
    kinds = html.figures(record(files))["kinds"]
    assert [(kind["what"], kind["n"]) for kind in kinds] == [("OSError", 48), ("ValueError", 1)]
    assert len(kinds[0]["messages"]) == html.MAX_MESSAGES
    assert kinds[0]["traceback"].endswith("OSError: gone")


def test_thinned_samples_keep_the_highest_use():
    samples = [sample(at, GIB + (at == 4321)) for at in range(10_000)]
    thinned = html.thinned(samples)
    assert len(thinned) <= html.MAX_SAMPLES
    assert thinned[-1] == samples[-1]._replace(used=thinned[-1].used)
    assert max(x.used for x in thinned) == GIB + 1
    assert html.thinned(samples[:3]) == samples[:3]
    assert html.thinned([]) == []


def test_journal_is_not_overwritten_by_its_report(make_files, tmp_path):
    Doubler(journal=tmp_path / "j", outdir=tmp_path).pipeline(make_files(1), executor="serial")
    before = (tmp_path / "j").read_bytes()
    with pytest.raises(JournalError, match="is a journal: give the report"):
        write_page(tmp_path / "j", tmp_path / "j")
    assert (tmp_path / "j").read_bytes() == before


def test_page_that_cannot_be_written_leaves_what_was_there(tmp_path, monkeypatch):
    (tmp_path / "run.html").write_text("before")

    def full(source, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(OSError, match=r"No space .*run\.html"):
        write_page(record([]), tmp_path / "run.html")
    assert [path.name for path in tmp_path.iterdir()] == ["run.html"]
    assert (tmp_path / "run.html").read_text() == "before"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no disk that is always full")
def test_device_that_is_full_is_named():
    with pytest.raises(OSError, match=r"No space .*/dev/full"):
        write_page(record([]), "/dev/full")


SHOWN = """
const rows = () => [...document.querySelectorAll("#files tbody tr")];
const cell = (row, k) => row.cells[k].firstChild.textContent;
const type = (text) => {
  document.getElementById("search").value = text;
  document.getElementById("search").dispatchEvent(new Event("input"));
};
const dots = (id) => {
  const canvas = document.getElementById(id);
  const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
  return pixels.some((x) => x);
};
"""


@pytest.mark.process
@needs_browser
@pytest.mark.parametrize("n_files", [10, 50_000])
def test_page_works_in_a_browser(tmp_path, n_files):
    write_page(many(n_files), tmp_path / "run.html")
    script = (
        SHOWN
        + """
        const first = rows().map((row) => cell(row, 0)), told = { first, n: files.n };
        told.drawn = ["timeline", "memory", "scatter"].map(dots);
        told.count = document.getElementById("count").textContent;
        sortBy("read");
        told.longest = cell(rows()[0], 4);
        type("FRAME_000003");
        told.found = rows().map((row) => cell(row, 0));
        type("no such name");
        told.none = rows().length;
        look(0, 1);
        told.view = [view.from, view.to];
        told.names = [files.name[0], files.name[files.n - 1], files.outname[files.n - 1]];
        told.failed = document.querySelectorAll("#failures details").length;
        return told;
        """
    )
    told = seen(tmp_path / "run.html", script, tmp_path)
    last = many(n_files).files[-1]
    assert told["n"] == n_files
    assert len(told["first"]) == min(n_files, 100)
    assert told["drawn"] == [True] * 3
    assert told["count"] == f"{n_files:,} files"
    assert told["longest"] == "1.1 s"
    assert told["found"] == ["raw/night/frame_000003.fits"]
    assert told["none"] == 0
    assert told["view"] == [0, 1]
    assert told["names"] == ["raw/night/frame_000000.fits", last.name, last.outname or ""]
    assert told["failed"] == (1 if n_files > 99 else 0)


@pytest.mark.process
@needs_browser
def test_browser_shows_names_and_messages_as_they_are(tmp_path):
    files = [attempt(0, name=NASTY), failed(1, name="b", error=NASTY, traceback=NASTY)]
    write_page(record(files, keywords={"k": NASTY}), tmp_path / "run.html")
    script = (
        SHOWN
        + """
        return {
          name: cell(rows()[0], 0),
          error: document.querySelector("#files .error").textContent,
          traceback: document.querySelector("#failures pre").textContent,
          scripts: document.querySelectorAll("script").length,
          bold: document.querySelectorAll("td b, p b").length,
        };
        """
    )
    told = seen(tmp_path / "run.html", script, tmp_path)
    for name in ("name", "error", "traceback"):
        assert told[name].replace("\ufffd", "\udcff") == NASTY
    assert told["scripts"] == 4  # the page's two, and the two of this test
    assert told["bold"] == 0


@pytest.mark.process
@needs_browser
@pytest.mark.parametrize("executor", ["processes", "serial"])
def test_page_of_a_real_run_works_from_journal_and_result(make_files, tmp_path, executor):
    (tmp_path / "out").mkdir()
    pipe = Doubler(outdir=tmp_path / "out", journal=tmp_path / "j", on_error="return")
    trouble = {("file_read", "002.bin"): fail}
    pout = pipe.pipeline(make_files(5), trouble=trouble, num_processes=2, executor=executor)
    write_page(tmp_path / "j", tmp_path / "a.html")
    pout.report(tmp_path / "b.html")
    script = SHOWN + "return [rows().length, document.title, dots('timeline')];"
    assert seen(tmp_path / "a.html", script, tmp_path) == [5, "tests.pipes.Doubler - bigpipe", True]
    assert seen(tmp_path / "b.html", script, tmp_path) == [5, "bigpipe run - bigpipe", True]


@pytest.mark.process
@needs_browser
@pytest.mark.parametrize(("used", "is_shown"), [(GIB, True), (0, False), (None, False)])
def test_page_shows_no_memory_that_was_not_measured(tmp_path, used, is_shown):
    write_page(record([attempt(0)], samples=[sample(0, used)]), tmp_path / "run.html")
    script = """return [!document.getElementById("memory-part").hidden,
                       document.getElementById("tiles").textContent.includes("memory, all")];"""
    assert seen(tmp_path / "run.html", script, tmp_path) == [is_shown, is_shown]


@pytest.mark.process
@needs_browser
def test_page_of_a_run_in_which_nothing_was_run_draws_no_time(tmp_path):
    kept = attempt(0, None, is_kept=True)
    write_page(record([kept], samples=[sample(0, 0)]), tmp_path / "run.html")
    script = "return document.getElementById('time-section').hidden;"
    assert seen(tmp_path / "run.html", script, tmp_path) is True


@pytest.mark.process
@needs_browser
@pytest.mark.parametrize(
    "run",
    [
        record([], 0.0),
        record([attempt(0, None)]),
        record([], 0.0, samples=[sample(0)]),
        record([], in_flight=[attempt(0, outcome="in flight", error="in file_read")]),
    ],
    ids=["no files", "no times", "samples alone", "in flight alone"],
)
def test_page_opens_however_little_is_known(tmp_path, run):
    write_page(run, tmp_path / "run.html")
    script = "return document.documentElement.dataset.ready;"
    assert seen(tmp_path / "run.html", script, tmp_path) == "yes"
