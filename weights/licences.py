"""What the weights in use may be used for."""

from collections.abc import Iterable

from modiste.errors import LicenceRefused
from modiste.settings import settings
from weights.manifest import entry, select


def require_commercial(ids: Iterable[str]) -> None:
    """Under MODISTE_COMMERCIAL_ONLY, refuse every entry that is not free for commercial use, by name."""
    refused = [of for of in map(entry, ids) if not of.commercial]
    if settings().commercial_only and refused:
        names = "; ".join(f"{of.id} ({of.licence})" for of in refused)
        raise LicenceRefused(f"Expected weights free for commercial use only; got {names}.")


def licence_report(ids: Iterable[str] = ()) -> str:
    """One block of plain text per entry: licence, use, source, training data."""
    entries = select(ids)
    restricted = sum(not of.commercial for of in entries)
    lines = [f"Weights in use: {len(entries)}, of which {restricted} not for commercial use."]
    for of in entries:
        lines.append(f"  {of.id}: {of.licence}{'' if of.commercial else '  [NOT FOR COMMERCIAL USE]'}")
        lines.append(f"      {of.source}; trained on {of.trained_on}")
        lines += [f"      {of.note}"] if of.note else []
    return "\n".join(lines)
