"""The index of a folder's pages, and a batch that writes it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from pipeline.container import identify_file
from rmfn.pages.folder import render_index, write_index
from tests.browser import open_browser, open_page


def clip(name: str, value: float, **changes: Any) -> dict[str, Any]:
    made = {
        "path": f"/videos/{name}",
        "id": "ab",
        "status": "done",
        "stage": None,
        "reason": None,
        "duration": 10.0,
        "quality": {"words": 7, "face_share": 0.5, "warnings": []},
        "overall": {"sentiment": {"value": value, "interval": [value - 1, value + 1]}},
        "page": f"page {name}.html",
    }
    return {**made, **changes}


FAILED = {"status": "failed", "stage": "speech", "reason": "no <speech> was found", "page": None}
REPORT = {
    "recipe": "embedded",
    "model": "toy",
    "clips": [
        clip("b.mp4", 1.5),
        clip("<script>.mp4", -2.0, duration=9.0),
        clip("a10.mp4", 0.25, duration=100.0, quality={
            "words": 9, "face_share": None, "warnings": ["no picture: predicted without it"],
        }),
        clip("silent.mp4", 0.0, **FAILED),
        clip("plain.mp4", 0.5, page=None),
    ],
}  # fmt: skip


@pytest.fixture(scope="module")
def browser():
    with open_browser() as opened:
        yield opened


def test_the_index_sorts_filters_and_leads_to_the_pages(browser, tmp_path):
    index = write_index(tmp_path / "pages", REPORT)
    assert index == tmp_path / "pages" / "index.html"
    (tmp_path / "pages" / "page <script>.mp4.html").write_text("<title>arrived</title>")
    with open_page(browser, index) as page:

        def names() -> list[str]:
            cells = page.tab.locator("#table tbody tr:visible th").evaluate_all(
                "(all) => all.map((one) => one.dataset.value)"
            )
            return list(cells)

        assert names() == ["b.mp4", "<script>.mp4", "a10.mp4", "plain.mp4"]
        page.click("#table th:nth-child(2) button")
        assert names() == ["b.mp4", "plain.mp4", "a10.mp4", "<script>.mp4"]
        assert page.tab.locator("[aria-sort=descending]").count() == 1
        page.click("#table th:nth-child(2) button")
        assert names() == ["<script>.mp4", "a10.mp4", "plain.mp4", "b.mp4"]
        page.click("#table th:nth-child(3) button")  # seconds: 100 is more than 9
        assert names()[0] == "a10.mp4"
        assert names()[-1] == "<script>.mp4"
        page.tab.fill("#filter", "A10")
        assert names() == ["a10.mp4"]
        assert page.tab.locator("#count").inner_text() == "1 of 4"
        page.tab.fill("#filter", "")
        assert page.tab.locator("#failed").inner_text().count("no <speech> was found") == 1
        values = page.tab.locator(".predicted .sign").all_inner_texts()
        assert sorted(values) == ["+0.25", "+0.50", "+1.50", "-2.00"]
        assert page.complaints == []
        assert page.tab.locator("tbody a").count() == 3
        with page.tab.expect_navigation():
            page.click("a:has-text('<script>.mp4')")
        assert page.tab.title() == "arrived"


@pytest.mark.parametrize("width", [400, 1600])
def test_the_index_fits(browser, tmp_path, width):
    index = write_index(tmp_path, REPORT)
    with open_page(browser, index, width, "dark") as page:
        assert page.ask("document.documentElement.scrollWidth") <= width


def test_gauges_share_one_scale_around_zero():
    text = render_index(REPORT)
    # From -3 to 3: the bounds are -3 and 2.5.
    marks = re.findall(r'class="mark" style="left:([0-9.]+)%"', text)
    assert [float(mark) for mark in marks] == pytest.approx(
        [(value + 3) / 6 * 100 for value in (1.5, -2.0, 0.25, 0.5)], abs=0.01
    )


def test_features_alone_have_an_index_without_predictions():
    clips = [{k: v for k, v in one.items() if k != "overall"} for one in REPORT["clips"][:2]]
    text = render_index({"recipe": "embedded", "model": None, "clips": clips})
    assert "sentiment" not in text
    assert "b.mp4" in text


def test_a_batch_writes_each_page_once(tmp_path, monkeypatch):
    """A finished clip is left as it is, unless its page is not there."""
    from flows import batch, run
    from pipeline.isolation import Done
    from pipeline.store import Store
    from tests.media_maker import make_clip

    (tmp_path / "videos").mkdir()
    make_clip(tmp_path / "videos" / "talk.mp4", duration=1.0, flash=0.5, click=0.5)
    written: list[Path] = []

    def predict(path: str, *, report: Path | None = None, **asked: Any) -> dict[str, Any]:
        if report is not None:
            report.parent.mkdir(exist_ok=True)
            report.write_text("page")
            written.append(report)
        return {
            "clip": {"id": identify_file(path), "duration": 1.0},
            "quality": {"warnings": [], "words": 1, "face_share": None},
            "utterances": [],
            "overall": {},
        }

    def run_here(do: Any, tasks: Any, workers: int, take: Any, *rest: Any) -> None:
        for task in tasks:
            take(Done(task, result=do(task), seconds=0.0))

    monkeypatch.setattr(run, "predict_clip", predict)
    monkeypatch.setattr(Store, "has", lambda *asked: True)
    model, pages = str(run.find_model(None)), tmp_path / "pages"
    asked = batch.Asked("embedded", str(tmp_path / "store"), model, str(pages))

    def put() -> dict[str, Any]:
        report = batch.run_batch([tmp_path / "videos"], asked, runner=run_here)
        return report["clips"][0]

    first = put()
    assert first["status"] == "done"
    assert written == [pages / first["page"]]
    assert put()["status"] == "reused"
    assert len(written) == 1
    written[0].unlink()
    assert put()["page"] == first["page"]
    assert len(written) == 2
    without = batch.Asked("embedded", str(tmp_path / "other"), model)
    assert "page" not in batch.put_through(str(tmp_path / "videos" / "talk.mp4"), asked=without)
