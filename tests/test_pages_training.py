"""The page of a training and of a comparison: its numbers, its words, and both in a browser."""

from __future__ import annotations

import re
from dataclasses import asdict, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from flows.cli import main
from pipeline.errors import DatasetError
from pipeline.records import to_json
from rmfn.checkpoint import Checkpoint, save_checkpoint
from rmfn.comparison import load_comparison
from rmfn.dataset import save_dataset
from rmfn.evaluate import evaluate_dataset
from rmfn.pages.comparison import render_comparison_page, write_comparison_page
from rmfn.pages.training import Found, describe_labels, find_kept, read_curves, write_training_page
from rmfn.predict import Predictor
from rmfn.segments import save_segments
from rmfn.targets import Target
from tests.browser import open_browser, open_page
from tests.test_comparison import FOUND
from tests.trained import make_dataset, make_untrained

HOSTILE = "<script>window.hacked = 1</script> & <b>bold</b> $x$"
CURVE = (
    "number,lr,train_loss,valid_loss,sentiment mae\n1,.1,.9,.8,1.2\n2,.1,.7,.6,1\n3,.1,.5,.9,2\n"
)


def make_run(folder: Path) -> tuple[Path, Found]:
    """A model's folder with curves and segments, one of them hostile, and what was found."""
    manifest, ensemble = make_untrained()
    told = []
    dataset = make_dataset(80)
    videos = tuple(f"{name} <i>.mp4" for name in dataset.videos)
    report = evaluate_dataset(
        Predictor(Checkpoint(manifest, ensemble)),
        replace(dataset, videos=videos),
        ablate=True,
        draws=50,
        on_predicted=told.append,
    )
    (segments,) = told
    texts, starts = tuple(f"{HOSTILE} {n}" for n in range(80)), np.arange(80) * 1.5
    segments = replace(segments, texts=texts, starts=starts, ends=starts + 1)
    kept = {"sentiment": {"how": segments.how, **report["sentiment"]}}
    save_checkpoint(replace(manifest, name="toy <i>", metrics={"valid": kept}), ensemble, folder)
    curves = folder / "run" / "curves"
    curves.mkdir(parents=True)
    for name in ("fold0-seed0", "fold10-seed0", "fold9-seed0", "all-seed0"):
        (curves / f"{name}.csv").write_text(CURVE)
    save_segments(folder / "run" / "unseen.json", {"valid": segments})
    return folder, Found(segments.how, report, segments, evaluated=True)


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> tuple[Path, Found]:
    return make_run(tmp_path_factory.mktemp("training") / "toy")


@pytest.fixture(scope="module")
def page(made, tmp_path_factory) -> Path:
    folder, found = made
    file = tmp_path_factory.mktemp("pages") / "a.html"
    manifest = Predictor.load(folder).manifest
    videos = {found.segments.videos[0]: file.parent / "videos" / 'a "b".mp4'}
    write_training_page(file, folder, manifest, found, videos)
    return file


@pytest.fixture(scope="module")
def browser():
    with open_browser() as opened:
        yield opened


def test_curves_are_grouped_as_they_were_made(made):
    groups = read_curves(made[0] / "run" / "curves")
    assert list(groups) == ["Cross-validation", "Learned from all there is"]
    assert list(groups["Cross-validation"]) == ["fold0, seed0", "fold9, seed0", "fold10, seed0"]
    assert groups["Learned from all there is"]["all, seed0"][1] == {
        "number": 2,
        "lr": 0.1,
        "train_loss": 0.7,
        "valid_loss": 0.6,
        "sentiment mae": 1,
    }


@pytest.mark.parametrize("text", ["", "number,lr\n1,2\n", "number,train_loss,valid_loss\n1,x,2\n"])
def test_a_curve_that_cannot_be_read_is_named(tmp_path, text):
    (tmp_path / "fold0-seed0.csv").write_text(text)
    with pytest.raises(DatasetError, match=r"fold0-seed0\.csv cannot be read as a curve"):
        read_curves(tmp_path)


def test_a_training_without_data_shows_what_it_kept(made):
    folder, found = made
    manifest = Predictor.load(folder).manifest
    kept = find_kept(folder, manifest)
    assert kept.segments is not None
    assert kept.segments.ids == found.segments.ids
    (label,) = describe_labels(manifest, kept)
    assert label.main[0]["value"] == pytest.approx(found.report["sentiment"]["mae"])
    (folder / "run" / "unseen.json").rename(folder / "aside.json")
    try:
        (bare,) = describe_labels(manifest, find_kept(folder, manifest))
        assert bare.scored is None
        assert bare.main[0]["value"] == label.main[0]["value"]
    finally:
        (folder / "aside.json").rename(folder / "run" / "unseen.json")


def test_the_page_has_the_numbers_of_the_report(made, page):
    text, report = page.read_text(), made[1].report["sentiment"]
    values = dict(re.findall(r'data-metric="(\w+)">.*?class="value">([\d.-]+)<', text, re.DOTALL))
    assert values.keys() == {"mae", "corr", "a2", "a7"}
    for metric, shown in values.items():
        assert shown == f"{report[metric]:.3f}"
    low, high = report["interval"]["mae"]
    assert f"<strong>{low:.3f} to {high:.3f}</strong>" in text
    best = min(scores["mae"] for scores in report["constants"].values())
    assert f"{best:.3f}</p>" in text


def test_words_and_names_are_text(page):
    text = page.read_text()
    assert "<script>window.hacked" not in text
    assert "&lt;script&gt;window.hacked" in text
    assert "<i>.mp4" not in text
    assert '<h1 id="title">toy &lt;i&gt;</h1>' in text


def test_a_link_leads_to_the_moment(made, page):
    found = made[1].segments
    links = re.findall(r'href="(videos/[^"]+)"', page.read_text())
    rows = [n for n, video in enumerate(found.videos) if video == found.videos[0]]
    starts = {f"#t={max(found.starts[n] - 0.5, 0):.1f}" for n in rows}
    assert links
    assert all(link.startswith("videos/a%20%22b%22.mp4#t=") for link in links)
    assert {link[link.index("#") :] for link in links} <= starts


@pytest.mark.parametrize("width", [400, 1600])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_browser_shows_all_of_it(browser, page, made, width, scheme):
    with open_page(browser, page, width, scheme) as opened:
        opened.draw_all()
        assert opened.complaints == []
        assert opened.asked == []
        assert opened.ask("window.hacked") is None
        assert opened.ask("document.documentElement.scrollWidth") <= width
        dots = "document.getElementById('plot-scatter-0').data.find(t => t.name === 'segments').x"
        assert opened.ask(f"{dots}.length") == len(made[1].segments)
        hint = opened.ask(f"{dots.removesuffix('.x')}.text[0]")  # Plotly reads tags in it
        assert "<" not in hint.replace("<br>", "")
        bars = "document.getElementById('plot-ablation-0').data[0].x"
        report = made[1].report["sentiment"]
        expected = [report["mae"], *(each["mae"] for each in report["ablation"].values())]
        assert opened.ask(f"[...{bars}]") == pytest.approx(expected, abs=1e-4)
        counts = "[...document.querySelectorAll('.confusion td:not(.sum)')]"
        total = f"{counts}.reduce((sum, cell) => sum + Number(cell.textContent), 0)"
        assert opened.ask(total) == len(made[1].segments)
        assert opened.ask("document.querySelectorAll('.worst li').length") == 20
        assert opened.ask("document.querySelector('.said').textContent").startswith(HOSTILE)


def test_headings_and_figures_have_names(browser, page):
    with open_page(browser, page) as opened:
        levels = opened.ask("[...document.querySelectorAll('h1,h2,h3')].map(h => +h.tagName[1])")
        assert levels.count(1) == 1
        assert all(after - before <= 1 for before, after in pairwise(levels))
        named = "[...document.querySelectorAll('[role=img],[role=region]')]"
        assert opened.ask(f"{named}.every(e => e.getAttribute('aria-label'))")
        anchors = "[...document.querySelectorAll('nav a')].map(a => a.getAttribute('href'))"
        assert opened.ask(f"{anchors}.every(at => document.querySelector(at))")


def test_figures_for_papers(made, tmp_path):
    folder, found = made
    write_training_page(
        tmp_path / "a.html", folder, Predictor.load(folder).manifest, found, None, tmp_path / "figs"
    )
    names = {"curves", "predictions", "confusion", "errors", "calibration", "modalities"}
    files = {file.name: file for file in (tmp_path / "figs").iterdir()}
    assert files.keys() == {f"{name}.{form}" for name in names for form in ("png", "svg")}
    assert files["curves.png"].read_bytes().startswith(b"\x89PNG")
    assert "epoch" in files["curves.svg"].read_text()


def test_several_labels_of_all_kinds(tmp_path, browser):
    """Each label has its own plots; those of the ones that are folded in are drawn when opened."""
    from rmfn.train_dataset import train_dataset
    from tests.planted import PLAN

    dataset = make_dataset(60)
    quick = replace(PLAN, targets=dataset.targets, settings=replace(PLAN.settings, epochs=1))
    manifest = train_dataset(dataset, quick, tmp_path / "run")
    page = tmp_path / "a.html"
    write_training_page(page, tmp_path / "run", manifest, find_kept(tmp_path / "run", manifest))
    with open_page(browser, page, 400) as opened:
        opened.ask("document.querySelectorAll('details').forEach(d => d.open = true)")
        opened.draw_all()
        assert opened.complaints == []
        assert opened.ask("document.querySelectorAll('.confusion').length") == 4
        assert opened.ask("document.querySelectorAll('.score').length") == 4
        assert opened.ask("document.getElementById('plot-scatter-1')") is None  # of a yes or no
        assert opened.ask("document.documentElement.scrollWidth") <= 400


def test_a_comparison_comes_back_and_has_its_page(tmp_path, browser):
    table = tmp_path / "table.json"
    undefined = replace(
        FOUND.rows[0], against={"mood": {**FOUND.rows[0].against["mood"], "p_holm": float("nan")}}
    )
    found = replace(FOUND, data="<b>toy</b>", rows=(undefined, *FOUND.rows[1:]))
    table.write_text(to_json(asdict(found)))
    again = load_comparison(table)
    assert again.rows[1:] == found.rows[1:]
    assert again.targets == (Target("mood"),)
    write_comparison_page(tmp_path / "a.html", again)
    text = (tmp_path / "a.html").read_text()
    assert "<b>toy" not in text
    for shown in ("1.000 ± .141", "every video is one segment", "-.012 (-.100 to +.050)", "1.500"):
        assert shown in text
    with open_page(browser, tmp_path / "a.html", 400) as opened:
        opened.draw_all()
        assert opened.complaints == []
        assert opened.ask("document.documentElement.scrollWidth") <= 400
        plot = "document.getElementById('plot-errors-0')"
        assert opened.ask(f"{plot}.data.map(t => [...t.y])") == [
            ["RMFN"],
            ["MARN"],
            ["RMFN", "MARN", "MARN"],
        ]
        assert opened.ask(f"{plot}.layout.yaxis.categoryarray") == ["MARN", "RMFN"]  # grows upwards
        assert opened.ask(f"{plot}.layout.shapes[0].x0") == 1.5
        other = "document.getElementById('plot-differences-0')"
        assert opened.ask(f"[...{other}.data[0].x]") == [-0.0123]
    (tmp_path / "none.json").write_text("{}")
    with pytest.raises(DatasetError, match=r"none\.json cannot be read as a comparison"):
        load_comparison(tmp_path / "none.json")


def test_a_comparison_of_which_nothing_is_done():
    text = render_comparison_page(replace(FOUND, rows=(FOUND.rows[2],), reference=""))
    assert "No system has a number yet." in text


def test_the_command(made, tmp_path, capsys):
    folder, found = made
    dataset = tmp_path / "data"
    save_dataset(make_dataset(30), dataset)
    assert main(["report", str(folder)]) == 0
    assert f"written: {folder / 'report.html'}" in capsys.readouterr().out.replace("\n", "")
    kept = (folder / "report.html").read_text()
    assert f"{found.report['sentiment']['mae']:.3f}" in kept
    out = tmp_path / "b.html"
    assert main(["report", str(folder), "--data", str(dataset), "--out", str(out)]) == 0
    predictor = Predictor.load(folder)
    fresh = evaluate_dataset(predictor, make_dataset(30), draws=0)["sentiment"]["mae"]
    assert f'class="value">{fresh:.3f}<' in out.read_text()
    assert main(["report", str(folder), "--split", "test"]) == 2
    assert "--split and --against are of data" in capsys.readouterr().err
    assert main(["report", str(tmp_path / "nothing")]) == 2
    assert "no checkpoint" in capsys.readouterr().err
    (tmp_path / "cmp").mkdir()
    (tmp_path / "cmp" / "table.json").write_text(to_json(asdict(FOUND)))
    assert main(["report", str(tmp_path / "cmp")]) == 0
    assert "Comparison report" in (tmp_path / "cmp" / "report.html").read_text()
    capsys.readouterr()
    for flags in (["--figures", str(tmp_path / "fg")], ["--data", str(dataset), "--split", "test"]):
        assert main(["report", str(tmp_path / "cmp"), *flags]) == 2
        said = capsys.readouterr()
        assert f"{flags[0]}" in said.err
        assert "for the page of a training" in said.err
        assert "written" not in said.out


def test_segments_that_nobody_labelled_are_not_counted(made):
    folder, found = made
    labels = np.where(np.arange(80)[:, None] % 2, found.segments.labels, np.nan)
    some = replace(found, segments=replace(found.segments, labels=labels))
    (label,) = describe_labels(Predictor.load(folder).manifest, some)
    assert np.sum(label.confusion[1]) == 40
