"""`netns-lab graph`: a lab as a drawing."""

import json
import logging
from pathlib import Path

import click
import msgspec

from netns_lab.lab_choice import is_lab_typed, lab_argument, open_lab
from nodeplane.runtime.option_types import FILE_PATH

log = logging.getLogger(__name__)


@click.command("graph")
@lab_argument
@click.option("--file", type=FILE_PATH, help="Draw a topology file; needs no lab that is up, and no root.")
@click.option(
    "-o",
    "--output",
    type=click.Choice(["mermaid", "dot", "svg", "json"]),
    default="mermaid",
    show_default=True,
    help="Language of the drawing.",
)
def graph_command(*, lab: str | None, file: Path | None, output: str) -> None:
    """Draw a LAB: segments, nodes, routers, clients, pods, Services and the pods behind them.

    Of a lab that is up pods have addresses, and Services their endpoints.
    """
    from netns_lab.graph.dot import render_dot
    from netns_lab.graph.mermaid import render_mermaid
    from netns_lab.graph.picture import build_picture
    from netns_lab.graph.svg import render_svg

    if file is not None and is_lab_typed():
        raise click.UsageError("expected a LAB or --file, not both")
    if file is not None:
        from netns_lab.loader import read_lab

        spec = read_lab(file)
        picture = build_picture(spec.topology, {}, [manifest.item for manifest in spec.manifests])
    else:
        from netns_lab.live import read_live

        state, topology = open_lab(lab)
        live = read_live(state, topology)
        if live.trouble:
            log.warning("Services are left out: %s", live.trouble)
        picture = build_picture(topology, live.addresses, live.objects)
    if output == "json":
        click.echo(json.dumps(msgspec.to_builtins(picture), indent=2))
        return
    renders = {"mermaid": render_mermaid, "dot": render_dot, "svg": render_svg}
    click.echo(renders[output](picture), nl=False)
