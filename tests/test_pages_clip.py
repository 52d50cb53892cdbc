"""The page of a clip in a real browser: what it shows, what it does, what it must not do."""

from __future__ import annotations

import json
import re
import time
from html import escape
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from pipeline.records import to_json
from rmfn.pages.clip import write_clip_page
from rmfn.targets import Target
from rmfn.wording import describe_spread, describe_value
from tests.browser import find_browser, open_browser, open_page
from tests.talks import RECIPE, SENTIMENT, TEXT, Talk, make_talk

HOSTILE = (
    "<script> is a word. </script><img src=x onerror=window.hacked=1> too & so on. "
    "Even <!-- this and --> that, $x$ \\u003c or 'quotes' \"there\"."
)
MOOD = Target("mood", "classes", classes=("bad", "so so", "good"))


def write(talk: Talk, file: Path, **settings: Any) -> Path:
    write_clip_page(file, talk.record, talk.processed, talk.predictor, RECIPE, **settings)
    return file


@pytest.fixture(scope="module")
def browser():
    with open_browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    find_browser()
    return tmp_path_factory.mktemp("pages")


@pytest.fixture(scope="module")
def talk(folder) -> Talk:
    return make_talk(folder / "talk.mp4", unseen=(2.0, 3.5))


@pytest.fixture(scope="module")
def talk_page(talk, folder) -> Path:
    return write(talk, folder / "talk.html")


@pytest.fixture
def page(browser, talk_page):
    with open_page(browser, talk_page) as opened:
        yield opened


def test_it_needs_nothing_but_the_video_beside_it(page, folder):
    page.draw_all()
    assert page.complaints == []
    assert set(page.asked) == {(folder / "talk.mp4").as_uri()}


def test_no_other_script_may_run_and_nothing_may_be_fetched(page):
    page.ask(
        """() => {
            const made = document.createElement("script");
            made.textContent = "window.hacked = 1";
            document.body.append(made);
        }"""
    )
    assert page.ask("window.hacked") is None
    fetched = "fetch('https://example.org').then(() => 'got', () => 'refused')"
    assert page.ask(fetched) == "refused"
    # Neither for want of a network: the page itself forbids both.
    for rule in ("script-src 'sha256-", "default-src 'none'"):
        assert any(rule in complaint for complaint in page.complaints), rule


def test_a_click_on_a_word_plays_from_it(page, talk):
    words = [word for part in talk.record["utterances"] for word in part["words"]]
    for n in (6, 17, 2):
        page.click(f"[data-word='{n}']")
        page.wait("document.getElementById('player').seeking === false")
        at = page.ask("document.getElementById('player').currentTime")
        assert words[n]["start"] - 1e-3 <= at < words[n]["start"] + 1.0
    assert page.ask("document.getElementById('player').paused") is False
    assert page.ask("document.querySelectorAll('[data-looked-at]').length") == 1


def test_the_spoken_word_lights_up_and_only_it(page, talk):
    words = [word for part in talk.record["utterances"] for word in part["words"]]
    page.wait("document.getElementById('player').readyState > 0")
    for n in (0, 5, 12):
        middle = (words[n]["start"] + words[n]["end"]) / 2
        page.ask(f"document.getElementById('player').currentTime = {middle}")
        page.tab.wait_for_selector(f"[data-word='{n}'].spoken")
        assert page.ask("document.querySelectorAll('.spoken').length") == 1
    pause = (words[0]["end"] + words[1]["start"]) / 2
    page.ask(f"document.getElementById('player').currentTime = {pause}")
    page.wait("document.querySelectorAll('.spoken').length === 0")


def test_words_are_reached_and_played_by_keyboard(page, talk):
    stops = page.ask("document.querySelectorAll('#transcript [tabindex=\"0\"]').length")
    assert stops == 1  # not one for each of a thousand words
    page.tab.keyboard.press("Tab")
    assert page.ask("document.activeElement.className") == "skip"
    page.tab.focus("[data-word='0']")
    for key, word in (("ArrowRight", 1), ("ArrowRight", 2), ("ArrowLeft", 1), ("ArrowDown", 5)):
        page.tab.keyboard.press(key)
        assert page.ask("document.activeElement.dataset.word") == str(word), key
    start = talk.record["utterances"][1]["words"][0]["start"]
    page.tab.keyboard.press("Enter")
    page.wait("!document.getElementById('player').paused")
    assert page.ask("document.getElementById('player').currentTime") >= start - 1e-3
    page.tab.keyboard.press("ArrowUp")
    assert page.ask("document.activeElement.dataset.word") == "0"
    page.tab.keyboard.press("End")
    assert page.ask("document.activeElement.dataset.word") == str(len(TEXT.split()) - 1)


def test_plots_have_every_word_stage_and_unit(page, talk):
    page.draw_all()
    for number, part in enumerate(talk.record["utterances"]):
        page.tab.select_option("#utterance", str(number))
        texts = [word["text"] for word in part["words"]]
        for name in ("arriving", "effect"):
            trace = page.ask(f"document.getElementById('plot-{name}').data[0].y")
            assert len(trace) == len(texts)
            ticks = page.tab.locator(f"#plot-{name} .xtick text").all_text_contents()
            assert ticks == texts
        maps = page.ask("document.getElementById('plot-attention').data.map((one) => one.z)")
        assert len(maps) == 3 * 2  # stages, modalities
        assert [len(one) for one in maps] == [8, 3] * 3
        assert {len(row) for one in maps for row in one} == {len(texts)}


def test_the_attention_that_is_drawn_is_the_models(page, talk):
    page.draw_all()
    part = talk.processed.utterances[1]
    found = talk.predictor.explain(talk.processed.sequence.between(part.start, part.stop))
    page.tab.select_option("#utterance", "1")
    for member in (0, 1):
        page.tab.select_option("#member", str(member))
        maps = page.ask(
            "document.getElementById('plot-attention').data.map((one) => one.customdata)"
        )
        for k in range(3):
            drawn = [*maps[2 * k], *maps[2 * k + 1]]
            for unit in (0, 7, 10):
                expected = found.weights[member, :, k, unit] * 11
                assert drawn[unit] == pytest.approx(expected.tolist(), abs=0.01)
    shares = page.tab.locator("#attention tbody tr").first.locator("td").all_text_contents()
    assert shares[3] == "72.7%"  # 8 of 11 units
    assert all(re.fullmatch(r"7[12]\.\d%", share) for share in shares[:3])


def test_nearly_uniform_attention_is_said(page):
    assert "nearly uniform" in page.tab.locator("#uniform").inner_text()


def test_numbers_on_the_page_are_those_of_the_json(page, talk, tmp_path):
    shown = page.ask("page.data.record")
    assert shown == json.loads(to_json(talk.record))
    overall = talk.record["overall"]["sentiment"]
    assert page.tab.locator(".score .value").inner_text() == describe_value(overall)
    assert describe_spread(overall) in page.tab.locator(".score").inner_text()
    said = page.tab.locator(".utterance .said").all_inner_texts()
    predicted = [part["prediction"]["sentiment"] for part in talk.record["utterances"]]
    assert said == [describe_value(found) for found in predicted]
    page.draw_all()
    line = page.ask("document.getElementById('plot-timeline').data[1].y")
    assert line[::3] == pytest.approx([found["value"] for found in predicted])
    last = page.ask("page.data.utterances.map((one) => one.prefixes[0].at(-1))")
    assert last == pytest.approx([found["value"] for found in predicted], abs=1e-4)
    quality = page.tab.locator("#quality").inner_text()
    assert f"interpolated\t{talk.record['quality']['interpolated']}" in quality
    with page.tab.expect_download() as saved:
        page.click("#download")
    saved.value.save_as(tmp_path / "saved.json")
    assert json.loads((tmp_path / "saved.json").read_text()) == shown


def test_where_the_face_was_not_seen_is_a_gap(page):
    page.draw_all()
    layout = page.ask("document.getElementById('plot-timeline').layout.shapes")
    gaps = [(one["x0"], one["x1"]) for one in layout if one.get("name") == "gap"]
    assert len(gaps) == 3  # expression, head, gaze
    assert all(gap == (pytest.approx(1.98), pytest.approx(3.5, abs=0.05)) for gap in gaps)
    times, values = page.ask(
        "(() => { const one = document.getElementById('plot-timeline').data.find("
        "(one) => one.name === 'AU12'); return [[...one.x], [...one.y]]; })()"
    )
    missing = [at for at, value in zip(times, values, strict=True) if value is None]
    assert min(missing) == pytest.approx(2.0)
    assert max(missing) == pytest.approx(3.48)


def test_the_time_line_is_played_by_a_click_and_zoomed_by_buttons(page):
    page.draw_all()
    page.click("#plot-timeline")
    page.wait("document.getElementById('player').currentTime > 3.5")
    assert page.ask("document.getElementById('player').currentTime") < 5.5
    page.click("#zoom-in")
    low, high = page.ask("document.getElementById('plot-timeline').layout.xaxis.range")
    assert high - low == pytest.approx(4.0)
    page.click("#whole")
    low, high = page.ask("document.getElementById('plot-timeline').layout.xaxis.range")
    assert (low, high) == (0, pytest.approx(8.0, abs=0.1))


def test_a_time_line_that_is_zoomed_in_turns_over_while_it_plays(page):
    page.draw_all()
    page.click("#zoom-in")
    page.click("#zoom-in")
    for word in (16, 0):  # behind and before what is shown
        page.click(f"[data-word='{word}']")
        page.wait(
            """(() => {
                const [low, high] = document.getElementById("plot-timeline").layout.xaxis.range;
                const at = document.getElementById("player").currentTime;
                return low <= at && at <= high && Math.abs(high - low - 2) < 0.01;
            })()"""
        )
    assert page.complaints == []


def test_playing_asks_for_one_frame_at_a_time(page):
    page.click("[data-word='0']")
    page.wait("document.getElementById('player').currentTime > 2")
    asked = page.ask(
        """async () => {
            const ask = window.requestAnimationFrame;
            let asked = 0, frames = 0;
            window.requestAnimationFrame = (act) => { asked += 1; return ask(act); };
            for (; frames < 10; frames += 1) await new Promise((next) => ask(next));
            window.requestAnimationFrame = ask;
            return asked;
        }"""
    )
    assert 0 < asked <= 15  # and not one more for each event until then


def test_faces_are_shown_with_box_and_landmarks(page, talk):
    stills = page.tab.locator(".stills > li")
    assert stills.count() == 8
    seen = page.tab.locator(".stills rect").count()
    assert seen == 6  # and two of where there is none
    assert page.tab.locator(".stills path").count() == 9 * seen
    assert page.tab.locator(".stills image").first.get_attribute("href").startswith("data:image/")
    box = page.tab.locator(".stills rect").first
    assert float(box.get_attribute("x")) == pytest.approx(0.3 * 160, abs=0.1)
    assert float(box.get_attribute("height")) == pytest.approx(0.6 * 120, abs=0.1)


def test_what_the_model_does_not_read_is_said(page):
    reads = page.tab.locator(".verdict").inner_text()
    assert "toy (6 columns)" in reads
    assert "timing (3 columns)" in reads
    unread = re.search(r"not read by this model: (.*?)\.", reads)
    assert unread is not None
    assert set(unread[1].split(", ")) == {"visual (mediapipe)", "acoustic (covarep)"}


@pytest.mark.parametrize("width", [400, 1600])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_and_reads_at_every_width_in_light_and_dark(browser, talk_page, width, scheme):
    with open_page(browser, talk_page, width, scheme) as page:
        page.draw_all()
        assert page.ask("document.documentElement.scrollWidth") <= width
        assert page.complaints == []
        colours = page.ask(
            """() => Object.fromEntries([
                "paper", "card", "faint", "warning", "ink", "muted", "accent", "on-accent", "warm",
                "cold", "language", "visual", "acoustic", "second", "third",
            ].map((name) => [name, page.colour(name).match(/[\\d.]+/g).slice(0, 3).map(Number)]))"""
        )
        for name in ("ink", "muted", "accent", "warm", "cold"):
            for ground in ("paper", "card"):
                assert contrast(colours[name], colours[ground]) >= 4.5, (name, ground)
        assert contrast(colours["ink"], colours["warning"]) >= 4.5
        assert contrast(colours["on-accent"], colours["accent"]) >= 4.5
        for name in ("language", "visual", "acoustic", "second", "third"):
            assert contrast(colours[name], colours["paper"]) >= 3, name
        drawn = page.ask("document.getElementById('plot-units')._fullLayout.font.color")
        assert drawn == page.ask("page.colour('muted')")
        assert (sum(colours["paper"]) < 150) is (scheme == "dark")


def test_the_theme_can_be_chosen(page):
    page.draw_all()
    before = page.ask("page.colour('paper')")
    page.click("#theme")
    assert page.ask("page.colour('paper')") != before
    drawn = page.ask("document.getElementById('plot-timeline')._fullLayout.font.color")
    assert drawn == page.ask("page.colour('muted')")


def test_everything_has_a_name_for_those_who_do_not_see_it(page):
    page.draw_all()
    levels = page.ask(
        "[...document.querySelectorAll('h1, h2, h3')].map((one) => Number(one.tagName[1]))"
    )
    assert levels.count(1) == 1
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    nameless = page.ask(
        """[...document.querySelectorAll("[role=img], button, select, table, .scroll")]
            .filter((one) => !(one.ariaLabel || one.textContent.trim() || one.caption
                || one.labels?.length))
            .map((one) => one.outerHTML.slice(0, 100))"""
    )
    assert nameless == []
    unlabelled = page.ask(
        "[...document.querySelectorAll('select')].filter((one) => !one.labels.length).length"
    )
    assert unlabelled == 0
    label = page.ask("document.getElementById('plot-arriving').ariaLabel")
    assert label.startswith("Prediction after each of 5 words")


def test_nothing_moves_by_itself_for_those_who_asked_for_that(browser, talk_page):
    for motion, behaviour in (("reduce", "auto"), ("no-preference", "smooth")):
        with open_page(browser, talk_page, motion=motion) as page:
            found = page.ask("getComputedStyle(document.documentElement).scrollBehavior")
            assert found == behaviour


def test_a_word_like_a_tag_stays_a_word(browser, folder):
    file = folder / "<b>talk & 'so'.mp4"
    hostile = make_talk(file, HOSTILE)
    target = write(hostile, folder / "hostile.html", card="# A card with </script> & <b>")
    with open_page(browser, target) as page:
        page.draw_all()
        assert page.complaints == []
        assert page.ask("window.hacked") is None
        assert page.tab.locator("#transcript .word").all_text_contents() == HOSTILE.split()
        assert page.tab.locator("h1").text_content() == "<b>talk & 'so'.mp4"
        assert page.tab.locator("pre").text_content() == "# A card with </script> & <b>"
        assert page.tab.locator("main script, main b:has-text('talk')").count() == 0
        for number, part in enumerate(hostile.record["utterances"]):
            page.tab.select_option("#utterance", str(number))
            ticks = page.tab.locator("#plot-arriving .xtick text").all_text_contents()
            assert ticks == [word["text"] for word in part["words"]]
        page.wait("document.getElementById('player').readyState > 0")


def test_a_clip_of_ten_minutes_opens_at_once(browser, folder):
    words = " ".join(f"word{n % 97}{'.' if n % 11 == 10 else ''}" for n in range(1500))
    long = make_talk(
        folder / "long.mp4", words, pace=0.39, duration=600.0, unseen=(100.0, 130.0),
        members=5, hidden={"language": 64, "acoustic": 16},
    )  # fmt: skip
    target = write(long, folder / "long.html")
    assert target.stat().st_size < 15e6
    took = []
    for _ in range(2):  # something else may be at work in one of them
        started = time.perf_counter()
        with open_page(browser, target) as page:
            page.tab.wait_for_selector("[data-word='1499']", state="attached")
            took.append(time.perf_counter() - started)
    assert min(took) < 3
    with open_page(browser, target) as page:
        page.draw_all()
        points = page.ask(
            "Math.max(...document.getElementById('plot-timeline').data.map((one) => one.x.length))"
        )
        assert points <= 2 * 1500 + 1500
        assert page.complaints == []


def test_sound_alone_has_a_page_too(browser, folder):
    from tests.media_maker import make_clip

    file = make_clip(folder / "sound.mp4", duration=8.0, flash=None)
    talk = make_talk(file, face=False)
    with open_page(browser, write(talk, folder / "sound.html")) as page:
        page.draw_all()
        assert page.complaints == []
        assert page.tab.locator("audio").count() == 1
        assert page.tab.locator("video").count() == 0
        assert "A sound file has no picture." in page.tab.locator("#face").inner_text()
        verdict = page.tab.locator(".verdict").inner_text()
        assert "No picture: predicted without" in verdict
        assert "mediapipe" not in verdict  # which had nothing to measure
        titles = page.tab.locator("#plot-timeline .annotation-text").all_text_contents()
        assert not any("Smile" in title for title in titles)


def test_the_video_can_be_inside(browser, folder, talk):
    target = write(talk, folder / "inside" / "whole.html", embed_video=True)
    (alone := folder / "elsewhere").mkdir()
    moved = target.rename(alone / "whole.html")
    with open_page(browser, moved) as page:
        page.wait("document.getElementById('player').readyState > 0")
        page.click("[data-word='10']")
        page.wait("document.getElementById('player').currentTime > 3")
        assert page.asked == []
        assert page.complaints == []


def test_a_format_that_browsers_do_not_play_is_converted_or_explained(browser, folder):
    from tests.media_maker import make_clip

    file = make_clip(folder / "old.mpg", duration=8.0, video_codec="mpeg2video", audio_codec="mp2")
    talk = make_talk(file)
    with open_page(browser, write(talk, folder / "old.html")) as page:
        page.tab.wait_for_selector("#unplayed", state="visible")
        assert "--embed-video" in page.tab.locator("#unplayed").inner_text()
        page.click("[data-word='3']")  # still shows the word, at least
        page.tab.wait_for_selector("[data-word='3'].spoken")
    with open_page(browser, write(talk, folder / "old2.html", embed_video=True)) as page:
        page.wait("document.getElementById('player').readyState > 0")
        assert page.ask("document.getElementById('player').duration") == pytest.approx(8, abs=0.2)
        assert page.complaints == []


def test_several_labels_and_a_model_without_attention(browser, folder):
    talk = make_talk(folder / "talk.mp4", labels=(SENTIMENT, MOOD), model="ef-lstm")
    with open_page(browser, write(talk, folder / "labels.html")) as page:
        page.draw_all()
        assert "no HIGHLIGHT" in page.tab.locator("#attention").inner_text()
        mood = talk.record["overall"]["mood"]
        assert page.tab.locator("[data-label=mood] .value").inner_text() == mood["value"]
        page.tab.select_option("#label", "1")
        line = page.ask("document.getElementById('plot-timeline').data[1].y[0]")
        first = talk.record["utterances"][0]["prediction"]["mood"]["probabilities"]
        assert line == pytest.approx(first[mood["value"]])
        arriving = page.ask("document.getElementById('plot-arriving').data[0].y")
        assert arriving[-1] == pytest.approx(first[mood["value"]], abs=1e-4)
        assert page.complaints == []


def contrast(one: list[float], other: list[float]) -> float:
    """Of the Web Content Accessibility Guidelines, from 1 to 21."""

    def luminance(colour: list[float]) -> float:
        shares = [value / 255 for value in colour]
        linear = [s / 12.92 if s <= 0.04045 else ((s + 0.055) / 1.055) ** 2.4 for s in shares]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_figures_for_papers(tmp_path):
    made = make_talk(tmp_path / "talk.mp4", labels=(SENTIMENT, MOOD))
    write_clip_page(
        None, made.record, made.processed, made.predictor, RECIPE, figures=tmp_path / "figures"
    )
    files = {file.name: file for file in (tmp_path / "figures").iterdir()}
    labels = ("sentiment", "mood")
    names = {
        "attention",
        *(f"{kind}-{label}" for kind in ("timeline", "words") for label in labels),
    }
    assert files.keys() == {f"{name}.{form}" for name in names for form in ("png", "svg")}
    assert files["words-mood.png"].read_bytes().startswith(b"\x89PNG")
    drawn = files["attention.svg"].read_text()
    for word in made.record["utterances"][0]["words"]:
        assert f">{escape(word['text'])}<" in drawn
