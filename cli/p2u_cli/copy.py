"""``p2u copy``: an artifact goes to another store."""

# ruff: noqa: PLC0415 - what is slow to import is imported where it is used: --help stays quick

from typing import Annotated

import typer

from p2u_cli import options, output, progress
from p2u_cli.push import push_text


def copy(
    source: options.StoreVersion,
    destination: options.StoreName,
    *,
    tier: Annotated[
        str | None,
        typer.Option(
            metavar="T", help="Copy it up to this tier. Default: all.", show_default=False
        ),
    ] = None,
    storage: options.Storage = None,
    target_storage: Annotated[
        list[str] | None,
        typer.Option(
            "--to-option",
            metavar="KEY=VALUE",
            help="Like --option, for the other store. Default: the same.",
            show_default=False,
        ),
    ] = None,
    as_json: options.Json = False,
) -> int:
    """Copy an artifact to a name in another store.

    What is there already is not sent. With --tier the other store is a mirror that has the lower
    tiers only; a later copy with a higher tier, or with all, sends the rest.

    \b
    Examples:
      p2u copy s3://bucket/models#minilm /srv/mirror#minilm
      p2u copy s3://bucket/models#minilm@3 gs://edge/models#minilm --tier q8
    """  # noqa: D301 - the parser folds paragraphs that do not begin with \b
    import p2uformat

    store, name, version = options.store_parts(source)
    opened = p2uformat.Store(store, storage_options=options.storage_options(storage))
    which = name if version is None else f"{name}@{version}"
    with progress.shown() as callback:
        result = opened.copy(
            which or source.rpartition("#")[2],
            destination,
            tier=tier,
            progress=callback,
            storage_options=options.storage_options(target_storage),
        )
    if as_json:
        output.write_json(result.to_dict())
    else:
        output.write_text(push_text(result))
    return 0
