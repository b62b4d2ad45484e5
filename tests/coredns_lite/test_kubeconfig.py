"""coredns-lite on an API server: names follow it, and losing it takes none away (law 4)."""

import asyncio
import json
import urllib.request
from pathlib import Path

from tests.coredns_lite.objects import service
from tests.coredns_lite.running import LIMIT_S, free_port, make_cluster, running
from tests.kube.api_cluster import running_api_cluster
from tests.netns_fixture import eventually

WEB = "web.default.svc.cluster.local"
API = "api.default.svc.cluster.local"


def write_kubeconfig(path: Path, url: str) -> None:
    """Write a kubeconfig for a server that asks nobody who he is."""
    document = {
        "current-context": "lab",
        "contexts": [{"name": "lab", "context": {"cluster": "lab"}}],
        "clusters": [{"name": "lab", "cluster": {"server": url}}],
    }
    path.write_text(json.dumps(document))


def test_names_follow_the_api_server(tmp_path: Path) -> None:
    """Services are added and removed at the server, which is lost in between."""
    dns = make_cluster(tmp_path)
    kubeconfig = tmp_path / "kubeconfig"
    text = dns.corefile.read_text()
    page = free_port(dns.address)
    text = text.replace("errors", f"errors\n    prometheus {dns.address}:{page}")
    dns.corefile.write_text(text.replace(f"manifests {dns.manifests}", f"kubeconfig {kubeconfig}"))
    web, api = service("web", "10.96.0.1"), service("api", "10.96.0.9")
    with running_api_cluster() as cluster:
        write_kubeconfig(kubeconfig, cluster.url)
        asyncio.run(cluster.put(web))
        with running(dns) as log:
            assert dns.dig(WEB) == ("NOERROR", "10.96.0.1")
            asyncio.run(cluster.put(api))
            eventually(lambda: dns.dig(API), ("NOERROR", "10.96.0.9").__eq__)

            url = f"http://{dns.address}:{page}/metrics"
            metrics = urllib.request.urlopen(url, timeout=LIMIT_S).read().decode()
            host = cluster.url.removeprefix("http://")
            of = "coredns_kubernetes_rest_client"
            requests = f'{of}_requests_total{{code="200",host="{host}",method="GET"}}'
            assert [line for line in metrics.splitlines() if line.startswith(requests)]
            for name in ("request", "rate_limiter"):
                assert f'{of}_{name}_duration_seconds_count{{host="{host}",verb="GET"}}' in metrics

            asyncio.run(cluster.lose())
            eventually(
                dns.corefile.with_name("log").read_text,
                lambda lines: "cluster state lost" in lines,
                within_s=LIMIT_S,
            )
            assert dns.dig(WEB) == ("NOERROR", "10.96.0.1")
            asyncio.run(cluster.remove(web))
            asyncio.run(cluster.restore())
            eventually(lambda: dns.dig(WEB), ("NXDOMAIN", "-").__eq__, within_s=LIMIT_S)
            assert dns.dig(API) == ("NOERROR", "10.96.0.9")

    assert not [line for line in log if "Traceback" in line or " ERROR " in line]
