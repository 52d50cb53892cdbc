"""``rmfn import`` and ``rmfn export`` as a person types them."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace

import numpy as np
import pytest

from extractors.types import Word
from flows.cli import main
from pipeline.store import Store
from rmfn.dataset import load_dataset, save_dataset
from rmfn.safe_pickle import load_pickle
from tests.conftest import shared
from tests.datasets import make_dataset, same_dataset
from tests.test_corpora_formats import MISA, dump, padded, write_arrays


def test_a_corpus_comes_in_and_is_told_of(tmp_path, capsys):
    paths = write_arrays(
        tmp_path, audio_train=padded(3, 2), y_train=[1, 5], audio_test=padded(5), y_test=[2]
    )
    out = str(tmp_path / "set")
    assert main(["import", "mfn", *map(str, paths), "--out", out, "--scale", "1", "5"]) == 0
    told = " ".join(capsys.readouterr().out.replace("│", " ").split())
    for words in (
        "segments 3",
        "10, 3 a segment (up to 5)",
        "1 columns (mfn.acoustic.0 ... mfn.acoustic.0), seen in 100.0% of words",
        "1 to 5, mean 2.67; a regression from 1 to 5",
        "train 2 (2 videos), test 1 (1 videos)",
        "written: ",
    ):
        assert words in told
    found = load_dataset(out)
    assert found.labels["sentiment"].tolist() == [1, 5, 2]
    assert main(["import", "mfn", *map(str, paths), "--out", out, "--json", "-"]) == 0
    assert json.loads(capsys.readouterr().out)["segments"] == "3"


def test_splits_are_given_or_made(tmp_path, capsys):
    segments = [(*MISA[0][:2], f"v{n // 2}[{n}]") for n in range(12)]
    pkl, out = str(dump(tmp_path / "all.pkl", segments)), str(tmp_path / "set")
    (tmp_path / "splits.json").write_text(json.dumps({"train": ["v0", "v1"], "dev": ["v2"]}))
    given = ["--splits", str(tmp_path / "splits.json")]
    assert main(["import", "misa", pkl, "--out", out, *given]) == 0
    assert load_dataset(out).splits == ("train",) * 4 + ("valid",) * 2 + ("",) * 6
    shares = ["--shares", "50", "25", "25"]
    assert main(["import", "misa", pkl, "--out", out, *shares, "--seed", "3"]) == 0
    made = load_dataset(out).splits
    assert set(made) == {"train", "valid", "test"}
    assert made[::2] == made[1::2]
    # before anything is read
    assert main(["import", "misa", str(tmp_path / "none"), "--out", out, *given, *shares]) == 2
    assert "say either --splits or --shares" in capsys.readouterr().err
    (tmp_path / "splits.json").write_text(json.dumps({"train": ["v0"], "test": ["v0"]}))
    assert main(["import", "misa", pkl, "--out", out, *given]) == 2
    assert "video 'v0' is in train and test" in capsys.readouterr().err


def test_a_video_on_both_sides_is_refused(tmp_path, capsys):
    for split, id in (("train", "v[0]"), ("test", "v[1]")):
        dump(tmp_path / f"{split}.pkl", [(*MISA[0][:2], id)])
    files = [str(tmp_path / f"{split}.pkl") for split in ("train", "test")]
    assert main(["import", "misa", *files, "--out", str(tmp_path / "set")]) == 2
    assert "the splits leak: video 'v' is in train and test" in capsys.readouterr().err
    assert not (tmp_path / "set").exists()


class Malicious:
    def __reduce__(self):
        return print, ("it ran",)


def test_a_malicious_pickle_is_an_error(tmp_path, capsys):
    path = tmp_path / "data.pkl"
    path.write_bytes(pickle.dumps({"train": Malicious()}))
    assert main(["import", "mmsa", str(path), "--out", str(tmp_path / "set")]) == 2
    said = capsys.readouterr()
    assert "it holds builtins.print, which is not read" in said.err
    assert "it ran" not in said.out


def test_the_help_teaches(capsys):
    for command, words in (("import", "rmfn import csd MOSI_Words.csd"), ("export", "textgrid")):
        with pytest.raises(SystemExit, match="0"):
            main([command, "--help"])
        assert words in capsys.readouterr().out


@pytest.mark.parametrize("form", ["csd", "mmsa"])
def test_out_and_in_again(tmp_path, capsys, form):
    # The data set's splits are all there, so that what is said of the format is true of it.
    save_dataset(make_dataset(), tmp_path / "set")
    out, again = tmp_path / "out", str(tmp_path / "again")
    assert main(["export", str(tmp_path / "set"), "--format", form, "--out", str(out)]) == 0
    assert "not part of the format (kept in the entry 'rmfn'): " in capsys.readouterr().out
    files = sorted(map(str, out.iterdir())) if out.is_dir() else [str(out)]
    assert main(["import", form, *files, "--out", again]) == 0
    same_dataset(load_dataset(again), make_dataset())


def test_words_for_praat(tmp_path, capsys):
    store = Store(tmp_path / "store")
    origin = {"clip": "talk.mp4", "duration": "2.5"}
    store.put_words("aaaa", "k1", [Word("old", 0, 1, 0.5)], origin)
    store.put_words("bbbb", "k", [Word("other", 0, 1, 0.5)], origin)
    out = str(tmp_path / "grids")
    assert main(["export", str(store.folder), "--format", "textgrid", "--out", out]) == 0
    written = sorted(path.name for path in (tmp_path / "grids").iterdir())
    assert written == ["talk-bbbb.TextGrid", "talk.TextGrid"]
    assert '"old"' in (tmp_path / "grids" / "talk.TextGrid").read_text()
    record = {
        "clip": {"duration": 3.0},
        "utterances": [{"words": [{"text": "hi", "start": 0.5, "end": 1, "score": None}]}],
    }
    for name, content in (("predict", record), ("align", record["utterances"][0])):
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps(content))
        out = str(tmp_path / f"{name}.TextGrid")
        assert main(["export", str(path), "--format", "textgrid", "--out", out]) == 0
        assert '"hi"' in (tmp_path / f"{name}.TextGrid").read_text()
    path.write_text("{}")
    assert main(["export", str(path), "--format", "textgrid", "--out", out]) == 2
    assert "expected the JSON of rmfn predict or rmfn align" in capsys.readouterr().err
    assert main(["export", str(tmp_path), "--format", "textgrid", "--out", out]) == 2


def test_words_without_features_are_refused(tmp_path, capsys):
    from rmfn.exports import export_csd

    dataset = make_dataset()
    bare = replace(dataset, sequences=tuple(replace(s, features={}) for s in dataset.sequences))
    files = list(map(str, export_csd(bare, tmp_path / "csd")))
    assert main(["import", "csd", *files, "--out", str(tmp_path / "set")]) == 2
    assert "no features: give files of a modality, or --recipe" in capsys.readouterr().err


@pytest.mark.slow
def test_a_recipe_makes_columns_of_the_words(tmp_path):
    out = str(tmp_path / "set")
    some = load_pickle(shared("data/mosi_dev/dev.pkl"))[:9]
    dev = str(dump(tmp_path / "dev.pkl", some))
    assert main(["import", "misa", dev, "--out", out, "--recipe", "embedded"]) == 0
    found = load_dataset(out)
    assert {m: len(names) for m, names in found.columns.items()} == {
        "language": 384,
        "visual": 47,
        "acoustic": 74,  # no timing: nobody measured the words' times
    }
    assert found.features["language"][0]["backend"] == "minilm"
    lines = shared("data/mosi_language/mosi_words_timed_train_dev.jsonl").read_text().splitlines()
    (tmp_path / "some.jsonl").write_text("\n".join(lines[:20]))
    assert main(["import", "timed", str(tmp_path / "some.jsonl"), "--out", out]) == 0
    timed = load_dataset(out)
    assert len(timed) == 20
    assert timed.columns["acoustic"][0].startswith("timing.")
    assert np.isfinite(timed.labels["sentiment"]).all()
    wrong = ["--scale", "-1", "1", "--out", str(tmp_path / "no")]
    assert main(["import", "timed", str(tmp_path / "some.jsonl"), *wrong]) == 2
