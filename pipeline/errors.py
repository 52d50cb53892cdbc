"""The errors a user can meet: each says what, where, what was expected and what was found."""

from __future__ import annotations


class ClipError(Exception):
    """This clip cannot be processed; in a batch the others go on.

    Attributes
    ----------
    clip : path or id of the clip.
    stage : what failed: "media", "transcript" (one that was given), "transcribe", "align",
        "language", "visual" or "acoustic"; "clip" where it is not known.
    """

    stage = "clip"

    def __init__(self, message: str, clip: str = "", stage: str | None = None):
        super().__init__(message)
        self.clip = clip
        if stage is not None:
            self.stage = stage

    def __reduce__(self):
        # Carried between processes: the default would lose clip and stage.
        return type(self), (str(self), self.clip, self.stage)


class MediaError(ClipError):
    """The file is missing, broken, or holds no stream that can be read."""

    stage = "media"


class NoSpeech(ClipError):
    """Neither speech nor a transcript: there are no words to hang features on."""

    stage = "transcribe"


class AlignmentFailed(ClipError):
    """No word of the transcript could be placed in the sound."""

    stage = "align"


class RecipeError(ValueError):
    """A recipe file is wrong: an unknown key, a wrong type, an unknown backend."""


class RecipeMismatch(ValueError):
    """Features were made in another way than the reader needs; names the first difference."""


class DatasetError(ValueError):
    """A corpus, label file or split is not what it says it is."""
