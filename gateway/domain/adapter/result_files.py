"""Where the file of a finished task stands in a reply, in the places that were met in the field. Pure.

An adapter knows the places that its provider documents; relays hand through what their suppliers say. A place is a name
that may hold a result, and no picture of it, no input, and no address of the API itself.
"""

import re
from collections.abc import Callable, Iterator, Mapping

from gateway.domain.adapter.decoding import json_object
from gateway.domain.adapter.field_names import plain, tokens, words
from gateway.domain.adapter.file_links import file_urls, is_foreign, is_media
from gateway.domain.adapter.replies import artifact, unique_by_url
from gateway.domain.adapter.task import Artifact

Fields = Mapping[str, object]

_NODES_MAX = 2000  # objects of one reply that are looked at
_DEPTH_MAX = 8
_WITHIN_MAX = 3  # objects in one another within one place
_FILES_MAX = 64
_LIST_MAX = 100_000  # characters of a list that is written in a string
# A name that says "video", a usual name, any name of a video file, any name of a link.
_TIERS = ("strong", "usual", "any", "link")
_VIDEO_NAME = re.compile(
    r"(?:result|output|generated|final|full|hd|hq|merged|main|first|download|signed|public|cdn|oss)*"
    r"(?:videos?|mp4|movie|clip|clips)"
    r"(?:url|urls|uri|uris|link|links|src|file|files|path|paths|address|addr|outputs?|results?|download|hd|hq|\d)*"
)
_IMAGE_NAME = re.compile(
    r"(?:result|output|generated|final|full|hd|main|first|download|signed|public|cdn|oss)*"
    r"(?:images?|imgs?|pictures?|photos?|png|jpg|jpeg)"
    r"(?:url|urls|uri|uris|link|links|src|file|files|path|output|result|list|\d)*"
)
_STRONG = {"video": _VIDEO_NAME, "image": _IMAGE_NAME}
_FILE_NAMES = frozenset(
    words("""
        url urls uri uris output outputs outputurl outputurls outputuri result results resulturl resulturls
        resulturi resultlist file files fileurl fileurls fileuri download downloadurl downloadurls downloaduri
        downloadlink media mediaurl mediaurls mediauri medias asset assets asseturl creation creations work
        works resource resources resourceurl artifact artifacts artifacturl content contents contenturl src
        link links signedurl publicurl cdnurl ossurl cosurl s3url gcsuri storageurl fullurl playurl play
        location remoteurl hosted hostedurl originurl originalurl generated generatedfile generatedfiles
        generatedurl sample finalurl finaloutput data response taskresult outputfile outputfiles attachments
        attachment value path filepath urllist playaddr
        """)
)
# Names whose files are no results: pictures of them, what went in, and addresses of the API itself.
_NOT_RESULTS = frozenset(
    words("""
        input inputs request requests req param params parameter parameters prompt prompts option options
        setting settings config configuration callback webhook notify source sources reference
        references ref refs mask masks first last start end tail frame frames audio audios voice sound music
        bgm subtitle subtitles caption captions cancel status poll query get self next prev previous stream
        doc docs documentation help console upload uploads error errors user users account avatar logo icon
        log logs trace properties property arguments args usage lipsync
        """)
)
_PICTURES = frozenset(
    words("""
        thumbnail thumbnails thumb thumbs thumbnailurl thumburl cover covers coverurl poster posters posterurl
        preview previews previewurl image images img imgs imageurl imageurls imgurl picture pictures
        pictureurl photo photos snapshot snapshots screenshot gif gifs sprite storyboard
        """)
)
_VIDEOS = frozenset(words("video videos videourl mp4 movie"))
# Names of links to pages for people; a link under any other name may be the file of a task that is done.
_PAGES = frozenset(
    words("""
        page pages share web website dashboard task tasks job api base home homepage site terms privacy license detail
        details view viewer embed iframe player metadata json report feedback support billing invoice manifest host
        redirect return model queue endpoint
        """)
)
_LINK_WORDS = frozenset(words("url urls uri link links href src"))
_LINK = re.compile(r"ur[li]s?$|links?$|src$|address$|video$")
_WORK_NAMES = re.compile(r"(?:image|img|text|i|t|r)(?:to|2)(?:video|v|image|i)")


def files_of(
    value: object,
    base_url: str,
    kind: str = "video",
    refused: Callable[[str], bool] = lambda _: False,
    *,
    done: bool = True,
) -> tuple[Artifact, ...]:
    """The files that a reply names in one of the usual places, the most telling place first; usually one file.

    `refused` names URLs that are no file of the provider's, such as its own content call. With `done`, a link whose
    name and ending say nothing is taken where nothing better is found.
    """
    found = _Files(base_url, kind, refused)
    nodes = list(_nodes(value, kind))
    for tier in _TIERS if done else _TIERS[:-1]:
        for group in nodes:
            if files := unique_by_url([one for fields in group for one in found.at(fields, tier)]):
                return files[:_FILES_MAX]
    return ()


class _Files:
    """Reads the files of one object, tier by tier: a name that says "video", a usual name, any name of a video file."""

    def __init__(self, base_url: str, kind: str, refused: Callable[[str], bool]) -> None:
        self._base_url = base_url
        self._kind = kind
        self._refused = refused

    def at(self, fields: Fields, tier: str, depth: int = 0) -> tuple[Artifact, ...]:
        """The files of the first place of this tier that names one."""
        for name, value in fields.items():
            if is_result(name, self._kind) and self._fits(name, tier):
                files = unique_by_url(self._within(value, fields, tier, depth, name))
                if files:
                    return files
        return ()

    def _fits(self, name: str, tier: str) -> bool:
        known = plain(name)
        if tier == "any":
            return True
        if tier == "link":
            parts = tokens(name)
            return not _LINK_WORDS.isdisjoint(parts) and _PAGES.isdisjoint(parts)
        return _STRONG[self._kind].fullmatch(known) is not None or (tier == "usual" and known in _FILE_NAMES)

    def _within(self, value: object, about: Fields, tier: str, depth: int, name: str = "") -> Iterator[Artifact | None]:
        if isinstance(value, str) and value[:1] in "[{":
            value = _parsed(value)
        if isinstance(value, str):
            absolute = file_urls(value)
            for url in absolute or file_urls(value, self._base_url):
                # What has no host may be anything; in a field that is no link's it needs the ending of a file.
                sure = is_media(url, self._kind) or (
                    tier != "any" and (bool(absolute) or (tier != "link" and _LINK.search(plain(name))))
                )
                if sure and not is_foreign(url, self._kind) and not self._refused(url):
                    yield artifact(url, about)
        elif isinstance(value, Mapping) and tier in {"strong", "usual"} and depth < _WITHIN_MAX:
            yield from self.at(value, "usual", depth + 1)
        elif isinstance(value, list):
            for one in value[:_FILES_MAX]:
                if not isinstance(one, list) or (depth < _WITHIN_MAX and len(one) <= _FILES_MAX):
                    yield from self._within(one, about if isinstance(one, str) else {}, tier, depth + 1, name)


def is_result(name: str, kind: str = "video") -> bool:
    """Whether a field of this name may hold a result: not a picture of it, an input or an address of the API."""
    known, parts = plain(name), tokens(name)
    if known in _FILE_NAMES or _STRONG[kind].fullmatch(known) or _WORK_NAMES.search(known):
        return True
    other = _PICTURES if kind == "video" else _VIDEOS
    return not any(word in _NOT_RESULTS or word in other for word in (*parts, known))


def _nodes(value: object, kind: str) -> Iterator[list[Fields]]:
    """The objects of a value, outermost first; those of one list together."""
    layer: list[object] = [value]
    seen = 0
    for _ in range(_DEPTH_MAX):
        following: list[object] = []
        for one in layer:
            group = one if isinstance(one, list) else [one]
            objects = [found for entry in group[:_FILES_MAX] if (found := json_object(entry)) is not None]
            if objects:
                yield objects
            seen += len(objects)
            if seen > _NODES_MAX:
                return
            following += [inner for fields in objects for inner in _children(fields, kind)]
        layer = following[:_NODES_MAX]


def _children(fields: Fields, kind: str) -> Iterator[object]:
    for name, inner in fields.items():
        if isinstance(inner, Mapping | list | str) and is_result(name, kind):
            value = _parsed(inner) if isinstance(inner, str) and inner[:1] in "[{" else inner
            if not isinstance(value, str):
                yield value


def _parsed(value: str) -> object:
    """The object or the list that a string holds, else the string."""
    if value.startswith("["):
        holder = json_object(f'{{"list": {value}}}') if len(value) < _LIST_MAX else None
        return holder["list"] if holder is not None and "list" in holder else value
    return json_object(value) or value
