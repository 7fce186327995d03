"""`python -m k8s render | check`: manifests from the specs."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from deployments.environment import prepare

prepare()  # before Ray is imported

from k8s import exposure, invariants  # noqa: E402
from k8s.environments import ENVIRONMENTS  # noqa: E402
from k8s.render import DIGESTS, HERE, images, manifests, rendered  # noqa: E402

main = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__)

UNSET = "sha256:" + 64 * "0"


@main.command()
def render(out: Annotated[Path, typer.Option(help="folder")] = HERE) -> None:
    """Write the base, all overlays and the template of secrets; files that are not written any more are removed."""
    files = rendered()
    for folder in ("base", "prerequisites", "overlays"):
        for path in (out / folder).rglob("*.yaml"):
            if str(path.relative_to(out)) not in files:
                path.unlink()
    for name, text in files.items():
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_text(text)
    typer.echo(f"{len(files)} files in {out}", err=True)


@main.command()
def check(environment: Annotated[str, typer.Argument(help="dev, staging or production")]) -> None:
    """Before a rollout: exit 1 where a rule is broken, the overlay is stale, or the images have no digest."""
    prefix = f"overlays/{environment}/"
    stale = [
        name
        for name, text in rendered().items()
        if name.startswith(prefix) and (not (HERE / name).exists() or (HERE / name).read_text() != text)
    ]
    unset = [image["name"] for image in images(ENVIRONMENTS[environment]) if image.get("digest") == UNSET]
    found = manifests(ENVIRONMENTS[environment])
    broken = [told for rule in (*invariants.RULES, *exposure.RULES) for told in rule(found)]
    for told in broken:
        typer.echo(told, err=True)
    for name in stale:
        typer.echo(f"{name}: run `make render`", err=True)
    for name in unset:
        typer.echo(f"{name}: expected the digest of a pushed image in {DIGESTS.name}, got none", err=True)
    if broken or stale or unset:
        sys.exit(1)


if __name__ == "__main__":
    main()
