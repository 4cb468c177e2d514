"""Fetch the vendored browser files from the npm registry, or verify the ones in the tree.

python deploy/refresh_vendor.py            fetch the pinned versions and rewrite static/vendor
python deploy/refresh_vendor.py --check    compare the files with the recorded sha256 sums
"""

import hashlib
import json
import re
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

VENDOR = Path(__file__).resolve().parent.parent / "static" / "vendor"
MANIFEST = VENDOR / "vendor.json"


@dataclass(frozen=True)
class Package:
    """One npm package: `files` maps the path inside it to the name it gets here."""

    name: str
    version: str
    licence: str
    folder: str
    files: dict[str, str]


PACKAGES = (
    Package(
        name="lightweight-charts",
        version="5.2.1",
        licence="Apache-2.0",
        folder="lightweight-charts",
        files={
            "dist/lightweight-charts.standalone.production.mjs": "lightweight-charts.mjs",
            "LICENSE": "LICENSE",
        },
    ),
    Package(
        name="@fontsource-variable/inter",
        version="5.3.0",
        licence="OFL-1.1",
        folder="inter",
        files={
            "files/inter-latin-wght-normal.woff2": "inter-latin.woff2",
            "files/inter-latin-ext-wght-normal.woff2": "inter-latin-ext.woff2",
            "files/inter-cyrillic-wght-normal.woff2": "inter-cyrillic.woff2",
            "LICENSE": "LICENSE",
        },
    ),
)


def fetch(package: Package, scratch: Path) -> dict[str, str]:
    """Unpack `package` into its folder and return the sha256 of each file; raises CalledProcessError."""
    packed = subprocess.run(
        ["npm", "pack", "--silent", f"{package.name}@{package.version}"],
        cwd=scratch,
        check=True,
        capture_output=True,
        text=True,
    )
    folder = VENDOR / package.folder
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(scratch / packed.stdout.split()[-1]) as archive:
        for inside, here in package.files.items():
            member = archive.extractfile(f"package/{inside}")
            if member is None:
                raise SystemExit(f"{package.name}@{package.version} has no {inside}")
            (folder / here).write_bytes(member.read())
    if package.name == "lightweight-charts":
        write_notice(folder)
    return {
        f"{package.folder}/{path.name}": hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.iterdir())
    }


def write_notice(folder: Path) -> None:
    """Write the attribution notice, which the npm package leaves out, with the year of its own header."""
    header = (folder / "lightweight-charts.mjs").read_text(encoding="utf-8")[:400]
    year = re.search(r"Copyright \(c\) (\d{4}) TradingView", header)
    if year is None:
        raise SystemExit("the module's header no longer names its copyright")
    notice = f"TradingView Lightweight Charts™\nCopyright (с) {year[1]} TradingView, Inc. https://www.tradingview.com/\n"
    (folder / "NOTICE").write_text(notice, encoding="utf-8")


def refresh() -> None:
    """Fetch every package and rewrite the manifest."""
    entries = []
    with tempfile.TemporaryDirectory() as scratch:
        for package in PACKAGES:
            sums = fetch(package, Path(scratch))
            entries.append(
                {"name": package.name, "version": package.version, "licence": package.licence, "sha256": sums}
            )
            sys.stdout.write(f"{package.name} {package.version}: {len(sums)} files\n")
    MANIFEST.write_text(json.dumps(entries, indent=2) + "\n", encoding="utf-8")


def differences() -> list[str]:
    """Name every vendored file that is missing, changed or not recorded."""
    recorded = {
        path: total
        for entry in json.loads(MANIFEST.read_text(encoding="utf-8"))
        for path, total in entry["sha256"].items()
    }
    present = {
        str(path.relative_to(VENDOR)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in VENDOR.rglob("*")
        if path.is_file() and path != MANIFEST
    }
    return sorted(path for path in recorded | present if recorded.get(path) != present.get(path))


if __name__ == "__main__":
    if "--check" in sys.argv[1:]:
        if changed := differences():
            raise SystemExit(f"static/vendor differs from vendor.json: {', '.join(changed)}")
    else:
        refresh()
