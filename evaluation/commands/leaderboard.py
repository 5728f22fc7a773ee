"""`synthct leaderboard`: metrics.json files in, a ranking out: terminal, JSON, CSV, Markdown and an HTML site."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from synthct.cli.console import say, tell
from synthct.errors import InputError, UsageError
from synthct.files import prepare_output_folder, write_text

if TYPE_CHECKING:
    from evaluation.standings import Standings

__all__ = ["leaderboard"]

Ranking = Literal["synthrad2023", "synthrad2025", "platform", "platform-median"]


def leaderboard(
    output: Annotated[Path, typer.Option(help="Folder of the leaderboard; it keeps every entry's metrics.json.")],
    metrics: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[METRICS...]", help="metrics.json files or their folders, added to those that are kept."
        ),
    ] = None,
    ranking: Annotated[
        Ranking, typer.Option(help="Whose rule; platform is the mean of the ranks per metric, or their median.")
    ] = "synthrad2025",
    scores: Annotated[Literal["strict", "official"], typer.Option(help="Which values are ranked.")] = "official",
    name: Annotated[list[str] | None, typer.Option(help="Name of an entry, in the order of METRICS.")] = None,
    metric: Annotated[
        list[str] | None, typer.Option(help="Rank by this metric; may be repeated. [default: all]")
    ] = None,
    dose: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[ENTRY=]FILE",
            help="CSV with dose columns: case, mae_target, dvh, gamma, each alone or with _photon or _proton behind; "
            "without ENTRY also a column entry. May be repeated.",
        ),
    ] = None,
    add: Annotated[
        bool, typer.Option("--add/--only", help="Rank with the entries that OUTPUT keeps, or remove those.")
    ] = True,
    replace_same: Annotated[
        bool, typer.Option("--replace", help="Let an entry take the place of a kept one of the same name.")
    ] = False,
    draws: Annotated[int, typer.Option(min=0, max=100_000, help="Bootstrap draws over cases; 0 for none.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Of the draws.")] = 0,
    site: Annotated[bool, typer.Option(help="Write index.html too.")] = True,
) -> None:
    """Rank scored entries against each other, and say how sure the ranks are."""
    from evaluation.leaderboard.build import build_from_entries
    from evaluation.leaderboard.dose import add_dose
    from evaluation.leaderboard.entries import metrics_file, name_entries, read_entries
    from evaluation.leaderboard.folder import entry_folder, keep_entry, list_kept, merge_kept, remove_kept

    given = [metrics_file(path) for path in metrics or []]
    for path in given:
        if not path.exists():
            raise InputError(f"{path}: no such file; expected a metrics.json of synthct evaluate, or its folder")
    kept = list_kept(output)
    inside = {folder.resolve(): called for called, folder in kept.items()}
    names = [
        found if name else inside.get(path.resolve().parent, found)
        for found, path in zip(name_entries(given, name or []), given, strict=True)
    ]
    others = [called for called in kept if called not in names]
    before = others if add else []
    if not given and not before:
        raise UsageError(f"{output}: holds no entries; expected metrics.json files to rank")
    files = [kept[called] / "metrics.json" for called in before]
    files += merge_kept(kept, names, given, replace=replace_same)
    entries = add_dose(read_entries(files, [*before, *names], scores=scores), dose or [])
    standings = build_from_entries(
        entries, ranking=ranking, scores=scores, metrics=metric or [], draws=draws, seed=seed
    )
    prepare_output_folder(output)
    folders = {
        entry.name: keep_entry(kept.get(entry.name) or entry_folder(output, entry.name), entry, file)
        for entry, file in zip(entries, files, strict=True)
    }
    for called in others if not add else []:
        remove_kept(kept[called])
    moved = tuple(replace(standing, folder=folders[standing.entry]) for standing in standings.entries)
    _write(replace(standings, entries=moved), output, site=site)


def _write(standings: Standings, output: Path, *, site: bool) -> None:
    from rich.console import Console

    from evaluation.leaderboard.tables import as_csv, as_json, as_markdown, as_table

    write_text(output / "leaderboard.json", as_json(standings))
    write_text(output / "leaderboard.csv", as_csv(standings))
    write_text(output / "leaderboard.md", as_markdown(standings))
    page = _write_site(standings, output) if site else None
    Console(width=140).print(as_table(standings))
    for note in standings.notes:
        tell(note)
    if page is not None:
        tell(f"site: {page}")
    tell(f"leaderboard in {output}")


def _write_site(standings: Standings, output: Path) -> Path | None:
    try:
        from evaluation.report.site import write_site
    except ModuleNotFoundError as error:
        say(f"no HTML site: {error.name} is not installed; expected pip install synthct[report]")
        return None
    return write_site(standings, output)
