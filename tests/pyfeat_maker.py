"""Models for py-feat of the right names, shapes and formats, whose answers are known.

They find a "face" of 128 pixels around a bright blue dot and one of 64 around a bright red dot, to
16 pixels (`draw` puts dots where that is exact).
Landmarks, gaze and action units depend a little on what is to be seen; the rest is planted.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

LARGE, SMALL = 128, 64  # pixels, of the faces around blue and around red
EMOTIONS = np.array([0.05, 0.1, 0.15, 0.2, 0.25, 0.15, 0.1])  # in py-feat's order
POSE = [0.1, 0.2, 0.3, 1.0, 2.0, 3.0]  # of the network: pitch, roll, yaw in rad, and where
GAZE = (60, 40)  # bins of 4 degrees from -180: yaw 60, pitch -20
UNITS = ("1", "2", "4", "5", "6", "7", "9", "10", "11", "12", "14", "15", "17", "20", "23", "24",
         "25", "26", "28", "43")  # fmt: skip
CONFIG = {  # of the multi-task network as it is distributed
    "n_au": 20, "n_emotion": 7, "n_blendshape": 52, "mesh_normalized": True, "use_head_v3": True,
    "drop_mefl": True, "emotion_use_au_prob": True,
}  # fmt: skip


def draw(*heads: tuple[int, int, int], height: int = 192, width: int = 320) -> np.ndarray:
    """A dim picture [height, width, 3] with heads (LARGE or SMALL, column, row): their middles are
    at 16 * column + 8, 16 * row + 8. Heads of one size look alike, others do not."""
    image = np.full((height, width, 3), 40, np.uint8)
    for side, column, row in heads:
        x, y = 16 * column + 8 - side // 2, 16 * row + 8 - side // 2
        tile = np.random.default_rng(side).integers(50, 130, (16, 16, 1), np.uint8)
        skin = tile.repeat(side // 16, 0).repeat(side // 16, 1)
        image[max(y, 0) : y + side, max(x, 0) : x + side] = skin[max(-y, 0) :, max(-x, 0) :]
        dot = image[16 * row - 5 : 16 * row + 5, 16 * column - 5 : 16 * column + 5]
        dot[:] = 10
        dot[..., 2 if side == LARGE else 0] = 250
    return image


def face_shape() -> np.ndarray:
    """68 points [68, 2] of a face in a square of side 1, y down."""
    around = np.linspace(np.pi, 0, 17)
    jaw = np.c_[0.5 + 0.35 * np.cos(around), 0.45 + 0.45 * np.sin(around)]
    brows = [(x, 0.3) for x in (*np.linspace(0.22, 0.42, 5), *np.linspace(0.58, 0.78, 5))]
    nose = [(0.5, y) for y in np.linspace(0.38, 0.55, 4)]
    nose += [(x, 0.6) for x in np.linspace(0.43, 0.57, 5)]
    ring = np.array([(-1, 0), (-0.4, -0.4), (0.4, -0.4), (1, 0), (0.4, 0.4), (-0.4, 0.4)])
    eyes = [(0.33, 0.4) + 0.07 * ring, (0.67, 0.4) + 0.07 * ring]
    lips = [
        (0.5 + a * np.cos(t), 0.74 - b * np.sin(t))
        for a, b, n in ((0.14, 0.06, 12), (0.1, 0.02, 8))
        for t in np.linspace(np.pi, -np.pi, n, endpoint=False)
    ]
    return np.concatenate([jaw, brows, nose, *eyes, lips])


def make_models(folder: Path, versions: tuple[str, ...] = ("v1", "v2")) -> Path:
    """A folder that ``RMFN_WEIGHTS`` may name, with the models of some detectors."""
    import torch

    torch.manual_seed(0)
    with torch.no_grad():
        _make_faces(_place(folder, "faces"))
        if "v1" in versions:
            _make_landmarks(_place(folder, "landmarks"))
            _make_units(_place(folder, "units"))
            _make_emotions(_place(folder, "emotions"))
            _make_pose(_place(folder, "pose"))
            _make_gaze(_place(folder, "gaze"))
        if "v2" in versions:
            _make_multitask(_place(folder, "multitask"))
    return folder


def _place(folder: Path, name: str) -> Path:
    place = folder / f"pyfeat-{name}"
    place.mkdir(parents=True)
    return place


def _save(model: Any, file: Path, **meta: str) -> None:
    from safetensors.torch import save_file

    save_file({name: t.contiguous() for name, t in model.state_dict().items()}, file, meta)


def _make_faces(place: Path) -> None:
    """Only two channels carry anything: how blue and how red it is, straight to the second of
    three levels, whose cells have faces of 64 and of 128 pixels."""
    import torch
    from feat.face_detectors.Retinaface.Retinaface_model import RetinaFace

    model = RetinaFace()
    for module in model.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.weight.zero_()
            if module.bias is not None:
                module.bias.zero_()
    for channel, (shown, hidden) in enumerate(((2, 0), (0, 2))):
        model.body.conv1.weight[channel, shown] = 1 / 49
        model.body.conv1.weight[channel, hidden] = -1 / 49
        for layer in (model.body.layer2, model.body.layer3):
            layer[0].downsample[0].weight[channel, channel] = 1
        model.fpn.output2[0].weight[channel, channel] = 1
        model.fpn.merge2[0].weight[channel, channel, 1, 1] = 1
        model.ssh2.conv3X3[0].weight[channel, channel, 1, 1] = 1
    for level, head in enumerate(model.ClassHead._convs):
        head.bias[:] = torch.tensor([50.0, 0.0, 50.0, 0.0])  # of small and large: none, a face
        if level == 1:
            head.weight[1, 1] = head.weight[3, 0] = 1.0
    _save(model, place / "model.safetensors")


def _make_landmarks(place: Path) -> None:
    import torch
    from feat.landmark_detectors.mobilefacenet_test import MobileFaceNet

    model = MobileFaceNet([112, 112], 136)
    model.train()
    for _ in range(3):
        model(torch.rand(8, 3, 112, 112))  # settles what is measured of batches
    model.output_layer.bn.weight.fill_(0.003)
    model.output_layer.bn.bias.copy_(torch.from_numpy(face_shape().ravel()))
    torch.save({"state_dict": model.state_dict()}, place / "mobilefacenet_model_best.pth.tar")


def _make_units(place: Path) -> None:
    """Trees whose probability is nearly the unit's number over 50."""
    import skops.io
    import xgboost
    from feat.au_detectors.StatLearning.SL_test import XGBClassifier
    from sklearn.decomposition import PCA
    from sklearn.preprocessing import StandardScaler

    dice = np.random.default_rng(0)
    trees = XGBClassifier()
    hog = dice.random((20, 5408))
    parts = {}
    for part in ("upper", "lower", "full"):
        parts[f"scaler_{part}"] = scaler = StandardScaler().fit(hog)
        parts[f"pca_model_{part}"] = PCA(3).fit(scaler.transform(hog))
    rows, labels = dice.random((20, 3 + 136)), np.arange(20) % 2
    grown = {
        f"AU{unit}": xgboost.XGBClassifier(
            n_estimators=2, max_depth=2, learning_rate=0.01, base_score=int(unit) / 50, n_jobs=1
        ).fit(rows, labels)
        for unit in UNITS
    }
    trees.load_weights(classifiers=grown, **parts)
    skops.io.dump(trees, place / "xgb_au_classifier_v2.skops")


def _make_emotions(place: Path) -> None:
    """143 million numbers, nearly all of them the same few: strides of 0 keep the file small."""
    import torch
    from feat.emo_detectors.ResMaskNet.resmasknet_test import ResMasking

    with torch.device("meta"):
        model = ResMasking("", in_channels=3)
        model.fc = torch.nn.Sequential(torch.nn.Dropout(0.4), torch.nn.Linear(512, 7))
    held = {
        name: (torch.ones if name.endswith("running_var") else torch.zeros)((), dtype=t.dtype)
        .expand(t.shape)
        for name, t in model.state_dict().items()
    }  # fmt: skip
    held["fc.1.bias"] = torch.log(torch.tensor(EMOTIONS, dtype=torch.float32))
    torch.save({"net": held}, place / "ResMaskNet_Z_resmasking_dropout1_rot30.pth")
    (place / "config.json").write_text(json.dumps({"in_channels": 3, "num_classes": 7}))


def _make_pose(place: Path) -> None:
    from feat.utils.face_pose_mlp import PoseMLP

    model = PoseMLP()
    model.net[-1].weight.zero_()
    model.net[-1].bias.zero_()
    _save(model, place / "pose_mlp_v2.safetensors")
    norm = {"mean": POSE, "std": [1.0] * 6}
    shape = {"hidden": [512, 256, 128], "dropout": 0.15, "output_normalization": norm}
    (place / "pose_mlp_v2.json").write_text(json.dumps({"architecture": shape}))


def _make_gaze(place: Path) -> None:
    import torch
    from feat.gaze_detectors.l2cs import l2cs_resnet50

    model = l2cs_resnet50()
    model.train()
    model(torch.rand(4, 3, 224, 224))
    for head, bin_ in ((model.fc_yaw_gaze, GAZE[0]), (model.fc_pitch_gaze, GAZE[1])):
        head.weight.mul_(0.01)
        head.bias.zero_()
        head.bias[bin_] = 20.0
    _save(model, place / "l2cs_gaze360_resnet50.safetensors")


def _make_multitask(place: Path) -> None:
    import torch
    from feat.multitask.model_v2 import MEGraphAUv2, ModelV2Config
    from feat.utils.blendshape_to_au import DLIB68_FROM_MP478

    config = ModelV2Config(pretrained=False, **CONFIG)
    model = MEGraphAUv2(config)
    mesh = torch.full((478, 3), 0.5)
    mesh[DLIB68_FROM_MP478, :2] = torch.from_numpy(face_shape()).float()
    model.lmk.mlp[-1].weight.mul_(0.1)
    model.lmk.mlp[-1].bias.copy_(mesh.ravel())
    file = place / "face_multitask_v28.safetensors"
    _save(model, file, config=json.dumps(asdict(config)))
