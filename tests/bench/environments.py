"""Virtual environments of peers that a claim installs by itself."""
import hashlib
import os
import subprocess
import sys


def installed(context, name, pins, *options):
    """The folder of the one with the packages of the file `pins`, made on first use and kept in the cache. `options` are
    pip's. Raises subprocess.CalledProcessError with pip's words where it cannot be made."""
    with open(pins, "rb") as file:
        folder = os.path.join(context.cache, f"{name}-{hashlib.sha256(file.read()).hexdigest()[:12]}")
    if not os.path.exists(os.path.join(folder, "ready")):
        context.say(f"installing {name}")
        pip = os.path.join(folder, "bin", "pip")
        for command in ([sys.executable, "-m", "venv", folder], [pip, "install", "--quiet", *options, "-r", pins]):
            subprocess.run(command, check=True, stderr=subprocess.PIPE, text=True)
        open(os.path.join(folder, "ready"), "w").close()
    return folder
