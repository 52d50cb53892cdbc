"""Models planted where the client of the Hugging Face hub keeps what it has downloaded."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

REVISION = "0123456789abcdef0123456789abcdef01234567"


def plant(cache: Path, repo: str, files: Mapping[str, bytes]) -> Path:
    """Put files into a cache as a download would; ``huggingface_hub.constants.HF_HUB_CACHE`` must
    be set to it (``monkeypatch.setattr``). Returns the folder that a reader sees."""
    folder = cache / f"models--{repo.replace('/', '--')}"
    snapshot = folder / "snapshots" / REVISION
    for name, data in files.items():
        blob = folder / "blobs" / hashlib.sha256(data).hexdigest()
        link = snapshot / name
        for made in (blob, link, folder / "refs/main"):
            made.parent.mkdir(parents=True, exist_ok=True)
        blob.write_bytes(data)
        link.symlink_to(os.path.relpath(blob, link.parent))
    (folder / "refs/main").write_text(REVISION)
    return snapshot
