"""Finds the path that a client probably meant when it called one that does not exist."""

import re
from collections.abc import Iterable, Sequence
from difflib import SequenceMatcher

ALIKE = 0.75  # of two segments, so that `video` suggests `videos`
SEGMENTS_MAX = 12  # of a path that is compared; no path of the API has nearly as many
SEGMENT_MAX = 64  # characters; a longer segment is a token, or not meant for this API
_PREFIX = re.compile(r"v[0-9]+|api|openai")  # what base URLs of such APIs end with


def near_path(path: str, templates: Iterable[str]) -> str | None:
    """The template (`/v1/files/{file_id}`) that is most like a path, None when none is like it.

    It sees through a `/v1` that is missing, doubled or replaced by another prefix, a missing `videos`, doubled slashes,
    another case, a word that is slightly different, and a path that is too short. It returns only templates, because the path itself
    may contain a token or a key.
    """
    segments = [segment.lower() for segment in path.split("/") if segment]
    if len(segments) > SEGMENTS_MAX or any(len(segment) > SEGMENT_MAX for segment in segments):
        return None
    bare = segments.copy()
    while bare and _PREFIX.fullmatch(bare[0]):
        bare.pop(0)
    if not bare:
        return None
    if bare[0].startswith("generation"):
        bare.insert(0, "videos")
    candidates = (bare, ["v1", *bare], [bare[0], "v1", *bare[1:]])
    best: tuple[float, int, str] | None = None
    for template in sorted(templates):
        parts = [part for part in template.split("/") if part]
        likeness = max(_likeness(candidate, parts) for candidate in candidates)
        rank = (likeness, -len(parts), template)
        if likeness > 0 and (best is None or rank[:2] > best[:2]):
            best = rank
    return None if best is None else best[2]


def paths_below(path: str, templates: Iterable[str]) -> list[str]:
    """The templates with the same base as a path, such as `/keevx`; none for a path at the root of the API.

    A base is a first segment that is followed by `v1` in a template: a client of another API has it in its base URL.
    """
    base = next((segment.lower() for segment in path.split("/") if segment), "")
    if not base or _PREFIX.fullmatch(base):
        return []
    below = sorted(template for template in templates if template.startswith(f"/{base}/"))
    return below if any(template.startswith(f"/{base}/v1/") for template in below) else []


def _likeness(segments: Sequence[str], parts: Sequence[str]) -> float:
    """The mean likeness of the segments that are not parameters, plus 1 for a path with all segments of the template.

    It is 0 if a segment is not alike, or if the path has more segments than the template.
    """
    if len(segments) > len(parts):
        return 0.0
    ratios: list[float] = []
    for segment, part in zip(segments, parts, strict=False):
        if not part.startswith("{"):
            ratio = _ratio(segment, part)
            if ratio < ALIKE:  # before the others are compared: anybody may ask for any number of wrong paths
                return 0.0
            ratios.append(ratio)
    if not ratios:
        return 0.0
    is_whole = len(segments) == len(parts)
    return sum(ratios) / len(ratios) + is_whole


def _ratio(segment: str, part: str) -> float:
    """How alike two segments are, from 0 to 1; 0 if their lengths alone show that it is less than `ALIKE`."""
    if segment == part:
        return 1.0
    most = 2 * min(len(segment), len(part)) / (len(segment) + len(part))
    return 0.0 if most < ALIKE else SequenceMatcher(None, segment, part).ratio()
