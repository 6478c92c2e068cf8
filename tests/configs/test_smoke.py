import time

from django.db import connections

from apps.configs import operations as ops
from apps.configs.models import *
from apps.configs.operations import Proposal
from apps.configs.runtime import configs, override_config
from layoverhq.tenancy import operator_scope, tenant_scope
from tests.kernel.test_snapshot import until


def test_smoke(enterprise, other_enterprise):
    assert configs.get("layover.min_duration") == 90
    with operator_scope():
        u = ops
        cs = ops.draft_change_set(
            title="t",
            reason="because",
            proposals=[
                Proposal("layover.min_duration", 100),
                Proposal("layover.min_duration", 120, enterprise),
                Proposal("algorithm.weather_weight", 0.5),
            ],
            actor=None,
        )
        ops.publish_change_set(change_set=cs)
    until(lambda: configs.get("layover.min_duration") == 100)
    assert configs.get("layover.min_duration", enterprise) == 120
    assert configs.get("algorithm.weather_weight", enterprise) == 0.5
    with tenant_scope(enterprise.ref):
        v = ops.set_override(
            tenant=enterprise.ref, key="layover.min_duration", value=130, version=1, reason="api"
        )
        with connections["default"].cursor() as c:
            c.execute(
                "select get_config('layover.min_duration', %s), get_config('layover.min_duration', %s)",
                [enterprise.id, other_enterprise.id],
            )
            print(c.fetchone())
    until(lambda: configs.get("layover.min_duration", enterprise) == 130)
    with override_config({"layover.min_duration": 5}):
        assert configs.get("layover.min_duration") == 5
    assert configs.get("layover.min_duration") == 100
    with operator_scope():
        cs = ops.draft_change_set(
            title="t",
            reason="because",
            proposals=[Proposal("layover.min_duration", 200)],
            actor=None,
        )
        ops.stage_release(change_set=cs, enterprises=[other_enterprise])
    until(lambda: configs.get("layover.min_duration", other_enterprise) == 200)
    assert configs.get("layover.min_duration", enterprise) == 130
    assert configs.get("layover.min_duration") == 100
    with operator_scope():
        ops.promote_release(change_set=cs)
    until(lambda: configs.get("layover.min_duration") == 200)
    with operator_scope():
        k = ops.save_declaration(
            key=ConfigKey(
                key="test.secret",
                value_type="string",
                category_id="security",
                description="x",
                is_secret=True,
            )
        )
        cs = ops.draft_change_set(
            title="t", reason="because", proposals=[Proposal("test.secret", "hush")], actor=None
        )
        cs = ops.submit_change_set(change_set=cs)
    n = 0
    t = time.perf_counter()
    for i in range(100000):
        configs.get("layover.min_duration", enterprise)
    print((time.perf_counter() - t) * 10, "us")
    t = time.perf_counter()
    for i in range(100000):
        configs.get("layover.min_duration")
    print((time.perf_counter() - t) * 10, "us")
