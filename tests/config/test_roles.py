"""Every role of the Procfile as it really runs: healthy, told by its numbers, and gone when asked."""

import urllib.request

import psutil


def get(port: int, path: str) -> tuple[int, str]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
        return answer.status, answer.read().decode()


def test_every_role_tells_its_health_and_stops_when_asked(live_platform):
    roles = live_platform
    for name in roles.commands:
        port = roles.ports.get(name) or roles.metrics_ports[name]
        assert get(port, "/healthz")[0] == 200, name
        assert get(port, "/readyz")[0] == 200, name
        assert "python_info" in get(port, "/metrics")[1], name
    pids = {name: process.pid for name, (process, _program) in roles.running.items()}
    roles.kill9("web")
    roles.start("web")
    roles.stop_all()
    assert not any(psutil.pid_exists(pid) for pid in pids.values())
