"""What a client would rather have, by its Accept header (RFC 9110, 12.5.1)."""


def prefers_picture(accept: str) -> bool:
    """Whether a picture suits the client at least as well as JSON."""
    ranges = [_range(part) for part in accept.split(",") if part.strip()]
    picture = max((q for name, q in ranges if name.startswith("image/") or name == "*/*"), default=0.0)
    named = [q for name, q in ranges if name in ("application/json", "application/*")]
    anything = [q for name, q in ranges if name == "*/*"]
    json = max(named or anything, default=0.0)
    return picture > 0 and picture >= json


def _range(part: str) -> tuple[str, float]:
    name, _, rest = part.strip().lower().partition(";")
    parameters = dict(p.strip().partition("=")[::2] for p in rest.split(";"))
    try:
        return name.strip(), float(parameters.get("q", 1.0))
    except ValueError:
        return name.strip(), 0.0
