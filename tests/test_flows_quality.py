"""``rmfn quality`` as it is typed, on a store whose faults are planted."""

from __future__ import annotations

import csv
import json

import pytest

from flows.cli import main
from flows.quality import QUALITY_TEXT
from pipeline.limits import MEASURES
from pipeline.store import Store
from tests.test_limits import GOOD, make_rows, spoil
from tests.test_own_videos import put_clip


@pytest.fixture
def store(tmp_path):
    made = Store(tmp_path / "store")
    clips = {
        "aa": GOOD,
        "bb": spoil(face_share=0.1, aligner_score=0.3),
        "cc": spoil(notes={"other_persons": 2}),
    }
    for clip_id, quality in clips.items():
        notes = {"clip": f"{clip_id}.mp4", "recipe": "{}", "quality": json.dumps(quality)}
        made.put_sequence("k", make_rows(clip_id, [0.9], [1]), notes)
    return str(made.folder)


def test_the_usual_limits_flag_and_reject_nothing(store, tmp_path, capsys):
    table = tmp_path / "clips.csv"
    assert main(["quality", store, "--json", "-", "--csv", str(table)]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["counts"] == {"ok": 1, "flagged": 2}
    assert said["limits"]["reject"] == {}
    assert said["limits"]["flag"] == {name: each.usual for name, each in MEASURES.items()}
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["clip"], row["status"]) for row in rows] == [
        ("aa.mp4", "ok"),
        ("bb.mp4", "flagged"),
        ("cc.mp4", "flagged"),
    ]
    assert rows[1]["reasons"] == "face_share 0.1 < 0.5; aligner_score 0.3 < 0.4"
    assert float(rows[1]["face_share"]) == 0.1


def test_limits_from_a_file_and_as_typed(store, tmp_path, capsys):
    limits = tmp_path / "limits.toml"
    limits.write_text("[flag]\nother_faces = false\n[reject]\nface_share = 0.05\n")
    arguments = ["quality", store, "--quality", str(limits), "--json", "-"]
    assert main(arguments) == 0
    assert json.loads(capsys.readouterr().out)["counts"] == {"ok": 2, "flagged": 1}
    assert main([*arguments, "--reject", "face_share=0.5", "--flag", "level=-10"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["counts"] == {"flagged": 2, "rejected": 1}
    assert said["limits"]["reject"] == {"face_share": 0.5}


def test_people_see_a_table(store, capsys):
    assert main(["quality", store, "--reject", "face_share=0.5"]) == 0
    shown = capsys.readouterr().out
    assert "1 ok, 1 flagged, 1 rejected" in shown
    line = next(line for line in shown.splitlines() if "bb.mp4" in line)
    assert "rejected" in line
    assert "10%" in line


def test_a_clip_with_and_without_a_transcript_is_one_clip(store, capsys):
    def put(key, quality):
        notes = {"clip": "aa.mp4", "recipe": "{}", "quality": json.dumps(quality)}
        Store(store).put_sequence(key, make_rows("aa", [0.9], [1]), notes)

    def list_words():
        assert main(["quality", store]) == 0
        shown = capsys.readouterr().out
        lines = [line.replace("│", " ").split() for line in shown.splitlines() if "aa.mp4" in line]
        return [line[1:3] for line in lines], shown

    assert "words" not in list_words()[1]
    put("k-1234", spoil(face_share=0.1))
    words, shown = list_words()
    assert words == [["ok", "recognised"], ["flagged", "transcript"]]
    assert "3 clips: 3 flagged" in shown  # of two rows the worse counts
    assert main(["quality", store, "--json", "-"]) == 0
    assert json.loads(capsys.readouterr().out)["counts"] == {"flagged": 3}
    put("k-5678", GOOD)
    shown = list_words()[1]
    for key in ("k-1234", "k-5678"):
        assert f"transcript {key}" in shown


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (["--reject", "faces=1"], "no measure of quality is called 'faces'"),
        (["--quality", "nowhere.toml"], "nowhere.toml: cannot be read as limits"),
    ],
)
def test_bad_limits_are_one_line(store, capsys, arguments, match):
    assert main(["quality", store, *arguments]) == 2
    assert match in capsys.readouterr().err


def test_a_folder_that_is_no_store_stays_as_it_is(tmp_path, capsys):
    assert main(["quality", str(tmp_path)]) == 2
    assert "not a store" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_the_help_says_what_is_true():
    for name, each in MEASURES.items():
        side = "below" if each.low else "above"
        (line,) = [x for x in QUALITY_TEXT.splitlines() if x.split()[:1] == [name] and side in x]
        assert line.split(maxsplit=3)[1:] == [side, f"{each.usual:g}", each.text]


def test_train_needs_a_store_to_know_of_quality(tmp_path, capsys):
    arguments = ["train", "--data", str(tmp_path), "--out", str(tmp_path / "m")]
    assert main([*arguments, "--reject", "face_share=0.5"]) == 2
    assert "--quality and --reject need --store" in capsys.readouterr().err


def test_train_leaves_segments_out_and_its_run_says_how_many(tmp_path, capsys):
    store = Store(tmp_path / "store")
    lines = ["video,start,end,mood"]
    for n in range(9):
        quality = GOOD if n else spoil(speech_share=0.05)
        put_clip(store, f"{n:04x}", f"v{n}.mp4", 10, first=n, quality=quality)
        lines += [f"v{n},0,5,{n % 3 - 1}", f"v{n},5,10,{n % 2}"]
    labels, plan = tmp_path / "labels.csv", tmp_path / "plan.json"
    labels.write_text("\n".join(lines) + "\n")
    plan.write_text(
        json.dumps(
            {
                "hidden": {"language": 2, "visual": 2, "acoustic": 2},
                "model_settings": {"fuse": 2, "summary": 2, "head": 2},
                "settings": {"epochs": 1},
                "seeds": [0],
            }
        )
    )
    out = tmp_path / "model"
    given = ["train", "--store", str(store.folder), "--labels", str(labels), "--plan", str(plan)]
    assert main([*given, "--reject", "speech_share=0.1", "--out", str(out)]) == 0
    said = "2 of 18 segments left out for their quality (speech_share 2)"
    assert said in json.loads((out / "model.json").read_text())["trained_on"]
    assert any(said in file.read_text() for file in (out / "run").glob("*.json"))
