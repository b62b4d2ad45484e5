"""`netns-lab ui`: serve the page of a lab on loopback."""

import click

from netns_lab.lab_choice import lab_argument, open_lab

_DEFAULT_PORT = 8480


@click.command("ui")
@lab_argument
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=_DEFAULT_PORT,
    show_default=True,
    help="Port on 127.0.0.1; 0 takes a free one.",
)
def ui_command(*, lab: str | None, port: int) -> None:
    """Serve a web page with the living LAB on 127.0.0.1, until Ctrl-C.

    Prints the address to open; the token in it lets one in. On the page, click two pods, or a pod and a
    Service, to follow a packet from one to the other; click a link to see its packets.
    """
    import asyncio
    import secrets

    from netns_lab.ui.access import Access
    from netns_lab.ui.serve import serve
    from nodeplane.runtime.listen import ListenAddress, open_family_listener

    state, _ = open_lab(lab)
    with open_family_listener(ListenAddress("127.0.0.1", port)) as listener:
        access = Access(secrets.token_urlsafe(24), listener.getsockname()[1])
        click.echo(access.url)
        asyncio.run(serve(state, access, listener))
