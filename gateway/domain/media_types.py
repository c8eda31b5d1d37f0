"""The media types under which the gateway hands over files that a stranger made: a fixed list, and plain bytes.

A provider or a client chooses the bytes of a file, and often its declared type. A browser that gets a page, a script or
an SVG image from the gateway would run it with the rights of the gateway's own pages, and it reads a header such as
`video/mp4, text/html` as the last of its types. So a declared type is never repeated: one of this list is sent, without
parameters, or the file is plain bytes, which a browser saves.
"""

OCTETS = "application/octet-stream"
SHOWN = frozenset(
    {
        "video/mp4",
        "video/quicktime",
        "video/webm",
        "video/x-matroska",
        "image/jpeg",
        "image/png",
        "image/webp",
        "image/gif",
        "image/bmp",
        "image/avif",
        "image/tiff",
    }
)


def sent_type(declared: str) -> str:
    """The type of the list that was declared, or `OCTETS` for any other text."""
    plain = declared.partition(";")[0].strip().lower()
    return plain if plain in SHOWN else OCTETS
