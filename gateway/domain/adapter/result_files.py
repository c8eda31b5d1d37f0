"""Finds the file of a finished task in a reply, in all places that were met in practice. Pure.

An adapter reads the places that its provider documents. Relays pass on the replies of their suppliers, which use other
places. A place is a field whose name may hold a result; fields for thumbnails, inputs and calls of the API are not.
"""

import re
from collections.abc import Callable, Iterator, Mapping

from gateway.domain.adapter.decoding import json_object
from gateway.domain.adapter.field_names import plain, tokens, words
from gateway.domain.adapter.file_links import file_urls, is_foreign, is_media
from gateway.domain.adapter.replies import artifact, unique_by_url
from gateway.domain.adapter.task import Artifact

Fields = Mapping[str, object]

_NODES_MAX = 2000  # objects of one reply that are searched
_DEPTH_MAX = 8
_WITHIN_MAX = 3  # levels of objects within one place
_FILES_MAX = 64
_TEXTS_MAX = 100_000  # characters of all strings of a reply that are read as the JSON text of an object or a list
# The tiers, searched in this order: a name that contains "video"; a usual name for results; any name, if the URL ends
# like a video file; any name for a link.
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
# Names of files that are not results: inputs, and addresses of the API itself.
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
# Small copies of a result. A poster or a snapshot may be the image that was asked for.
_THUMBNAILS = frozenset(
    words("""
        thumbnail thumbnails thumb thumbs thumbnailurl thumburl cover covers coverurl preview previews previewurl
        """)
)
_PICTURES = _THUMBNAILS | frozenset(
    words("""
        poster posters posterurl image images img imgs imageurl imageurls imgurl picture pictures
        pictureurl photo photos snapshot snapshots screenshot gif gifs sprite storyboard
        """)
)
_VIDEOS = frozenset(words("video videos videourl mp4 movie"))
# Names of links to pages for people. A link under any other name may be the file of a task that is done.
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
    """The files in the best place of a reply (see `_TIERS`), at most 64; usually there is one.

    `base_url` completes links without a host; `kind` is "video" or "image". `refused` returns True for a URL that is
    not a public file, such as the provider's own call for the content. With `done`, a link under any name and with any
    ending is taken if nothing better is found.
    """
    texts = _Texts()
    reader = _Files(base_url, kind, refused, texts)
    nodes = list(_nodes(value, kind, texts))
    for tier in _TIERS if done else _TIERS[:-1]:
        for group in nodes:
            if files := unique_by_url([file for fields in group for file in reader.at(fields, tier)]):
                return files[:_FILES_MAX]
    return ()


class _Texts:
    """Reads strings of one reply that are the JSON text of an object or a list: each once, and only so many characters.

    Such a text is read loosely, which is slow, and each tier of the search reads the same texts again.
    """

    def __init__(self) -> None:
        self._left = _TEXTS_MAX
        self._read: dict[str, object] = {}

    def value(self, value: object) -> object:
        """The object or the list whose JSON text the value is; else, and beyond the limit, the value itself."""
        if not isinstance(value, str) or value[:64].lstrip()[:1] not in {"[", "{"}:
            return value
        if value not in self._read:
            if len(value) > self._left:
                return value
            self._left -= len(value)
            self._read[value] = _parsed(value)
        return self._read[value]


class _Files:
    """Reads the files of one object, tier by tier."""

    def __init__(self, base_url: str, kind: str, refused: Callable[[str], bool], texts: _Texts) -> None:
        self._base_url = base_url
        self._kind = kind
        self._refused = refused
        self._texts = texts

    def at(self, fields: Fields, tier: str, depth: int = 0) -> tuple[Artifact, ...]:
        """The files in the first field of this tier that has any."""
        for name, value in fields.items():
            if is_result(name, self._kind) and self._fits(name, tier):
                files = unique_by_url(self._within(value, fields, tier, depth, name))
                if files:
                    return files
        return ()

    def _fits(self, name: str, tier: str) -> bool:
        plain_name = plain(name)
        if tier == "any":
            return True
        if tier == "link":
            parts = tokens(name)
            return not _LINK_WORDS.isdisjoint(parts) and _PAGES.isdisjoint(parts)
        return _STRONG[self._kind].fullmatch(plain_name) is not None or (tier == "usual" and plain_name in _FILE_NAMES)

    def _within(self, value: object, about: Fields, tier: str, depth: int, name: str = "") -> Iterator[Artifact | None]:
        value = self._texts.value(value)
        if isinstance(value, str):
            absolute = file_urls(value)
            for url in absolute or file_urls(value, self._base_url):
                # A value without a host may be anything: in a field that is not for links it needs a file's ending.
                sure = is_media(url, self._kind) or (
                    tier != "any" and (bool(absolute) or (tier != "link" and _LINK.search(plain(name))))
                )
                if sure and not is_foreign(url, self._kind) and not self._refused(url):
                    yield artifact(url, about)
        elif isinstance(value, Mapping) and tier in {"strong", "usual"} and depth < _WITHIN_MAX:
            yield from self.at(value, "usual", depth + 1)
        elif isinstance(value, list):
            for entry in value[:_FILES_MAX]:
                if not isinstance(entry, list) or (depth < _WITHIN_MAX and len(entry) <= _FILES_MAX):
                    yield from self._within(entry, about if isinstance(entry, str) else {}, tier, depth + 1, name)


def is_result(name: str, kind: str = "video") -> bool:
    """Whether a field with this name may hold a result, and not a thumbnail, an input or an address of the API."""
    plain_name, parts = plain(name), tokens(name)
    if plain_name in _FILE_NAMES or _STRONG[kind].fullmatch(plain_name) or _WORK_NAMES.search(plain_name):
        return True
    other = _PICTURES if kind == "video" else _VIDEOS | _THUMBNAILS
    return not any(word in _NOT_RESULTS or word in other for word in (*parts, plain_name))


def _nodes(value: object, kind: str, texts: _Texts) -> Iterator[list[Fields]]:
    """The objects in a value, outermost first. The objects of one list form one group."""
    layer: list[object] = [value]
    seen = 0
    for _ in range(_DEPTH_MAX):
        following: list[object] = []
        for node in layer:
            group = node if isinstance(node, list) else [node]
            objects = [fields for entry in group[:_FILES_MAX] if isinstance(fields := texts.value(entry), Mapping)]
            if objects:
                yield objects
            seen += len(objects)
            if seen > _NODES_MAX:
                return
            following += [inner for fields in objects for inner in _children(fields, kind, texts)]
        layer = following[:_NODES_MAX]


def _children(fields: Fields, kind: str, texts: _Texts) -> Iterator[object]:
    for name, inner in fields.items():
        if isinstance(inner, Mapping | list | str) and is_result(name, kind):
            value = texts.value(inner)
            if not isinstance(value, str):
                yield value


def _parsed(value: str) -> object:
    """The object or the list whose JSON text a string is, else the string."""
    if value.startswith("["):
        holder = json_object(f'{{"list": {value}}}')
        return holder["list"] if holder is not None and "list" in holder else value
    return json_object(value) or value
