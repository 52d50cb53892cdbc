"""What ``rmfn weights fetch`` does: a recipe's missing models, from the Hugging Face hub."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from extractors.weights import (
    Weights,
    WeightsDamaged,
    WeightsMissing,
    find_cached,
    locate_weights,
)
from extractors.weights_hash import remove_damaged, verify_weights
from flows.doctor import describe_model, list_models
from pipeline.recipe import Recipe


def fetch_models(recipe: Recipe) -> None:
    """Download what the hub has of the models that are missing or damaged, and compare its hashes.

    What cannot be had is told, and the others are fetched all the same.
    """
    from flows.display import screen, show_warnings

    for weights in list_models(recipe):
        if isinstance(weights, tuple) or not weights.fetched:
            continue
        try:
            verify_weights(weights)
        except WeightsMissing:
            screen.print(f"{weights.name}: {describe_model(weights)}", soft_wrap=True)
            try:
                _fetch(weights)
            except (WeightsMissing, ValueError, OSError) as error:
                show_warnings([str(error)])


def _fetch(weights: Weights) -> None:
    """One model.

    Raises
    ------
    WeightsMissing : it cannot be had.
    WeightsDamaged : what came is not what it should be; it is removed.
    ValueError, OSError : what came is no table of word vectors, or cannot be kept.
    """
    if not weights.imported:
        _download(weights)
        return
    from flows.vectors import import_vectors

    # The hub's is the published table; the hash that is checked later is of what is made of it.
    published = replace(weights, path=None, check="", imported=False)
    _download(published)
    import_vectors(locate_weights(published), Path(str(weights.path)).expanduser())


def _download(weights: Weights) -> None:
    # Through the hub's store of chunks a broken download begins anew; over HTTP it goes on.
    os.environ.setdefault("HF_HUB_DISABLE_XET", "1")
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError
    from requests.exceptions import RequestException

    cache = Path(constants.HF_HUB_CACHE)
    if find_cached(weights, cache) is not None:
        remove_damaged(weights, cache)
    source = f"{constants.ENDPOINT}/{weights.repo}"
    try:
        snapshot_download(
            weights.repo,
            revision=weights.revision,
            allow_patterns=list(weights.files),
            max_workers=1,
        )
    except (HfHubHTTPError, HFValidationError, RequestException, OSError) as error:
        raise WeightsMissing(
            f"{weights.name} cannot be fetched from {source}: {_explain(error)}"
        ) from error
    if find_cached(weights, cache) is None:  # it is content with what is there if it gets no answer
        raise WeightsMissing(
            f"{weights.name}: {source} does not answer, or lacks one of {', '.join(weights.files)}"
        )
    if damaged := remove_damaged(weights, cache):
        raise WeightsDamaged(
            f"{weights.name}: {', '.join(damaged)} of {source} came with another hash than "
            "expected and was removed; if it does so again, it has changed there"
        )


def _explain(error: BaseException) -> str:
    """Why the hub did not give something, in few words."""
    from huggingface_hub.errors import OfflineModeIsEnabled, RepositoryNotFoundError
    from requests.exceptions import ConnectionError, Timeout

    reason = error.__cause__ or error
    if isinstance(error, RepositoryNotFoundError):
        return "there is no such repository, or it asks for a login (hf auth login)"
    if isinstance(reason, OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE forbids it"
    if isinstance(reason, ConnectionError | Timeout):
        return f"no connection ({type(reason).__name__})"
    return f"{type(reason).__name__}: {' '.join(str(reason).split()):.200}"
