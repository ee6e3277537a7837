/**
 * The script that a machine runs when it boots: power-off at the deadline, the trainer's image by digest, its
 * container.
 */
import type { ProviderHost } from "../../src/contract/provider.ts";

interface Boot {
  image: string;
  env: Record<string, string>;
  /** Seconds from the boot after which the machine powers itself off, whatever its clock says. */
  lifetimeS: number;
}

/**
 * A shell script for cloud-init. It contains nothing secret but the bootstrap token in `env`. Throws `invalid` for a
 * variable that a file of variables cannot hold.
 */
export function bootScript(host: ProviderHost, { image, env, lifetimeS }: Boot): string {
  for (const [name, value] of Object.entries(env))
    if (!/^[A-Za-z_][A-Za-z0-9_]*$/.test(name) || /[\r\n\0]/.test(value))
      throw host.error("invalid", `The variable ${name} has a line break or a name that is not allowed.`);
  const lines = Object.entries(env).map(([name, value]) => `${name}=${value}`);
  return `#!/bin/sh
# Fine-Tune Lab: runs the trainer of one job, then ends. Written by the server; see docs/providers.md.
set -u
umask 077
DIR="\${FTL_BOOT_DIR:-/run/finetune-lab}"
mkdir -p "$DIR"

# The machine's own deadline does not depend on anything below.
systemd-run --unit=ftl-deadline --on-active=${lifetimeS} /sbin/poweroff 2>/dev/null ||
  (nohup sh -c 'sleep ${lifetimeS}; poweroff' >/dev/null 2>&1 &)

cat >"$DIR/env" <<'FTL_END_OF_ENV'
${lines.join("\n")}
FTL_END_OF_ENV

attempt() {
  for wait in 5 15 45 120; do
    "$@" && return 0
    sleep "$wait"
  done
  "$@"
}

command -v docker >/dev/null || attempt apt-get install -y docker.io
command -v nvidia-ctk >/dev/null || attempt apt-get install -y nvidia-container-toolkit
nvidia-ctk runtime configure --runtime=docker
# Without cgroupfs a reload of systemd takes the GPUs away from running containers.
python3 - "\${FTL_DOCKER_CONFIG:-/etc/docker/daemon.json}" <<'FTL_END_OF_PYTHON'
import json, sys
try:
    settings = json.load(open(sys.argv[1]))
except (OSError, ValueError):
    settings = {}
settings["exec-opts"] = ["native.cgroupdriver=cgroupfs"]
with open(sys.argv[1], "w") as file:
    json.dump(settings, file)
FTL_END_OF_PYTHON
systemctl restart docker

mkdir -p "$DIR/scratch"
chown 1000:1000 "$DIR/scratch" 2>/dev/null
if attempt docker pull ${image}; then
  docker run --rm --name finetune-lab --gpus all --ipc=host --security-opt no-new-privileges --cap-drop ALL \\
    --env-file "$DIR/env" --volume "$DIR/scratch:/scratch" ${image}
fi
rm -f "$DIR/env"
poweroff
`;
}
