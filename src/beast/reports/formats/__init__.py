"""The four formats of a report, and how one is chosen."""

from beast.reports.types import Format

MEDIA_TYPES: dict[Format, str] = {
    "json": "application/json",
    "csv": "text/csv",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "pdf": "application/pdf",
}
CONTENT_TYPES: dict[Format, str] = {**MEDIA_TYPES, "csv": "text/csv; header=present"}


class NotAcceptableError(Exception):
    """None of the formats is what the client takes."""

    def __init__(self, formats: tuple[Format, ...]) -> None:
        super().__init__(f"this comes as {', '.join(formats)}; say which with format= or Accept")
        self.formats = formats


def choose(wanted: str | None, accept: str | None, formats: tuple[Format, ...] = tuple(MEDIA_TYPES)) -> Format:
    """The format of an answer: the one named by `format=`, else the one that Accept likes best (RFC 9110, 12.5.1).

    Args:
        wanted: The value of `format`, if it was given.
        accept: The header, if it was sent. Of equals the first one of `formats` is taken.
        formats: Those there are.

    Raises:
        NotAcceptableError: it is none of these.
    """
    if wanted is not None:
        for known in formats:
            if wanted.lower() == known:
                return known
        raise NotAcceptableError(formats)
    if accept is None or not accept.strip():
        return formats[0]
    liked = {known: _quality(accept, MEDIA_TYPES[known]) for known in formats}
    best = max(formats, key=lambda known: liked[known])
    if liked[best] <= 0:
        raise NotAcceptableError(formats)
    return best


def _quality(accept: str, media_type: str) -> float:
    """The weight of a media type; what names it more closely decides, whatever it weighs."""
    main = media_type.split("/", 1)[0]
    precision = {media_type: 2, f"{main}/*": 1, "*/*": 0}
    found, weight = -1, 0.0
    for part in accept.lower().split(","):
        name, *parameters = (piece.strip() for piece in part.split(";"))
        closeness = precision.get(name, -1)
        if closeness > found:
            found, weight = closeness, _weight(parameters)
    return weight


def _weight(parameters: list[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return min(max(float(value), 0.0), 1.0)
            except ValueError:
                return 0.0
    return 1.0
