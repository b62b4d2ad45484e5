"""Whatever is sent as an object, the server says what is wrong with it and lives on."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.netns_lab.apiserver.running import Client, run

NAMES = [
    *(
        "ports",
        "selector",
        "clusterIP",
        "clusterIPs",
        "ipFamilies",
        "ipFamilyPolicy",
        "type",
        "sessionAffinity",
    ),
    *(
        "sessionAffinityConfig",
        "externalTrafficPolicy",
        "healthCheckNodePort",
        "loadBalancer",
        "externalName",
    ),
    *(
        "containers",
        "initContainers",
        "nodeName",
        "hostNetwork",
        "terminationGracePeriodSeconds",
        "image",
        "tolerations",
    ),
    *(
        "podCIDR",
        "podCIDRs",
        "conditions",
        "addresses",
        "nodeInfo",
        "daemonEndpoints",
        "podIP",
        "podIPs",
        "finalizers",
    ),
    *("port", "protocol", "targetPort", "nodePort", "name", "clientIP", "timeoutSeconds", "phase"),
]
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-1, 70000),
    st.sampled_from(["", "None", "10.96.0.9", "::1", "IPv4", "NodePort"]),
)
VALUES: st.SearchStrategy[Any] = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=2), st.dictionaries(st.sampled_from(NAMES), inner, max_size=4)
    ),
    max_leaves=8,
)
BODIES = st.fixed_dictionaries(
    {
        "metadata": st.fixed_dictionaries(
            {"name": st.just("x")}, optional={"labels": VALUES, "finalizers": VALUES}
        )
    },
    optional={
        "spec": st.one_of(VALUES, st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=4)),
        "status": VALUES,
        "endpoints": VALUES,
        "ports": VALUES,
        "addressType": VALUES,
        "data": VALUES,
        "involvedObject": VALUES,
        "source": VALUES,
    },
)
PATHS = [
    "/api/v1/namespaces",
    "/api/v1/nodes",
    "/api/v1/namespaces/default/services",
    "/api/v1/namespaces/default/pods",
    "/api/v1/namespaces/default/configmaps",
    "/api/v1/namespaces/default/events",
    "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices",
    "/apis/coordination.k8s.io/v1/namespaces/default/leases",
    "/apis/networking.k8s.io/v1/servicecidrs",
]
TABLE = {"accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}


@pytest.mark.parametrize("path", PATHS)
@given(bodies=st.lists(BODIES, min_size=1, max_size=25))
@settings(deadline=None, max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_bodies(tmp_path: Path, path: str, bodies: list[Any]) -> None:
    async def scenario(client: Client) -> None:
        for body in bodies:
            created = await client.http.post(path, json=body)
            assert created.status_code in {201, 400, 409, 422}, created.text
            if created.status_code == 201:
                shown = await client.http.get(f"{path}/x", headers=TABLE)
                assert shown.status_code == 200
                patched = await client.http.patch(
                    f"{path}/x", json=body, headers={"content-type": "application/strategic-merge-patch+json"}
                )
                assert patched.status_code in {200, 400, 409, 422}, patched.text
                await client.http.request("DELETE", f"{path}/x", json={"gracePeriodSeconds": 0})

    run(scenario, tmp_path)
